import { BackupError } from '../platform/errors.ts';

/** A `* ` line longer than this, its literals included, is no answer that a server means. */
const MAX_UNIT_BYTES = 1 << 30;
/** Longest `{...}` that can announce a literal or a file at the end of a line. */
const LITERAL_TAIL_BYTES = 80;
const LITERAL = /(?:\{| [0-9a-fA-F]{40} )(\d{1,15})\+?\}$/;
const MIN_PIECE_BYTES = 32 * 1024;
const CR = 0x0d;
const LF = 0x0a;
const STAR = 0x2a;

/** Part of a unit. */
export interface AnswerPiece {
  bytes: Buffer;
  /** The unit ends with it. */
  isLast: boolean;
}

/**
 * Splits what a server sends into units: a line together with the literals (`{n}`) and files
 * (`%{partition guid n}`) that `* ` lines carry, without its final CRLF. Each byte is looked at once, however
 * the stream was cut.
 */
export class AnswerSplitter {
  readonly #maxUnitBytes: number;
  #bytes: Buffer = Buffer.alloc(0);
  /** Where the unit begins, where the search for its end goes on, and the end of all bytes so far. */
  #start = 0;
  #scan = 0;
  #lineStart = 0;
  #end = 0;
  /** Pieces of the unit under way have been given out. */
  #isInside = false;

  constructor(maxUnitBytes = MAX_UNIT_BYTES) {
    this.#maxUnitBytes = maxUnitBytes;
  }

  /** Bytes that belong to no complete unit yet. */
  get pendingBytes(): number {
    return this.#end - this.#start;
  }

  push(chunk: Uint8Array): void {
    this.#reserve(chunk.length);
    this.#bytes.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  /**
   * The next complete unit, or undefined when more bytes are needed.
   * @throws BackupError LIMIT_EXCEEDED when a unit without an end has grown over the limit.
   */
  next(): Buffer | undefined {
    while (this.#scan < this.#end) {
      const found = this.#bytes.subarray(0, this.#end).indexOf(LF, this.#scan);
      if (found === -1) {
        this.#scan = this.#end;
        break;
      }
      const lineEnd = found > this.#lineStart && this.#bytes[found - 1] === CR ? found - 1 : found;
      const isAnswer = this.#isInside || this.#bytes[this.#start] === STAR;
      const literal = isAnswer ? this.#literalAt(lineEnd) : undefined;
      this.#scan = found + 1 + (literal ?? 0);
      this.#lineStart = this.#scan;
      if (literal !== undefined) continue;
      const unit = this.#bytes.subarray(this.#start, lineEnd);
      this.#start = this.#scan;
      this.#isInside = false;
      return unit;
    }
    if (this.pendingBytes > this.#maxUnitBytes) this.#tooLong();
    return undefined;
  }

  /**
   * As next(), but of a long unit what is there of it, so that it is never held as a whole. A piece is valid until the
   * next push.
   */
  nextPiece(): AnswerPiece | undefined {
    const unit = this.next();
    if (unit !== undefined) return { bytes: unit, isLast: true };
    // What may announce a literal stays until its line ends.
    const end = Math.min(this.#scan, this.#end) - LITERAL_TAIL_BYTES;
    if (end - this.#start < MIN_PIECE_BYTES || (!this.#isInside && this.#bytes[this.#start] !== STAR)) {
      return undefined;
    }
    const bytes = this.#bytes.subarray(this.#start, end);
    this.#start = end;
    this.#isInside = true;
    return { bytes, isLast: false };
  }

  /** Length of what follows the line inside its unit; undefined if the line ends the unit. */
  #literalAt(lineEnd: number): number | undefined {
    const tail = this.#bytes.toString(
      'latin1',
      Math.max(this.#lineStart, lineEnd - LITERAL_TAIL_BYTES, 0),
      lineEnd,
    );
    const size = LITERAL.exec(tail)?.[1];
    if (size === undefined) return undefined;
    if (Number(size) > this.#maxUnitBytes) this.#tooLong();
    return Number(size);
  }

  #reserve(length: number): void {
    if (this.#end + length <= this.#bytes.length) return;
    const pending = this.pendingBytes;
    const grown = Buffer.allocUnsafe(Math.max(16_384, 2 * (pending + length)));
    this.#bytes.copy(grown, 0, this.#start, this.#end);
    this.#bytes = grown;
    this.#scan -= this.#start;
    this.#lineStart -= this.#start;
    this.#start = 0;
    this.#end = pending;
  }

  #tooLong(): never {
    throw new BackupError({
      code: 'LIMIT_EXCEEDED',
      tried: 'read',
      subject: 'the answer of the csync server',
      reason: `a line is longer than ${this.#maxUnitBytes} bytes`,
      remedy: 'Check that the port belongs to a csync server',
    });
  }
}
