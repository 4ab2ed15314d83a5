/**
 * Maintenance by the server itself: one job at a time, each on one backup, in a process of its own. Verification
 * goes on all the time, spread evenly over its period; other work runs over all backups at its times of day. What a
 * client needs is left alone and tried again later, and is given up when a client comes for it.
 */
import type { Logger } from 'pino';
import type { Config } from '../config/config.ts';
import { ClockWatch } from './clock-watch.ts';
import { emptyResult, type Job, type JobKind, type JobResult } from './job.ts';
import type { JobRunner } from './job-process.ts';
import { MaintenanceRun, RETRY_MS, type RunResult } from './maintenance-run.ts';
import type { MaintenanceState, VerifyCounts } from './maintenance-state.ts';
import { nextVerification } from './schedule.ts';

/** After an error that will hardly go away by itself. */
const FAILED_RETRY_MS = 3600_000;
/** So often a job gives way; then it is done without the limit on reading, and after as many more, without giving way. */
const PATIENCE = 3;
const SWEEP_EVERY_MS = 3600_000;
/** Backups noted between two turns of the event loop. */
const SWEEP_BATCH = 64;
/** Counting takes 10 ms for 100,000 backups: not after each of many jobs. */
const COUNT_EVERY_MS = 10_000;
/** Backups become overdue by nothing but time, also while a job hangs. */
const COUNT_AGAIN_MS = 10 * 60_000;
const LONGEST_SLEEP_MS = 60_000;
/** A compaction has this long to end by itself before a freeze. */
const HOLD_WAIT_MS = 5000;
const MAX_FAULTY_SHOWN = 20;
/** Of one run. */
const MAX_FAILED_LOGGED = 20;

/** Work that runs over all backups at certain times. */
export interface PeriodicWork {
  kind: JobKind;
  /**
   * When its next run is due; undefined: never.
   *
   * @param lastMs when the last one was begun; undefined if there was none
   */
  next(config: Config, nowMs: number, lastMs: number | undefined): number | undefined;
  /** Whether a run takes this backup, of so many; by default it takes all. The same for each question of a run. */
  takes?(config: Config, userid: string, run: { startedMs: number; backups: number }): boolean;
}

export interface SchedulerOptions {
  /** As of now: a reload changes it. */
  config(): Config;
  state: MaintenanceState;
  runner: JobRunner;
  /** All of backups.db. */
  entries(): Iterable<[userid: string, path: string]>;
  /** A client has this backup open, or is held off it by the administrator. */
  isInUse(userid: string): boolean;
  /** Whether it verifies besides. */
  verifies: boolean;
  runs: readonly PeriodicWork[];
  onResult(job: Job, result: JobResult, seconds: number): void;
  onCounts(counts: VerifyCounts): void;
  onRunDone(kind: JobKind, seconds: number, result: RunResult): void;
  /** The clock has gone back: times that were told lie ahead. */
  onClockBack(): void;
  log: Logger;
}

/** What the scheduler is doing, for `status`. Times are ISO 8601 UTC; null where there is none. */
export interface SchedulerStatus {
  running: { kind: JobKind; userid: string; since: string } | null;
  /** A run over all backups. */
  run: { kind: JobKind; since: string; after: string } | null;
  /** By a freeze. */
  held: boolean;
  rateBytes: number;
  verify: VerifyCounts & { everySeconds: number; next: string | null; lastSuccess: string | null };
  runs: { kind: JobKind; next: string | null; lastSuccess: string | null }[];
  /** The first of those in which faults were found last. */
  faulty: string[];
}

export class Scheduler {
  readonly #o: SchedulerOptions;
  #current: { job: Job; sinceMs: number; done: Promise<void> } | undefined;
  /** Asked for by the administrator. */
  #requested: Job[] = [];
  #run: MaintenanceRun | undefined;
  #runDue = new Map<JobKind, number | undefined>();
  #sweptMs = 0;
  #countedMs = 0;
  #clock: ClockWatch | undefined;
  #areCountsOld = false;
  #counting: NodeJS.Timeout | undefined;
  /** Of the state, by tools that are run by hand. */
  #changes = 0;
  #holds = 0;
  #stopping = false;
  #wake: () => void = () => {};
  #loop: Promise<void> | undefined;

