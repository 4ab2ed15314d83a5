import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import type { DailyTime } from '../../src/config/schedule-values.ts';
import { emptyResult, type JobOutcome, type JobRequest, type JobResult } from '../../src/maintenance/job.ts';
import type { JobRunner } from '../../src/maintenance/job-process.ts';
import { MaintenanceState } from '../../src/maintenance/maintenance-state.ts';
import { nextDaily } from '../../src/maintenance/schedule.ts';
import { Scheduler } from '../../src/maintenance/scheduler.ts';

const MINUTE = 60_000;
const DAY = 86_400_000;

/** Does as it is told, and notes what it was asked to do. */
class FakeRunner implements JobRunner {
  readonly jobs: string[] = [];
  readonly rates: number[] = [];
  outcome: (request: JobRequest) => JobOutcome = () => 'ok';
  tookMs = 10;
  #end: ((outcome: JobOutcome) => void) | undefined;

  async run(request: JobRequest): Promise<JobResult> {
    this.jobs.push(`${request.kind} ${request.userid}`);
    this.rates.push(request.bytesPerSecond);
    const outcome = await new Promise<JobOutcome>((resolve) => {
      this.#end = resolve;
      setTimeout(() => resolve(this.outcome(request)), this.tookMs);
    });
    return {
      ...emptyResult(outcome),
      compared: outcome === 'ok' ? 1 : 0,
      faults: outcome === 'faulty' ? 1 : 0,
    };
  }

  async cancel(): Promise<void> {
    this.#end?.('cancelled');
  }
}

let folder: string;
let runner: FakeRunner;
let scheduler: Scheduler;
let users: string[];
const inUse = new Set<string>();
let config: Config;
let compactAt: DailyTime[];
let interval: number | undefined;
let drillInterval: number | undefined;
let taken: string[];
let ended: string[];
let clockBacks: number;
let overdue: number;

beforeEach(() => {
  vi.useFakeTimers({ now: new Date(2026, 10, 25, 3, 0) });
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'csync-scheduler-'));
  runner = new FakeRunner();
  users = ['anne', 'bob', 'eve'];
  inUse.clear();
  compactAt = [{ hour: 4, minute: 0 }];
  interval = undefined;
  drillInterval = undefined;
  taken = ['bob'];
  ended = [];
  clockBacks = 0;
  overdue = 0;
  config = {
    verifyEveryMs: 0,
    maintenanceRateBytes: 1000,
  } as Partial<Config> as Config;
});

afterEach(async () => {
  await scheduler.stop();
  vi.useRealTimers();
  fs.rmSync(folder, { recursive: true });
});

function start(): void {
  scheduler = new Scheduler({
    config: () => config,
    state: new MaintenanceState(path.join(folder, 'state')),
    runner,
    entries: () => users.map((userid): [string, string] => [userid, `/p/${userid}`]),
    isInUse: (userid) => inUse.has(userid),
    verifies: true,
    runs: [
      {
        kind: 'compact',
        next: (_config, nowMs) => nextDaily(compactAt, nowMs),
      },
      {
        kind: 'pull',
        next: (_config, nowMs, lastMs) =>
          interval === undefined ? undefined : Math.max(nowMs, (lastMs ?? 0) + interval),
      },
      {
        kind: 'drill',
        next: (_config, nowMs, lastMs) =>
          drillInterval === undefined ? undefined : Math.max(nowMs, (lastMs ?? 0) + drillInterval),
        takes: (_config, userid) => taken.includes(userid),
      },
    ],
    onResult: () => {},
    onCounts: (counts) => (overdue = counts.overdue),
    onClockBack: () => clockBacks++,
    onRunDone: (kind, _seconds, result) => ended.push(`${kind} ${result}`),
    log: pino({ level: 'silent' }),
  });
  scheduler.start();
}

const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

describe('a run over a sample', () => {
  test('takes what is drawn, waits for those only, and says whether it has shown anything', async () => {
    compactAt = [];
    drillInterval = DAY;
    inUse.add('anne').add('bob');
    start();
    await pass(MINUTE);
    expect(runner.jobs).toEqual([]);
    inUse.clear();
    await pass(10 * MINUTE);
    expect(runner.jobs).toEqual(['drill bob']);
    expect(ended).toEqual(['drill ok']);
    expect(scheduler.status().runs.find(({ kind }) => kind === 'drill')?.lastSuccess).not.toBeNull();

    const lastSuccess = scheduler.status().runs.find(({ kind }) => kind === 'drill')?.lastSuccess;
    taken = [];
    await pass(DAY);
    runner.outcome = ({ userid }) => (userid === 'bob' ? 'failed' : 'ok');
    taken = ['bob', 'eve'];
    await pass(DAY);
    runner.outcome = ({ userid }) => (userid === 'bob' ? 'faulty' : 'ok');
    await pass(DAY);
    expect(ended).toEqual(['drill ok', 'drill incomplete', 'drill incomplete', 'drill faulty']);
    expect(scheduler.status().runs.find(({ kind }) => kind === 'drill')?.lastSuccess).toBe(lastSuccess);

    runner.jobs.length = 0;
    taken = [];
    await scheduler.request('drill', undefined);
    await pass(MINUTE);
    expect(runner.jobs).toEqual(['drill anne', 'drill bob', 'drill eve']);
  });
});

