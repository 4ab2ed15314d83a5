import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import { BackupHealth } from '../../src/maintenance/health.ts';
import { type HealthFigures, sumUpHealth } from '../../src/maintenance/health-summary.ts';
import { MaintenanceState } from '../../src/maintenance/maintenance-state.ts';
import { AGE_BOUNDS } from '../../src/metrics/bounds.ts';
import { createThreadMemory } from '../../src/metrics/thread-figures.ts';
import {
  type BackupChange,
  joinChanges,
  packChanges,
  unpackChanges,
} from '../../src/pipeline/backup-changes.ts';

const DAY = 86_400_000;
let folder: string;
let state: MaintenanceState;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'csync-health-'));
  state = new MaintenanceState(path.join(folder, 'state'));
});

afterEach(() => {
  state.close();
  fs.rmSync(folder, { recursive: true });
});

function sweep(entries: [string, string][], nowMs = Date.now()): void {
  state.beginSweep();
  state.see(entries, nowMs);
  state.endSweep();
}

const change = (file: string, from: number, to: number, content: number, lastTime: number): BackupChange => ({
  path: file,
  fromBytes: from,
  toBytes: to,
  contentBytes: content,
  lastTime,
});

const stat = (sizeBytes: number, contentBytes: number, lastEnd: number) => ({
  sizeBytes,
  contentBytes,
  lastEnd,
  indexSizeBytes: 1,
  chunks: 1,
  compactableBytes: null,
  lastStart: lastEnd,
});

const survey = (userid: string, figures: ReturnType<typeof stat>) =>
  state.health.surveyed([{ userid, path: `/p/${userid}`, stat: figures }]);

const contact = (userid: string, ms: number) =>
  state.health.contacted({ userids: [userid], times: Float64Array.of(ms) });

/** What is known of a backup. */
const known = (userid: string) => state.health.worst(1000).largest.find((one) => one.userid === userid)!;

test('what store threads say comes out as it went in', () => {
  const all: [string, BackupChange][] = [
    ['anne', change('/p/anne', 0, 2 ** 40, 3, 4)],
    ['bob\u00e9', change('/p/b', -2, 6, 7, 8)],
    ['eve', { ...change('/p/e', 5, 6, 7, 8), isHealed: true }],
  ];
  expect([...unpackChanges(packChanges(new Map(all)))]).toEqual(all);
});

test('a faulty backup for which nothing is asked any more is to be verified before its turn', () => {
  sweep([
    ['anne', '/p/anne'],
    ['bob', '/p/bob'],
  ]);
  const healed = { ...change('/p/anne', 100, 150, 90, 60), isHealed: true };
  const then = joinChanges(healed, change('/p/anne', 150, 170, 10, 70));
  const tell = () =>
    state.health.changed(
      packChanges(
        new Map([
          ['anne', then],
          ['bob', healed],
        ]),
      ),
      () => true,
      5000,
    );
  tell();
  expect(state.nextToRecheck(9000)).toBeUndefined();
  for (const userid of ['anne', 'bob'])
    state.verified({ kind: 'verify', userid, path: `/p/${userid}` }, { faults: 1 }, 4000);
  tell();
  expect(state.nextToRecheck(9000)).toMatchObject({ userid: 'anne', sinceMs: 5000 });
  state.verified({ kind: 'verify', userid: 'anne', path: '/p/anne' }, { faults: 0 }, 6000);
  expect(state.nextToRecheck(9000)).toBeUndefined(); // that of bob is of another file
});

