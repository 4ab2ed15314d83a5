import {
  addDigit,
  BACKSLASH,
  CR,
  ENDS_ATOM,
  ENDS_QUOTED_RUN,
  FF,
  isDigit,
  LBRACE,
  LF,
  LPAREN,
  NUL,
  PERCENT,
  PLUS,
  QUOTE,
  RBRACE,
  RPAREN,
  SP,
  TAB,
  VT,
} from './bytes.ts';
import { type ParsedFileHeader, parseFileHeader } from './file-header.ts';
import type { ScalarKind, ScanEvents, ScanFailure, ScanLimits } from './scan-events.ts';
import { TokenBuffer } from './token-buffer.ts';

export type { ScalarKind, ScanEvents, ScanFailure, ScanLimits };

/** Longest `%{partition guid size}` header. */
const MAX_FILE_HEADER_BYTES = 2048;
const MAX_KEY_BYTES = 1024;
const VALUE = 0; // a value must follow, after white space
const NEXT = 1; // in a container: an item or the closing parenthesis
const BETWEEN = 2; // in a container, after an item: white space or the closing parenthesis
const AFTER_KEY = 3; // white space must follow
const ATOM = 4;
const QUOTED = 5;
const ESCAPE = 6;
const AFTER_PERCENT = 7;
const LITERAL_SIZE = 8;
const LITERAL_PLUS = 9;
const LITERAL_CLOSED = 10;
const LITERAL_CR = 11;
const LITERAL_BODY = 12;
const FILE_HEADER = 13;
const FILE_BODY = 14;
const DONE = 15;
const FAILED = 16;

const LIST = 1;
const KVLIST = 2;

const NOTHING = Buffer.alloc(0);

/**
 * Scans one dlist value that comes in pieces, at every possible split, without holding more of it than one
 * value of `keepBytes`. Grammar: Cyrus IMAP imap/dlist.c (dlist_parse) and imap/imapparse.c (getxstring), but
 * for three things that no client sends and that would break the line structure on disk: line ends between
 * items, NUL outside literals, and items that touch each other without a space.
 */
export class DlistScanner {
  /** Offset of `bytes[0]` of the next push in the caller's own counting. */
  base = 0;
  /** Values so far, containers included. */
  items = 0;
  /** Bytes of literals and files so far, without their headers. */
  literalBytes = 0;
  failure: ScanFailure | undefined;

  readonly #events: ScanEvents;
  readonly #limits: ScanLimits;
  readonly #stack: Uint8Array;
  #depth = 0;
  #state = VALUE;
  #stopped = false;
  #isKey = false;
  #kind: ScalarKind = 'atom';
  #tokenOffset = 0;
  /** Bytes of the token so far, unescaped. */
  #length = 0;
  readonly #token = new TokenBuffer();
  #number = 0;
  #digits = 0;
  #plus = false;

  constructor(events: ScanEvents, limits: ScanLimits) {
    this.#events = events;
    this.#limits = limits;
    this.#stack = new Uint8Array(limits.maxDepth);
  }

  /** Begins a new value. */
  reset(): void {
    this.#depth = 0;
    this.#state = VALUE;
    this.items = 0;
    this.literalBytes = 0;
    this.failure = undefined;
    this.#token.release();
  }

  /** Parentheses open at this moment. */
  get depth(): number {
    return this.#depth;
  }

  /** The value is complete; the byte that ended an atom is not consumed. */
  get done(): boolean {
    return this.#state === DONE;
  }

  /** The value may be complete, which the byte after it will tell: it is an atom, or an empty literal. */
  get needsNextByte(): boolean {
    return this.#state === ATOM || (this.#state === LITERAL_BODY && this.#length === this.#number);
  }

  /** Makes push return after the event that is being handled. */
  stop(): void {
    this.#stopped = true;
  }

