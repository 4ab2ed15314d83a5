/** Who compresses the pieces of a compacted file: threads, or this thread where there is little of it. */
import os from 'node:os';
import { DeflatePool } from '../../pipeline/deflate-pool.ts';
import { createSlabMemory, slabDeflated, slabText } from '../../pipeline/slabs.ts';
import { crc32 } from '../../platform/crc32.ts';
import { type DeflateEngine, loadDeflateEngine, maxDeflatedLength } from '../../platform/deflate.ts';
import type { Deflated, PieceCompressor } from './output.ts';

const MAX_THREADS = 8;

/** Compresses in this thread. */
export class LocalCompressor implements PieceCompressor {
  readonly depth = 1;
  readonly #engine: DeflateEngine;
  #out: Uint8Array = new Uint8Array(0);

  constructor(choice: 'auto' | 'isal' | 'zlib') {
    this.#engine = loadDeflateEngine(choice, 'compact');
  }

  async compress(raw: Uint8Array): Promise<Deflated> {
    if (this.#out.length < maxDeflatedLength(raw.length))
      this.#out = new Uint8Array(maxDeflatedLength(raw.length));
    const length = this.#engine.deflateSegment(raw, this.#out);
    return { segment: this.#out.subarray(0, length), crc32: crc32(raw), release: () => {} };
  }
}

/** Compresses in threads, which are started at the first use and serve one backup after the other. */
export class PooledCompressor implements PieceCompressor {
  readonly depth: number;
  readonly #threads: number = Math.min(os.availableParallelism(), MAX_THREADS);
  readonly #choice: 'auto' | 'isal' | 'zlib';
  #pool: { pool: DeflatePool; memory: SharedArrayBuffer } | undefined;
  readonly #free: number[];

  constructor(choice: 'auto' | 'isal' | 'zlib') {
    this.#choice = choice;
    this.depth = this.#threads + 2;
    this.#free = Array.from({ length: this.depth }, (_, slab) => slab);
  }

  async compress(raw: Uint8Array): Promise<Deflated> {
    const { pool, memory } = (this.#pool ??= this.#start());
    const slab = this.#free.pop()!; // no more than `depth` are under way
    const release = (): void => {
      this.#free.push(slab);
    };
    try {
      slabText(memory, slab, raw.length).set(raw);
      const result = await pool.run({ slab, length: raw.length, messages: [] }, this);
      return { segment: slabDeflated(memory, slab, result.deflatedLength), crc32: result.crc32, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  async stop(): Promise<void> {
    await this.#pool?.pool.stop();
    this.#pool = undefined;
  }

  #start(): { pool: DeflatePool; memory: SharedArrayBuffer } {
    const memory = createSlabMemory(this.depth);
    const pool = new DeflatePool({
      memory,
      threads: this.#threads,
      engine: this.#choice,
      effort: 'compact',
      onThreadError: () => {}, // the task fails, too
      onDone: () => {},
    });
    return { pool, memory };
  }
}