describe('a run over all backups', () => {
  test('comes at its time of day, once, and takes them in order', async () => {
    start();
    await pass(59 * MINUTE);
    expect(runner.jobs).toEqual([]);
    await pass(2 * MINUTE);
    expect(runner.jobs).toEqual(['compact anne', 'compact bob', 'compact eve']);
    await pass(23 * 60 * MINUTE);
    expect(runner.jobs).toHaveLength(3);
    await pass(60 * MINUTE);
    expect(runner.jobs).toHaveLength(6);
  });

  test('leaves a user alone who is syncing, and comes back', async () => {
    start();
    inUse.add('bob');
    await pass(62 * MINUTE);
    expect(runner.jobs).toEqual(['compact anne', 'compact eve']);
    expect(scheduler.status().run).not.toBeNull();
    inUse.clear();
    await pass(10 * MINUTE);
    expect(runner.jobs).toEqual(['compact anne', 'compact eve', 'compact bob']);
    expect(scheduler.status().run).toBeNull();
  });

  test('ends though somebody is never free, and though one fails', async () => {
    start();
    runner.outcome = ({ userid }) => (userid === 'bob' ? 'busy' : userid === 'anne' ? 'failed' : 'ok');
    await pass(120 * MINUTE);
    expect(scheduler.status().run).toBeNull();
    expect(runner.jobs.filter((job) => job === 'compact bob')).toHaveLength(4);
    expect(runner.jobs.filter((job) => job === 'compact anne')).toHaveLength(1);
  });

  test('is no success if one could not be dealt with; who was syncing all the time has his turn in the next', async () => {
    const lastSuccess = () => scheduler.status().runs.find(({ kind }) => kind === 'compact')?.lastSuccess;
    start();
    runner.outcome = ({ userid }) => (userid === 'anne' ? 'failed' : 'ok');
    await pass(120 * MINUTE);
    expect(ended).toEqual(['compact incomplete']);
    expect(lastSuccess()).toBeNull();
    runner.outcome = ({ userid }) => (userid === 'bob' ? 'busy' : 'unneeded');
    await pass(DAY);
    expect(ended).toEqual(['compact incomplete', 'compact ok']);
    expect(lastSuccess()).not.toBeNull();
  });

  test('is no success if nobody was free', async () => {
    start();
    runner.outcome = () => 'busy';
    await pass(120 * MINUTE);
    expect(ended).toEqual(['compact incomplete']);
  });

  test('is taken up where it was after a restart', async () => {
    start();
    runner.tookMs = 5 * MINUTE;
    await pass(67 * MINUTE);
    expect(runner.jobs).toEqual(['compact anne', 'compact bob']);
    await scheduler.stop();
    runner.jobs.length = 0;
    start();
    await pass(30 * MINUTE);
    expect(runner.jobs).toEqual(['compact bob', 'compact eve']);
  });
});

test('work of an interval begins at once, then each time that it is over, also through a restart', async () => {
  interval = 60 * MINUTE;
  compactAt = [];
  start();
  await pass(2 * MINUTE);
  expect(runner.jobs).toEqual(['pull anne', 'pull bob', 'pull eve']);
  await pass(20 * MINUTE);
  await scheduler.stop();
  start();
  await pass(37 * MINUTE);
  expect(runner.jobs).toHaveLength(3);
  await pass(3 * MINUTE);
  expect(runner.jobs).toHaveLength(6);
});

