/** Threads that check the chunks of large backups. They are started when the first large backup comes. */
import { LazyPool } from '../pipeline/lazy-pool.ts';
import type { ChunkReport, ChunkTask } from '../store/verify/chunk-check.ts';

/** Memory of a thread is about 10 MB; more than these would wait for the disk. */
const MAX_THREADS = 8;

/** Below this size of the data file it is not worth it to start threads. */
const MIN_BYTES = 32 << 20;

export class VerifyPool extends LazyPool<ChunkTask, ChunkReport[]> {
  /** Bytes of the file that a thread checks at a time. */
  readonly taskBytes: number;
  readonly #minBytes: number;

  constructor(options: { minBytes?: number } = {}) {
    super('verify', MAX_THREADS);
    this.#minBytes = options.minBytes ?? MIN_BYTES;
    this.taskBytes = this.#minBytes / 4;
  }

  /** Whether threads would help with a data file of this size and number of chunks. */
  helps(sizeBytes: number, chunks: number): boolean {
    return sizeBytes >= this.#minBytes && chunks > 1;
  }
}
