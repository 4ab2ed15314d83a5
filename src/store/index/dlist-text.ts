/**
 * Gathers dlist text from parser events: for the columns that hold dlist text (flags, annotations) and for
 * the fields that have no column. What comes out is how Cyrus prints the same value (`dlist_printbuf`): single
 * spaces, literals as `{n}`, also where the stored line says `{n+}`.
 */
import { isAscii } from 'node:buffer';
import type { ScalarView } from '../../csync/dlist-sax.ts';
import type { SqlText } from './sql-text.ts';

const FIRST_BYTES = 1024;
/** A buffer that one huge value has grown is given up again. */
const KEEP_BYTES = 256 * 1024;
/** Up to this length a loop is faster than a call into native code. */
const SHORT_BYTES = 64;

const SPACE = 0x20;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const LPAREN = 0x28;
const RPAREN = 0x29;
const PERCENT = 0x25;

export class DlistText {
  #buffer = Buffer.allocUnsafe(FIRST_BYTES);
  #length = 0;
  #ascii = true;
  /** A space belongs before the next item. */
  #space = false;

  get length(): number {
    return this.#length;
  }

  reset(): void {
    this.#length = 0;
    this.#ascii = true;
    this.#space = false;
    if (this.#buffer.length > KEEP_BYTES) this.#buffer = Buffer.allocUnsafe(FIRST_BYTES);
  }

  beginList(): void {
    this.#open(false);
  }

  beginKvlist(): void {
    this.#open(true);
  }

  end(): void {
    this.#reserve(1);
    this.#buffer[this.#length++] = RPAREN;
    this.#space = true;
  }

  key(key: string): void {
    this.raw(key);
  }

  /** A value that is printed already. */
  raw(text: string): void {
    this.#reserve(text.length + 1);
    this.#separate();
    for (let at = 0; at < text.length; at++) this.#put(text.charCodeAt(at));
    this.#space = true;
  }

  scalar(value: ScalarView): void {
    const { kind, bytes, start, end } = value;
    const length = end - start;
    this.#reserve(length + 32);
    this.#separate();
    this.#space = true;
    if (kind === 'nil') {
      this.#copyText('NIL');
    } else if (kind === 'atom' || kind === 'flag') {
      this.#copy(bytes, start, end);
    } else if (kind === 'literal' || !fitsQuoted(bytes, start, end)) {
      this.#copyText(`{${length}}\r\n`);
      this.#copy(bytes, start, end);
    } else {
      this.#buffer[this.#length++] = QUOTE;
      this.#copy(bytes, start, end);
      this.#buffer[this.#length++] = QUOTE;
    }
  }

  /** What was gathered, as a byte string. */
  latin1(): string {
    return this.#buffer.toString('latin1', 0, this.#length);
  }

  /** What was gathered, to be bound as `CAST(? AS TEXT)`. */
  text(): SqlText {
    if (this.#ascii) return this.latin1();
    return Buffer.from(this.#buffer.subarray(0, this.#length));
  }

  #open(kvlist: boolean): void {
    this.#reserve(3);
    this.#separate();
    if (kvlist) this.#buffer[this.#length++] = PERCENT;
    this.#buffer[this.#length++] = LPAREN;
    this.#space = false;
  }

  #separate(): void {
    if (this.#space) this.#buffer[this.#length++] = SPACE;
  }

  #copyText(text: string): void {
    for (let at = 0; at < text.length; at++) this.#buffer[this.#length++] = text.charCodeAt(at);
  }

  #copy(bytes: Uint8Array, start: number, end: number): void {
    if (end - start > SHORT_BYTES) {
      const part = bytes.subarray(start, end);
      this.#buffer.set(part, this.#length);
      this.#length += end - start;
      this.#ascii &&= isAscii(part);
      return;
    }
    for (let at = start; at < end; at++) this.#put(bytes[at] as number);
  }

  #put(byte: number): void {
    this.#buffer[this.#length++] = byte;
    if (byte > 0x7f) this.#ascii = false;
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#length + bytes, this.#buffer.length * 2));
    grown.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = grown;
  }
}

/** Cyrus writes no escapes: what would need one goes into a literal. */
function fitsQuoted(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte === QUOTE || byte === BACKSLASH) return false;
  }
  return true;
}
