/** Moving, renaming and deleting backups while the server serves. */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Catalog } from '../../src/store/catalog.ts';
import { mailboxValue, messageValue } from '../store/support/store-rig.ts';
import { allFaults } from '../support/admin.ts';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';
import { pushInbox } from '../support/push.ts';
import type { CsyncWire } from '../support/wire.ts';

const PUSH_EVERY_MS = 5;

let site: BackupSite;
let server: BackupServer;
let wire: CsyncWire;
let other: string;

beforeAll(async () => {
  site = await BackupSite.create({ backup_shards: '2' });
  other = path.join(site.dir, 'other');
  fs.mkdirSync(other, { mode: 0o700 });
  site.configure({ 'backuppartition-other': other });
  server = await site.start();
  wire = await server.connect();
});

afterAll(async () => {
  wire.destroy();
  await server.kill();
  site.remove();
});

const push = (user: string, ...contents: string[]) => pushInbox(wire, user, contents);

function pathOf(key: string): string | undefined {
  const catalog = new Catalog(path.join(site.dir, 'conf/backups.db'));
  try {
    return catalog.get(key);
  } finally {
    catalog.close();
  }
}

const ONE = 'Subject: one\r\n\r\n';
const TWO = 'Subject: two\r\n\r\n';

test('a move waits for the session that has the backup, and the server goes on in the new place', async () => {
  await push('anne', ONE);
  const from = pathOf('anne')!;
  const to = path.dirname(path.dirname(from)) === other ? 'default' : 'other';
  expect(await site.cli(['move', '-u', 'anne', '--to', to])).toMatchObject({ status: 75 });
  const dry = await site.cli(
    ['move', '-u', 'anne', '--to', to, '--wait', '--dry-run', '--json'].filter((a) => a !== '--wait'),
  );
  expect(dry.status).toBe(75);
  const moving = site.cli(['move', '-u', 'anne', '--to', to, '--wait', '--json']);
  await wire.ok('RESTART');
  const moved = await moving;
  expect(moved.status, moved.stderr).toBe(0);
  const report = JSON.parse(moved.stdout.toString().split('\n')[0]!);
  expect(report).toMatchObject({ type: 'backup', userid: 'anne', from, isIntact: true });
  expect(pathOf('anne')).toBe(report.to);
  expect(fs.existsSync(from)).toBe(false);
  await push('anne', ONE, TWO);
  expect((await wire.ok('GET FULLMAILBOX user.anne')).lines[0]).toContain('UID 2 ');
  await wire.ok('RESTART');
  expect(fs.existsSync(from)).toBe(false);
  expect(await allFaults(site)).toEqual([]);
  expect(await server.metric('csync_backup_store_index_rebuilds_total')).toBe(0);
  const again = await site.cli(['move', '-u', 'anne', '--to', to]);
  expect([again.status, again.stderr]).toEqual([64, expect.stringContaining('EXISTS')]);
});

test('clients that push all the time lose nothing while their backup is moved to and fro', async () => {
  const contents: string[] = [];
  let isDone = false;
  const pushing = (async () => {
    while (!isDone) {
      contents.push(`Subject: ${contents.length}\r\n\r\n`);
      for (;;) {
        // Locked while it is moved: the client comes again.
        const { answer } = await attempt(contents);
        if (answer === 'OK') break;
        expect(answer).toContain('IMAP_MAILBOX_LOCKED');
      }
      // Each names all messages again: without a pause a slow machine would have thousands of them.
      await sleep(PUSH_EVERY_MS);
    }
  })();
  for (const to of ['other', 'default', 'other', 'default']) {
    const { status, stderr } = await site.cli(['move', '-u', 'carl', '--to', to, '--wait']);
    expect([0, 64, 65], stderr).toContain(status); // it may not be there yet, or there already
  }
  isDone = true;
  await pushing;
  const full = (await wire.ok('GET FULLMAILBOX user.carl')).lines[0]!;
  expect(full.match(/ GUID /g)).toHaveLength(contents.length);
  await wire.ok('RESTART');
  expect(await allFaults(site)).toEqual([]);
});

