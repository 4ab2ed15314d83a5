/** Threads that check the chunks of large backups. They are started when the first large backup comes. */
import os from 'node:os';
import { Piscina } from 'piscina';
import { workerFile } from '../pipeline/worker-file.ts';
import type { ChunkReport, ChunkTask } from '../store/verify/chunk-check.ts';

/** Memory of a thread is about 10 MB; more than these would wait for the disk. */
const MAX_THREADS = 8;

export class VerifyPool {
  #pool: Piscina<ChunkTask, ChunkReport> | undefined;

  run(task: ChunkTask): Promise<ChunkReport> {
    this.#pool ??= new Piscina({
      filename: workerFile('verify'),
      maxThreads: Math.min(os.availableParallelism(), MAX_THREADS),
      concurrentTasksPerWorker: 1,
      atomics: 'disabled',
      recordTiming: false,
    });
    return this.#pool.run(task);
  }

  async stop(): Promise<void> {
    await this.#pool?.destroy();
    this.#pool = undefined;
  }
}
