import { BackupError } from '../platform/errors.ts';
import { isDigit, latin1 } from './bytes.ts';
import { parseNumber } from './dlist.ts';
import type { FileHeader } from './file-header.ts';
import { KeyTable } from './key-table.ts';
import { DlistScanner, type ScalarKind, type ScanEvents, type ScanLimits } from './scanner.ts';

/**
 * One scalar, seen where it lies. There is one object for all of them: it is valid only inside the event that
 * hands it over; take copies of what is needed later.
 */
export class ScalarView {
  kind: ScalarKind = 'nil';
  bytes: Uint8Array = Buffer.alloc(0);
  start = 0;
  end = 0;
  /** True length of the value in bytes, escapes undone. */
  size = 0;

  get isNil(): boolean {
    return this.kind === 'nil';
  }

  /** False if the value is longer than `maxValueBytes`: its bytes were passed over; read them from the file. */
  get held(): boolean {
    return this.end - this.start === this.size;
  }

  /** One character per byte. @throws BackupError LIMIT_EXCEEDED if the value is not held. */
  latin1(): string {
    this.#mustBeHeld();
    return latin1(this.bytes, this.start, this.end);
  }

  /** Decoded as UTF-8; bytes that are not UTF-8 become U+FFFD. @throws as latin1 */
  utf8(): string {
    this.#mustBeHeld();
    const { bytes, start, end } = this;
    return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('utf8');
  }

  /** A copy of the bytes. @throws as latin1 */
  copy(): Buffer {
    this.#mustBeHeld();
    return Buffer.from(this.bytes.subarray(this.start, this.end));
  }

  /** Unsigned decimal, or undefined if it is none or above 2^53-1; see `bigint` for those. */
  number(): number | undefined {
    const length = this.end - this.start;
    if (length === 0 || length > 16 || !this.held) return undefined;
    let value = 0;
    for (let at = this.start; at < this.end; at++) {
      const byte = this.bytes[at] as number;
      if (!isDigit(byte)) return undefined;
      value = value * 10 + (byte - 0x30);
    }
    return value <= Number.MAX_SAFE_INTEGER ? value : undefined;
  }

  /** Unsigned decimal of up to 64 bits, or undefined. */
  bigint(): bigint | undefined {
    const exact = this.number();
    if (exact !== undefined) return BigInt(exact);
    if (!this.held || this.size > 20 || this.isNil) return undefined;
    return parseNumber(this.latin1());
  }

  #mustBeHeld(): void {
    if (this.held) return;
    throw new BackupError({
      code: 'LIMIT_EXCEEDED',
      tried: 'take',
      subject: `a value of ${this.size} bytes`,
      reason: 'it is longer than the parser holds',
      remedy: 'Read it from the data file at its offset',
    });
  }
}

/** Events of a value, in order. Offsets count as the caller set them with `begin`. */
export interface DlistSaxEvents {
  beginList(offset: number): void;
  beginKvlist(offset: number): void;
  /** The innermost list or kvlist ends; the offset is that of its parenthesis. */
  end(offset: number): void;
  /** Key of the value that comes next, upper-cased. */
  key(key: string, offset: number): void;
  /** Atom, flag, quoted string, literal or NIL; the offset is that of its first byte (quote or brace included). */
  scalar(value: ScalarView, offset: number): void;
  /** A file; its message's bytes lie at `contentOffset`, `file.size` of them. */
  file(file: FileHeader, contentOffset: number): void;
  /** A run of the message's bytes. */
  fileBytes?(bytes: Uint8Array, start: number, end: number): void;
  fileEnd?(): void;
}

export interface DlistSaxOptions {
  /** Longest scalar that is handed over as a whole. */
  maxValueBytes?: number;
  maxDepth?: number;
}

const DEFAULT_MAX_VALUE_BYTES = 16 << 20;

/** One for all parsers of the thread: they all see the same few keys. */
const KEYS = new KeyTable();

/** Streaming parser of one dlist value as data files hold it: in pieces, of any size, at constant memory. */
export class DlistSax {
  readonly #scanner: DlistScanner;
  #consumed = 0;

  constructor(events: DlistSaxEvents, options: DlistSaxOptions = {}) {
    const unlimited = Number.MAX_SAFE_INTEGER;
    const limits: ScanLimits = {
      maxWordBytes: unlimited,
      maxQuotedBytes: unlimited,
      maxLiteralBytes: unlimited,
      maxFileBytes: unlimited,
      maxDepth: options.maxDepth ?? 64,
      keepBytes: options.maxValueBytes ?? DEFAULT_MAX_VALUE_BYTES,
    };
    this.#scanner = new DlistScanner(new SaxAdapter(events), limits);
  }

  /** Begins a value whose first byte (or the white space before it) has this offset. */
  begin(offset: number): void {
    this.#scanner.reset();
    this.#consumed = offset;
  }

  /** Consumes bytes until the value is done or failed; returns the position of the first that it left. */
  push(bytes: Uint8Array, start: number, end: number): number {
    this.#scanner.base = this.#consumed - start;
    const at = this.#scanner.push(bytes, start, end);
    this.#consumed += at - start;
    return at;
  }

  /** Passes over bytes of a message that lie elsewhere; false if no message is under way, or less of one. */
  skipFile(count: number): boolean {
    this.#scanner.base = this.#consumed;
    if (!this.#scanner.skipFile(count)) return false;
    this.#consumed += count;
    return true;
  }

  /** The value is complete. An atom is complete only when the byte after it was seen. */
  get done(): boolean {
    return this.#scanner.done;
  }

  /** Why the bytes are no value. */
  get problem(): string | undefined {
    return this.#scanner.failure?.text;
  }

  /** After a problem: bytes of an announced literal that follow, and what the problem lies inside. */
  get following(): { literalBytes: number; inside: 'word' | 'file header' | undefined } {
    const failure = this.#scanner.failure;
    return { literalBytes: failure?.literalBytes ?? 0, inside: failure?.inside };
  }
}

class SaxAdapter implements ScanEvents {
  readonly #events: DlistSaxEvents;
  readonly #view = new ScalarView();

  constructor(events: DlistSaxEvents) {
    this.#events = events;
  }

  begin(kind: 'list' | 'kvlist', offset: number): void {
    if (kind === 'list') this.#events.beginList(offset);
    else this.#events.beginKvlist(offset);
  }

  end(offset: number): void {
    this.#events.end(offset);
  }

  key(bytes: Uint8Array, from: number, to: number, offset: number): void {
    this.#events.key(KEYS.get(bytes, from, to), offset);
  }

  scalar(kind: ScalarKind, bytes: Uint8Array, from: number, to: number, size: number, offset: number): void {
    const view = this.#view;
    view.kind = kind;
    view.bytes = bytes;
    view.start = from;
    view.end = to;
    view.size = size;
    this.#events.scalar(view, offset);
  }

  file(file: FileHeader, offset: number): void {
    this.#events.file(file, offset);
  }

  fileBytes(bytes: Uint8Array, from: number, to: number): void {
    this.#events.fileBytes?.(bytes, from, to);
  }

  fileEnd(): void {
    this.#events.fileEnd?.();
  }

  plus(): void {}
  bareLf(): void {}
  literal(): void {}
}
