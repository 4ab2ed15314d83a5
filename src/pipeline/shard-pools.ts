/**
 * The store shards as the main thread sees them: one pool of one thread each, so that requests for one user
 * are begun in the order in which they were sent.
 */
import { Piscina } from 'piscina';
import type { Config } from '../config/config.ts';
import { BackupError } from '../platform/errors.ts';
import type { ShardReply, ShardRequest, ShardStats } from './messages.ts';
import { workerFile } from './worker-file.ts';

/** What sessions need of the shards. */
export interface Shards {
  readonly count: number;
  /** Asks the shard of this number. Never rejects: a shard that is gone answers IMAP_MAILBOX_LOCKED. */
  ask(shard: number, request: ShardRequest): Promise<ShardReply>;
}

export interface ShardPoolsOptions {
  config: Config;
  memory: SharedArrayBuffer;
  /** The thread ended with its locks and half commands; another one takes its place. */
  onDied(shard: number, error: unknown): void;
  /** A request made the thread throw, which it never should; the thread lives. */
  onThrown(shard: number, request: ShardRequest, error: unknown): void;
}

/** More than can ever be under way, as a pool that queues tasks itself could change their order. */
const CONCURRENT_REQUESTS = 1_000_000;

/** A thread that dies as soon as it runs is not started more often than this. */
const RESTART_PAUSE_MS = 1000;

const GONE: ShardReply = { code: 'IMAP_MAILBOX_LOCKED', text: 'The store was interrupted, try again later' };

/** Which shard keeps this user's backup: FNV-1a of the userid's bytes. */
export function shardOf(userid: string, count: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < userid.length; i++) hash = Math.imul(hash ^ userid.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % count;
}

export class ShardPools implements Shards {
  readonly count: number;
  readonly #shards: ShardThread[];

  constructor(o: ShardPoolsOptions) {
    this.count = o.config.shards;
    this.#shards = Array.from({ length: this.count }, (_, shard) => new ShardThread(shard, o));
  }

  /** Requests that were sent and not answered, by shard. */
  get queueSizes(): number[] {
    return this.#shards.map((shard) => shard.underWay);
  }

  /** Shards that have no thread at the moment. */
  get gone(): number[] {
    return this.#shards.filter((shard) => shard.isGone).map(({ shard }) => shard);
  }

  /**
   * Waits until every thread runs.
   *
   * @throws BackupError INTERNAL when one does not come up
   */
  async ready(): Promise<void> {
    await Promise.all(this.#shards.map((shard) => shard.ask({ op: 'stats' })));
    const failed = this.#shards.find((shard) => shard.failure !== undefined);
    if (failed === undefined) return;
    throw new BackupError({
      code: 'INTERNAL',
      tried: 'start',
      subject: `store thread ${failed.shard}`,
      reason: failed.failure instanceof Error ? failed.failure.message : String(failed.failure),
      remedy: 'See the cause, and whether the partitions and the configuration directory can be written',
      cause: failed.failure,
    });
  }

  ask(shard: number, request: ShardRequest): Promise<ShardReply> {
    return this.#shards[shard]!.ask(request);
  }

  /** Figures by shard; undefined for one that is gone. */
  async stats(): Promise<(ShardStats | undefined)[]> {
    const replies = await Promise.all(this.#shards.map((shard) => shard.ask({ op: 'stats' })));
    return replies.map((reply) => reply.stats);
  }

  /** Closes every backup and ends the threads. */
  async stop(): Promise<void> {
    await Promise.all(this.#shards.map((shard) => shard.stop()));
  }
}

class ShardThread {
  readonly shard: number;
  /** Why the thread ended the last time. */
  failure: unknown;
  underWay = 0;
  readonly #o: ShardPoolsOptions;
  #pool: Piscina<ShardRequest, ShardReply> | undefined;
  #stopping = false;

  constructor(shard: number, o: ShardPoolsOptions) {
    this.shard = shard;
    this.#o = o;
    this.#start();
  }

  get isGone(): boolean {
    return this.#pool === undefined;
  }

  async ask(request: ShardRequest): Promise<ShardReply> {
    const pool = this.#pool;
    if (pool === undefined) return GONE;
    this.underWay++;
    try {
      return await pool.run(request);
    } catch (error) {
      if (pool === this.#pool && !this.#stopping) this.#o.onThrown(this.shard, request, error);
      return GONE;
    } finally {
      this.underWay--;
    }
  }

  async stop(): Promise<void> {
    await this.ask({ op: 'stop' });
    this.#stopping = true;
    await this.#pool?.destroy();
  }

  #start(): void {
    const pool = new Piscina<ShardRequest, ShardReply>({
      filename: workerFile('store'),
      minThreads: 1,
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      // Little lives for long in these threads; V8 would else let each take 50 MB before it cleans up.
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
      concurrentTasksPerWorker: CONCURRENT_REQUESTS,
      stricterFIFO: true,
      atomics: 'disabled',
      recordTiming: false,
      workerData: { config: this.#o.config, shard: this.shard, memory: this.#o.memory },
    });
    this.#pool = pool;
    // Piscina would start another thread itself, but it keeps what waits for a thread that never comes up.
    const died = (error: unknown) => this.#died(pool, error);
    pool.on('error', died);
    for (const thread of pool.threads) {
      thread.prependListener('error', died);
      thread.prependListener('exit', (status) => died(new Error(`the thread exited with status ${status}`)));
    }
  }

  #died(pool: Piscina<ShardRequest, ShardReply>, error: unknown): void {
    if (this.#stopping || pool !== this.#pool) return;
    this.#pool = undefined;
    this.failure = error;
    void pool.destroy();
    setTimeout(() => {
      if (!this.#stopping) this.#start();
    }, RESTART_PAUSE_MS).unref();
    this.#o.onDied(this.shard, error);
  }
}
