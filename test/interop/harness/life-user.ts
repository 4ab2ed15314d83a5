import { message, type Random } from '../../support/random.ts';
import { type Acts, someUids, tolerant, type UserAct } from './life-act.ts';
import { manageSieve, putScript } from './sieve.ts';

const FLAGS = ['\\Seen', '\\Flagged', '\\Answered', '\\Draft', '$Label1', '$Forwarded', 'NonJunk'];
/** Internal dates: none, and such as lie at an edge. */
const DATES = [
  ...(['', '', ''] as const),
  ...(['01-Jan-1970 00:00:01 +0000', '29-Feb-2024 23:59:59 -0330', '19-Jan-2038 03:14:08 +1300'] as const),
];
const NAMES = ['Work', 'Old', 'Neu &APw-', 'x'];
/** As far as Cyrus lets a name be. */
const ODD_NAMES = [
  ...([
    '&AOQA9gD8-',
    '&-',
    "it's",
    '(x) [y] {5}',
    '#x',
    'a.b^c',
    ' lead',
    'trail ',
    'DELETED',
    'user',
    '~x',
  ] as const),
  ...([
    '&U,BTFw-',
    'inbox',
    `long ${'n'.repeat(180)}`,
    'a,b;c:d=e?f',
    '$',
    '-',
    '_',
    '@',
    'x@example.net',
  ] as const),
];
/** Of folders: what others have, and what users have. */
const METADATA = [
  ...(['/private/comment', '/shared/comment', '/shared/vendor/cmu/cyrus-imapd/expire'] as const),
  ...(['/private/vendor/example/color', '/shared/vendor/example/note', '/private/specialuse'] as const),
  ...(['/shared/vendor/cmu/cyrus-imapd/pop3showafter', '/shared/vendor/cmu/cyrus-imapd/sharedseen'] as const),
  ...(['/shared/vendor/cmu/cyrus-imapd/duplicatedeliver', '/shared/vendor/cmu/cyrus-imapd/sieve'] as const),
];
/** Who may stand in an access control list beside users. */
const ODD_IDENTIFIERS = ['anonymous', 'group:staff', '-group:staff', 'guest@example.net', 'a b'];
const SCRIPTS = ['main', 'holiday', 'other', 'a b', 'x.y'];

/** What users do, by mail program and ManageSieve. */
export const BY_USER: Acts<UserAct> = {
  append: [8, append],
  flags: [6, flags],
  expunge: [4, expunge],
  copy: [4, copy],
  create: [3, create],
  rename: [2, rename],
  remove: [2, remove],
  subscribe: [2, subscribe],
  annotate: [2, annotate],
  annotateFolder: [2, annotateFolder],
  acl: [2, acl],
  sieve: [2, sieve],
  foreign: [4, foreign],
  manyFlags: [1, manyFlags],
  bulk: [0.5, bulk],
  large: [0.7, large],
  everywhere: [1, everywhere],
  strangeMessage: [1, strangeMessage],
  sameSecond: [1, sameSecond],
  serverAnnotation: [1, serverAnnotation],
};

async function append({ imap, random, folder }: UserAct): Promise<void> {
  for (let n = random.int(1, 6); n > 0; n--) {
    const body = message(random, random.int(300, 30_000), random.chance(0.2));
    const date = random.pick(DATES);
    await imap.append(folder, body, someFlags(random), date === '' ? undefined : date);
  }
}

function someFlags(random: Random): string[] {
  return random.chance(0.5) ? [random.pick(FLAGS)] : [];
}

async function flags(act: UserAct): Promise<void> {
  const { imap, random } = act;
  const change = `${random.pick(['+', '-', ''])}FLAGS (${random.pick(FLAGS)} ${random.pick(FLAGS)})`;
  const uids = await someUids(act, act.folder);
  if (uids !== undefined) await imap.command(`UID STORE ${uids} ${change}`);
}

async function expunge(act: UserAct): Promise<void> {
  const uids = await someUids(act, act.folder);
  if (uids === undefined) return;
  await act.imap.command(`UID STORE ${uids} +FLAGS (\\Deleted)`);
  if (act.random.chance(0.8)) await act.imap.command('EXPUNGE');
}

async function copy(act: UserAct): Promise<void> {
  const uids = await someUids(act, act.folder);
  const verb = act.random.pick(['COPY', 'MOVE']);
  if (uids !== undefined) await tolerant(act, `UID ${verb} ${uids} "${act.random.pick(act.own)}"`);
}

async function create(act: UserAct): Promise<void> {
  const { random, serial } = act;
  const parent = random.chance(0.6) ? '' : `${act.folder}/`;
  const between = random.chance(0.2) ? 'deep/'.repeat(random.pick([1, 2, 12])) : '';
  const name = random.pick([...NAMES, `F${serial}`, random.pick(ODD_NAMES)]);
  const use = random.chance(0.15) ? ` (USE (\\${random.pick(['Junk', 'Sent', 'Trash', 'Archive'])}))` : '';
  await tolerant(act, `CREATE "${parent}${between}${name}"${use}`);
}

