import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type BackupServer, run } from '../support/backup-server.ts';
import { SharedBackup } from './harness/backup.ts';
import { sourceView } from './harness/compare.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { ADMIN } from './harness/cyrus-conf.ts';
import { expectSameMail } from './harness/expect.ts';
import { fullView } from './harness/full-view.ts';
import { change, FOLDERS, seedUser } from './harness/mail.ts';
import { RecordingProxy } from './harness/proxy.ts';

/** The mail server comes back from an older snapshot of its own, and the backup is ahead of it. */
let cyrus: CyrusSite;
let backup: SharedBackup;
let server: BackupServer;
let proxy: RecordingProxy;

beforeAll(async () => {
  cyrus = await CyrusSite.start(['source', 'target']);
  backup = await SharedBackup.create(cyrus);
  server = await backup.site.start();
  proxy = await RecordingProxy.start(backup.site.port);
  for (const userid of ['alice', 'bob']) await seedUser(cyrus, userid, { messages: 12 });
});
afterAll(async () => {
  await proxy?.close();
  await server?.kill();
  backup?.site.remove();
  await cyrus?.close();
});

/** What a mail program goes by: UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ and the UIDs of each folder. */
async function numbers(userid: string): Promise<string[]> {
  const imap = await cyrus.imap(userid);
  const lines: Buffer[] = [];
  for (const folder of ['INBOX', ...FOLDERS]) {
    lines.push(...(await imap.command(`STATUS "${folder}" (UIDNEXT UIDVALIDITY HIGHESTMODSEQ)`)));
    await imap.command(`EXAMINE "${folder}"`);
    lines.push(...(await imap.command('UID SEARCH ALL')));
  }
  await imap.logout();
  return lines.map(String);
}

async function copy(from: string, to: string): Promise<void> {
  rmSync(to, { recursive: true, force: true });
  expect((await run('cp', ['-a', from, to])).status).toBe(0);
}

/** One run of the client, which must not change anything on the mail server. */
async function sync(userid = 'alice'): Promise<void> {
  const before = await numbers(userid);
  proxy.clear();
  await cyrus.sync(['-u', userid], { port: proxy.port });
  expect(await numbers(userid)).toEqual(before);
}

/** Runs with the mail server stopped. */
async function whileStopped(run: (now: string, saved: string) => Promise<void>): Promise<void> {
  await cyrus.stopInstance('source');
  await run(path.join(cyrus.dir, 'source'), path.join(cyrus.dir, 'saved'));
  await cyrus.startInstance('source');
}

/** The lost messages can still be had. */
async function expectKept(lost: readonly { guid: string }[], userid: string): Promise<void> {
  for (const { guid } of lost) {
    const message = await backup.cliOk(['dump', 'message', guid, '-u', userid]);
    expect(createHash('sha1').update(message).digest('hex')).toBe(guid);
  }
}

test('a mail server that was put back to an older state is backed up as it is, keeps its numbers, and loses nothing', async () => {
  await sync();
  await whileStopped((now, saved) => copy(now, saved));
  for (const what of ['new', 'new', 'flags', 'expunge', 'annot'] as const) await change(cyrus, 'alice', what);
  await sync();
  const known = (await sourceView(cyrus, 'alice')).get('user.alice')!;
  await whileStopped((now, saved) => copy(saved, now));

  // The backup names higher UIDs and modseqs than the mail server has.
  await sync();
  expect(proxy.applies.some((command) => command.startsWith('MAILBOX'))).toBe(true);
  await expectSameMail(cyrus, backup.site.port, ['alice']);
  await sync();
  expect(proxy.applies).toEqual([]);

  // Other messages get the UIDs of those that were lost.
  for (const what of ['new', 'new', 'new', 'flags'] as const) await change(cyrus, 'alice', what);
  const view = (await sourceView(cyrus, 'alice')).get('user.alice')!;
  const lost = known.filter(({ guid }) => view.every((message) => message.guid !== guid));
  expect(lost.length).toBe(2);
  for (const { uid } of lost) expect(view.map((message) => message.uid)).toContain(uid);
  await sync();
  await expectSameMail(cyrus, backup.site.port, ['alice']);
  await sync();
  expect(proxy.applies).toEqual([]);

  await backup.cliOk(['verify', '-A', '--wait']);
  await expectKept(lost, 'alice');
});

