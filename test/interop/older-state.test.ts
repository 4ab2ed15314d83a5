import { cpSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BackupServer } from '../support/backup-server.ts';
import { SharedBackup } from './harness/backup.ts';
import { CyrusSite, until } from './harness/cyrus.ts';
import { expectSameMail } from './harness/expect.ts';
import { type Change, change, seedUser } from './harness/mail.ts';
import { RecordingProxy } from './harness/proxy.ts';

/**
 * The files of the backup server come from a snapshot, and the clients know of a later state: what they send since
 * then builds on what is not there.
 */
let cyrus: CyrusSite;
let backup: SharedBackup;
let server: BackupServer;
let proxy: RecordingProxy;

beforeAll(async () => {
  cyrus = await CyrusSite.start(['source']);
  backup = await SharedBackup.create(cyrus);
  server = await backup.site.start();
  proxy = await RecordingProxy.start(backup.site.port);
  for (const user of ['alice', 'bob']) await seedUser(cyrus, user, { messages: 12 });
  await roll();
});

afterAll(async () => {
  await proxy?.close();
  await server?.kill();
  backup?.site.remove();
  await cyrus?.close();
});

/** A rolling client works off its log, and ends. What it knows of the server it keeps in its cache, and asks no more. */
async function roll(): Promise<void> {
  const client = cyrus.rolling({
    port: proxy.port,
    options: { backup_sync_cache_db_path: path.join(cyrus.dir, 'source', 'conf', 'backup-cache.db') },
  });
  let [last, since] = [-1, Date.now()];
  await until('the client is quiet', () => {
    if (proxy.commands.length !== last) [last, since] = [proxy.commands.length, Date.now()];
    return last > 0 && proxy.commands.every(({ kind }) => kind !== '') && Date.now() - since > 2500;
  });
  await client.stop();
}

async function changeBoth(...what: Change[]): Promise<void> {
  for (const one of what) for (const user of ['alice', 'bob']) await change(cyrus, user, one);
}

const folders = (): [string, string][] =>
  ['partition', 'conf'].map((name) => {
    const folder = name === 'partition' ? backup.site.partition : path.join(backup.site.dir, 'conf');
    return [folder, path.join(backup.site.dir, `snapshot-${name}`)];
  });

test('clients send again what a server lacks that was put back to an older state', async () => {
  await changeBoth('new', 'flags');
  await roll();
  await server.stop();
  for (const [folder, copy] of folders()) cpSync(folder, copy, { recursive: true, preserveTimestamps: true });
  server = await backup.site.start();

  await changeBoth('new', 'new', 'expunge', 'create', 'copy');
  await roll();
  await expectSameMail(cyrus, backup.site.port, ['alice', 'bob']);

  await server.stop();
  for (const [folder, copy] of folders()) {
    rmSync(folder, { recursive: true });
    cpSync(copy, folder, { recursive: true, preserveTimestamps: true });
  }
  server = await backup.site.start();
  await change(cyrus, 'alice', 'new');
  proxy.clear();
  await roll();
  expect(
    proxy.commands.some(
      ({ command, kind }) => /^APPLY MAILBOX/.test(command) && /IMAP_SYNC_CHECKSUM/.test(kind),
    ),
  ).toBe(true);
  // Of other mailboxes nothing is in the log; a run over all brings them.
  await cyrus.sync(['-A'], { port: proxy.port });
  await expectSameMail(cyrus, backup.site.port, ['alice', 'bob']);
  proxy.clear();
  await cyrus.sync(['-A'], { port: proxy.port });
  expect(proxy.applies).toEqual([]);
  await backup.cliOk(['verify', '-A', '--wait']);
});
