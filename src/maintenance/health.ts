/**
 * The health of the backups, kept up to date without a look at the store: what clients store is told by the store
 * threads, what other programs did is found once an hour by the sizes of the files, in a thread of its own.
 */
import type { Logger } from 'pino';
import { Piscina } from 'piscina';
import type { Config } from '../config/config.ts';
import { type BackupChange, joinChanges } from '../pipeline/messages.ts';
import { workerFile } from '../pipeline/worker-file.ts';
import type { HealthState, Worst } from './health-state.ts';
import { type HealthFigures, HealthSummary } from './health-summary.ts';
import type { BackupStat } from './stat.ts';

export interface SurveyTask {
  backups: { path: string; sizeBytes: number }[];
}

/** By backup of the task; undefined for a file that is as long as it was. */
export type SurveyResult = (BackupStat | undefined)[];

export interface BackupHealthOptions {
  state: HealthState;
  config(): Config;
  /** Asks the store threads to tell what they have changed: they do so by changed(). */
  fetchChanges(): Promise<void>;
  onFigures(figures: HealthFigures): void;
  log: Logger;
  /** Between two summaries. */
  everyMs?: number;
}

const EVERY_MS = 60_000;
/** The first summary comes sooner, but not while the scheduler's own first look is still to come. */
const FIRST_MS = 2000;
const SURVEY_EVERY_MS = 3600_000;
/** Backups of one task of the thread. */
const SURVEY_BATCH = 128;
/** Rows that are read without giving way: 2 to 3 ms. */
const ROWS = 1024;

export class BackupHealth {
  readonly #o: BackupHealthOptions;
  readonly #contacts = new Map<string, number>();
  readonly #changes = new Map<string, BackupChange>();
  #surveyedMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #stopping = false;

  constructor(o: BackupHealthOptions) {
    this.#o = o;
  }

  start(): void {
    this.#schedule(Math.min(FIRST_MS, this.#o.everyMs ?? EVERY_MS));
  }

  /** A client's request about this user was answered with OK. */
  contacted(userid: string): void {
    this.#contacts.set(userid, Date.now());
  }

  /** What a store thread has added since it last told. */
  changed(changes: Iterable<readonly [path: string, change: BackupChange]>): void {
    for (const [path, change] of changes)
      this.#changes.set(path, joinChanges(this.#changes.get(path), change));
  }

  /** Undefined when all is about to end. */
  worst(limit: number): Worst | undefined {
    if (this.#stopping) return undefined;
    this.#flush();
    return this.#o.state.worst(limit);
  }

  /** The state may be closed when this resolves. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    await this.#running;
    this.#flush();
  }

  #schedule(ms: number): void {
    if (this.#stopping) return;
    this.#timer = setTimeout(() => {
      this.#running = this.#round()
        .catch((error: unknown) => {
          this.#o.log.error(
            { err: error, code: 'INTERNAL' },
            'the health of the backups could not be summed up',
          );
        })
        .then(() => this.#schedule(this.#o.everyMs ?? EVERY_MS));
    }, ms);
    this.#timer.unref();
  }

  async #round(): Promise<void> {
    await this.#o.fetchChanges();
    if (this.#stopping) return;
    this.#flush();
    await this.#survey();
    await this.#sumUp();
  }

  #flush(): void {
    const { state } = this.#o;
    if (this.#changes.size > 0) state.changed(this.#changes);
    this.#changes.clear();
    if (this.#contacts.size > 0) state.contacted(this.#contacts);
    this.#contacts.clear();
  }

  async #survey(): Promise<void> {
    const { state } = this.#o;
    const isFull = Date.now() - this.#surveyedMs >= SURVEY_EVERY_MS;
    if (!isFull && state.unsurveyed(1).length === 0) return;
    const pool = new Piscina<SurveyTask, SurveyResult>({
      filename: workerFile('survey'),
      minThreads: 1,
      maxThreads: 1,
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
      atomics: 'disabled',
      recordTiming: false,
    });
    try {
      for (const backups of this.#toSurvey(isFull)) {
        if (this.#stopping) return;
        const stats = await pool.run({ backups });
        const found = backups.map(({ path }, i) => ({ path, stat: stats[i] }));
        state.surveyed(
          found.filter((one): one is { path: string; stat: BackupStat } => one.stat !== undefined),
        );
      }
      if (isFull) this.#surveyedMs = Date.now();
    } finally {
      await pool.destroy();
    }
  }

  *#toSurvey(isFull: boolean): Generator<SurveyTask['backups']> {
    const { state } = this.#o;
    let after = '';
    for (;;) {
      // Each batch is noted before the next is asked for, so that those without a size become fewer.
      const batch = isFull
        ? state.rows(after, SURVEY_BATCH).map(([userid, path, , sizeBytes]) => ({ userid, path, sizeBytes }))
        : state.unsurveyed(SURVEY_BATCH);
      if (batch.length === 0) return;
      yield batch.map(({ path, sizeBytes }) => ({ path, sizeBytes }));
      after = batch.at(-1)!.userid;
    }
  }

  async #sumUp(): Promise<void> {
    const { state } = this.#o;
    const summary = new HealthSummary(this.#o.config().partitions, Date.now());
    for (let after = ''; ; ) {
      if (this.#stopping) return;
      const rows = state.rows(after, ROWS);
      for (const row of rows) summary.add(row);
      if (rows.length < ROWS) break;
      after = rows.at(-1)![0];
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#o.onFigures(summary.figures);
  }
}