async function rename(act: UserAct): Promise<void> {
  const { random, serial, folder } = act;
  // Debian's imapd 3.6.1 ends when INBOX is renamed, and leaves the user broken.
  if (folder === 'INBOX') return;
  const under = `${random.pick(act.own)}/sub ${serial}`;
  const to = random.pick([...NAMES, `Renamed ${serial}`, under, `deep/${serial}`, random.pick(ODD_NAMES)]);
  await tolerant(act, `RENAME "${folder}" "${to}"`);
}

async function remove(act: UserAct): Promise<void> {
  if (act.folder === 'INBOX') return;
  await tolerant(act, `DELETE "${act.folder}"`);
  if (act.random.chance(0.5)) await tolerant(act, `CREATE "${act.folder}"`);
}

async function subscribe(act: UserAct): Promise<void> {
  await tolerant(act, `${act.random.pick(['SUBSCRIBE', 'UNSUBSCRIBE'])} "${act.folder}"`);
}

async function annotate(act: UserAct): Promise<void> {
  const { random, serial, imap } = act;
  const uids = await someUids(act, act.folder);
  if (uids === undefined) return;
  const value = random.chance(0.2) ? 'NIL' : `"a ${serial}"`;
  const which = random.pick(['value.shared', 'value.priv']);
  const entry = random.pick(['/comment', '/altsubject', '/vendor/example/x']);
  await imap.command(`UID STORE ${uids} ANNOTATION (${entry} (${which} ${value}))`);
}

async function annotateFolder(act: UserAct): Promise<void> {
  const { random, serial } = act;
  const entry = random.pick(METADATA);
  const text = Buffer.from(random.pick([`note ${serial}`, 'ü\r\nzwei "Zeilen"', 'x'.repeat(3000), '']));
  let value: string | Buffer = text;
  if (random.chance(0.2)) value = 'NIL';
  else if (/sharedseen|duplicate/.test(entry)) value = random.pick(['"true"', '"false"']);
  else if (/pop3/.test(entry)) value = '"12-Jan-2024 00:00:00 +0000"';
  else if (/expire/.test(entry)) value = `"${random.int(10, 900)}"`;
  else if (/specialuse/.test(entry)) value = `"\\\\${random.pick(['Junk', 'Sent', 'Drafts'])}"`;
  else if (/sieve/.test(entry)) value = '"main"';
  await tolerant(act, `SETMETADATA "${act.folder}" (${entry} `, value, ')');
}

/** The administrator's are those of all. */
async function serverAnnotation(act: UserAct): Promise<void> {
  const value = act.random.chance(0.2) ? 'NIL' : `"of ${act.user} ${act.serial}"`;
  await tolerant(
    act,
    `SETMETADATA "" (${act.random.pick(['/private/comment', '/private/vendor/example/x'])} ${value})`,
  );
}

async function acl(act: UserAct): Promise<void> {
  const { random } = act;
  const others = act.users.filter((other) => other !== act.user);
  const reader = random.pick([...others, 'anyone', ...ODD_IDENTIFIERS, `-${random.pick(others)}`]);
  const rights = random.pick(['lrs', 'lrsi', 'lrswi', 'lrswipkxte', '""', '+w', '-s']);
  await tolerant(act, `SETACL "${act.folder}" "${reader}" ${rights}`);
}

async function sieve({ cyrus, random, serial, user }: UserAct): Promise<void> {
  const name = random.pick(SCRIPTS);
  const comment = random.chance(0.1) ? `# ${'x'.repeat(200)}\r\n`.repeat(100) : '';
  const commands = [putScript(name, `# version ${serial} ü\r\n${comment}keep;\r\n`)];
  if (random.chance(0.5)) commands.push(`SETACTIVE "${name}"`);
  if (random.chance(0.2))
    commands.push(putScript('main', `# main ${serial}\r\nkeep;\r\n`), 'SETACTIVE "main"');
  if (random.chance(0.3)) commands.push('SETACTIVE ""');
  const end = random.int(1, 10);
  if (end <= 2) commands.push('SETACTIVE ""', `DELETESCRIPT "${name}"`);
  if (end === 3) commands.push(`RENAMESCRIPT "${name}" "renamed ${serial}"`);
  if (end === 4)
    commands.push(
      `SETACTIVE "${name}"`,
      `RENAMESCRIPT "${name}" "active ${serial}"`,
      putScript(name, 'keep;\r\n'),
    );
  await manageSieve(cyrus.ports('source').sieve, user, commands);
}

