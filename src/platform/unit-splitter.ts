const CR = 0x0d;
const LF = 0x0a;
const FIRST_BYTES = 16_384;

/**
 * Splits what a server sends into units: a line together with the literals in it, without its final CRLF. Each byte is
 * looked at once, however the stream was cut. What announces a literal, and how long things may be, is the protocol's.
 */
export abstract class UnitSplitter {
  protected bytes: Buffer = Buffer.alloc(0);
  /** Where the unit begins, where the search for its end goes on, and the end of all bytes so far. */
  protected start = 0;
  protected scan = 0;
  protected lineStart = 0;
  protected end = 0;

  /** Bytes that belong to no complete unit yet. */
  get pendingBytes(): number {
    return this.end - this.start;
  }

  push(chunk: Uint8Array): void {
    this.#reserve(chunk.length);
    this.bytes.set(chunk, this.end);
    this.end += chunk.length;
  }

  /**
   * The next complete unit, or undefined when more bytes are needed. It is valid until the next push.
   *
   * @throws BackupError LIMIT_EXCEEDED when a unit without an end has grown over a limit
   */
  next(): Buffer | undefined {
    while (this.scan < this.end) {
      const found = this.bytes.subarray(0, this.end).indexOf(LF, this.scan);
      if (found === -1) {
        this.scan = this.end;
        break;
      }
      this.checkLine(found - this.lineStart, true);
      const lineEnd = found > this.lineStart && this.bytes[found - 1] === CR ? found - 1 : found;
      const literal = this.literalAt(lineEnd);
      this.scan = found + 1 + (literal ?? 0);
      this.lineStart = this.scan;
      if (literal !== undefined) continue;
      const unit = this.bytes.subarray(this.start, lineEnd);
      this.start = this.scan;
      return unit;
    }
    this.checkLine(this.end - this.lineStart, false);
    return undefined;
  }

  /** Length of what follows the line inside its unit; undefined if the line ends the unit. */
  protected abstract literalAt(lineEnd: number): number | undefined;

  /**
   * @param length of the last line, of which the end may still be missing
   * @throws BackupError LIMIT_EXCEEDED for a line, or a unit, that is too long
   */
  protected abstract checkLine(length: number, isWhole: boolean): void;

  #reserve(length: number): void {
    if (this.end + length <= this.bytes.length) return;
    const pending = this.pendingBytes;
    const grown = Buffer.allocUnsafe(Math.max(FIRST_BYTES, 2 * (pending + length)));
    this.bytes.copy(grown, 0, this.start, this.end);
    this.bytes = grown;
    this.scan -= this.start;
    this.lineStart -= this.start;
    this.start = 0;
    this.end = pending;
  }
}
