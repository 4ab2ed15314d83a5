/**
 * The content of a chunk read forwards from one place of interest to the next: each segment is inflated once, and what
 * lies between two places is passed over where a segment begins behind it.
 */
import { readContent } from '../chunk/reader.ts';
import type { SegmentStart } from '../chunk/writer.ts';

export interface CursorPlace {
  fd: number;
  path: string;
  /** Of the member in the file. */
  offset: number;
  /** Segments that begin between the first place of interest and the last, and that of the first itself, in order. */
  starts: readonly SegmentStart[];
}

const NOTHING = new Uint8Array(0);

export class ContentCursor {
  readonly #place: CursorPlace;
  #pieces: Generator<Uint8Array, void> | undefined;
  /** Index in `starts` of the segment where the reading that is under way began; -1: at the start of the chunk. */
  #begunAt = -1;
  #piece: Uint8Array = NOTHING;
  /** Content offset of #piece. */
  #pieceAt = 0;
  /** Of what next() gives. */
  #at = 0;
  /** The stretch that begins at this start is damaged from there on. */
  #brokenStart: { begunAt: number; error: unknown } | undefined;

  constructor(place: CursorPlace) {
    this.#place = place;
  }

  /**
   * Goes to a content offset, which must not lie before one that it was at.
   *
   * @throws BackupError CHUNK_CORRUPT as next() does
   */
  seek(contentOffset: number): void {
    this.#at = contentOffset;
    if (contentOffset < this.#pieceAt) this.end(); // an index that is wrong
    if (contentOffset < this.#pieceAt + this.#piece.length && this.#pieces !== undefined) return;
    const start = this.#startBefore(contentOffset);
    // What cannot be read from there could not a moment ago.
    if (this.#brokenStart?.begunAt === start) throw this.#brokenStart.error;
    const from = start === -1 ? 0 : this.#place.starts[start]!.contentOffset;
    const isUnderWay = this.#pieces !== undefined && from <= this.#pieceAt + this.#piece.length;
    if (!isUnderWay) this.#begin(start, from);
    while (this.#pieceAt + this.#piece.length <= contentOffset && this.#pull());
  }

  /**
   * The bytes from here on, as many as come at a time; empty at the end of the content. Valid until the next call.
   *
   * @throws BackupError CHUNK_CORRUPT
   */
  next(): Uint8Array {
    const end = this.#pieceAt + this.#piece.length;
    if (this.#at >= end && !this.#pull()) return NOTHING;
    const bytes = this.#piece.subarray(this.#at - this.#pieceAt);
    this.#at += bytes.length;
    return bytes;
  }

  end(): void {
    this.#pieces?.return();
    this.#pieces = undefined;
  }

  #begin(start: number, from: number): void {
    this.end();
    const { fd, offset, path, starts } = this.#place;
    this.#begunAt = start;
    this.#piece = NOTHING;
    this.#pieceAt = from;
    this.#pieces = readContent(fd, { offset, start: starts[start], path }, from);
  }

  #pull(): boolean {
    this.#pieceAt += this.#piece.length;
    this.#piece = NOTHING;
    try {
      const { done, value } = this.#pieces?.next() ?? { done: true };
      if (done === true || value === undefined) return false;
      this.#piece = value;
      return true;
    } catch (error) {
      // Where the reading passed the starts of other segments, those may still be good.
      const begunAt = Math.max(this.#begunAt, this.#startBefore(this.#pieceAt));
      this.#brokenStart = { begunAt, error };
      this.#pieces = undefined;
      throw error;
    }
  }

  /** Index of the last start at or before this content offset; -1: there is none. */
  #startBefore(contentOffset: number): number {
    const { starts } = this.#place;
    let [low, high] = [0, starts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (starts[middle]!.contentOffset <= contentOffset) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}