  /** Consumes bytes until the value is complete or failed, a handler stopped it, or none are left. */
  push(bytes: Uint8Array, start: number, end: number): number {
    this.#stopped = false;
    let pos = start;
    while (pos < end && !this.#stopped) {
      switch (this.#state) {
        case NEXT:
        case VALUE:
          pos = this.#startItem(bytes[pos] as number, pos);
          break;
        case BETWEEN: {
          const byte = bytes[pos] as number;
          if (byte === SP || byte === TAB) {
            this.#state = NEXT;
            pos++;
          } else if (byte === RPAREN) {
            this.#close(pos);
            pos++;
          } else {
            return this.#malformed(pos, 'white space or a parenthesis is missing after a value');
          }
          break;
        }
        case AFTER_KEY: {
          const byte = bytes[pos] as number;
          if (byte !== SP && byte !== TAB) return this.#malformed(pos, 'a key has no value');
          this.#state = VALUE;
          pos++;
          break;
        }
        case ATOM:
          pos = this.#atom(bytes, pos, end);
          break;
        case QUOTED:
          pos = this.#quoted(bytes, pos, end);
          break;
        case ESCAPE: {
          const byte = bytes[pos] as number;
          if (byte === CR || byte === LF || byte === NUL) {
            return this.#malformed(pos, 'a quoted string is not closed');
          }
          if (++this.#length > this.#limits.maxQuotedBytes) return this.#tooLong(pos, 'quoted string');
          this.#keep(bytes, pos, pos + 1);
          this.#state = QUOTED;
          pos++;
          break;
        }
        case AFTER_PERCENT: {
          const byte = bytes[pos] as number;
          if (byte === LPAREN) {
            if (!this.#open(KVLIST))
              return this.#fail(pos, 'limit', 'too many parentheses inside one another');
          } else if (byte === LBRACE) {
            this.#state = FILE_HEADER;
          } else {
            return this.#malformed(pos, 'neither a list nor a file follows the percent sign');
          }
          pos++;
          break;
        }
        case LITERAL_SIZE:
        case LITERAL_PLUS:
        case LITERAL_CLOSED:
        case LITERAL_CR:
          pos = this.#literalHeader(bytes[pos] as number, pos);
          break;
        case LITERAL_BODY:
          pos = this.#literalBody(bytes, pos, end);
          break;
        case FILE_HEADER:
          pos = this.#fileHeader(bytes, pos, end);
          break;
        case FILE_BODY:
          pos = this.#fileBody(bytes, pos, end);
          break;
        default:
          return pos;
      }
    }
    return pos;
  }

  #startItem(byte: number, pos: number): number {
    if (byte === SP || byte === TAB) return pos + 1;
    this.#isKey = false;
    if (this.#state === NEXT) {
      if (byte === RPAREN) {
        this.#close(pos);
        return pos + 1;
      }
      this.#isKey = this.#stack[this.#depth - 1] === KVLIST;
    }
    this.#tokenOffset = this.base + pos;
    this.#length = 0;
    this.#token.clear();
    switch (byte) {
      case QUOTE:
        this.#kind = 'quoted';
        this.#state = QUOTED;
        return pos + 1;
      case LBRACE:
        this.#kind = 'literal';
        this.#state = LITERAL_SIZE;
        this.#number = 0;
        this.#digits = 0;
        this.#plus = false;
        return pos + 1;
      case LPAREN:
        if (this.#isKey) return this.#malformed(pos, 'a list stands where a key belongs');
        if (!this.#open(LIST)) return this.#fail(pos, 'limit', 'too many parentheses inside one another');
        return pos + 1;
      case PERCENT:
        if (this.#isKey) return this.#malformed(pos, 'a list or file stands where a key belongs');
        this.#state = AFTER_PERCENT;
        return pos + 1;
      case RPAREN:
      case CR:
      case LF:
      case VT:
      case FF:
      case NUL:
        return this.#malformed(pos, 'a value is missing');
      default:
        this.#kind = byte === BACKSLASH ? 'flag' : 'atom';
        this.#state = ATOM;
        return pos;
    }
  }

  #open(container: number): boolean {
    if (this.#depth === this.#stack.length) return false;
    this.#stack[this.#depth++] = container;
    this.#state = NEXT;
    this.#events.begin(container === KVLIST ? 'kvlist' : 'list', this.#tokenOffset);
    return true;
  }

  #close(pos: number): void {
    this.#depth--;
    this.#completeValue();
    this.#events.end(this.base + pos);
  }

  #completeValue(): void {
    this.items++;
    this.#state = this.#depth === 0 ? DONE : BETWEEN;
  }

  #atom(bytes: Uint8Array, pos: number, end: number): number {
    let at = pos;
    while (at < end) {
      const byte = bytes[at] as number;
      if (byte <= RPAREN && ENDS_ATOM[byte] === 1) break;
      at++;
    }
    this.#length += at - pos;
    if (this.#length > this.#limits.maxWordBytes) return this.#tooLong(pos, 'word');
    if (at === end || this.#token.used) this.#keep(bytes, pos, at);
    return at === end ? at : this.#finish(bytes, pos, at, at);
  }

  #quoted(bytes: Uint8Array, pos: number, end: number): number {
    let at = pos;
    while (at < end && ENDS_QUOTED_RUN[bytes[at] as number] === 0) at++;
    this.#length += at - pos;
    if (this.#length > this.#limits.maxQuotedBytes) return this.#tooLong(pos, 'quoted string');
    const byte = at < end ? (bytes[at] as number) : -1;
    if (byte !== QUOTE || this.#token.used) this.#keep(bytes, pos, at);
    if (byte === -1) return at;
    if (byte === QUOTE) return this.#finish(bytes, pos, at, at + 1);
    if (byte !== BACKSLASH) return this.#malformed(at, 'a quoted string is not closed');
    this.#state = ESCAPE;
    return at + 1;
  }

  #literalHeader(byte: number, pos: number): number {
    if (this.#state === LITERAL_SIZE && isDigit(byte)) {
      this.#number = addDigit(this.#number, byte);
      this.#digits++;
    } else if (this.#state === LITERAL_SIZE && byte === PLUS && this.#digits > 0) {
      this.#plus = true;
      this.#state = LITERAL_PLUS;
      this.#events.plus();
    } else if (byte === RBRACE && this.#digits > 0 && this.#state <= LITERAL_PLUS) {
      this.#state = LITERAL_CLOSED;
    } else if (byte === CR && this.#state === LITERAL_CLOSED) {
      this.#state = LITERAL_CR;
    } else if (byte === LF && this.#state >= LITERAL_CLOSED) {
      if (this.#state === LITERAL_CLOSED) this.#events.bareLf();
      return this.#literalReady(pos + 1);
    } else {
      return this.#malformed(pos, 'the size of a literal is malformed');
    }
    return pos + 1;
  }

  #literalReady(pos: number): number {
    const size = this.#number;
    const max = this.#isKey ? MAX_KEY_BYTES : this.#limits.maxLiteralBytes;
    if (size > max) {
      this.#fail(pos, 'limit', `a literal is longer than ${max} bytes`);
      this.#announce(this.#plus ? size : 0, !this.#plus);
      return pos;
    }
    this.#state = LITERAL_BODY;
    this.#events.literal(size, !this.#plus);
    return pos;
  }

  #literalBody(bytes: Uint8Array, pos: number, end: number): number {
    const at = Math.min(end, pos + this.#number - this.#length);
    this.#length += at - pos;
    this.literalBytes += at - pos;
    const whole = this.#length === this.#number;
    if (this.#number <= this.#limits.keepBytes && (!whole || this.#token.used)) this.#keep(bytes, pos, at);
    return whole ? this.#finish(bytes, pos, at, at) : at;
  }

  /** The token is complete, all of it from `from` to `to` unless it is split; `next` is where to go on. */
  #finish(bytes: Uint8Array, from: number, to: number, next: number): number {
    const size = this.#length;
    const token = this.#token;
    const source = token.used ? token.bytes : bytes;
    const first = token.used ? 0 : from;
    const last = token.used ? token.length : to;
    if (this.#isKey) {
      if (size > MAX_KEY_BYTES || size > this.#limits.keepBytes) return this.#tooLong(next, 'key');
      this.#state = AFTER_KEY;
      this.#events.key(source, first, last, this.#tokenOffset);
      return next;
    }
    const kind = this.#kind === 'atom' && size === 3 && isNil(source, first) ? 'nil' : this.#kind;
    this.#completeValue();
    if (size > this.#limits.keepBytes) this.#events.scalar(kind, NOTHING, 0, 0, size, this.#tokenOffset);
    else this.#events.scalar(kind, source, first, last, size, this.#tokenOffset);
    return next;
  }

  #fileHeader(bytes: Uint8Array, pos: number, end: number): number {
    let at = pos;
    while (at < end && bytes[at] !== LF) at++;
    this.#length += at - pos;
    if (this.#length > MAX_FILE_HEADER_BYTES) {
      return this.#tooLong(pos, 'file header');
    }
    this.#keep(bytes, pos, at);
    if (at === end) return at;
    const header = this.#token.bytes.subarray(0, this.#token.length);
    const hasCr = header.at(-1) === CR;
    const file = parseFileHeader(hasCr ? header.subarray(0, -1) : header);
    // Without a size no file follows, so the line ends here.
    if (file.size === undefined) return this.#malformed(at, file.problem ?? 'a file header is malformed');
    if (!hasCr) this.#events.bareLf();
    return this.#fileReady(file, file.size, at + 1);
  }

  #fileReady(file: ParsedFileHeader, size: number, pos: number): number {
    if (file.header === undefined || size > this.#limits.maxFileBytes) {
      const max = this.#limits.maxFileBytes;
      if (file.header === undefined) this.#malformed(pos, file.problem ?? 'a file header is malformed');
      else if (max < 0) this.#malformed(pos, 'a file stands where none belongs');
      else this.#fail(pos, 'limit', `a message is longer than ${max} bytes`);
      this.#announce(size, false);
      return pos;
    }
    this.#number = size;
    this.#length = 0;
    this.#state = FILE_BODY;
    this.#events.file(file.header, this.base + pos);
    if (size === 0) this.#fileDone(pos);
    return pos;
  }

  #fileBody(bytes: Uint8Array, pos: number, end: number): number {
    const at = Math.min(end, pos + this.#number - this.#length);
    this.#length += at - pos;
    this.literalBytes += at - pos;
    this.#events.fileBytes(bytes, pos, at);
    if (this.#length === this.#number) this.#fileDone(at);
    return at;
  }

  /**
   * Takes `count` bytes of a message that is under way for pushed: whoever has them elsewhere need not push them.
   * False if no message, or less of one, is to follow here.
   */
  skipFile(count: number): boolean {
    if (this.#state !== FILE_BODY || count > this.#number - this.#length) return false;
    this.#length += count;
    this.literalBytes += count;
    if (this.#length === this.#number) this.#fileDone(count);
    return true;
  }

  #fileDone(pos: number): void {
    this.#completeValue();
    this.#events.fileEnd(this.base + pos);
  }

  /** Copies a piece of a token, unless the token is already longer than what is handed over. */
  #keep(bytes: Uint8Array, from: number, to: number): void {
    if (this.#length > Math.max(this.#limits.keepBytes, MAX_FILE_HEADER_BYTES)) return;
    this.#token.append(bytes, from, to);
  }

  #malformed(pos: number, text: string): number {
    return this.#fail(pos, 'malformed', text);
  }

  #tooLong(pos: number, what: 'word' | 'file header' | 'quoted string' | 'key'): number {
    this.#fail(pos, 'limit', `a ${what} is too long`);
    if (this.failure && (what === 'word' || what === 'file header')) this.failure.inside = what;
    return pos;
  }

  #fail(pos: number, kind: 'malformed' | 'limit', text: string): number {
    this.#state = FAILED;
    this.failure = { kind, text, literalBytes: 0, refused: false };
    return pos;
  }

  #announce(literalBytes: number, refused: boolean): void {
    if (this.failure) {
      this.failure.literalBytes = literalBytes;
      this.failure.refused = refused;
    }
  }
}

function isNil(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === 0x4e && bytes[at + 1] === 0x49 && bytes[at + 2] === 0x4c;
}
