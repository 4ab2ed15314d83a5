/** One run over all backups: where it is, and who is tried again later. Where it is survives a restart. */
import type { Job, JobKind, JobResult } from './job.ts';
import type { MaintenanceState, RunPlace, RunTally } from './maintenance-state.ts';

/** How long somebody who is in the way is let alone. */
export const RETRY_MS = 5 * 60_000;
/** Those that were in the way are tried so often again, so many of them at most. */
const ROUNDS = 3;
const MAX_LATER = 10_000;

/**
 * How a run has ended. `faulty`: something that was looked at is not as it should be; `incomplete`: something could not
 * be done, or nobody was free, or a drill had nothing to compare, so that it shows nothing. Who was busy all the time is
 * left to the next run, and makes this one no failure.
 */
export type RunResult = 'ok' | 'faulty' | 'incomplete';

export class MaintenanceRun {
  readonly #state: MaintenanceState;
  readonly #place: RunPlace;
  /** To be tried in this round, and in the next. */
  #again: Job[] = [];
  #later: Job[] = [];
  #round = 0;
  #roundAtMs = 0;
  #isThrough = false;
  /** Backups that were never free. */
  #skipped = 0;

  /** Begins a run, or takes up one that was cut off. */
  constructor(state: MaintenanceState, kind: JobKind, nowMs: number, isWhole = false) {
    this.#state = state;
    this.#place = state.run ?? { kind, startedMs: nowMs, after: '', isWhole };
    state.run = this.#place;
  }

  get kind(): JobKind {
    return this.#place.kind;
  }

  get startedMs(): number {
    return this.#place.startedMs;
  }

  /** The userid up to which it has come in the first pass. */
  get after(): string {
    return this.#place.after;
  }

  get skipped(): number {
    return this.#skipped;
  }

  get isWhole(): boolean {
    return this.#place.isWhole ?? false;
  }

  /** What came of its jobs. */
  get tally(): Readonly<RunTally> {
    return this.#place.tally ?? { faulty: 0, failed: 0, compared: 0, done: 0 };
  }

  get result(): RunResult {
    const { faulty, failed, compared, done } = this.tally;
    if (faulty > 0) return 'faulty';
    const isNobodyFree = this.#skipped > 0 && done === 0;
    const isEmptyDrill = this.kind === 'drill' && compared === 0;
    return failed > 0 || isNobodyFree || isEmptyDrill ? 'incomplete' : 'ok';
  }

  /** Before done(). */
  count({ outcome, compared }: JobResult): void {
    const { faulty, failed, compared: before, done } = this.tally;
    const isInTheWay = outcome === 'busy' || outcome === 'cancelled';
    this.#place.tally = {
      faulty: faulty + (outcome === 'faulty' ? 1 : 0),
      failed: failed + (outcome === 'failed' ? 1 : 0),
      compared: before + compared,
      // An earlier version has not noted it.
      done: (done ?? 0) + (isInTheWay ? 0 : 1),
    };
  }

  /** Nothing is left to do. */
  get isOver(): boolean {
    return this.#isThrough && this.#again.length === 0 && this.#later.length === 0;
  }

  /** When next() may have a job. */
  get nextMs(): number {
    return this.#isThrough && this.#again.length === 0 ? this.#roundAtMs : 0;
  }

  /** The next backup; undefined if there is none now, or none any more. */
  next(nowMs: number, isInUse: (userid: string) => boolean): Job | undefined {
    while (!this.#isThrough) {
      const job = this.#state.after(this.#place.after, this.kind);
      if (job === undefined) this.#endRound(nowMs);
      else if (isInUse(job.userid)) this.postpone(job);
      else return job;
    }
    if (this.#again.length === 0) {
      if (nowMs < this.#roundAtMs) return undefined;
      this.#again = this.#later;
      this.#later = [];
      this.#round++;
    }
    for (let job = this.#again.shift(); job !== undefined; job = this.#again.shift()) {
      if (!isInUse(job.userid)) return job;
      this.postpone(job);
    }
    this.#endRound(nowMs);
    return undefined;
  }

  /** The job that next() gave is done with. */
  done(job: Job): void {
    if (this.#isThrough) {
      this.#state.run = this.#place;
      if (this.#again.length === 0) this.#endRound(Date.now());
      return;
    }
    this.#place.after = job.userid;
    this.#state.run = this.#place;
  }

  /** Somebody was in its way. */
  postpone(job: Job): void {
    if (this.#round < ROUNDS && this.#later.length < MAX_LATER) this.#later.push(job);
    else this.#skipped++;
    this.done(job);
  }

  end(): void {
    this.#state.run = undefined;
  }

  #endRound(nowMs: number): void {
    this.#isThrough = true;
    this.#roundAtMs = nowMs + RETRY_MS;
  }
}
