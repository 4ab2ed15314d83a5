/** Threads that read members of large data files ahead. They are started when the first large file comes. */
import os from 'node:os';
import { Piscina } from 'piscina';
import { workerFile } from '../pipeline/worker-file.ts';
import type { MemberReaders, MemberTask, ReadMember } from '../store/member-source.ts';

/** The thread that writes the index takes up no more than what so many read. */
const MAX_THREADS = 6;

/** Smaller files are not worth the threads. */
const SLICE_BYTES = 16 << 20;

export class MemberPool implements MemberReaders {
  readonly threads: number = Math.min(os.availableParallelism(), MAX_THREADS);
  readonly sliceBytes: number;
  #pool: Piscina<MemberTask, ReadMember[]> | undefined;

  constructor(options: { sliceBytes?: number } = {}) {
    this.sliceBytes = options.sliceBytes ?? SLICE_BYTES;
  }

  read(task: MemberTask): Promise<ReadMember[]> {
    this.#pool ??= new Piscina({
      filename: workerFile('members'),
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