async function attempt(contents: readonly string[]): Promise<{ answer: string }> {
  const commands = [
    `APPLY MESSAGE ${messageValue([contents.at(-1)!]).value}`,
    `APPLY MAILBOX ${mailboxValue('user.carl', contents)}`,
    'RESTART',
  ];
  for (const command of commands) {
    const { kind, final } = await wire.command(command);
    if (kind !== 'OK') {
      await wire.command('RESTART');
      return { answer: final };
    }
  }
  return { answer: 'OK' };
}

test('a renamed user goes on in the backup, the old name begins anew, and two are never mixed', async () => {
  await push('olga', ONE);
  const annotations = { ANNOTATIONS: '(%(ENTRY /comment USERID olga VALUE mine))' };
  await wire.ok(`APPLY MAILBOX ${mailboxValue('user.olga', [ONE], annotations)}`);
  await wire.ok('APPLY SUB %(USERID olga MBOXNAME user.olga)');
  await wire.ok('RESTART');
  const dataPath = pathOf('olga');
  const renamed = await site.cli(['rename', 'olga', 'helga', '--json']);
  expect(renamed.status, renamed.stderr).toBe(0);
  expect(JSON.parse(renamed.stdout.toString())).toMatchObject({
    mailboxes: 1,
    subscriptions: 1,
    path: dataPath,
  });
  expect(pathOf('helga')).toBe(dataPath);
  const { lines } = await wire.ok('GET USER helga');
  expect(lines.join('\n')).toContain('MBOXNAME user.helga');
  const full = await wire.ok('GET FULLMAILBOX user.helga');
  expect(full.lines[0]).toContain('ENTRY /comment USERID helga VALUE mine');
  expect(lines.join('\n')).toMatch(/LSUB .*user\.helga/);
  // The message is known: nothing is asked for again.
  expect(
    (
      await wire.ok(
        `APPLY RESERVE %(PARTITION default MBOXNAME (user.helga) GUID (${messageValue([ONE]).refs[0]!.guid}))`,
      )
    ).lines,
  ).toEqual([]);
  expect((await wire.ok('GET USER olga')).lines).toEqual([]);
  await push('olga', TWO);
  await wire.ok('RESTART');
  const refused = await site.cli(['rename', 'olga', 'helga']);
  expect([refused.status, refused.stderr]).toEqual([64, expect.stringContaining('never mixed')]);
  expect(await allFaults(site)).toEqual([]);
});

test('a deleted backup is out of reach for clients and comes back, unless the user has a new one', async () => {
  await push('dora', ONE);
  await wire.ok('RESTART');
  const dataPath = pathOf('dora');
  const unconfirmed = await site.cli(['delete', 'dora']);
  expect([unconfirmed.status, unconfirmed.stderr]).toEqual([64, expect.stringContaining('--yes')]);
  const deleted = await site.cli(['delete', 'dora', '--yes', '--json']);
  const { key } = JSON.parse(deleted.stdout.toString().split('\n')[0]!);
  expect(pathOf(key)).toBe(dataPath);
  expect((await wire.ok('GET USER dora')).lines).toEqual([]);
  expect((await site.cli(['verify', '-u', key])).status).toBe(0);
  expect((await site.cli(['delete', '--undo', 'dora'])).status).toBe(0);
  expect((await wire.ok('GET USER dora')).lines).toHaveLength(1);
  await wire.ok('RESTART');

  expect((await site.cli(['delete', 'dora', '--yes'])).status).toBe(0);
  await push('dora', TWO);
  await wire.ok('RESTART');
  expect(pathOf('dora')).not.toBe(dataPath);
  const refused = await site.cli(['delete', '--undo', 'dora']);
  expect([refused.status, refused.stderr]).toEqual([64, expect.stringContaining('backed up again since')]);
  // Not expired, so nothing is removed; and by name it is at once.
  expect((await site.cli(['delete', '--expired', '--yes'])).stdout.toString()).toContain('0 backups');
  expect(fs.existsSync(dataPath!)).toBe(true);
  const gone = await site.cli(['delete', 'dora', '--now', '--yes']);
  expect(gone.status, gone.stderr).toBe(0);
  expect((await site.cli(['delete', '--undo', 'dora'])).status).toBe(0);
  expect(pathOf('dora')).toBe(dataPath);
  expect((await wire.ok('GET FULLMAILBOX user.dora')).lines[0]).toContain(messageValue([ONE]).refs[0]!.guid);
  await wire.ok('RESTART');
});
