import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type BackupServer, run } from '../support/backup-server.ts';
import { SharedBackup } from './harness/backup.ts';
import { sourceView } from './harness/compare.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { expectSameMail } from './harness/expect.ts';
import { change, FOLDERS, seedUser } from './harness/mail.ts';
import { RecordingProxy } from './harness/proxy.ts';

/** The mail server comes back from an older snapshot of its own, and the backup is ahead of it. */
let cyrus: CyrusSite;
let backup: SharedBackup;
let server: BackupServer;
let proxy: RecordingProxy;

beforeAll(async () => {
  cyrus = await CyrusSite.start(['source']);
  backup = await SharedBackup.create(cyrus);
  server = await backup.site.start();
  proxy = await RecordingProxy.start(backup.site.port);
  await seedUser(cyrus, 'alice', { messages: 12 });
});
afterAll(async () => {
  await proxy?.close();
  await server?.kill();
  backup?.site.remove();
  await cyrus?.close();
});

/** What a mail program goes by: UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ and the UIDs of each folder. */
async function numbers(): Promise<string[]> {
  const imap = await cyrus.imap('alice');
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
async function sync(): Promise<void> {
  const before = await numbers();
  proxy.clear();
  await cyrus.sync(['-u', 'alice'], { port: proxy.port });
  expect(await numbers()).toEqual(before);
}

test('a mail server that was put back to an older state is backed up as it is, keeps its numbers, and loses nothing', async () => {
  await sync();
  const [now, saved] = [path.join(cyrus.dir, 'source'), path.join(cyrus.dir, 'saved')];
  await cyrus.stopInstance('source');
  await copy(now, saved);
  await cyrus.startInstance('source');
  for (const what of ['new', 'new', 'flags', 'expunge', 'annot'] as const) await change(cyrus, 'alice', what);
  await sync();
  const known = (await sourceView(cyrus, 'alice')).get('user.alice')!;
  await cyrus.stopInstance('source');
  await copy(saved, now);
  await cyrus.startInstance('source');

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
  for (const { guid } of lost)
    expect(
      createHash('sha1')
        .update(await backup.cliOk(['dump', 'message', guid, '-u', 'alice']))
        .digest('hex'),
    ).toBe(guid);
});
