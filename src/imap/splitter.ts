import { BackupError } from '../platform/errors.ts';

/** A line, literals included, longer than this is no answer that a server means. */
const MAX_UNIT_BYTES = 64 * 1024 * 1024;
/** The same for a line without its literals. */
const MAX_LINE_BYTES = 8 * 1024 * 1024;
const LITERAL_TAIL_BYTES = 24;
const LITERAL = /~?\{(\d{1,15})\+?\}$/;
/** Text for people, which may end in anything. */
const STATUS_TEXT = /^(?:\* )?(?:OK|NO|BAD|BYE|PREAUTH)\b/i;
const CR = 0x0d;
const LF = 0x0a;

export interface SplitterLimits {
  maxUnitBytes?: number;
  maxLineBytes?: number;
  /** ManageSieve: what OK and NO say may be a literal too. */
  literalsInStatus?: boolean;
}

/**
 * Splits what an IMAP or ManageSieve server sends into units: a line with the literals (`{n}`) in it, without its
 * final CRLF. Each byte is looked at once, however the stream was cut.
 */
export class UnitSplitter {
  readonly #maxUnitBytes: number;
  readonly #maxLineBytes: number;
  readonly #literalsInStatus: boolean;
  #bytes: Buffer = Buffer.alloc(0);
  /** Where the unit begins, where the search for its end goes on, and the end of all bytes so far. */
  #start = 0;
  #scan = 0;
  #lineStart = 0;
  #end = 0;

  constructor(limits: SplitterLimits = {}) {
    const { maxUnitBytes = MAX_UNIT_BYTES, maxLineBytes = MAX_LINE_BYTES } = limits;
    this.#literalsInStatus = limits.literalsInStatus ?? false;
    this.#maxUnitBytes = maxUnitBytes;
    this.#maxLineBytes = maxLineBytes;
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
   *
   * @throws BackupError LIMIT_EXCEEDED when a unit without an end has grown over a limit
   */
  next(): Buffer | undefined {
    while (this.#scan < this.#end) {
      const found = this.#bytes.subarray(0, this.#end).indexOf(LF, this.#scan);
      if (found === -1) {
        this.#scan = this.#end;
        break;
      }
      if (found - this.#lineStart > this.#maxLineBytes) tooLong();
      const lineEnd = found > this.#lineStart && this.#bytes[found - 1] === CR ? found - 1 : found;
      const literal = this.#literalAt(lineEnd);
      this.#scan = found + 1 + (literal ?? 0);
      this.#lineStart = this.#scan;
      if (literal !== undefined) continue;
      const unit = this.#bytes.subarray(this.#start, lineEnd);
      this.#start = this.#scan;
      return unit;
    }
    if (this.#end - this.#lineStart > this.#maxLineBytes) tooLong();
    return undefined;
  }

  /** Length of what follows the line inside its unit; undefined if the line ends the unit. */
  #literalAt(lineEnd: number): number | undefined {
    const tailStart = Math.max(this.#lineStart, lineEnd - LITERAL_TAIL_BYTES);
    const size = LITERAL.exec(this.#bytes.toString('latin1', tailStart, lineEnd))?.[1];
    if (size === undefined) return undefined;
    const head = this.#bytes.toString('latin1', this.#start, Math.min(this.#start + 16, lineEnd));
    const isStatus = STATUS_TEXT.test(head) || /^\w+ (?:OK|NO|BAD)\b/i.test(head);
    if (isStatus && !this.#literalsInStatus) return undefined;
    if (lineEnd - this.#start + Number(size) > this.#maxUnitBytes) tooLong();
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
}

function tooLong(): never {
  throw new BackupError({
    code: 'LIMIT_EXCEEDED',
    tried: 'read',
    subject: 'the answer of the server',
    reason: 'it sends a line without end',
    remedy: 'Check that the port belongs to such a server',
  });
}
