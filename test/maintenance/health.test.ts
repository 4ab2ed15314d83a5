import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import { BackupHealth } from '../../src/maintenance/health.ts';
import { AGE_BUCKETS, type HealthFigures, HealthSummary } from '../../src/maintenance/health-summary.ts';
import { MaintenanceState } from '../../src/maintenance/maintenance-state.ts';
import { type BackupChange, joinChanges } from '../../src/pipeline/messages.ts';

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

function change(fromBytes: number, toBytes: number, contentBytes: number, lastTime: number): BackupChange {
  return { fromBytes, toBytes, contentBytes, lastTime };
}

const stat = (sizeBytes: number, contentBytes: number, lastEnd: number) => ({
  sizeBytes,
  contentBytes,
  lastEnd,
  indexSizeBytes: 1,
  chunks: 1,
  compactableBytes: null,
  lastStart: lastEnd,
});

const row = (userid: string) => state.health.rows('', 100).find(([id]) => id === userid)!;

test('chunks that go on where the file was known to end add up, others are left to a survey', () => {
  sweep([
    ['anne', '/p/anne'],
    ['bob', '/p/bob'],
  ]);
  state.health.surveyed([
    { path: '/p/anne', stat: stat(100, 300, 50) },
    { path: '/p/bob', stat: stat(100, 300, 50) },
  ]);
  expect(state.health.unsurveyed(9)).toEqual([]);
  const first = change(100, 150, 90, 60);
  state.health.changed([
    ['/p/anne', joinChanges(joinChanges(undefined, first), change(150, 170, 10, 70))],
    ['/p/bob', joinChanges(joinChanges(undefined, first), change(160, 170, 10, 70))],
  ]);
  expect(row('anne').slice(3, 6)).toEqual([170, 400, 70_000]);
  expect(row('bob').slice(5, 6)).toEqual([70_000]);
  expect(state.health.unsurveyed(9)).toEqual([{ userid: 'bob', path: '/p/bob', sizeBytes: -1 }]);
});

test('one that cannot be read keeps what was known of it; one in another file is looked at again', () => {
  sweep([['anne', '/p/anne']]);
  state.health.surveyed([{ path: '/p/anne', stat: stat(100, 300, 50) }]);
  const problem = { code: 'INDEX_CORRUPT', text: 'x' };
  state.health.surveyed([{ path: '/p/anne', stat: { ...stat(120, 0, 0), problem } }]);
  expect(row('anne').slice(3, 6)).toEqual([120, 300, 50_000]);
  sweep([['anne', '/q/anne']]);
  expect(row('anne').slice(3, 6)).toEqual([-1, 300, 50_000]);
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
  const summary = new HealthSummary(
    [
      { name: 'default', path: '/p' },
      { name: 'big', path: '/p2/' },
    ],
    nowMs,
  );
  const add = (userid: string, file: string, size: number, updatedDays: number, contactedDays?: number) =>
    summary.add([
      userid,
      file,
      0,
      size,
      size * 3,
      nowMs - updatedDays * DAY,
      contactedDays === undefined ? 0 : nowMs - contactedDays * DAY,
    ]);
  add('anne', '/p/anne', 10, 0.01);
  add('bob', '/p2/bob', 20, 10, 0.5); // nothing new for ten days, but the client has asked
  add('carol', '/p2/carol', 30, 10);
  add('%DELETED.dave.5F000000', '/p/dave', 40, 100);
  summary.add(['eve', '/p/eve', nowMs - 3 * DAY, 0, 0, 0, 0]); // nothing stored since it was first seen
  summary.add(['new', '/p/new', nowMs, -1, 0, 0, 0]);
  const { figures } = summary;
  expect(figures).toMatchObject({ backups: 5, empty: 1, unsurveyed: 1 });
  expect(Object.fromEntries(AGE_BUCKETS.map((bound, i) => [bound / 86_400, figures.ages[i]]))).toMatchObject({
    0.25: 1,
    7: 1,
    14: 3,
    365: 3,
  });
  expect(figures.stale).toEqual({ '1d': 2, '2d': 2, '7d': 1, '30d': 0 });
  expect(Object.fromEntries(figures.partitions)).toEqual({
    default: { backups: 4, storedBytes: 50, contentBytes: 150 },
    big: { backups: 2, storedBytes: 50, contentBytes: 150 },
  });
});

test('the worst come first, and deleted ones are not among the stale', () => {
  sweep([
    ['%DELETED.dave.5F000000', '/p/dave'],
    ['anne', '/p/anne'],
    ['bob', '/p/bob'],
    ['carol', '/p/carol'],
  ]);
  state.health.surveyed([
    { path: '/p/anne', stat: stat(10, 30, 100) },
    { path: '/p/bob', stat: stat(30, 30, 200) },
    { path: '/p/carol', stat: stat(20, 30, 50) },
    { path: '/p/dave', stat: stat(15, 30, 1) },
  ]);
  state.health.contacted([['carol', 300_000]]);
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

test('files that others have changed are found, read in a thread, and summed up', async () => {
  const files = ['anne', 'bob'].map((user): [string, string] => [user, path.join(folder, user)]);
  for (const [, file] of files) fs.writeFileSync(file, '');
  sweep(files);
  let figures: HealthFigures | undefined;
  const asked: string[] = [];
  const health = new BackupHealth({
    state: state.health,
    config: () => ({ partitions: [{ name: 'default', path: folder }] }) as Partial<Config> as Config,
    fetchChanges: async () => {
      asked.push('changes');
      health.changed([[path.join(folder, 'anne'), change(0, 10, 30, Date.now() / 1000)]]);
    },
    onFigures: (found) => (figures = found),
    log: pino({ level: 'silent' }),
    everyMs: 20,
  });
  health.start();
  health.contacted('bob');
  await expect.poll(() => figures, { timeout: 20_000 }).toMatchObject({ backups: 2, unsurveyed: 0 });
  await health.stop();
  expect(asked.length).toBeGreaterThan(0);
  expect(row('bob')[6]).toBeGreaterThan(Date.now() - 60_000);
  expect(health.worst(1)).toBeUndefined();
});
