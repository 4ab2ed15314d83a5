import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
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

test('a backup in another file counts as never verified, and one that is gone is forgotten', () => {
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
  expect(state.counts(10_000, 3000)).toEqual({ backups: 1, neverVerified: 1, overdue: 0, faulty: 0 });
  expect(state.counts(1000, 3000).overdue).toBe(1);
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