test('chunks that go on where the file was known to end add up, others are left to a survey', () => {
  sweep([
    ['anne', '/p/anne'],
    ['bob', '/p/bob'],
  ]);
  survey('anne', stat(100, 300, 50));
  survey('bob', stat(100, 300, 50));
  expect(state.health.unsurveyed(9)).toEqual([]);
  const changes = new Map([
    ['anne', joinChanges(change('/p/anne', 100, 150, 90, 60), change('/p/anne', 150, 170, 10, 70))],
    ['bob', joinChanges(change('/p/bob', 100, 150, 90, 60), change('/p/bob', 160, 170, 10, 70))],
  ]);
  state.health.changed(packChanges(changes), () => true, Date.now());
  expect(known('anne')).toMatchObject({ sizeBytes: 170, contentBytes: 400, updatedMs: 70_000 });
  expect(known('bob')).toMatchObject({ updatedMs: 70_000 });
  expect(state.health.unsurveyed(9)).toEqual([{ userid: 'bob', path: '/p/bob', sizeBytes: -1 }]);
});

test('more than is written at a time is written', () => {
  const users = Array.from({ length: 300 }, (_, i) => `user${i}`);
  sweep(users.map((user) => [user, `/p/${user}`]));
  state.health.contacted({ userids: users, times: Float64Array.from(users, (_, i) => 1000 + i) });
  const changes = users.map((user, i): [string, BackupChange] => [
    user,
    change(`/p/${user}`, 0, 9, 9, 2000 + i),
  ]);
  state.health.changed(packChanges(new Map(changes)), () => true, Date.now());
  for (const i of [0, 127, 128, 299])
    expect(known(`user${i}`), String(i)).toMatchObject({
      contactedMs: 1000 + i,
      updatedMs: (2000 + i) * 1000,
    });
});

test('somebody new counts at once, and while backups.db is being looked through', () => {
  const insert = (user: string, from: number, isThere = true) => {
    const changes = packChanges(new Map([[user, change(`/p/${user}`, from, 9, 30, 70)]]));
    state.health.changed(changes, () => isThere, 100_000);
  };
  insert('anne', 0);
  insert('gone', 0, false); // deleted or renamed before this was told
  expect(known('gone')).toBeUndefined();
  expect(known('anne')).toMatchObject({ sizeBytes: 9, contentBytes: 30, updatedMs: 70_000, verifiedMs: 0 });
  state.beginSweep();
  insert('bob', 4); // what is before is not known
  state.see([['anne', '/p/anne']], 6000);
  state.endSweep();
  expect(state.health.after('', 9)).toMatchObject([
    { userid: 'anne', sizeBytes: 9 },
    { userid: 'bob', sizeBytes: -1 },
  ]);
  insert('carol', 0); // and is renamed before the next comparison
  sweep([['bob', '/p/bob']]);
  expect(state.health.after('', 9)).toMatchObject([{ userid: 'bob' }]);
});

test('one that cannot be read keeps what was known of it; one in another file is looked at again', () => {
  sweep([['anne', '/p/anne']]);
  survey('anne', stat(100, 300, 50));
  survey('anne', { ...stat(120, 0, 0), problem: { code: 'INDEX_CORRUPT', text: 'x' } } as never);
  expect(known('anne')).toMatchObject({ sizeBytes: 120, contentBytes: 300, updatedMs: 50_000 });
  sweep([['anne', '/q/anne']]);
  expect(known('anne')).toMatchObject({ sizeBytes: 0, contentBytes: 300, updatedMs: 50_000 });
  expect(state.health.unsurveyed(9)).toEqual([{ userid: 'anne', path: '/q/anne', sizeBytes: -1 }]);
  // A look that was taken before the move says nothing of the new place.
  survey('anne', stat(7, 8, 9));
  expect(state.health.unsurveyed(9)).toHaveLength(1);
});

test('a file of state from before is taken over, with what stands in it', () => {
  const file = path.join(folder, 'old');
  const old = new Database(file);
  old.exec(`
    CREATE TABLE backup (userid TEXT PRIMARY KEY, path TEXT NOT NULL, first_seen INTEGER NOT NULL,
      verified INTEGER NOT NULL DEFAULT 0, faults INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
      retry INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0, seen INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE note (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
    INSERT INTO backup (userid, path, first_seen, verified, seen) VALUES ('anne', '/p/anne', 5, 77, 1);
    PRAGMA user_version = 1;
  `);
  old.close();
  const taken = new MaintenanceState(file);
  expect(taken.replaced).toBeUndefined();
  expect(taken.health.worst(5).unverified).toMatchObject([{ userid: 'anne', verifiedMs: 77, sizeBytes: 0 }]);
  taken.close();
});

