import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Catalog } from '../../src/store/catalog.ts';
import { mailboxValue } from '../store/support/store-rig.ts';
import { ask, askRaw, dataPathOf, socketOf, verified } from '../support/admin.ts';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';

let site: BackupSite;
let server: BackupServer;
const RATE = 2 << 20;
const OPTIONS = { backup_maintenance_rate: '2M', backup_compact_minsize: '1M' };

beforeAll(async () => {
  site = await BackupSite.create(OPTIONS);
  server = await site.start();
  await push('large', 3_000_000);
  for (const user of ['anne', 'bob', 'eve']) await push(user, 100);
});

afterAll(async () => {
  await server.kill();
  site.remove();
});

/** One message that does not compress. */
async function push(user: string, size: number): Promise<void> {
  const content = randomBytes(size);
  const guid = createHash('sha1').update(content).digest('hex');
  const wire = await server.connect();
  await wire.ok(`GET USER ${user}`);
  await wire.ok(`APPLY MESSAGE (%{default ${guid} ${size}}\r\n`, content, ')');
  const record = `%(UID 1 MODSEQ 2 LAST_UPDATED 1700000000 FLAGS () INTERNALDATE 1700000000 SIZE ${size} GUID ${guid})`;
  const value = mailboxValue(`user.${user}`, []).replace('RECORD ()', `RECORD (${record})`);
  await wire.ok(`APPLY MAILBOX ${value.replace('LAST_UID 0', 'LAST_UID 1')}`);
  await wire.ok('EXIT');
  wire.destroy();
}

/** What `maintenance` says. */
async function maintenance() {
  const status = await ask(site, 'maintenance');
  return status as typeof status & {
    running: { kind: string; userid: string } | null;
    verify: { neverVerified: number; faulty: number };
  };
}

async function rateBytes(): Promise<number> {
  return (await ask(site, 'maintenance')).rateBytes as number;
}

