/** Tools that are run by hand while the server serves: they exclude each other by locks, backup by backup. */
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { enterPartition } from '../../src/store/freeze-lock.ts';
import { mailboxValue } from '../store/support/store-rig.ts';
import { ask, dataPathOf, verified } from '../support/admin.ts';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';
import { HAS_FFI } from '../support/ffi.ts';
import { pushInbox } from '../support/push.ts';
import type { CsyncWire } from '../support/wire.ts';

let site: BackupSite;
let server: BackupServer;
let wire: CsyncWire;

beforeAll(async () => {
  site = await BackupSite.create();
  server = await site.start();
  wire = await server.connect();
});

afterAll(async () => {
  wire.destroy();
  await server.kill();
  site.remove();
});

const push = (user: string, ...contents: string[]) => pushInbox(wire, user, contents);

test('on a backup that the server has open but not locked they work, and the server goes on with it', async () => {
  await push('anne', 'Subject: one\r\n\r\n');
  await wire.ok('RESTART');
  await expect.poll(() => verified(site, 'anne')).toBe('0 faults, 0 notices');
  await wire.ok('GET USER anne');
  await wire.ok('RESTART');
  expect(await server.metric('csync_backup_store_stale_backups_total')).toBe(0);
  // This one replaces the index.
  expect((await site.cli(['reindex', '-u', 'anne'])).status).toBe(0);
  const both = ['Subject: one\r\n\r\n', 'Subject: two\r\n\r\n'];
  await push('anne', ...both);
  expect((await wire.ok('GET FULLMAILBOX user.anne')).lines[0]).toContain('UID 2 ');
  await wire.ok('RESTART');
  expect(await server.metric('csync_backup_store_stale_backups_total')).toBe(1);
  expect(await server.metric('csync_backup_store_index_rebuilds_total')).toBe(0);
  await expect.poll(() => verified(site, 'anne')).toBe('0 faults, 0 notices');
});

test('on a locked one they say so, or with --wait come as soon as the session gives it up', async () => {
  await push('bob', 'Subject: one\r\n\r\n');
  expect(await verified(site, 'bob')).toBe('locked');
  let isDone = false;
  const waiting = site.cli(['verify', '-u', 'bob', '--wait']).then((done) => {
    isDone = true;
    return done;
  });
  const second = mailboxValue('user.bob.Sent', []);
  const until = performance.now() + 1500;
  while (performance.now() < until) await wire.ok(`APPLY MAILBOX ${second}`);
  expect(isDone).toBe(false);
  await wire.ok('RESTART');
  const { status, stdout } = await waiting;
  expect(status).toBe(0);
  expect(stdout.toString()).toContain('1 ok, 0 faulty; 0 faults, 0 notices');
  expect((await wire.ok('GET USER bob')).lines).toHaveLength(2);
});

test('one that changes a backup waits for the end of a freeze, and a freeze for its end', async () => {
  await push('eve', 'Subject: one\r\n\r\n');
  await wire.ok('RESTART');
  await ask(site, 'freeze');
  const refused = await site.cli(['reindex', '-u', 'eve']);
  expect([refused.status, refused.stderr]).toEqual([75, expect.stringContaining('frozen for a snapshot')]);
  await expect.poll(() => verified(site, 'eve')).toBe('0 faults, 0 notices'); // reads only
  let isDone = false;
  const waiting = site.cli(['reindex', '-u', 'eve', '--wait']).then((done) => {
    isDone = true;
    return done;
  });
  await sleep(700);
  expect(isDone).toBe(false);
  await ask(site, 'thaw');
  expect((await waiting).status).toBe(0);

  const holding = site.cli(['lock', '-u', 'eve', '--execute', `touch ${site.dir}/held; exec sleep 100`]);
  await expect.poll(() => fs.existsSync(`${site.dir}/held`), { timeout: 20_000 }).toBe(true);
  const failed = await ask(site, 'freeze', { withinSeconds: 1 }).catch(String);
  const [, pid] =
    /a tool was still changing a backup in it after 1 seconds: process (\d+) \(node [^)]*\) has (\S+|a backup in it) locked\. .*kill \1/.exec(
      failed as string,
    )!;
  const held = HAS_FFI ? dataPathOf(site, 'eve') : 'a backup in it';
  expect(failed).toContain(` has ${held} locked. Try again when it has ended, or end it`);
  process.kill(Number(pid), 'SIGTERM');
  await holding;

  const leave = await enterPartition(dataPathOf(site, 'eve'), false);
  const freezing = ask(site, 'freeze', { withinSeconds: 20 });
  await sleep(100);
  leave();
  expect((await freezing).state).toBe('frozen');
  await ask(site, 'thaw');
});
