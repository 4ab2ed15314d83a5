/** What the index says of the bytes of the file as a whole, compared in one pass that goes beside the chunks' checks. */
import { read } from 'node:fs';
import { promisify } from 'node:util';
import { ResumableSha1 } from '../platform/sha1.ts';
import type { ChunkRow, IndexState } from '../store/index/backup-index.ts';
import type { Finding } from '../store/verify/finding.ts';

const READ_BYTES = 1 << 20;
const readAsync = promisify(read);

export class FileHashes {
  readonly #fd: number;
  readonly #sizeBytes: number;
  readonly #chunks: readonly ChunkRow[];
  /** Another program may have added chunks behind the end that our state knows. */
  readonly #state: IndexState | undefined;
  readonly #hash = ResumableSha1.create();
  readonly #buffer: Buffer;
  #at = 0;
  #nextChunk = 0;
  #wrong: { chunk: ChunkRow; actual: string; count: number } | undefined;
  #actualOfState: string | undefined;

  constructor(fd: number, sizeBytes: number, chunks: readonly ChunkRow[], state: IndexState | undefined) {
    this.#fd = fd;
    this.#sizeBytes = sizeBytes;
    this.#chunks = chunks;
    this.#state = state !== undefined && state.committedEnd <= sizeBytes ? state : undefined;
    this.#buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, sizeBytes));
  }

  /** Hashes on, and compares what the index has of the bytes up to `to`. */
  async advance(to: number): Promise<void> {
    for (;;) {
      const chunk = this.#chunks[this.#nextChunk];
      const stateAt = this.#actualOfState === undefined ? this.#state?.committedEnd : undefined;
      const next = Math.min(chunk?.offset ?? to, stateAt ?? to, to);
      await this.#hashTo(next);
      if (next === stateAt) this.#actualOfState = this.#hash.digestHex();
      else if (chunk !== undefined && next === chunk.offset) this.#compare(chunk);
      else return;
    }
  }

  /** After the last byte: what is wrong. */
  async finish(): Promise<Omit<Finding, 'severity'>[]> {
    await this.advance(this.#sizeBytes);
    const findings: Omit<Finding, 'severity'>[] = [];
    if (this.#wrong !== undefined) {
      const { chunk, actual, count } = this.#wrong;
      const others = count === 1 ? '' : `; so with ${count - 1} chunks behind it`;
      const text = `the SHA-1 of the file before it is ${actual}, the index says ${chunk.fileSha1}${others}`;
      findings.push({ code: 'FILE_SHA1_WRONG', text, chunk: chunk.id, fileOffset: chunk.offset });
    }
    const state = this.#state;
    if (state !== undefined && ResumableSha1.load(state.fileSha1State).digestHex() !== this.#actualOfState) {
      const text = `the stored SHA-1 state of the first ${state.committedEnd} bytes is not theirs`;
      findings.push({ code: 'INDEX_STALE', text, fileOffset: state.committedEnd });
    }
    return findings;
  }

  #compare(chunk: ChunkRow): void {
    this.#nextChunk++;
    const actual = this.#hash.digestHex();
    if (actual === chunk.fileSha1) return;
    this.#wrong = this.#wrong
      ? { ...this.#wrong, count: this.#wrong.count + 1 }
      : { chunk, actual, count: 1 };
  }

  async #hashTo(to: number): Promise<void> {
    while (this.#at < to) {
      const wanted = Math.min(READ_BYTES, to - this.#at);
      const { bytesRead } = await readAsync(this.#fd, this.#buffer, 0, wanted, this.#at);
      if (bytesRead === 0) return;
      this.#hash.update(this.#buffer.subarray(0, bytesRead));
      this.#at += bytesRead;
    }
  }
}