/** In a folder of somebody else, or a shared one, what the rights allow. */
async function foreign(act: UserAct): Promise<void> {
  const { imap, random } = act;
  const all = (await imap.folders()).filter((name) => /^(?:Shared Folders|Other Users)\//.test(name));
  if (all.length === 0) return;
  const folder = random.pick(all);
  const uids = await someUids(act, folder);
  const what = random.pick([
    'seen',
    'seen',
    'flag',
    'append',
    'copy',
    'subscribe',
    'unsubscribe',
    'annotate',
  ]);
  if (what === 'append') await tolerant(act, `APPEND "${folder}" () `, message(random, 2000));
  if (what === 'subscribe') await tolerant(act, `SUBSCRIBE "${folder}"`);
  if (what === 'unsubscribe') await tolerant(act, `UNSUBSCRIBE "${folder}"`);
  // Debian's imapd 3.6.1 dies when a mailbox of nobody is annotated.
  if (what === 'annotate' && folder.startsWith('Other Users/'))
    await tolerant(act, `SETMETADATA "${folder}" (/private/comment "by ${act.user}")`);
  if (uids === undefined) return;
  if (what === 'seen') await tolerant(act, `UID STORE ${uids} ${random.pick(['+', '-'])}FLAGS (\\Seen)`);
  if (what === 'flag') await tolerant(act, `UID STORE ${uids} +FLAGS (${random.pick(FLAGS)})`);
  if (what === 'copy') await tolerant(act, `UID COPY ${uids} "${act.folder}"`);
}

/** More keywords than fit into a word of 32 bits. */
async function manyFlags(act: UserAct): Promise<void> {
  const { random } = act;
  const uids = await someUids(act, act.folder);
  if (uids === undefined) return;
  const names = Array.from({ length: random.int(5, 45) }, () => `kw${random.int(1, 90)}`);
  await tolerant(act, `UID STORE ${uids} ${random.pick(['+', '+', '-', ''])}FLAGS (${names.join(' ')})`);
}

/** Hundreds of small messages, whose flags change at once. */
async function bulk(act: UserAct): Promise<void> {
  const { random, imap, folder } = act;
  const parts: (string | Buffer)[] = [`APPEND "${folder}"`];
  for (let n = random.int(100, 600); n > 0; n--) parts.push(' () ', message(random, 200));
  await imap.command(...parts);
  await imap.command(`SELECT "${folder}"`);
  await imap.command(`STORE 1:* +FLAGS (${random.pick(FLAGS)})`);
  if (random.chance(0.5)) await imap.command(`STORE 1:* -FLAGS (${random.pick(FLAGS)})`);
  if (random.chance(0.3)) {
    await imap
      .command(`STORE ${random.int(1, 50)}:${random.int(60, 500)} +FLAGS (\\Deleted)`)
      .catch(() => []);
    await imap.command('EXPUNGE');
  }
}

/** Larger than a chunk. */
async function large({ imap, random, folder }: UserAct): Promise<void> {
  await imap.append(
    folder,
    message(random, random.int(900_000, 4_000_000), random.chance(0.5)),
    someFlags(random),
  );
}

/** The same message in several folders, and with other users. */
async function everywhere(act: UserAct): Promise<void> {
  const { random, cyrus, users, user, imap } = act;
  const body = message(random, random.int(300, 20_000));
  for (let n = random.int(1, 4); n > 0; n--) await imap.append(random.pick(act.own), body, someFlags(random));
  for (const other of users) {
    if (other === user || random.chance(0.5)) continue;
    const theirs = await cyrus.imap(other);
    await theirs.append('INBOX', body);
    await theirs.logout();
  }
}

async function strangeMessage(act: UserAct): Promise<void> {
  const { random, folder } = act;
  const bodies = [
    Buffer.concat([Buffer.from('Subject: \xe4\xf6\xfc \u{1f4a9}\r\n\r\n', 'latin1'), random.bytes(300)]),
    Buffer.from('Subject: 8 bit ü\r\nFrom: "ä" <a@example.net>\r\n\r\nText ü\r\n'),
    Buffer.from('\r\n'),
    Buffer.from('no header at all'),
    Buffer.from(`Subject: folded\r\n ${'x'.repeat(5000)}\r\n\r\n${'y'.repeat(70_000)}`),
    Buffer.from(
      `Subject: %{default 0 12}\r\n\r\n)\r\nOK\r\n* BYE\r\n%{p g 3}\r\n{10+}\r\n${random.int(0, 9)}`,
    ),
    Buffer.from(
      `${Array.from({ length: 400 }, (_, i) => `X-${i}: ${i}`).join('\r\n')}\r\n\r\nmany headers\r\n`,
    ),
  ];
  await tolerant(act, `APPEND "${folder}" () `, random.pick(bodies));
}

/** A folder goes and comes again, several times in the same second. */
async function sameSecond(act: UserAct): Promise<void> {
  const { random, folder, imap } = act;
  if (folder === 'INBOX') return;
  for (let n = random.int(1, 3); n > 0; n--) {
    await tolerant(act, `DELETE "${folder}"`);
    if (!(await tolerant(act, `CREATE "${folder}"`))) continue;
    for (let m = random.int(0, 2); m > 0; m--) await imap.append(folder, message(random, 400));
  }
}