test('one that has passed its old numbers by its next sync is known by its checksum, and loses nothing either', async () => {
  await sync('bob');
  await whileStopped((now, saved) => copy(now, saved));
  for (const what of ['new', 'new', 'flags', 'expunge'] as const) await change(cyrus, 'bob', what);
  await sync('bob');
  const known = (await sourceView(cyrus, 'bob')).get('user.bob')!;
  const before = await inboxNumbers('bob');
  await whileStopped((now, saved) => copy(saved, now));
  for (let i = 0; i < 5; i++) await change(cyrus, 'bob', 'new');
  for (let i = 0; i < 3; i++) await change(cyrus, 'bob', 'flags');
  const view = (await sourceView(cyrus, 'bob')).get('user.bob')!;
  const lost = known.filter(({ guid }) => view.every((message) => message.guid !== guid));
  const reused = view.filter(({ uid, guid }) => lost.some((one) => one.uid === uid && one.guid !== guid));
  expect([lost.length, reused.length]).toEqual([2, 2]);
  for (const [i, number] of (await inboxNumbers('bob')).entries()) {
    expect(number).toBeGreaterThan(before[i]!);
  }

  const mismatches = 'csync_backup_store_checksum_mismatches_total';
  const seen = await server.metric(mismatches);
  await sync('bob');
  expect(await server.metric(mismatches)).toBe(seen + 1);
  expect(proxy.applies.some((command) => reused.some(({ guid }) => command.includes(guid)))).toBe(false);
  await sync('bob');
  expect(proxy.applies.some((command) => command.startsWith('MAILBOX'))).toBe(true);
  await expectSameMail(cyrus, backup.site.port, ['bob']);
  await sync('bob');
  expect(proxy.applies).toEqual([]);
  expect(await server.metric('csync_backup_store_checksums_unusable_total')).toBe(0);

  await backup.cliOk(['verify', '-A', '--wait']);
  await expectKept(lost, 'bob');
});

test('it comes back into an empty server as it is, and what was lost only when it is asked for', async () => {
  // Some of what alice lost is above her last UID.
  for (let i = 0; i < 3; i++) await change(cyrus, 'alice', 'new');
  await sync();
  const { guid } = (await sourceView(cyrus, 'alice')).get('user.alice')!.at(-1)!;
  await whileStopped((now, saved) => copy(saved, now));
  await sync();
  await sync();
  await sync('bob');
  await sync('bob');
  const to = `csync://${ADMIN.user}@127.0.0.1:${cyrus.ports('target').csync}`;
  for (const userid of ['alice', 'bob']) {
    const args = ['restore', '-u', userid, '--in-place', '--identity', '--to', to];
    const done = await backup.site.cli(args);
    expect(done).toMatchObject({ status: 0, stderr: '' });
    expect(await fullView(cyrus, userid, 'target')).toEqual(await fullView(cyrus, userid, 'source'));
  }
  const eml = path.join(backup.site.dir, 'eml');
  await backup.cliOk(['restore', '-u', 'alice', '--only-deleted', '--into', 'x', '--to', `eml:${eml}`]);
  const found = readdirSync(eml, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(path.join(entry.parentPath, entry.name)));
  expect(found.map((bytes) => createHash('sha1').update(bytes).digest('hex'))).toContain(guid);
  // Into a server that is empty again: with their UIDs they cannot come.
  await cyrus.stopInstance('target');
  rmSync(path.join(cyrus.dir, 'target'), { recursive: true });
  await cyrus.startInstance('target');
  const again = `csync://${ADMIN.user}@127.0.0.1:${cyrus.ports('target').csync}`;
  const args = ['restore', '-u', 'alice', '--in-place', '--identity', '--deleted', '--to', again];
  const done = await backup.site.cli(args);
  expect(done.stderr).toMatch(
    /^csync-backup: not taken: mailbox user\.alice: \d+ expunged .* --identity .*\n$/,
  );
  expect(done.status).toBe(69);
  expect(await fullView(cyrus, 'alice', 'target')).toEqual(await fullView(cyrus, 'alice', 'source'));
});

/** UIDNEXT and HIGHESTMODSEQ of the INBOX. */
async function inboxNumbers(userid: string): Promise<number[]> {
  const imap = await cyrus.imap(userid);
  const status = (await imap.command('STATUS INBOX (UIDNEXT HIGHESTMODSEQ)')).map(String).join('');
  await imap.logout();
  return ['UIDNEXT', 'HIGHESTMODSEQ'].map((key) => Number(new RegExp(`${key} (\\d+)`).exec(status)?.[1]));
}
