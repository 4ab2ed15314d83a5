import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BackupServer } from '../support/backup-server.ts';
import { SharedBackup } from './harness/backup.ts';
import { sourceView } from './harness/compare.ts';
import { CyrusSite, until } from './harness/cyrus.ts';
import { ADMIN } from './harness/cyrus-conf.ts';
import { expectSameMail } from './harness/expect.ts';
import { RecordingProxy } from './harness/proxy.ts';

const USER = 'dora';
const MAIL = [1, 2, 3].map((n) =>
  Buffer.from(`From: a@example.com\r\nSubject: message ${n}\r\n\r\ntext\r\n`),
);

let cyrus: CyrusSite;
let backup: SharedBackup;
let server: BackupServer;
let proxy: RecordingProxy;

beforeAll(async () => {
  cyrus = await CyrusSite.start(['source']);
  backup = await SharedBackup.create(cyrus, { backup_idle_release: '1s' });
  server = await backup.site.start();
  proxy = await RecordingProxy.start(backup.site.port);
});

afterAll(async () => {
  await proxy?.close();
  await server?.kill();
  backup?.site.remove();
  await cyrus?.close();
});

async function make(): Promise<void> {
  const admin = await cyrus.imap();
  await admin.command(`CREATE "user/${USER}"`);
  await admin.logout();
  const imap = await cyrus.imap(USER);
  await imap.command('CREATE Old');
  for (const bytes of MAIL) await imap.append('INBOX', bytes, []);
  await imap.logout();
}

test('an account that is deleted, made anew and filled with the same mail has all of it in the new backup', async () => {
  await make();
  const client = cyrus.rolling({ port: proxy.port });
  try {
    await until('all came', () => proxy.applies.filter((c) => c.startsWith('MAILBOX')).length >= 2);
    const admin = await cyrus.imap();
    await admin.command(`SETACL "user/${USER}" ${ADMIN.user} lrswipkxtecda`);
    await admin.command(`DELETE "user/${USER}"`);
    await admin.logout();
    await until('the user is gone', () => proxy.applies.some((c) => c.startsWith(`UNUSER ${USER}`)));
    await until('all was answered', () => proxy.commands.every(({ kind }) => kind !== ''));
  } finally {
    await client.stop();
  }
  await make();
  proxy.clear();
  await cyrus.sync(['-u', USER], { port: proxy.port });
  // What the mail server still has of the deleted account is named, so the client asks instead of sending all.
  expect(proxy.applies.filter((c) => /^RESERVE .*DELETED\.user\.dora/.test(c))).not.toEqual([]);
  expect(proxy.commands.map(({ kind }) => kind).filter((kind) => /^(NO|BAD)/.test(kind))).toEqual([]);
  await expectSameMail(cyrus, backup.site.port, [USER]);
  const guids = new Set([...(await sourceView(cyrus, USER)).values()].flat().map(({ guid }) => guid));
  expect(guids.size).toBe(MAIL.length);
  for (const guid of guids) {
    const { status, stderr } = await backup.site.cli(['dump', 'message', guid, '-u', USER]);
    expect(status, stderr.toString()).toBe(0);
  }
});