async function jobs(result: string, job = 'verify'): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${site.metricsPort}/metrics`)).text();
  const pattern = `csync_backup_maintenance_jobs_total\\{task="${job}",result="${result}"\\} (\\d+)`;
  return Number(new RegExp(pattern).exec(text)?.[1] ?? 0);
}

const eventually = <T>(poll: () => T) => expect.poll(poll, { timeout: 20_000, interval: 30 });

/** Of the process that does the work; undefined if there is none. */
function workerPid(): number | undefined {
  const children = readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, 'latin1').trim();
  return children === '' ? undefined : Number(children.split(' ')[0]);
}

test('verifies what it is told to, in a process of low priority, and says what it found', async () => {
  const run = await site.cli(['maintenance', 'run', 'verify', '-u', 'anne', 'bob', 'nobody']);
  expect([run.status, run.stdout.toString()]).toEqual([65, 'verify: 2 backups to do\n']);
  expect(run.stderr).toBe('csync-backup: NOT_FOUND: nobody has no backup\n');
  await eventually(() => jobs('ok')).toBe(2);
  const pid = workerPid()!;
  const nice = Number(readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ')[16]);
  expect(nice).toBe(19);
  expect(await maintenance()).toMatchObject({ running: null, verify: { backups: 4, neverVerified: 2 } });
  const text = (await site.cli(['maintenance'])).stdout.toString();
  expect(text).toMatch(/^maintenance +running: nothing; at most 2.0M read per second$/m);
  expect(text).toMatch(/^verify +every 30d, next \S+; 4 backups: 2 never verified, 0 overdue, 0 faulty$/m);
});

test('compacts, in the middle of a session, and the session goes on', async () => {
  const wire = await server.connect();
  for (let i = 0; i < 3; i++) {
    await wire.ok(`APPLY MAILBOX ${mailboxValue('user.cam', [], { HIGHESTMODSEQ: 5 + i })}`);
    await wire.ok('RESTART');
  }
  await ask(site, 'run-maintenance', { kind: 'compact', userids: ['cam'] });
  await eventually(() => jobs('ok', 'compact')).toBe(1);
  await wire.ok(`APPLY MAILBOX ${mailboxValue('user.cam.Sent', [])}`);
  await wire.ok('RESTART');
  await eventually(() => verified(site, 'cam')).toBe('0 faults, 0 notices');
  expect((await wire.ok('GET USER cam')).lines).toHaveLength(2);
  wire.destroy();
});

test('compaction removes deleted backups whose retention is over, and no others', async () => {
  const keys = [
    '%DELETED.old.5F000000',
    `%DELETED.new.${Math.floor(Date.now() / 1000)
      .toString(16)
      .toUpperCase()}`,
  ];
  await push('old', 100);
  await push('new', 100);
  const catalog = new Catalog(path.join(site.dir, 'conf', 'backups.db'));
  catalog.rename('old', keys[0]!);
  catalog.rename('new', keys[1]!);
  const files = keys.map((key) => catalog.get(key)!);
  await ask(site, 'run-maintenance', { kind: 'compact', userids: keys });
  await eventually(() => jobs('removed', 'compact')).toBe(1);
  await eventually(() => jobs('unneeded', 'compact')).toBe(1);
  expect(keys.map((key) => catalog.get(key))).toEqual([undefined, files[1]]);
  expect(files.map((file) => [existsSync(file), existsSync(`${file}.index`)])).toEqual([
    [false, false],
    [true, true],
  ]);
  const line = server.log.find((one) => one.includes('whose retention is over was removed'));
  expect(JSON.parse(line!)).toMatchObject({ level: 30, userid: keys[0] });
  catalog.delete(keys[1]!);
  catalog.close();
});

test('reports a damaged backup in the log, as a metric and in the status', async () => {
  const file = dataPathOf(site, 'eve');
  const fd = openSync(file, 'r+');
  writeSync(fd, Buffer.alloc(20, 0xff), 0, 20, 60);
  closeSync(fd);
  await ask(site, 'run-maintenance', { kind: 'verify', userids: ['eve'] });
  await eventually(() => jobs('faulty')).toBe(1);
  expect(await server.metric('csync_backup_maintenance_faults_total')).toBeGreaterThan(0);
  expect(await maintenance()).toMatchObject({ verify: { faulty: 1 }, faulty: ['eve'] });
  const line = server.log.find((one) => one.includes('maintenance found a damaged backup'));
  expect(JSON.parse(line!)).toMatchObject({ level: 50, userid: 'eve', kind: 'verify', outcome: 'faulty' });
});

test('reads no faster than allowed', async () => {
  const before = await jobs('ok');
  const started = performance.now();
  await ask(site, 'run-maintenance', { kind: 'verify', userids: ['large'] });
  await eventually(() => jobs('ok')).toBe(before + 1);
  const seconds = (performance.now() - started) / 1000;
  // A quarter of a second's worth may be saved up; without the limit it takes a tenth of that time.
  expect(seconds).toBeGreaterThan(3_000_000 / RATE - 0.25);
});

test('a client is never refused for it, and is left alone while it syncs', async () => {
  await stopInTheMiddle('verify');
  expect((await maintenance()).running?.userid).toBe('large');
  const wire = await server.connect();
  expect((await wire.command('GET USER large')).kind).toBe('OK');
  expect((await maintenance()).running).toBeNull();
  expect(await jobs('cancelled')).toBe(1);
  await ask(site, 'run-maintenance', { kind: 'verify', userids: ['large'] });
  await eventually(() => jobs('busy')).toBe(1);
  wire.destroy();
});

/** A process that has ended and was not waited for yet does not count. */
function isAlive(pid: number): boolean {
  try {
    return !/\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

/** The process reads this file now. */
function reads(pid: number | undefined, file: string): boolean {
  if (pid === undefined) return false;
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).some((fd) => {
    try {
      return readlinkSync(`${folder}/${fd}`) === file;
    } catch {
      return false; // closed meanwhile
    }
  });
}

/** Somebody has a record lock on it. */
function isLocked(file: string): boolean {
  return readFileSync('/proc/locks', 'latin1').includes(`:${statSync(file).ino} `);
}

/** Begins with the large backup and has the process stand still in the middle, so that all else may take its time. */
async function stopInTheMiddle(kind: string): Promise<void> {
  await ask(site, 'run-maintenance', { kind, userids: ['large'] });
  const file = dataPathOf(site, 'large');
  await eventually(() => reads(workerPid(), file) && isLocked(file)).toBe(true);
  process.kill(workerPid()!, 'SIGSTOP');
}

test('can be cancelled, and goes on beside tools that are run by hand', async () => {
  await eventually(() => askRaw(socketOf(site), '{"command":"sessions"}\n')).toHaveLength(1);
  await stopInTheMiddle('verify');
  expect(await verified(site, 'large')).toBe('locked');
  const cancelled = await site.cli(['maintenance', 'cancel']);
  expect(cancelled.stdout.toString()).toBe('cancelled verify large\n');
  expect(await verified(site, 'large')).toBe('0 faults, 0 notices');
});

test.each(['verify', 'compact'])(
  '%s ends with a server that is killed, and the next one begins clean',
  async (kind) => {
    // A small second chunk, which compaction puts together with the first.
    const before = await server.connect();
    await before.ok(`APPLY MAILBOX ${mailboxValue(`user.large.${kind}`, [])}`);
    await before.ok('EXIT');
    before.destroy();
    await eventually(() => verified(site, 'large')).toBe('0 faults, 0 notices');
    site.configure({ ...OPTIONS, backup_maintenance_rate: '64K' });
    process.kill(server.pid, 'SIGHUP');
    await eventually(() => rateBytes()).toBe(64 << 10);
    await ask(site, 'run-maintenance', { kind, userids: ['large'] });
    await eventually(() => reads(workerPid(), dataPathOf(site, 'large'))).toBe(true);
    const pid = workerPid()!;
    await server.kill();
    const killed = performance.now();
    await eventually(() => isAlive(pid)).toBe(false);
    // Long before the work would have ended: that takes 40 s and more.
    expect(performance.now() - killed).toBeLessThan(20_000);
    site.configure(OPTIONS);
    server = await site.start();
    expect(await maintenance()).toMatchObject({ running: null, verify: { backups: 5, neverVerified: 1 } });
    const wire = await server.connect();
    expect((await wire.command('GET USER large')).kind).toBe('OK');
    await wire.ok('EXIT');
    wire.destroy();
    await eventually(() => verified(site, 'large')).toBe('0 faults, 0 notices');
    const name = path.basename(dataPathOf(site, 'large'));
    const folder = path.dirname(dataPathOf(site, 'large'));
    expect(
      readdirSync(folder)
        .filter((one) => one.startsWith(name))
        .sort(),
    ).toEqual([name, `${name}.index`]);
  },
);

test('stops with the server', async () => {
  await ask(site, 'run-maintenance', { kind: 'verify', userids: ['large'] });
  await eventually(() => reads(workerPid(), dataPathOf(site, 'large'))).toBe(true);
  const pid = workerPid()!;
  // As systemd stops a service: all its processes are told, the server first or last.
  process.kill(pid, 'SIGTERM');
  expect(await server.stop()).toBe(0);
  expect(isAlive(pid)).toBe(false);
  expect(server.log.filter((line) => line.includes('maintenance of a backup failed'))).toEqual([]);
});

test('a verification by the period comes by itself', async () => {
  site.configure({ ...OPTIONS, backup_verify_every: '1m' });
  const state = new Database(path.join(site.dir, 'conf', 'csync-backup.maintenance'));
  state.prepare("UPDATE note SET value = value - 60000 WHERE name = 'last-verify'").run();
  state.close();
  server = await site.start();
  await eventually(async () => (await jobs('ok')) + (await jobs('faulty'))).toBeGreaterThan(0);
});

test('what it puts aside of a data file that was cut off stands in the log of the server', async () => {
  await push('cut', 5000);
  const dataPath = dataPathOf(site, 'cut');
  truncateSync(dataPath, statSync(dataPath).size - 60);
  await ask(site, 'run-maintenance', { kind: 'verify', userids: ['cut'] });
  await eventually(() =>
    server.log.some((line) =>
      /"from":\d+,"target":".*\.torn\.\d+","msg":"the damaged end of the backup was put aside"/.test(line),
    ),
  ).toBe(true);
});
