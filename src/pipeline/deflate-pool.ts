/** The threads that compress slabs. They keep no state between tasks, so any of them takes any slab. */
import type { Worker } from 'node:worker_threads';
import { Piscina } from 'piscina';
import type { DeflateEffort } from '../platform/deflate.ts';
import type { DeflateResult, DeflateTask } from './deflate-task.ts';
import { FairQueue, taskOf } from './fair-queue.ts';
import { workerFile } from './worker-file.ts';

export interface DeflatePoolOptions {
  memory: SharedArrayBuffer;
  /** For figures of the threads (thread-figures.ts of metrics). */
  threadMemory?: SharedArrayBuffer;
  threads: number;
  engine: 'auto' | 'isal' | 'zlib';
  effort?: DeflateEffort;
  /** A thread died; its tasks have failed and another one takes its place. */
  onThreadError(error: unknown): void;
  /** @param seconds from run() on, waiting for a thread included */
  onDone(task: DeflateTask, result: DeflateResult, seconds: number): void;
}

export class DeflatePool {
  readonly #pool: Piscina<DeflateTask, DeflateResult>;
  readonly #o: DeflatePoolOptions;

  constructor(o: DeflatePoolOptions) {
    this.#o = o;
    this.#pool = new Piscina({
      filename: workerFile('deflate'),
      minThreads: o.threads,
      maxThreads: o.threads,
      idleTimeout: Number.POSITIVE_INFINITY,
      // Little lives for long in these threads; V8 would else let each take 50 MB before it cleans up.
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
      concurrentTasksPerWorker: 1,
      taskQueue: new FairQueue(),
      atomics: 'disabled',
      recordTiming: false,
      workerData: {
        memory: o.memory,
        threadMemory: o.threadMemory,
        engine: o.engine,
        effort: o.effort ?? 'ingest',
      },
    });
    this.#pool.on('error', o.onThreadError);
  }

  /** Slabs that wait for a thread. */
  get queueSize(): number {
    return this.#pool.queueSize;
  }

  /** Those that run now. */
  get threads(): readonly Worker[] {
    return this.#pool.threads;
  }

  /**
   * @param holder whose slab it is: tasks of all holders take turns
   * @throws what the thread threw, or that it died
   */
  async run(task: DeflateTask, holder: object): Promise<DeflateResult> {
    const startedMs = performance.now();
    const result = await this.#pool.run(taskOf(task, holder));
    this.#o.onDone(task, result, (performance.now() - startedMs) / 1000);
    return result;
  }

  async stop(): Promise<void> {
    await this.#pool.destroy();
  }
}
