import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { mailboxValue } from '../store/support/store-rig.ts';
import { ask, dataPathOf } from '../support/admin.ts';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';
import { FakeImap } from '../support/fake-imap.ts';

let site: BackupSite;
let server: BackupServer;
let imap: FakeImap;

beforeAll(async () => {
  imap = await FakeImap.start({
    xbackup: (pattern) =>
      pattern === 'user/bob'
        ? { lines: ['NO USER bob (Mailbox is locked)'], tagged: 'NO Mailbox is locked' }
        : { lines: [`OK USER ${pattern.slice(5)}`], tagged: 'OK Completed' },
  });
  site = await BackupSite.create();
  const password = path.join(site.dir, 'password');
  writeFileSync(password, 'secret\n', { mode: 0o600 });
  site.configure({
    backup_pull_every: '1m',
    backup_pull_older_than: '1h',
    backup_pull_servers: `127.0.0.1:${imap.port}/insecure`,
    backup_pull_authname: 'admin',
    backup_pull_password_file: password,
  });
  server = await site.start();
  const wire = await server.connect();
  for (const user of ['anne', 'bob', 'eve'])
    await wire.ok(`APPLY MAILBOX ${mailboxValue(`user.${user}`, [])}`);
  await wire.ok('EXIT');
  wire.destroy();
  await server.stop();
  for (const user of ['anne', 'bob']) {
    const index = new Database(`${dataPathOf(site, user)}.index`);
    index.prepare('UPDATE chunk SET ts_end = ts_end - 7200').run();
    index.close();
  }
});

afterAll(async () => {
  await server.kill();
  await imap.close();
  site.remove();
});

async function status() {
  return (await ask(site, 'maintenance')).pull as {
    run: unknown;
    runs: { lastSuccess: string; next: string }[];
  };
}

function asked(): string[] {
  return imap.received.filter((line) => line.includes('XBACKUP'));
}

test('the server pulls what is old, when its time has come', async () => {
  expect(asked()).toEqual([]); // when it first ran there was nothing
  // As if the last run had been a minute ago: it is the first after the start.
  const state = new Database(path.join(site.dir, 'conf', 'csync-backup.pull'));
  state.prepare("UPDATE note SET value = value - 60000 WHERE name = 'run-pull'").run();
  state.close();
  server = await site.start();
  await expect.poll(asked, { timeout: 10_000 }).toHaveLength(2);
  expect(asked().map((line) => line.replace(/^P\d+ /, ''))).toEqual([
    'XBACKUP "user/anne"',
    'XBACKUP "user/bob"',
  ]);
  await expect.poll(async () => (await status()).run, { timeout: 10_000 }).toBeNull();
  const failed = server.log.find((line) => line.includes('maintenance of a backup failed'));
  expect(JSON.parse(failed!)).toMatchObject({ kind: 'pull', userid: 'bob', code: 'UNAVAILABLE' });
  expect(failed).toContain('NO USER bob (Mailbox is locked)');
  const text = (await site.cli(['status'])).stdout.toString();
  expect(text).toMatch(/^pull +next \d{4}-\S+, last ended \d{4}-/m);
});

test('and not again before the time is over, also after a restart', async () => {
  await server.stop();
  server = await site.start();
  await sleep(1000);
  expect(asked()).toHaveLength(2);
  expect(Date.parse((await status()).runs[0]!.next) - Date.now()).toBeGreaterThan(30_000);
});
