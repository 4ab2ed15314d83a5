import { CR, HASH, isDigit, LF, latin1, SP } from './bytes.ts';
import { DlistSax, type DlistSaxEvents, type DlistSaxOptions } from './dlist-sax.ts';
import { upperCase } from './key-table.ts';
import { LineSkipper } from './skipper.ts';

/** The head of a line of a data file: `UNIXTIME COMMAND VERB`. */
export interface LineStart {
  /** Offset of the line's first byte. */
  offset: number;
  /** Seconds since 1970. */
  time: number;
  /** `APPLY`, `NOTE`, or what else stands there, upper-cased. */
  command: string;
  /** Upper-cased. */
  verb: string;
  /** Offset of the verb's first byte: the start of the command's text. */
  textOffset: number;
  /** Offset of the value's first byte. */
  valueOffset: number;
  /**
   * The parser lost its place before this line and found it again by its looks alone, so it may be text
   * inside a damaged message. True until the parser is reset.
   */
  resynchronised: boolean;
}

export interface MalformedLine {
  /** Offset of the line's first byte. */
  offset: number;
  /** `torn`: the content ends inside the line. */
  kind: 'malformed' | 'torn';
  reason: string;
  /** lineStart was reported for it; no lineEnd follows. */
  started: boolean;
}

/** Between lineStart and lineEnd come the events of the line's value. */
export interface LineEvents extends DlistSaxEvents {
  lineStart(line: LineStart): void;
  /** The line is complete; the offset is that of the byte after it. */
  lineEnd(offset: number): void;
  malformed(line: MalformedLine): void;
}

const ignore = (): void => {};

/** Does nothing: for who wants to be told of some of it only. */
export const NO_LINE_EVENTS: LineEvents = {
  lineStart: ignore,
  lineEnd: ignore,
  malformed: ignore,
  beginList: ignore,
  beginKvlist: ignore,
  end: ignore,
  key: ignore,
  scalar: ignore,
  file: ignore,
};

const MAX_HEAD_BYTES = 256;

const LINE_START = 0;
const HEAD = 1;
const VALUE = 2;
const LINE_END = 3;
const COMMENT = 4;
const SKIP = 5;
const SEARCH_LF = 6; // lost: looking for a line end
const SEARCH_HEAD = 7; // lost: at a line start that may be one of ours

const HEAD_PATTERN = /^([0-9]{1,15}) +([A-Za-z_]+) +([A-Za-z_-]+) +$/;
const LOST_PATTERN = /^[0-9]{1,15} (APPLY|NOTE) [A-Z_]+ $/;

/**
 * Parses the content of chunks, in pieces: `UNIXTIME COMMAND VERB dlist CRLF` and `# comment` lines. A
 * malformed line is reported and skipped, literals counted past; if what follows is no line either, the parser
 * has lost its place and goes on at the next line that begins with digits and `APPLY` or `NOTE`.
 *
 * The format is that of Cyrus Backups (backup/lcb_append.c, lcb_read.c); a bare LF ends a line too.
 */
export class LineParser {
  readonly #events: LineEvents;
  readonly #sax: DlistSax;
  readonly #skipper = new LineSkipper(false);
  readonly #head: Buffer = Buffer.alloc(MAX_HEAD_BYTES);
  #headLength = 0;
  #state = LINE_START;
  #offset = 0;
  #lineOffset = 0;
  #started = false;
  #resynchronised = false;
  #sawCr = false;
  #completeEnd = 0;

  constructor(events: LineEvents, options?: DlistSaxOptions) {
    this.#events = events;
    this.#sax = new DlistSax(events, options);
  }

  /** Begins at a line start with this offset, as at the start of a chunk. */
  reset(offset: number): void {
    this.#state = LINE_START;
    this.#offset = offset;
    this.#completeEnd = offset;
    this.#started = false;
    this.#resynchronised = false;
  }

  /** Offset after the last complete line (comments are lines). */
  get completeEnd(): number {
    return this.#completeEnd;
  }

  /** Offset of the next byte to be pushed. */
  get offset(): number {
    return this.#offset;
  }

  /** Consumes all of the bytes. */
  push(bytes: Uint8Array, start = 0, end: number = bytes.length): void {
    let pos = start;
    while (pos < end) {
      const next = this.#step(bytes, pos, end);
      this.#offset += next - pos;
      pos = next;
      this.#settle();
    }
  }

  /**
   * Passes over bytes of a message that is under way, as if they had been pushed, but without fileBytes events.
   *
   * @throws RangeError if no message, or less of one, is to follow here
   */
  skipFile(count: number): void {
    if (this.#state !== VALUE || !this.#sax.skipFile(count)) {
      throw new RangeError(`${count} bytes are no part of a message at ${this.#offset}`);
    }
    this.#offset += count;
    this.#settle();
  }