  constructor(o: SchedulerOptions) {
    this.#o = o;
  }

  start(): void {
    const { state } = this.#o;
    this.#clock = new ClockWatch(state.latestMs(), this.#o.log);
    state.clampTimes(Date.now(), FAILED_RETRY_MS);
    this.#planRuns(Date.now());
    state.lastVerifyMs ??= Date.now();
    const place = state.run;
    if (place !== undefined) this.#run = new MaintenanceRun(state, place.kind, place.startedMs);
    this.#counting = setInterval(() => this.#countAgain(), COUNT_AGAIN_MS).unref();
    this.#loop = this.#work();
  }

  /** Ends what is going on; a run over all is taken up again at the next start. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#counting);
    this.#wake();
    await this.#o.runner.cancel();
    await this.#loop;
    this.#o.state.close();
  }

  /** Nothing that writes goes on when this resolves, and nothing begins until the function is called. */
  async hold(): Promise<() => void> {
    this.#holds++;
    const current = this.#current;
    // A pull writes nothing here; verification does so only where it finds damage, and is soon repeated.
    if (current !== undefined && current.job.kind !== 'pull') {
      if (current.job.kind === 'compact') await Promise.race([current.done, pause(HOLD_WAIT_MS)]);
      if (this.#current === current) await this.#giveWay();
    }
    return () => {
      this.#holds--;
      this.#wake();
    };
  }

  /**
   * A client comes for this backup: its verification is given up, unless it has given way too often already. A
   * compaction need not be, as it has the lock for a moment only, and a pull is why the client comes.
   */
  makeRoom(userid: string): Promise<void> | undefined {
    const job = this.#current?.job;
    if (job?.userid !== userid || job.kind !== 'verify') return undefined;
    return this.#o.state.triesOf(userid) < 2 * PATIENCE ? this.#giveWay() : undefined;
  }

  /** The job on this backup is given up, however often it was. */
  async giveUp(userid: string): Promise<void> {
    if (this.#current?.job.userid === userid) await this.#giveWay();
  }

  /**
   * Has these backups, or all of them, done as soon as may be.
   *
   * @returns how many that are, and who of `userids` has none
   */
  async request(
    kind: JobKind,
    userids: readonly string[] | undefined,
  ): Promise<{ backups: number; unknown: string[] }> {
    await this.#sweep(Date.now());
    const { state } = this.#o;
    const jobs = userids?.map((userid) => state.find(userid, kind)).filter((job) => job !== undefined);
    if (jobs === undefined) this.#beginRun(kind, Date.now(), true);
    else this.#requested.push(...jobs.map((job) => ({ ...job, isForced: true })));
    this.#wake();
    const found = new Set(jobs?.map(({ userid }) => userid));
    return {
      backups: jobs?.length ?? state.backups,
      unknown: (userids ?? []).filter((userid) => !found.has(userid)),
    };
  }

  /** Ends the job and the run that are going on. @returns the job */
  async cancel(): Promise<Job | undefined> {
    const job = this.#current?.job;
    this.#requested = [];
    this.#run?.end();
    this.#run = undefined;
    if (job !== undefined) await this.#giveWay();
    return job;
  }

  status(): SchedulerStatus {
    const { state, runs } = this.#o;
    const config = this.#o.config();
    const nowMs = Date.now();
    this.#count(nowMs, 0);
    const next = this.#nextToVerify(nowMs)?.dueMs;
    const run = this.#run;
    return {
      running: this.#current ? { ...facts(this.#current.job), since: iso(this.#current.sinceMs)! } : null,
      run: run ? { kind: run.kind, since: iso(run.startedMs)!, after: run.after } : null,
      held: this.#holds > 0,
      rateBytes: config.maintenanceRateBytes,
      verify: {
        ...state.counts(config.verifyEveryMs, nowMs),
        everySeconds: config.verifyEveryMs / 1000,
        next: iso(next === undefined ? undefined : Math.max(next, nowMs)),
        lastSuccess: iso(state.lastSuccessMs('verify')),
      },
      runs: runs.map(({ kind, next }) => ({
        kind,
        next: iso(next(config, nowMs, state.lastRunMs(kind))),
        lastSuccess: iso(state.lastSuccessMs(kind)),
      })),
      faulty: state.faulty(MAX_FAULTY_SHOWN),
    };
  }

  async #work(): Promise<void> {
    while (!this.#stopping) {
      try {
        this.#watchClock(Date.now());
        if (this.#o.verifies && Date.now() - this.#sweptMs >= SWEEP_EVERY_MS) await this.#sweep(Date.now());
        const job = this.#holds > 0 ? undefined : await this.#nextJob(Date.now());
        this.#count(Date.now(), job === undefined ? 0 : COUNT_EVERY_MS);
        if (job === undefined) await this.#sleep(this.#pauseMs(Date.now()));
        else await this.#carryOut(job);
      } catch (error) {
        this.#o.log.error({ err: error, code: 'INTERNAL' }, 'maintenance failed; it goes on in a minute');
        await this.#sleep(LONGEST_SLEEP_MS);
      }
    }
  }

  /** Times that were noted lie ahead of a clock that has gone back. */
  #watchClock(nowMs: number): void {
    if (this.#clock!.look(nowMs) === 0) return;
    this.#o.state.clampTimes(nowMs, FAILED_RETRY_MS);
    this.#sweptMs = Math.min(this.#sweptMs, nowMs);
    this.#countedMs = 0;
    this.#areCountsOld = true;
    this.#o.onClockBack();
  }

  async #nextJob(nowMs: number): Promise<Job | undefined> {
    const isInUse = (userid: string) => this.#o.isInUse(userid);
    this.#beginDueRuns(nowMs);
    for (let job = this.#requested.shift(); job !== undefined; job = this.#requested.shift()) {
      if (!isInUse(job.userid)) return job;
      this.#o.onResult(job, emptyResult('busy'), 0);
    }
    if (this.#run !== undefined) {
      if (this.#sweptMs === 0) await this.#sweep(nowMs);
      const job = await this.#nextOfRun(this.#run, nowMs, isInUse);
      if (job !== undefined) return job;
      if (this.#run?.isOver) this.#endRun(nowMs);
    }
    return this.#nextVerification(nowMs);
  }

  async #nextOfRun(
    run: MaintenanceRun,
    nowMs: number,
    isInUse: (userid: string) => boolean,
  ): Promise<Job | undefined> {
    const takes = this.#takes(run);
    for (let passed = 0; this.#run === run && !this.#stopping; ) {
      const job = run.next(nowMs, (userid) => takes(userid) && isInUse(userid));
      if (job === undefined || takes(job.userid)) return job;
      run.done(job);
      // Most of 100,000 backups may be passed over.
      if (++passed % SWEEP_BATCH === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    return undefined;
  }

  #takes(run: MaintenanceRun): (userid: string) => boolean {
    const work = this.#o.runs.find(({ kind }) => kind === run.kind);
    if (work?.takes === undefined || run.isWhole) return () => true;
    const of = { startedMs: run.startedMs, backups: this.#o.state.backups };
    return (userid) => work.takes!(this.#o.config(), userid, of);
  }

  #nextVerification(nowMs: number): Job | undefined {
    const { state } = this.#o;
    for (;;) {
      const next = this.#nextToVerify(nowMs);
      if (next === undefined || next.dueMs > nowMs) return undefined;
      const { job, isBeforeTurn } = next;
      if (!this.#o.isInUse(job.userid)) {
        if (!isBeforeTurn) state.lastVerifyMs = nowMs;
        return job;
      }
      state.postpone(job.userid, nowMs + RETRY_MS);
    }
  }

  /** The backup that is due first: one whose faults may be over goes before those whose turn it is. */
  #nextToVerify(nowMs: number): { job: Job; dueMs: number; isBeforeTurn: boolean } | undefined {
    const { state } = this.#o;
    const { verifyEveryMs: everyMs } = this.#o.config();
    const oldest = everyMs === 0 || !this.#o.verifies ? undefined : state.nextToVerify(nowMs);
    if (oldest === undefined) return undefined;
    const lastMs = state.lastVerifyMs ?? nowMs;
    const backups = { everyMs, backups: state.backups, oldestMs: oldest.sinceMs, lastMs };
    const inTurn = { job: oldest, dueMs: nextVerification(backups), isBeforeTurn: false };
    const again = state.nextToRecheck(nowMs);
    if (again === undefined || again.sinceMs > Math.max(nowMs, inTurn.dueMs)) return inTurn;
    return { job: again, dueMs: again.sinceMs, isBeforeTurn: true };
  }

  async #carryOut(job: Job): Promise<void> {
    const { state, runner, log } = this.#o;
    const config = this.#o.config();
    const sinceMs = Date.now();
    const isUrgent = state.triesOf(job.userid) >= PATIENCE;
    const bytesPerSecond = isUrgent ? 0 : config.maintenanceRateBytes;
    const running = runner.run({ ...job, config, bytesPerSecond, doneMs: state.doneMs(job.userid) });
    this.#current = { job, sinceMs, done: running.then(() => {}) };
    const result = await running;
    this.#current = undefined;
    if (this.#stopping && (result.outcome === 'cancelled' || result.outcome === 'failed')) return;
    const nowMs = Date.now();
    const seconds = (nowMs - sinceMs) / 1000;
    this.#settle(job, result, nowMs);
    this.#o.onResult(job, result, seconds);
    this.#areCountsOld = true;
    const line = { ...facts(job), ...result, seconds };
    if (result.outcome === 'removed') log.info(line, 'a deleted backup whose retention is over was removed');
    else if (result.outcome === 'faulty' && job.kind === 'drill')
      log.error(line, 'a restore drill did not get everything back');
    else if (result.outcome === 'faulty') log.error(line, 'maintenance found a damaged backup');
    else if (result.outcome === 'ok' && result.text !== undefined)
      log.warn(line, 'a restore drill got everything back in a roundabout way');
    else if (result.outcome === 'failed') {
      // A server that is down makes all fail, and one line says as much as a thousand.
      const failed = this.#run?.tally.failed ?? 0;
      if (failed <= MAX_FAILED_LOGGED) log.error(line, 'maintenance of a backup failed');
    } else log.debug(line, 'maintenance of a backup has ended');
  }

  /** Notes what came of a job, and when its backup is to be looked at again. */
  #settle(job: Job, result: JobResult, nowMs: number): void {
    const { state } = this.#o;
    const run = this.#run?.kind === job.kind ? this.#run : undefined;
    const isInTheWay = result.outcome === 'busy' || result.outcome === 'cancelled';
    if (result.outcome === 'gone' || result.outcome === 'removed') state.forget(job.userid);
    else if (isInTheWay) state.postpone(job.userid, nowMs + RETRY_MS);
    else if (result.outcome === 'failed') state.postpone(job.userid, nowMs + FAILED_RETRY_MS);
    else if (job.kind === 'verify') {
      state.verified(job, result, nowMs);
      // The file is not there, or no note could be taken of what is lost: not before its next turn would be too late.
      if (result.code !== undefined) state.health.healed(job.userid, job.path, nowMs + FAILED_RETRY_MS);
      if (result.outcome === 'ok') state.succeeded('verify', nowMs);
    } else if (result.outcome === 'ok') state.done(job.userid, nowMs);
    // It takes damaged chunks out.
    if (job.kind === 'compact' && (result.outcome === 'ok' || result.outcome === 'faulty'))
      state.health.healed(job.userid, job.path, nowMs);
    run?.count(result);
    if (isInTheWay) run?.postpone(job);
    else run?.done(job);
  }

  // ------------------------------------------------------------------------------------ runs over all backups

  #planRuns(nowMs: number): void {
    const config = this.#o.config();
    for (const { kind, next } of this.#o.runs)
      this.#runDue.set(kind, next(config, nowMs, this.#o.state.lastRunMs(kind)));
  }

  #beginDueRuns(nowMs: number): void {
    const due = [...this.#runDue].filter(([, dueMs]) => dueMs !== undefined && dueMs <= nowMs);
    for (const [kind] of due) {
      if (kind !== 'compact' || this.#clock!.isTrusted) this.#beginRun(kind, nowMs);
    }
    this.#planRuns(nowMs);
  }

  #beginRun(kind: JobKind, nowMs: number, isWhole = false): void {
    const { state, log } = this.#o;
    if (this.#run !== undefined) {
      const { kind: running, startedMs } = this.#run;
      log.warn(
        { kind, running, since: iso(startedMs) },
        'a run of maintenance is left out as another goes on',
      );
      return;
    }
    this.#run = new MaintenanceRun(state, kind, nowMs, isWhole);
    this.#sweptMs = 0;
    state.runBegun(kind, nowMs);
    log.info({ kind, backups: state.backups }, 'a run of maintenance begins');
  }

  #endRun(nowMs: number): void {
    const run = this.#run!;
    this.#run = undefined;
    run.end();
    this.#areCountsOld = true;
    this.#count(nowMs, 0); // for who is told that it went well
    const { result } = run;
    if (result === 'ok') this.#o.state.succeeded(run.kind, nowMs);
    const seconds = (nowMs - run.startedMs) / 1000;
    this.#o.onRunDone(run.kind, seconds, result);
    const { kind, skipped, tally } = run;
    const { failed, faulty } = tally;
    this.#o.log.info({ kind, seconds, skipped, failed, faulty, result }, 'a run of maintenance has ended');
  }

  // ----------------------------------------------------------------------------------------------- pieces

  /** Compares with backups.db, without keeping the thread from its other work for long. */
  async #sweep(nowMs: number): Promise<void> {
    const { state } = this.#o;
    state.beginSweep();
    let batch: [string, string][] = [];
    for (const entry of this.#o.entries()) {
      batch.push(entry);
      if (batch.length < SWEEP_BATCH) continue;
      state.see(batch, nowMs);
      batch = [];
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#stopping) return;
    }
    state.see(batch, nowMs);
    state.endSweep();
    this.#sweptMs = nowMs;
    this.#areCountsOld = true;
  }

