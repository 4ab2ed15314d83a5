import { createHash } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { compactBackup } from '../../src/maintenance/compact/compact.ts';
import { differences } from '../../src/restore/diff.ts';
import { readHistory } from '../../src/restore/history.ts';
import type { HistoryEvent } from '../../src/restore/history-event.ts';
import { withSource } from '../../src/restore/open-source.ts';
import type { BackupServer } from '../support/backup-server.ts';
import { message, Random } from '../support/random.ts';
import { dataFilesOf, SharedBackup } from './harness/backup.ts';
import { CyrusSite } from './harness/cyrus.ts';
import type { ImapClient } from './harness/imap.ts';
import { seedUser } from './harness/mail.ts';
import { manageSieve, putScript } from './harness/sieve.ts';
import { type View, viewOf, viewOfSource } from './harness/view.ts';

const USER = 'alice';
const ROUNDS = Number(process.env.TIME_ROUNDS ?? '14');
/** Another one plays another history. */
const SEED = process.env.TIME_SEED ?? 'time';

describe('the state of a moment', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;
  let server: BackupServer;
  const recorded = new Map<number, View>();

  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source', 'peer']);
    backup = await SharedBackup.create(cyrus);
    server = await backup.site.start();
    await seedUser(cyrus, USER);
    const random = new Random(SEED);
    for (let round = 0; round < ROUNDS; round++) {
      if (round > 0) for (let n = random.int(1, 4); n > 0; n--) await changeSomething(cyrus, random);
      for (const port of [backup.site.port, cyrus.ports('peer').csync])
        await cyrus.sync(['-u', USER], { port });
      const time = Math.floor(Date.now() / 1000);
      recorded.set(time, await viewOf(cyrus, USER));
      while (Math.floor(Date.now() / 1000) === time) await pause(20);
    }
    expect(await server.stop()).toBe(0);
  }, 600_000);

  afterAll(async () => {
    await server?.kill();
    backup?.site.remove();
    await cyrus?.close();
  });

  const ownFile = (): string => backup.dataFiles().get(USER)!;
  const peerFile = (): string => dataFilesOf(path.join(cyrus.dir, 'peer', 'backup')).get(USER)!;
  const config = () => loadConfig({ file: backup.site.configFile });

  async function storedView(dataPath: string, time: number): Promise<{ view: View; remarks: string[] }> {
    const remarks: string[] = [];
    const remark = (text: string): void => void remarks.push(text);
    const options = { config: config(), moment: { kind: 'time', time } as const, remark };
    return { view: await withSource(dataPath, options, viewOfSource), remarks };
  }

  test('is what the mail server showed then, in each of them', async () => {
    expect(recorded.size).toBe(ROUNDS);
    const views = new Set([...recorded.values()].map((view) => JSON.stringify(view)));
    expect(views.size).toBeGreaterThan(ROUNDS / 2); // they do differ
    for (const [time, view] of recorded) {
      expect(await storedView(ownFile(), time), `at ${time}`).toEqual({ view, remarks: [] });
    }
  });

  test('also in what Cyrus’s backupd has stored', async () => {
    for (const [time, { mail, subscriptions }] of recorded) {
      const { view, remarks } = await storedView(peerFile(), time);
      expect(remarks).toEqual([]);
      expect({ mail: view.mail, subscriptions: view.subscriptions }, `at ${time}`).toEqual({
        mail,
        subscriptions,
      });
    }
  });

  test('comes back by the command', async () => {
    const [time, { mail }] = [...recorded][Math.floor(ROUNDS / 2)]!;
    const to = path.join(backup.site.dir, 'restored');
    const iso = new Date(time * 1000).toISOString();
    await backup.cliOk(['restore', '-u', USER, '--at', iso, '--in-place', '--to', `eml:${to}`]);
    const guids = globSync('**/*.eml', { cwd: to })
      .map((name) =>
        createHash('sha1')
          .update(readFileSync(path.join(to, name)))
          .digest('hex'),
      )
      .sort();
    const wanted = mail.flatMap(([, messages]) => (messages as { guid: string }[]).map(({ guid }) => guid));
    expect(guids).toEqual(wanted.sort());
  });

  test('differs from another by what diff says, and history says when', async () => {
    const rules = config();
    const events: HistoryEvent[] = [];
    await readHistory(ownFile(), { config: rules, rules, remark: () => {} }, (event) => events.push(event));
    const times = [...recorded.keys()];
    for (const [i, to] of times.entries()) {
      const from = times[i - 1];
      if (from === undefined) continue;
      const at = (time: number) => ({
        config: rules,
        moment: { kind: 'time', time } as const,
        remark: () => {},
      });
      const changes = await withSource(ownFile(), at(from), (before) =>
        withSource(ownFile(), at(to), (after) => [...differences(before, after, rules)]),
      );
      const [old, fresh] = [guidsOf(recorded.get(from)!), guidsOf(recorded.get(to)!)];
      for (const change of changes) {
        if (change.kind !== 'message') continue;
        if (change.change === 'added') expect(fresh.has(change.guid)).toBe(true);
        if (change.change === 'expunged') expect(old.has(change.guid)).toBe(true);
      }
      const added = new Set(
        changes.flatMap((change) =>
          change.kind === 'message' && change.change === 'added' ? [change.guid] : [],
        ),
      );
      for (const guid of fresh)
        if (!old.has(guid)) expect(added.has(guid), `${guid} came by ${to}`).toBe(true);
      if (JSON.stringify(recorded.get(from)) === JSON.stringify(recorded.get(to))) continue;
      expect(changes.length).toBeGreaterThan(0);
      expect(events.some(({ time }) => time > from && time <= to)).toBe(true);
    }
  });

  test('is the same after a compaction, as far back as the retention', async () => {
    const times = [...recorded.keys()];
    const since = times[Math.floor(ROUNDS / 2)]!;
    const { keptAll } = await compactBackup({
      dataPath: ownFile(),
      userid: USER,
      config: config(),
      force: true,
      now: since * 1000 + config().backupRetentionMs,
    });
    expect(keptAll).toBeNull();
    for (const [time, view] of recorded) {
      if (time >= since) expect((await storedView(ownFile(), time)).view, `at ${time}`).toEqual(view);
      else if (time < since - 60)
        await expect(storedView(ownFile(), time)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    }
    await expect(storedView(ownFile(), times[0]!)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

function guidsOf({ mail }: View): Set<string> {
  return new Set(mail.flatMap(([, messages]) => (messages as { guid: string }[]).map(({ guid }) => guid)));
}

let serial = 0;

/** One change as a mail program makes it. */
async function changeSomething(cyrus: CyrusSite, random: Random): Promise<void> {
  serial++;
  if (random.chance(0.1)) {
    const name = random.pick(['main', 'holiday', 'other']);
    const text = `# version ${serial}\r\nkeep;\r\n`;
    const commands = [putScript(name, text), ...(random.chance(0.5) ? [`SETACTIVE "${name}"`] : [])];
    await manageSieve(cyrus.ports('source').sieve, USER, commands);
    return;
  }
  const imap = await cyrus.imap(USER);
  const folders = (await imap.folders()).filter((name) => !/^(Shared Folders|Other Users)/.test(name));
  const folder = random.pick(folders);
  const own = folders.filter((name) => name !== 'INBOX');
  const what = random.pick([
    'append',
    'append',
    'flags',
    'flags',
    'expunge',
    'copy',
    'create',
    'rename',
    'delete',
    'sub',
    'unsub',
  ]);
  if (what === 'append')
    await imap.append(folder, message(random, random.int(500, 5000)), [], '15-Jan-2024 12:00:00 +0000');
  else if (what === 'create') await imap.command(`CREATE "Folder ${serial}"`);
  else if (what === 'sub') await imap.command(`SUBSCRIBE "${folder}"`);
  else if (what === 'unsub') await tolerant(imap, `UNSUBSCRIBE "${folder}"`);
  else if (what === 'rename' && own.length > 0)
    await imap.command(`RENAME "${random.pick(own)}" "Renamed ${serial}"`);
  else if (what === 'delete' && own.length > 3) await tolerant(imap, `DELETE "${random.pick(own)}"`);
  else if (['flags', 'expunge', 'copy'].includes(what)) {
    await imap.command(`SELECT "${folder}"`);
    const count = (await imap.command('UID SEARCH ALL'))[0]!.toString().trim().split(' ').slice(2);
    if (count.length > 0) {
      const uid = random.pick(count);
      const flag = random.pick(['\\Seen', '\\Flagged', '\\Answered', '$Label1']);
      if (what === 'flags') await imap.command(`UID STORE ${uid} ${random.pick(['+', '-'])}FLAGS (${flag})`);
      else if (what === 'copy') await imap.command(`UID COPY ${uid} "${random.pick(folders)}"`);
      else {
        await imap.command(`UID STORE ${uid} +FLAGS (\\Deleted)`);
        await imap.command('EXPUNGE');
      }
    }
  }
  await imap.logout();
}

/** A folder with children may not go, one that nobody subscribed to cannot be unsubscribed from. */
async function tolerant(imap: ImapClient, command: string): Promise<void> {
  await imap.command(command).catch((error: unknown) => {
    if (!/ NO /.test(String(error))) throw error;
  });
}
