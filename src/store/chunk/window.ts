import { readSync } from 'node:fs';

export const WINDOW_BYTES = 512 * 1024;

/**
 * A part of a file that is read in order through one buffer. `bytes[start..end)` is what was read and not yet
 * used; whoever uses bytes moves `start` on.
 */
export class FileWindow {
  readonly bytes: Uint8Array<ArrayBuffer>;
  start = 0;
  end = 0;
  readonly #fd: number;
  #limit: number;
  /** File offset of `bytes[0]`. */
  #base: number;

  /** Reads from `offset` up to `limit` or the end of the file; all of `buffer` is used. */
  constructor(
    fd: number,
    offset: number,
    limit: number,
    buffer: Uint8Array<ArrayBuffer> = new Uint8Array(WINDOW_BYTES),
  ) {
    this.#fd = fd;
    this.#base = offset;
    this.#limit = limit;
    this.bytes = buffer;
  }

  /** File offset of the first unused byte. */
  get offset(): number {
    return this.#base + this.start;
  }

  /** File offset behind the last byte that is read. */
  get limit(): number {
    return this.#limit;
  }

  /** File offset of `bytes[position]`. */
  fileOffsetOf(position: number): number {
    return this.#base + position;
  }

  /** Position in `bytes` of a file offset that is in the window. */
  positionOf(fileOffset: number): number {
    return fileOffset - this.#base;
  }

  /** No bytes are left in the file behind those in the window. */
  get atEnd(): boolean {
    return this.#base + this.end >= this.#limit;
  }

  /** Goes to `offset`, to read up to `limit`; bytes that are in the window already are not read again. */
  moveTo(offset: number, limit: number): void {
    this.#limit = limit;
    const position = this.positionOf(offset);
    if (position < 0 || position > this.end) this.seek(offset);
    else this.start = position;
    this.end = Math.min(this.end, limit - this.#base);
  }

  /** Begins anew at `offset`. */
  seek(offset: number): void {
    this.#base = offset;
    this.start = this.end = 0;
  }

  /**
   * Reads on if fewer than `wanted` bytes are left (by default: a quarter of the window).
   *
   * @returns how many unused bytes there are now.
   */
  fill(wanted = this.bytes.length / 4): number {
    if (this.end - this.start >= wanted || this.atEnd) return this.end - this.start;
    this.bytes.copyWithin(0, this.start, this.end);
    this.#base += this.start;
    this.end -= this.start;
    this.start = 0;
    while (this.end < this.bytes.length && !this.atEnd) {
      const length = Math.min(this.bytes.length - this.end, this.#limit - this.#base - this.end);
      const count = readSync(this.#fd, this.bytes, this.end, length, this.#base + this.end);
      if (count === 0) this.#limit = this.#base + this.end;
      this.end += count;
    }
    return this.end - this.start;
  }
}
