/** Threads that look through messages. They are started when there is much to look through. */
import os from 'node:os';
import type { Piscina } from 'piscina';
import { createPool } from '../../pipeline/late-pool.ts';
import { workerFile } from '../../pipeline/worker-file.ts';
import { type SearchResult, type SearchTask, searchChunks } from '../../store/search/chunk-search.ts';

/** More than these would wait for the disk. */
const MAX_THREADS = 8;
/** Data files that are smaller are read in less time than threads take to start. */
const MIN_BYTES = 16 << 20;

export class SearchPool {
  readonly threads: number;
  #pool: Piscina<SearchTask, SearchResult[]> | undefined;

  /** @param dataBytes size of the data file */
  constructor(dataBytes: number, minBytes = MIN_BYTES) {
    this.threads = dataBytes < minBytes ? 1 : Math.min(os.availableParallelism(), MAX_THREADS);
  }

  run(task: SearchTask): Promise<SearchResult[]> {
    if (this.threads === 1) return Promise.resolve().then(() => searchChunks(task));
    this.#pool ??= createPool({
      filename: workerFile('search'),
      maxThreads: this.threads,
      concurrentTasksPerWorker: 1,
      atomics: 'disabled',
      recordTiming: false,
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    });
    return this.#pool.run(task);
  }

  async stop(): Promise<void> {
    await this.#pool?.destroy();
    this.#pool = undefined;
  }
}
