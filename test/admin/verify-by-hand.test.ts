/** A verification that somebody runs by hand counts for the server's schedule and its metrics. */
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { mailboxValue } from '../store/support/store-rig.ts';
import { ask, dataPathOf, verified } from '../support/admin.ts';
import { type BackupServer, BackupSite, ROOT, run } from '../support/backup-server.ts';
import { pushInbox } from '../support/push.ts';

let site: BackupSite;
let server: BackupServer;

beforeAll(async () => {
  site = await BackupSite.create();
  server = await site.start();
  const wire = await server.connect();
  for (const user of ['anne', 'bob', 'eve']) {
    await wire.ok(`GET USER ${user}`);
    await wire.ok(`APPLY MAILBOX ${mailboxValue(`user.${user}`, [])}`);
  }
  await wire.ok('EXIT');
  wire.destroy();
  // Has the server look at backups.db, which it does once in an hour.
  await ask(site, 'run-maintenance', { kind: 'verify', userids: ['nobody'] });
});

afterAll(async () => {
  await server.kill();
  site.remove();
});

/** Backups never verified, and faulty, as the server says and as its metric says. */
async function counts(): Promise<[number, number, number]> {
  const { verify } = (await ask(site, 'maintenance')) as unknown as {
    verify: { neverVerified: number; faulty: number };
  };
  const text = await (await fetch(`http://127.0.0.1:${site.metricsPort}/metrics`)).text();
  const sample = /^csync_backup_verified_backups\{state="never_verified"\} (\d+)$/m.exec(text);
  return [verify.neverVerified, Number(sample?.[1]), verify.faulty];
}

test('whole, by user, by file or by Cyrus’s command line; not if it is quick or dry', async () => {
  await expect.poll(() => verified(site, 'eve')).toBe('0 faults, 0 notices');
  expect(await counts()).toEqual([3, 3, 0]);
  expect((await site.cli(['verify', '-A', '--quick'])).status).toBe(0);
  expect((await site.cli(['verify', '-A', '--dry-run'])).status).toBe(0);
  expect(await counts()).toEqual([3, 3, 0]);
  expect((await site.cli(['verify', '-u', 'anne'])).status).toBe(0);
  expect(await counts()).toEqual([2, 2, 0]);
  const ctl = path.join(ROOT, 'src/cli/compat/ctl_backups.cjs');
  const done = await run(process.execPath, [ctl, '-C', site.configFile, 'verify', 'bob']);
  expect(done.stdout.toString()).toBe('verify bob: ok\n');
  expect(await counts()).toEqual([1, 1, 0]);
  expect((await site.cli(['verify', '-f', dataPathOf(site, 'eve')])).status).toBe(0);
  expect(await counts()).toEqual([0, 0, 0]);
});

test('faults that it finds are known, until a whole verification finds none', async () => {
  const file = dataPathOf(site, 'eve');
  const before = [file, `${file}.index`].map((name) => [name, readFileSync(name)] as const);
  const fd = openSync(file, 'r+');
  writeSync(fd, Buffer.of(0xff), 0, 1, 60);
  closeSync(fd);
  expect((await site.cli(['verify', '-u', 'eve', '--quick'])).status).toBe(65);
  expect(await counts()).toEqual([0, 0, 1]);
  for (const [name, bytes] of before) writeFileSync(name, bytes);
  expect((await site.cli(['verify', '-u', 'eve', '--quick'])).status).toBe(0);
  expect(await counts()).toEqual([0, 0, 1]);
  expect((await site.cli(['verify', '-u', 'eve'])).status).toBe(0);
  expect(await counts()).toEqual([0, 0, 0]);
});

test('a backup that its client has healed is verified before its turn, and faulty no more', async () => {
  const sync = async () => {
    const wire = await server.connect();
    await pushInbox(wire, 'gil', ['one', 'two']);
    await wire.ok('EXIT');
    wire.destroy();
  };
  await sync();
  await expect.poll(() => verified(site, 'gil')).toBe('0 faults, 0 notices');
  const file = dataPathOf(site, 'gil');
  const fd = openSync(file, 'r+');
  writeSync(fd, Buffer.alloc(20, 0xff), 0, 20, 60);
  closeSync(fd);
  expect((await site.cli(['verify', '-u', 'gil'])).status).toBe(65);
  // What wakes the scheduler, which otherwise looks once a minute.
  const wake = () => ask(site, 'run-maintenance', { kind: 'verify', userids: ['nobody'] });
  await wake();
  expect((await counts())[2]).toBe(1);
  await sync();
  const faulty = async () => {
    await wake();
    return (await counts())[2];
  };
  await expect.poll(faulty, { timeout: 30_000, interval: 200 }).toBe(0);
}, 60_000);