test('ages, staleness and partitions are counted as of now', () => {
  const nowMs = 1000 * DAY;
  const entries: [string, string][] = [];
  const then: (() => void)[] = [];
  const add = (userid: string, file: string, size: number, updatedDays: number, contactedDays?: number) => {
    entries.push([userid, file]);
    then.push(() => {
      const lastEnd = (nowMs - updatedDays * DAY) / 1000;
      state.health.surveyed([{ userid, path: file, stat: stat(size, size * 3, lastEnd) }]);
      if (contactedDays !== undefined) contact(userid, nowMs - contactedDays * DAY);
    });
  };
  add('anne', '/p/anne', 10, 0.01);
  add('bob', '/p2/bob', 20, 10, 0.5); // nothing new for ten days, but the client has asked
  add('carol', '/p2/carol', 30, 10);
  add('%DELETED.dave.5F000000', '/p/dave', 40, 100);
  add('%SHARED', '/p/shared', 5, 400); // old, but nobody's
  add('eve', '/p/eve', 0, 1000); // nothing stored since it was first seen
  entries.push(['new', '/p/new']);
  sweep(entries, nowMs - 3 * DAY);
  for (const one of then) one();
  const figures = sumUpHealth(
    state.health,
    [
      { name: 'default', path: '/p' },
      { name: 'big', path: '/p2/' },
      { name: 'none', path: '/p3' },
    ],
    nowMs,
  );
  expect(figures).toMatchObject({ backups: 6, empty: 1, unsurveyed: 1 });
  const byBound = Object.fromEntries([...AGE_BOUNDS, 'more'].map((bound, i) => [bound, figures.ages[i]]));
  const empty = Object.fromEntries(Object.keys(byBound).map((bound) => [bound, 0]));
  expect(byBound).toEqual({ ...empty, 3600: 1, [14 * 86_400]: 2, more: 1 });
  expect(figures.ages.at(-1)! / 86_400).toBeCloseTo(420.01, 5);
  expect(figures.stale).toEqual({ '1d': 2, '2d': 2, '7d': 1, '30d': 0 });
  expect(Object.fromEntries(figures.partitions)).toEqual({
    default: { backups: 5, storedBytes: 55, contentBytes: 165 },
    big: { backups: 2, storedBytes: 50, contentBytes: 150 },
    none: { backups: 0, storedBytes: 0, contentBytes: 0 },
  });
});

test('there is something to say of no backups, too', () => {
  expect(sumUpHealth(state.health, [{ name: 'p', path: '/p' }], DAY)).toMatchObject({
    backups: 0,
    ages: new Float64Array(AGE_BOUNDS.length + 2),
    partitions: new Map([['p', { backups: 0, storedBytes: 0, contentBytes: 0 }]]),
  });
});

test('the worst come first, and deleted ones are not among the stale', () => {
  sweep([
    ['%DELETED.dave.5F000000', '/p/dave'],
    ['anne', '/p/anne'],
    ['bob', '/p/bob'],
    ['carol', '/p/carol'],
  ]);
  survey('anne', stat(10, 30, 100));
  survey('bob', stat(30, 30, 200));
  survey('carol', stat(20, 30, 50));
  state.health.surveyed([{ userid: '%DELETED.dave.5F000000', path: '/p/dave', stat: stat(15, 30, 1) }]);
  contact('carol', 300_000);
  const names = Object.entries(state.health.worst(3)).map(([kind, rows]) => [
    kind,
    rows.map(({ userid }) => userid.slice(0, 8)),
  ]);
  expect(Object.fromEntries(names)).toEqual({
    stale: ['anne', 'bob', 'carol'],
    faulty: [],
    unverified: ['%DELETED', 'anne', 'bob'],
    largest: ['bob', 'carol', '%DELETED'],
  });
});