  /**
   * Content is missing here (a damaged segment); the next byte pushed has this offset. The line that was
   * under way is reported, and the search for a line begins.
   */
  gap(offset: number): void {
    if (this.#state !== LINE_START && this.#state < SKIP)
      this.#report('malformed', 'content is missing inside it');
    this.#offset = offset;
    this.#lost();
    this.#state = SEARCH_HEAD;
  }

  /** The content ends: reports the line that is not complete. */
  end(): void {
    if (this.#state !== LINE_START && this.#state < SKIP) this.#report('torn', 'the content ends inside it');
    this.#state = LINE_START;
    this.#started = false;
  }

  /** Position after what was consumed; state changes that depend on the offset are left to #settle. */
  #step(bytes: Uint8Array, pos: number, end: number): number {
    switch (this.#state) {
      case LINE_START:
        this.#lineOffset = this.#offset;
        this.#headLength = 0;
        if (bytes[pos] === HASH) {
          this.#state = COMMENT;
          return pos + 1;
        }
        this.#state = HEAD;
        return pos;
      case HEAD:
        return this.#stepHead(bytes, pos, end);
      case VALUE:
        return this.#sax.push(bytes, pos, end);
      case LINE_END:
        return this.#stepLineEnd(bytes[pos] as number, pos);
      case COMMENT:
      case SEARCH_LF:
        return this.#stepToLf(bytes, pos, end);
      case SKIP:
        return this.#skipper.push(bytes, pos, end);
      default:
        return this.#stepSearchHead(bytes[pos] as number, pos);
    }
  }

  #settle(): void {
    if (this.#state === VALUE) {
      if (this.#sax.done) {
        this.#state = LINE_END;
        this.#sawCr = false;
      } else if (this.#sax.problem !== undefined) {
        this.#report('malformed', this.#sax.problem);
        const { literalBytes, inside } = this.#sax.following;
        this.#skip(literalBytes, inside);
      }
    } else if (this.#state === SKIP && this.#skipper.done) {
      this.#state = LINE_START;
    } else if (this.#state === LINE_START && this.#started) {
      this.#started = false;
      this.#completeEnd = this.#offset;
      this.#events.lineEnd(this.#offset);
    } else if (this.#state === LINE_START) {
      // A comment ended.
      this.#completeEnd = Math.max(this.#completeEnd, this.#offset);
    }
  }

  #stepHead(bytes: Uint8Array, pos: number, end: number): number {
    // Three words and the white space after them; the value begins at the first byte that is none of it.
    let at = pos;
    while (at < end) {
      const byte = bytes[at] as number;
      const blank = byte === SP;
      if (this.#headLength > 0 && !blank && this.#head[this.#headLength - 1] === SP && this.#headComplete()) {
        return this.#begin(at - pos, at);
      }
      if (byte === LF || this.#headLength === MAX_HEAD_BYTES) return this.#badHead(at);
      if (this.#headLength === 0 && !isDigit(byte)) return this.#badHead(at);
      this.#head[this.#headLength++] = byte;
      at++;
    }
    return at;
  }

  #headComplete(): boolean {
    let words = 0;
    for (let at = 1; at < this.#headLength; at++) {
      if (this.#head[at] === SP && this.#head[at - 1] !== SP) words++;
    }
    return words === 3;
  }

  #begin(consumed: number, at: number): number {
    const match = HEAD_PATTERN.exec(latin1(this.#head, 0, this.#headLength));
    if (match === null) return this.#badHead(at);
    const [whole, time, command, verb] = match as unknown as [string, string, string, string];
    const textOffset = this.#lineOffset + whole.lastIndexOf(verb);
    this.#started = true;
    this.#events.lineStart({
      offset: this.#lineOffset,
      time: Number(time),
      command: upperCase(command),
      verb: upperCase(verb),
      textOffset,
      valueOffset: this.#offset + consumed,
      resynchronised: this.#resynchronised,
    });
    this.#sax.begin(this.#offset + consumed);
    this.#state = VALUE;
    return at;
  }

  #badHead(at: number): number {
    this.#report('malformed', 'it does not begin with a time, a command and a name');
    this.#lost();
    return at;
  }

  #stepLineEnd(byte: number, pos: number): number {
    if (byte === CR && !this.#sawCr) {
      this.#sawCr = true;
      return pos + 1;
    }
    if (byte === LF) {
      this.#state = LINE_START;
      return pos + 1;
    }
    this.#report('malformed', 'something follows its value');
    this.#skip(0, undefined);
    return pos;
  }

  #stepToLf(bytes: Uint8Array, pos: number, end: number): number {
    let lf = pos;
    while (lf < end && bytes[lf] !== LF) lf++;
    if (lf === end) return end;
    this.#state = this.#state === COMMENT ? LINE_START : SEARCH_HEAD;
    this.#headLength = 0;
    return lf + 1;
  }

  #stepSearchHead(byte: number, pos: number): number {
    if (this.#headLength === 0) this.#lineOffset = this.#offset;
    if (byte === LF) {
      this.#headLength = 0;
      return pos + 1;
    }
    this.#head[this.#headLength++] = byte;
    if (byte === SP && LOST_PATTERN.test(latin1(this.#head, 0, this.#headLength))) {
      this.#state = HEAD;
      this.#resynchronised = true;
    } else if (!couldBeHead(this.#head, this.#headLength)) {
      this.#state = SEARCH_LF;
    }
    return pos + 1;
  }

  #report(kind: 'malformed' | 'torn', reason: string): void {
    const started = this.#started;
    this.#started = false;
    this.#events.malformed({ offset: this.#lineOffset, kind, reason, started });
  }

  #skip(literalBytes: number, inside: 'word' | 'file header' | undefined): void {
    this.#skipper.begin(literalBytes, inside);
    this.#state = SKIP;
  }

  #lost(): void {
    this.#started = false;
    this.#state = SEARCH_LF;
    this.#headLength = 0;
  }
}

function couldBeHead(head: Buffer, length: number): boolean {
  if (length > 64) return false;
  return isDigit(head[0] as number);
}
