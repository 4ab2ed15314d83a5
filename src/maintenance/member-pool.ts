/** Threads that read members of large data files ahead. They are started when the first large file comes. */
import { LazyPool } from '../pipeline/lazy-pool.ts';
import type { MemberReaders, MemberTask, ReadMember } from '../store/member-source.ts';

/** The thread that writes the index takes up no more than what so many read. */
const MAX_THREADS = 6;

/** Smaller files are not worth the threads. */
const SLICE_BYTES = 16 << 20;

export class MemberPool extends LazyPool<MemberTask, ReadMember[]> implements MemberReaders {
  readonly sliceBytes: number;

  constructor(options: { sliceBytes?: number } = {}) {
    super('members', MAX_THREADS);
    this.sliceBytes = options.sliceBytes ?? SLICE_BYTES;
  }

  read(task: MemberTask): Promise<ReadMember[]> {
    return this.run(task);
  }
}
