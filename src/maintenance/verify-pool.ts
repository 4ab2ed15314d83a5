/** Threads that check the chunks of large backups. They are started when the first large backup comes. */
import os from 'node:os';
import { Piscina } from 'piscina';
import { workerFile } from '../pipeline/worker-file.ts';
import type { ChunkReport, ChunkTask } from '../store/verify/chunk-check.ts';

/** Memory of a thread is about 10 MB; more than these would wait for the disk. */
const MAX_THREADS = 8;

/** Below this size of the data file it is not worth it to start threads. */
const MIN_BYTES = 32 << 20;

export class VerifyPool {
  readonly threads: number = Math.min(os.availableParallelism(), MAX_THREADS);
  /** Bytes of the file that a thread checks at a time. */
  readonly taskBytes: number;
  readonly #minBytes: number;
  #pool: Piscina<ChunkTask, ChunkReport[]> | undefined;

  constructor(options: { minBytes?: number } = {}) {
    this.#minBytes = options.minBytes ?? MIN_BYTES;
    this.taskBytes = this.#minBytes / 4;
  }

  /** Whether threads would help with a data file of this size and number of chunks. */
  helps(sizeBytes: number, chunks: number): boolean {
    return sizeBytes >= this.#minBytes && chunks > 1;
  }

  run(task: ChunkTask): Promise<ChunkReport[]> {
    this.#pool ??= new Piscina({
      filename: workerFile('verify'),
      maxThreads: this.threads,
      concurrentTasksPerWorker: 1,
      atomics: 'disabled',
      recordTiming: false,
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    });
    return this.#pool.run(task);
  }

  async stop(): Promise<void> {
    await this.#pool?.destroy();
    this.#pool = undefined;
  }
}
