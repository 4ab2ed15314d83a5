/** Threads of a worker file that are started at the first task, and again after they were stopped. */
import os from 'node:os';
import type { Piscina } from 'piscina';
import { createPool } from './late-pool.ts';
import { workerFile } from './worker-file.ts';

export class LazyPool<Task, Result> {
  readonly threads: number;
  readonly #worker: string;
  #pool: Piscina<Task, Result> | undefined;

  /** @param worker name of its file in workers/ */
  constructor(worker: string, maxThreads: number) {
    this.#worker = worker;
    this.threads = Math.min(os.availableParallelism(), maxThreads);
  }

  run(task: Task): Promise<Result> {
    this.#pool ??= createPool({
      filename: workerFile(this.#worker),
      maxThreads: this.threads,
      concurrentTasksPerWorker: 1,
      atomics: 'disabled',
      recordTiming: false,
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    });
    return this.#pool.run(task);
  }

  /** Cuts off what is still running. */
  async stop(): Promise<void> {
    await this.#pool?.destroy();
    this.#pool = undefined;
  }
}
