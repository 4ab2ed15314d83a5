/**
 * The store shards as the main thread sees them: one pool of one thread each. The pool has one task, which is
 * to serve a message port for as long as the thread lives: a request is a message to it, so that those for one
 * user are begun in the order in which they were sent, and costs a tenth of a task of its own.
 */
import { MessageChannel, type MessagePort, type Worker } from 'node:worker_threads';
import { Piscina } from 'piscina';
import type { Config } from '../config/config.ts';
import { BackupError } from '../platform/errors.ts';
import { monotonicSeconds } from '../platform/monotonic.ts';
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
  /** For figures of the threads (thread-figures.ts of metrics). */
  threadMemory: SharedArrayBuffer;
  /** The thread ended with its locks and half commands; another one takes its place. */
  onDied(shard: number, error: unknown): void;
  /** A request made the thread throw, which it never should; the thread lives. */
  onThrown(shard: number, request: ShardRequest, error: unknown): void;
}

/** The one task of a shard's thread. */
export interface ServeTask {
  port: MessagePort;
}

/** What goes over the port to the thread, and what comes back. */
export interface ShardCall {
  id: number;
  request: ShardRequest;
  /** Seconds of the machine's monotonic clock, which all threads share. */
  sentAt: number;
}
export type ShardReturn = { id: number } & ({ reply: ShardReply } | { thrown: unknown });

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

  /** Of each shard its thread; undefined for one that is gone. */
  get threads(): readonly (Worker | undefined)[] {
    return this.#shards.map(({ thread }) => thread);
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

  /** Figures of one; undefined if it is gone. */
  async stats(shard: number): Promise<ShardStats | undefined> {
    return (await this.#shards[shard]!.ask({ op: 'stats' })).stats;
  }

  /** Closes every backup and ends the threads. */
  async stop(): Promise<void> {
    await Promise.all(this.#shards.map((shard) => shard.stop()));
  }
}

interface Call {
  request: ShardRequest;
  resolve: (reply: ShardReply) => void;
}

class ShardThread {
  readonly shard: number;
  /** Why the thread ended the last time. */
  failure: unknown;
  readonly #o: ShardPoolsOptions;
  #pool: Piscina<ServeTask, void> | undefined;
  #port: MessagePort | undefined;
  readonly #calls = new Map<number, Call>();
  #nextId = 0;
  #stopping = false;

  constructor(shard: number, o: ShardPoolsOptions) {
    this.shard = shard;
    this.#o = o;
    this.#start();
  }

  get isGone(): boolean {
    return this.#port === undefined;
  }

  get thread(): Worker | undefined {
    return this.#pool?.threads[0];
  }

  get underWay(): number {
    return this.#calls.size;
  }

  ask(request: ShardRequest): Promise<ShardReply> {
    const port = this.#port;
    if (port === undefined) return Promise.resolve(GONE);
    return new Promise((resolve) => {
      const id = this.#nextId++;
      this.#calls.set(id, { request, resolve });
      port.postMessage({ id, request, sentAt: monotonicSeconds() } satisfies ShardCall);
    });
  }

  async stop(): Promise<void> {
    await this.ask({ op: 'stop' });
    this.#stopping = true;
    this.#port?.close();
    await this.#pool?.destroy();
  }

  #start(): void {
    const { config, memory, threadMemory } = this.#o;
    const pool = new Piscina<ServeTask, void>({
      filename: workerFile('store'),
      minThreads: 1,
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      // Little lives for long in these threads; V8 would else let each take 50 MB before it cleans up.
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
      atomics: 'disabled',
      recordTiming: false,
      workerData: { config, shard: this.shard, memory, threadMemory },
    });
    const { port1: port, port2 } = new MessageChannel();
    port.on('message', (result: ShardReturn) => this.#returned(result));
    this.#pool = pool;
    this.#port = port;
    // Piscina would start another thread itself, but it keeps what waits for a thread that never comes up.
    const died = (error: unknown) => this.#died(pool, error);
    pool.on('error', died);
    for (const thread of pool.threads) {
      thread.prependListener('error', died);
      thread.prependListener('exit', (status) => died(new Error(`the thread exited with status ${status}`)));
    }
    pool.run({ port: port2 }, { transferList: [port2] }).catch(died);
  }

  #returned(result: ShardReturn): void {
    const call = this.#calls.get(result.id);
    if (call === undefined) return;
    this.#calls.delete(result.id);
    if ('thrown' in result) {
      this.#o.onThrown(this.shard, call.request, result.thrown);
      call.resolve(GONE);
    } else call.resolve(result.reply);
  }

  #died(pool: Piscina<ServeTask, void>, error: unknown): void {
    if (this.#stopping || pool !== this.#pool) return;
    this.#pool = undefined;
    this.#port?.close();
    this.#port = undefined;
    this.failure = error;
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const { resolve } of calls) resolve(GONE);
    void pool.destroy();
    setTimeout(() => {
      if (!this.#stopping) this.#start();
    }, RESTART_PAUSE_MS).unref();
    this.#o.onDied(this.shard, error);
  }
}
