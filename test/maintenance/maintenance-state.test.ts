import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { emptyResult } from '../../src/maintenance/job.ts';
import { MaintenanceState } from '../../src/maintenance/maintenance-state.ts';

let folder: string;
let file: string;
let state: MaintenanceState;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'csync-state-'));
  file = path.join(folder, 'state');
  state = new MaintenanceState(file);
});

afterEach(() => {
  state.close();
  fs.rmSync(folder, { recursive: true });
});

function sweep(entries: [string, string][], nowMs = 1000): void {
  state.beginSweep();
  state.see(entries, nowMs);
  state.endSweep();
}

test('the least recently verified one comes first, those never verified before all', () => {
  sweep([
    ['anne', '/p/anne'],
    ['bob', '/p/bob'],
    ['eve', '/p/eve'],
  ]);
  const order: string[] = [];
  for (let now = 2000; now < 2005; now++) {
    const next = state.nextToVerify(now)!;
    order.push(next.userid);
    state.verified(next, emptyResult('ok'), now);
  }
  expect(order).toEqual(['anne', 'bob', 'eve', 'anne', 'bob']);
  expect(state.nextToVerify(2010)).toEqual({
    kind: 'verify',
    userid: 'eve',
    path: '/p/eve',
    sinceMs: 2002,
    tries: 0,
  });
});

test('one that was in the way comes again at its time, and with the number of tries', () => {
  sweep([['anne', '/p/anne']]);
  state.postpone('anne', 5000);
  expect(state.nextToVerify(4999)).toBeUndefined();
  expect(state.nextToVerify(5000)).toMatchObject({ userid: 'anne', tries: 1 });
  state.verified({ kind: 'verify', userid: 'anne', path: '/p/anne' }, emptyResult('ok'), 6000);
  expect(state.triesOf('anne')).toBe(0);
});

test('a backup in another file counts as never verified, but not as healed, and one that is gone is forgotten', () => {
  sweep([
    ['anne', '/p/anne'],
    ['bob', '/p/bob'],
  ]);
  for (const userid of ['anne', 'bob'])
    state.verified(
      { kind: 'verify', userid, path: `/p/${userid}` },
      { ...emptyResult('faulty'), faults: 2 },
      2000,
    );
  expect(state.faulty(9)).toEqual(['anne', 'bob']);
  sweep([['anne', '/q/anne']], 3000);
  expect(state.counts(10_000, 3000)).toEqual({ backups: 1, neverVerified: 1, overdue: 0, faulty: 1 });
  expect(state.nextToRecheck(3000)).toMatchObject({ path: '/q/anne', sinceMs: 3000 });
  expect(state.counts(1000, 3000).overdue).toBe(1);
  // Renamed.
  sweep([['beth', '/q/anne']], 4000);
  expect(state.faulty(9)).toEqual(['beth']);
  expect(state.nextToRecheck(4000)).toMatchObject({ userid: 'beth', sinceMs: 4000 });
  sweep([['eve', '/q/eve']], 5000);
  expect(state.faulty(9)).toEqual([]);
});

test('is the same after a restart', () => {
  sweep([['anne', '/p/anne']]);
  state.verified({ kind: 'verify', userid: 'anne', path: '/p/anne' }, emptyResult('ok'), 2000);
  state.run = { kind: 'verify', startedMs: 5, after: 'al' };
  state.lastVerifyMs = 77;
  state.succeeded('verify', 88);
  state.close();
  state = new MaintenanceState(file);
  expect(state.replaced).toBeUndefined();
  expect(state.counts(10_000, 3000)).toMatchObject({ backups: 1, neverVerified: 0 });
  expect(state.run).toEqual({ kind: 'verify', startedMs: 5, after: 'al' });
  expect([state.lastVerifyMs, state.lastSuccessMs('verify')]).toEqual([77, 88]);
  expect(fs.statSync(file).mode & 0o777).toBe(0o600);
});

