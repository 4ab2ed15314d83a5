import { copyFileSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { message } from '../../support/random.ts';
import { type Acts, type AdminAct, sourceTool, tolerant } from './life-act.ts';

/** What the administrator of the mail server does. */
export const BY_ADMIN: Acts<AdminAct> = {
  newUser: [1, (act) => act.add(`user${act.serial}`)],
  renameUser: [1, renameUser],
  deleteUser: [1, deleteUser],
  undelete: [2, undelete],
  expire: [2, (act) => sourceTool(act, 'cyr_expire', '-E', '1', '-X', '0', '-D', '0')],
  quota: [2, quota],
  shared: [3, shared],
  partition: [2, toOtherPartition],
  unexpunge: [2, (act) => sourceTool(act, 'unexpunge', act.random.pick(['-a', '-ad']), `user/${act.user}`)],
  reconstruct: [2, reconstruct],
  lostFile: [1, lostFile],
  foundFile: [1, foundFile],
};

const ALL_RIGHTS = 'lrswipkxtecda';

async function renameUser(act: AdminAct): Promise<void> {
  const to = `new${act.serial}`;
  await act.imap.command(`RENAME "user/${act.user}" "user/${to}"`);
  act.goes(act.user, to);
}

async function deleteUser(act: AdminAct): Promise<void> {
  const { imap, user } = act;
  if (act.users.length < 4) return;
  await imap.command(`SETACL "user/${user}" backup ${ALL_RIGHTS}`);
  await imap.command(`DELETE "user/${user}"`);
  act.goes(user);
  // Somebody else under the same name, at once.
  if (act.random.chance(0.5)) await act.add(user);
}

/** A folder that was deleted comes back, under its own name where that is free. */
async function undelete(act: AdminAct): Promise<void> {
  const { imap, random, serial } = act;
  const lines = (await imap.command('LIST "" "DELETED/user/*"')).map(String);
  const names = lines.flatMap((line) => /"\/" "?(DELETED\/user\/.*?)"?\r\n$/.exec(line)?.[1] ?? []);
  if (names.length === 0) return;
  const name = random.pick(names);
  const [, user, rest] = /^DELETED\/user\/([^/]+)(\/.+)?\/[0-9A-F]+$/.exec(name) ?? [];
  if (user === undefined || !act.users.includes(user)) return;
  const to = rest === undefined || random.chance(0.5) ? `/Undeleted ${serial}` : rest;
  await tolerant(act, `RENAME "${name}" "user/${user}${to}"`);
}

async function quota(act: AdminAct): Promise<void> {
  const { random, user } = act;
  const roots = (await act.imap.command(`LIST "" "user/${user}/%"`))
    .map(String)
    .flatMap((line) => /"\/" "?(user\/.*?)"?\r\n$/.exec(line)?.[1] ?? []);
  const root = random.chance(0.6) || roots.length === 0 ? `user/${user}` : random.pick(roots);
  const limits = [`STORAGE ${random.int(100_000, 900_000)}`];
  if (random.chance(0.3)) limits.push(`MESSAGE ${random.int(100_000, 900_000)}`);
  if (random.chance(0.3)) limits.push(`X-NUM-FOLDERS ${random.int(1000, 9000)}`);
  if (random.chance(0.2)) limits.push(`X-ANNOTATION-STORAGE ${random.int(10_000, 90_000)}`);
  await tolerant(act, `SETQUOTA "${root}" (${random.chance(0.15) ? '' : limits.join(' ')})`);
}

async function shared(act: AdminAct): Promise<void> {
  const { imap, random, serial } = act;
  const names = (await imap.command('LIST "" "shared*"'))
    .map(String)
    .flatMap((line) => /"\/" "?(shared.*?)"?\r\n$/.exec(line)?.[1] ?? []);
  const name = random.pick(names);
  // Debian's imapd 3.6.1 dies when a shared mailbox is annotated.
  switch (random.pick(['append', 'append', 'create', 'rename', 'remove', 'acl'])) {
    case 'append':
      await tolerant(act, `APPEND "${name}" () `, message(random, 3000));
      return;
    case 'create':
      await tolerant(act, `CREATE "${name}/s${serial}"`);
      await tolerant(act, `SETACL "${name}/s${serial}" backup ${ALL_RIGHTS}`);
      return;
    case 'rename':
      if (name !== 'shared') await tolerant(act, `RENAME "${name}" "shared/r${serial}"`);
      return;
    case 'remove':
      if (name !== 'shared') await tolerant(act, `DELETE "${name}"`);
      return;
    case 'acl':
      await tolerant(act, `SETACL "${name}" ${act.user} ${random.pick(['lrs', 'lrswi', '""'])}`);
  }
}

async function foldersOf({ imap, user }: AdminAct): Promise<string[]> {
  const lines = (await imap.command(`LIST "" "user/${user}*"`)).map(String);
  return lines.flatMap((line) => {
    const [, flags, name] = /^\* LIST \(([^)]*)\) "\/" "?(.*?)"?\r\n$/.exec(line) ?? [];
    const isOwn = name === `user/${user}` || name?.startsWith(`user/${user}/`);
    return isOwn && !/\\Non?[Ss]elect|\\NonExistent/.test(flags!) ? [name!] : [];
  });
}

async function toOtherPartition(act: AdminAct): Promise<void> {
  const name = act.random.pick(await foldersOf(act));
  await tolerant(act, `RENAME "${name}" "${name}" ${act.random.pick(['default', 'second'])}`);
}

async function reconstruct(act: AdminAct): Promise<void> {
  const how = act.random.pick([['-G'], ['-R', '-G'], ['-f'], ['-s'], ['-x']]);
  await sourceTool(act, 'reconstruct', '-r', ...how, `user/${act.user}`);
}

/** Of a folder with messages: its files in the spool, and its name. */
async function spoolOf(
  act: AdminAct,
): Promise<{ name: string; folder: string; files: string[] } | undefined> {
  const name = act.random.pick(await foldersOf(act));
  const found = await act.cyrus.tool('mbpath', act.cyrus.conf('source'), [name]);
  const folder = found.stdout.toString().trim();
  const files = readdirSync(folder).filter((file) => /^\d+\.$/.test(file));
  return files.length === 0 ? undefined : { name, folder, files };
}

/** The mail server loses a message, and takes note of it. */
async function lostFile(act: AdminAct): Promise<void> {
  const spool = await spoolOf(act);
  if (spool === undefined) return;
  rmSync(path.join(spool.folder, act.random.pick(spool.files)));
  await sourceTool(act, 'reconstruct', spool.name);
}

/** A file comes into the spool beside Cyrus, which takes it for a message. */
async function foundFile(act: AdminAct): Promise<void> {
  const spool = await spoolOf(act);
  if (spool === undefined) return;
  const highest = Math.max(...spool.files.map((file) => Number.parseInt(file, 10)));
  const made = path.join(spool.folder, `${highest + act.random.int(1, 900)}.`);
  copyFileSync(path.join(spool.folder, act.random.pick(spool.files)), made);
  act.cyrus.giveToCyrus(made);
  await sourceTool(act, 'reconstruct', spool.name);
}