describe('verification', () => {
  test('takes each backup once in the period, evenly', async () => {
    config.verifyEveryMs = 30 * DAY;
    compactAt = [];
    start();
    await pass(8 * DAY);
    expect(runner.jobs).toEqual([]);
    await pass(2 * DAY);
    expect(runner.jobs).toEqual(['verify anne']);
    await pass(20 * DAY);
    expect(runner.jobs).toEqual(['verify anne', 'verify bob', 'verify eve']);
    expect(scheduler.status().verify).toMatchObject({ backups: 3, neverVerified: 0, overdue: 0 });
  });

  test('of a faulty backup that was healed comes at once, and leaves the others their turn', async () => {
    config.verifyEveryMs = 30 * DAY;
    compactAt = [];
    runner.outcome = ({ userid }) => (userid === 'bob' && runner.jobs.length === 1 ? 'faulty' : 'ok');
    start();
    await pass(1);
    await scheduler.request('verify', ['bob']);
    await pass(MINUTE);
    const health = new MaintenanceState(path.join(folder, 'state'));
    health.health.healed('bob', '/p/bob', Date.now());
    health.close();
    await pass(2 * MINUTE);
    expect(runner.jobs).toEqual(['verify bob', 'verify bob']);
    await pass(DAY);
    expect(runner.jobs).toHaveLength(2);
    await pass(8 * DAY);
    expect(runner.jobs).toEqual(['verify bob', 'verify bob', 'verify anne']);
  });

  test('gives way to a client, loses patience with the rate, and in the end stays', async () => {
    compactAt = [];
    start();
    await pass(1);
    runner.tookMs = 30 * MINUTE;
    await scheduler.request('verify', undefined);
    users = ['anne'];
    const gaveWay: boolean[] = [];
    for (let i = 0; i < 8; i++) {
      await pass(1);
      await scheduler.request('verify', ['anne']);
      await pass(1);
      const way = scheduler.makeRoom('anne');
      gaveWay.push(way !== undefined);
      await way;
    }
    expect(gaveWay).toEqual([true, true, true, true, true, true, false, false]);
    expect(runner.rates.slice(0, 7)).toEqual([1000, 1000, 1000, 0, 0, 0, 0]);
    expect(scheduler.makeRoom('bob')).toBeUndefined();
  });

  test('rests while it is held, and goes on afterwards', async () => {
    start();
    const release = await scheduler.hold();
    await scheduler.request('verify', ['bob']);
    await pass(10 * MINUTE);
    expect(runner.jobs).toEqual([]);
    release();
    await pass(1);
    expect(runner.jobs).toEqual(['verify bob']);
  });

  test('what writes is ended for a freeze, and done later', async () => {
    start();
    runner.tookMs = 60 * MINUTE;
    await pass(61 * MINUTE);
    expect(scheduler.status().running).toMatchObject({ kind: 'compact', userid: 'anne' });
    const held = scheduler.hold();
    await pass(6000);
    const release = await held;
    expect(scheduler.status().running).toBeNull();
    runner.tookMs = 10;
    release();
    await pass(30 * MINUTE);
    expect(runner.jobs).toEqual(['compact anne', 'compact bob', 'compact eve', 'compact anne']);
  });

  test('that hangs is seen by what becomes overdue', async () => {
    config.verifyEveryMs = DAY;
    compactAt = [];
    runner.tookMs = 20 * DAY;
    start();
    await pass(DAY / 2);
    expect(scheduler.status().running).toMatchObject({ kind: 'verify', userid: 'anne' });
    expect(overdue).toBe(0);
    await pass(DAY);
    expect(overdue).toBe(3);
  });

  test('a backup that vanished is forgotten', async () => {
    config.verifyEveryMs = DAY;
    compactAt = [];
    runner.outcome = ({ userid }) => (userid === 'anne' ? 'gone' : 'ok');
    start();
    await pass(7 * 60 * MINUTE);
    users = ['bob', 'eve'];
    await pass(2 * 60 * MINUTE);
    expect(scheduler.status().verify.backups).toBe(2);
  });
});

test('a clock that was a year ahead holds nothing up when it has gone back', async () => {
  config.verifyEveryMs = DAY / 4;
  compactAt = [];
  drillInterval = DAY / 24;
  const right = Date.now();
  vi.setSystemTime(right + 365 * DAY);
  start();
  await pass(DAY / 2);
  const count = (kind: string) => runner.jobs.filter((job) => job.startsWith(kind)).length;
  expect([count('drill') > 10, count('verify') > 3]).toEqual([true, true]);
  runner.jobs.length = 0;
  users.push('new');
  vi.setSystemTime(right);
  await pass(DAY / 3);
  expect(count('drill')).toBeGreaterThan(6);
  expect(new Set(runner.jobs.filter((job) => job.startsWith('verify'))).size).toBe(4);
  expect(clockBacks).toBe(1);
  expect(scheduler.status().verify).toMatchObject({ backups: 4, neverVerified: 0, overdue: 0 });
  expect(Date.parse(scheduler.status().verify.lastSuccess!)).toBeLessThan(Date.now());
});

test('nor does one that went back while no server ran', async () => {
  config.verifyEveryMs = DAY / 4;
  compactAt = [];
  const right = Date.now();
  vi.setSystemTime(right + 365 * DAY);
  start();
  await pass(DAY / 3);
  await scheduler.stop();
  runner.jobs.length = 0;
  vi.setSystemTime(right);
  start();
  await pass(DAY / 3);
  expect(new Set(runner.jobs).size).toBe(3);
});

test('what a clock that jumps ahead makes expire is left alone for a day', async () => {
  start();
  await pass(2 * 60 * MINUTE);
  expect(runner.jobs).toHaveLength(3);
  vi.setSystemTime(Date.now() + 365 * DAY - 2 * 60 * MINUTE);
  await pass(2 * 60 * MINUTE);
  expect(runner.jobs).toHaveLength(3);
  await pass(DAY);
  expect(runner.jobs).toHaveLength(6);
  await scheduler.stop();
  vi.setSystemTime(Date.now() + 30 * DAY - 2 * 60 * MINUTE);
  start();
  await pass(2 * 60 * MINUTE);
  expect(runner.jobs).toHaveLength(6);
  await pass(DAY);
  expect(runner.jobs).toHaveLength(9);
});