test('files that others have changed are found, and what clients do is noted, by a thread', async () => {
  const files = ['anne', 'bob', 'carol'].map((user): [string, string] => [user, path.join(folder, user)]);
  for (const [, file] of files) fs.writeFileSync(file, '');
  fs.writeFileSync(files[0]![1], Buffer.alloc(20));
  sweep(files);
  state.health.surveyed([{ userid: 'anne', path: files[0]![1], stat: stat(0, 0, 0) }]);
  let figures: HealthFigures | undefined;
  const lastTime = Math.floor(Date.now() / 1000);
  let toTell = [change(files[0]![1], 0, 10, 30, lastTime), change(files[0]![1], 10, 20, 30, lastTime)];
  const health = new BackupHealth({
    file: state.file,
    catalogPath: path.join(folder, 'backups.db'),
    threadMemory: createThreadMemory(),
    config: () => ({ partitions: [{ name: 'default', path: folder }] }) as Partial<Config> as Config,
    fetchChanges: async () => {
      for (const one of toTell) health.changed(packChanges(new Map([['anne', one]])));
      toTell = [];
    },
    onFigures: (found) => (figures = found),
    log: pino({ level: 'silent' }),
    everyMs: 20,
  });
  health.start();
  health.contacted('bob');
  const partitions = new Map([['default', { backups: 3, storedBytes: 20, contentBytes: 60 }]]);
  await expect
    .poll(() => figures, { timeout: 20_000 })
    .toMatchObject({ backups: 3, unsurveyed: 0, partitions });
  expect(figures).toMatchObject({ empty: 2, stale: { '1d': 0 } });
  expect(figures!.ages[0]).toBe(1);
  expect((await health.worst(9))?.stale.map(({ userid }) => userid)).toEqual(['carol', 'anne', 'bob']);
  health.contacted('carol');
  await health.stop();
  expect(known('bob').contactedMs).toBeGreaterThan(Date.now() - 60_000);
  expect(known('carol').contactedMs).toBeGreaterThan(Date.now() - 60_000);
  expect(await health.worst(1)).toBeUndefined();
});

test('a thread that cannot read its file is an error in the log, and is tried again', async () => {
  const errors: unknown[] = [];
  const health = new BackupHealth({
    file: path.join(folder, 'missing', 'state'),
    catalogPath: path.join(folder, 'backups.db'),
    threadMemory: createThreadMemory(),
    config: () => ({ partitions: [] }) as Partial<Config> as Config,
    fetchChanges: async () => {},
    onFigures: () => {},
    log: { error: (...args: unknown[]) => errors.push(args) } as never,
    everyMs: 10,
  });
  health.start();
  await expect.poll(() => errors.length, { timeout: 20_000 }).toBeGreaterThan(1);
  await health.stop();
});

test('nobody is up to date for a year since the clock was a year ahead', () => {
  const now = Date.now();
  const ahead = now + 365 * DAY;
  sweep(
    [
      ['anne', '/p/anne'],
      ['bob', '/p/bob'],
    ],
    ahead,
  );
  survey('anne', stat(100, 200, ahead / 1000));
  state.health.changed(
    packChanges(new Map([['anne', change('/p/anne', 100, 150, 10, ahead / 1000)]])),
    () => true,
    ahead,
  );
  state.health.contacted({ userids: ['anne', 'bob'], times: Float64Array.of(ahead, ahead) });
  expect(sumUpHealth(state.health, [], now + 3 * DAY).stale['2d']).toBe(0);
  state.clampTimes(now, DAY);
  // What comes then has the time of the last line: times in a backup never go back.
  state.health.changed(
    packChanges(new Map([['anne', change('/p/anne', 150, 160, 1, ahead / 1000)]])),
    () => true,
    now,
  );
  survey('bob', stat(100, 200, ahead / 1000));
  expect(sumUpHealth(state.health, [], now + DAY / 2).stale['1d']).toBe(0);
  expect(sumUpHealth(state.health, [], now + 3 * DAY).stale['2d']).toBe(2);
});
