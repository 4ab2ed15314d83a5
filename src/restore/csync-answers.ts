import { BackupError } from '../platform/errors.ts';
import { UnitSplitter } from '../platform/unit-splitter.ts';

/** A `* ` line longer than this, its literals included, is no answer that a server means. */
const MAX_UNIT_BYTES = 1 << 30;
/** Longest `{...}` that can announce a literal or a file at the end of a line. */
const LITERAL_TAIL_BYTES = 80;
const LITERAL = /(?:\{| [0-9a-fA-F]{40} )(\d{1,15})\+?\}$/;
const MIN_PIECE_BYTES = 32 * 1024;
const STAR = 0x2a;

/** Part of a unit. */
export interface AnswerPiece {
  bytes: Buffer;
  /** The unit ends with it. */
  isLast: boolean;
}

/** What a csync server sends: `* ` lines may hold literals (`{n}`) and files (`%{partition guid n}`). */
export class AnswerSplitter extends UnitSplitter {
  readonly #maxUnitBytes: number;
  /** Pieces of the unit under way have been given out. */
  #isInside = false;

  constructor(maxUnitBytes = MAX_UNIT_BYTES) {
    super();
    this.#maxUnitBytes = maxUnitBytes;
  }

  override next(): Buffer | undefined {
    const unit = super.next();
    if (unit !== undefined) this.#isInside = false;
    return unit;
  }

  /**
   * As next(), but of a long unit what is there of it, so that it is never held as a whole. A piece is valid until the
   * next push.
   */
  nextPiece(): AnswerPiece | undefined {
    const unit = this.next();
    if (unit !== undefined) return { bytes: unit, isLast: true };
    // What may announce a literal stays until its line ends.
    const end = Math.min(this.scan, this.end) - LITERAL_TAIL_BYTES;
    if (end - this.start < MIN_PIECE_BYTES || (!this.#isInside && this.bytes[this.start] !== STAR)) {
      return undefined;
    }
    const bytes = this.bytes.subarray(this.start, end);
    this.start = end;
    this.#isInside = true;
    return { bytes, isLast: false };
  }

  protected override literalAt(lineEnd: number): number | undefined {
    if (!this.#isInside && this.bytes[this.start] !== STAR) return undefined;
    const tailStart = Math.max(this.lineStart, lineEnd - LITERAL_TAIL_BYTES, 0);
    const size = LITERAL.exec(this.bytes.toString('latin1', tailStart, lineEnd))?.[1];
    if (size === undefined) return undefined;
    if (Number(size) > this.#maxUnitBytes) this.#tooLong();
    return Number(size);
  }

  /** All that is there of an unfinished unit counts, literals included. */
  protected override checkLine(_length: number, isWhole: boolean): void {
    if (!isWhole && this.pendingBytes > this.#maxUnitBytes) this.#tooLong();
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