  /** @param least time since the last count */
  #count(nowMs: number, leastMs: number): void {
    const { changes } = this.#o.state;
    if (changes !== this.#changes) this.#areCountsOld = true;
    this.#changes = changes;
    if (!this.#areCountsOld || nowMs - this.#countedMs < leastMs) return;
    this.#areCountsOld = false;
    this.#countedMs = nowMs;
    this.#o.onCounts(this.#o.state.counts(this.#o.config().verifyEveryMs, nowMs));
  }

  #countAgain(): void {
    this.#areCountsOld = true;
    try {
      this.#count(Date.now(), 0);
    } catch (error) {
      this.#o.log.error({ err: error, code: 'INTERNAL' }, 'maintenance failed; it goes on in a minute');
    }
  }

  #pauseMs(nowMs: number): number {
    const due = [this.#nextToVerify(nowMs)?.dueMs, this.#run?.nextMs, ...this.#runDue.values()];
    const next = Math.min(...due.filter((at) => at !== undefined));
    return this.#holds > 0 ? LONGEST_SLEEP_MS : Math.min(LONGEST_SLEEP_MS, Math.max(10, next - nowMs));
  }

  async #sleep(ms: number): Promise<void> {
    if (this.#stopping) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => {};
  }

  async #giveWay(): Promise<void> {
    const current = this.#current;
    await this.#o.runner.cancel();
    await current?.done;
  }
}

function facts({ kind, userid }: Job): { kind: JobKind; userid: string } {
  return { kind, userid };
}

function iso(ms: number): string;
function iso(ms: number | undefined): string | null;
function iso(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