test('a file that is no database is put aside and begun anew', () => {
  const text = 'this is no database, but long enough to be looked at as one'.repeat(20);
  sweep([['anne', '/p/anne']]);
  state.close();
  for (const suffix of ['-wal', '-shm']) fs.rmSync(file + suffix, { force: true });
  fs.writeFileSync(file, text);
  state = new MaintenanceState(file);
  expect(state.backups).toBe(0);
  expect(fs.readFileSync(state.replaced!, 'utf8')).toBe(text);
});

test('an empty file, as a kill leaves it, is begun', () => {
  state.close();
  for (const suffix of ['', '-wal', '-shm']) fs.rmSync(file + suffix, { force: true });
  fs.writeFileSync(file, '');
  state = new MaintenanceState(file);
  expect([state.replaced, state.backups]).toEqual([undefined, 0]);
});

describe('a backup whose faults may be over', () => {
  const anne = { kind: 'verify', userid: 'anne', path: '/p/anne' } as const;
  const HOUR = 3600_000;
  const now = 10 * HOUR;
  const faulty = { ...emptyResult('faulty'), faults: 2 };
  const dueMs = (at: number) => state.nextToRecheck(at)?.sinceMs;

  beforeEach(() => sweep([['anne', '/p/anne']]));

  test('is verified before its turn when the last of what was lost has come, and only then', () => {
    state.health.healed('anne', '/p/anne', now);
    expect(dueMs(now)).toBeUndefined(); // nothing was wrong with it
    state.verified(anne, faulty, now);
    expect(dueMs(now)).toBeUndefined();
    state.health.healed('anne', '/p/other', now + 1);
    expect(dueMs(now)).toBeUndefined();
    state.health.healed('anne', '/p/anne', now + 2);
    expect(state.nextToRecheck(now + 2)).toEqual({ ...anne, sinceMs: now + 2, tries: 0 });
    state.postpone('anne', now + 9);
    expect([dueMs(now + 8), dueMs(now + 9)]).toEqual([undefined, now + 2]);
    state.verified(anne, emptyResult('ok'), now + 10);
    expect(dueMs(now + 10)).toBeUndefined();
  });

  test('that is still faulty is not so again before an hour is over', () => {
    state.verified(anne, faulty, now);
    state.health.healed('anne', '/p/anne', now + 1);
    state.verified(anne, faulty, now + 2);
    expect(dueMs(now + 3)).toBeUndefined();
    state.health.healed('anne', '/p/anne', now + 4);
    expect(dueMs(now + 4)).toBe(now + 2 + HOUR);
  });

  test('was put right at once: verified again soon, but once a day at most', () => {
    const mended = { ...faulty, isMended: true };
    state.verified(anne, mended, now);
    expect(dueMs(now)).toBe(now);
    state.verified(anne, mended, now + 1);
    expect(dueMs(now + HOUR)).toBeUndefined();
    state.verified(anne, mended, now + 25 * HOUR);
    expect(dueMs(now + 25 * HOUR)).toBe(now + 25 * HOUR);
    state.verified(anne, emptyResult('ok'), now + 26 * HOUR);
    state.verifiedByHand({ userid: 'anne', path: '/p/anne' }, { ...mended, isWhole: false }, now + 27 * HOUR);
    expect(dueMs(now + 27 * HOUR)).toBe(now + 27 * HOUR);
  });

  test('does not wait for a wrong time to come again', () => {
    state.verified(anne, faulty, now);
    state.health.healed('anne', '/p/anne', now + 1000 * HOUR);
    state.clampTimes(now, HOUR);
    expect(dueMs(now)).toBe(now);
    state.verified(anne, faulty, now + 1000 * HOUR);
    state.clampTimes(now, HOUR);
    state.health.healed('anne', '/p/anne', now);
    expect(dueMs(now)).toBe(now + HOUR);
  });
});
