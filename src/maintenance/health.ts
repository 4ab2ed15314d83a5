/**
 * The health of the backups, kept up to date without a look at the store: what clients store is told by the store
 * threads, what other programs did is found once an hour by the sizes of the files. All of it is done by a thread of
 * low priority; this one hands on what it is told.
 */
import type { Logger } from 'pino';
import { Piscina } from 'piscina';
import type { Config } from '../config/config.ts';
import type { PackedChanges } from '../pipeline/backup-changes.ts';
import { workerFile } from '../pipeline/worker-file.ts';
import type { Worst } from './health-state.ts';
import type { HealthFigures } from './health-summary.ts';
import type { HealthAnswer, HealthTask } from './health-thread.ts';

export interface BackupHealthOptions {
  /** Of MaintenanceState, which has been opened. */
  file: string;
  /** backups.db. */
  catalogPath: string;
  /** For figures of the thread. */
  threadMemory: SharedArrayBuffer;
  config(): Config;
  /** Asks the store threads to tell what they have changed: they do so by changed(). */
  fetchChanges(): Promise<void>;
  onFigures(figures: HealthFigures): void;
  log: Logger;
  /** Between two summaries. */
  everyMs?: number;
}

/** So often the store threads are asked: what they have gathered by then is copied in less than 1 ms. */
const NOTE_EVERY_MS = 5000;
const SUM_UP_EVERY_MS = 60_000;
/** The first summary comes sooner, but not while the scheduler's own first look is still to come. */
const FIRST_MS = 2000;
const SURVEY_EVERY_MS = 3600_000;
/** Of a store so large that this would be more than one part in so many of a CPU, it is done less often. */
const SHARE = 100;
const SURVEY_SHARE = 10;

export class BackupHealth {
  readonly #o: BackupHealthOptions;
  #thread: Piscina<HealthTask, HealthAnswer> | undefined;
  #contacts = new Map<string, number>();
  #changes: PackedChanges[] = [];
  #nextSurveyMs = 0;
  #nextSumUpMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopping = false;

  constructor(o: BackupHealthOptions) {
    this.#o = o;
  }

  start(): void {
    this.#schedule(Math.min(FIRST_MS, this.#o.everyMs ?? FIRST_MS));
  }

  /** Number of the thread; undefined while there is none. */
  get threads(): Piscina['threads'] {
    return this.#thread?.threads ?? [];
  }

  /** A client was here for this user, and was refused nothing. */
  contacted(userid: string): void {
    this.#contacts.set(userid, Date.now());
  }

  /** What a store thread has added since it last told. */
  changed(changes: PackedChanges): void {
    if (changes.userids.length > 0) this.#changes.push(changes);
  }

  /** Undefined when all is about to end. */
  async worst(limit: number): Promise<Worst | undefined> {
    if (this.#stopping) return undefined;
    await this.#note();
    return (await this.#ask({ op: 'worst', limit })).worst;
  }

  /** Writes down what was told so far; the state may be closed when this resolves. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    await this.#running;
    await this.#note().catch((error: unknown) => this.#failed(error));
    await this.#thread?.destroy();
  }

  #schedule(ms: number): void {
    if (this.#stopping) return;
    this.#timer = setTimeout(() => {
      this.#running = this.#round()
        .catch((error: unknown) => this.#failed(error))
        .then(() => this.#schedule(Math.min(NOTE_EVERY_MS, this.#o.everyMs ?? NOTE_EVERY_MS)));
    }, ms);
    this.#timer.unref();
  }

  #failed(error: unknown): void {
    const text = 'the health of the backups could not be summed up';
    this.#o.log.error({ err: error, code: 'INTERNAL' }, text);
  }

  async #round(): Promise<void> {
    await this.#o.fetchChanges();
    await this.#note();
    if (performance.now() < this.#nextSumUpMs || this.#stopping) return;
    await this.#survey();
    if (this.#stopping) return;
    const { figures, ms } = await this.#ask({ op: 'sum-up', partitions: this.#o.config().partitions });
    this.#nextSumUpMs = performance.now() + Math.max(this.#o.everyMs ?? SUM_UP_EVERY_MS, ms * SHARE);
    if (figures !== undefined) this.#o.onFigures(figures);
  }

  async #note(): Promise<void> {
    const changes = this.#changes;
    const contacts = this.#contacts;
    if (changes.length === 0 && contacts.size === 0) return;
    this.#changes = [];
    this.#contacts = new Map();
    const times = Float64Array.from(contacts.values());
    await this.#ask({ op: 'note', changes, contacts: { userids: [...contacts.keys()], times } });
  }

  /** Those that are known to need it, and once an hour all. What clients do meanwhile is noted between its parts. */
  async #survey(): Promise<void> {
    const isFull = performance.now() >= this.#nextSurveyMs;
    let after: string | undefined = isFull ? '' : undefined;
    let tookMs = 0;
    do {
      const answer = await this.#ask({ op: 'survey', ...(isFull && { after }) });
      after = answer.after;
      tookMs += answer.ms;
      await this.#note();
    } while (after !== undefined && !this.#stopping);
    if (isFull && !this.#stopping)
      this.#nextSurveyMs = performance.now() + Math.max(SURVEY_EVERY_MS, tookMs * SURVEY_SHARE);
  }

  async #ask(task: HealthTask): Promise<HealthAnswer> {
    this.#thread ??= this.#start();
    return await this.#thread.run(task);
  }

  #start(): Piscina<HealthTask, HealthAnswer> {
    const { file, catalogPath, threadMemory } = this.#o;
    const thread = new Piscina<HealthTask, HealthAnswer>({
      filename: workerFile('health'),
      minThreads: 1,
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      resourceLimits: { maxYoungGenerationSizeMb: 1 },
      atomics: 'disabled',
      recordTiming: false,
      workerData: { file, catalogPath, threadMemory },
    });
    // What it was asked has failed by then, and it is begun anew with the next question.
    thread.on('error', () => {
      if (this.#thread === thread) this.#thread = undefined;
      void thread.destroy();
    });
    return thread;
  }
}
