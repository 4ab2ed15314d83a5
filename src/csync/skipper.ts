import { addDigit, CR, ENDS_ATOM, isDigit, LBRACE, LF, NUL, PERCENT, PLUS, RBRACE, SP } from './bytes.ts';

const TEXT = 0;
const LITERAL = 1; // after the brace that may begin a literal's size
const LITERAL_PLUS = 2;
const FILE = 3; // inside what may be a file header; the last word counts
const CLOSED = 4; // after the closing brace
const CLOSED_CR = 5;
const BODY = 6;
const OVER = 7;

/**
 * Skips the rest of a line that cannot be parsed, in step with the sender: whatever literals and files it
 * announces are counted past, never looked into, so that no text inside a message can pass for a command.
 *
 * A literal is announced where a brace at the start of a token holds a size and ends the line. Inside a quoted
 * string or an atom that cannot happen: a quote follows, or the brace is not at the start.
 */
export class LineSkipper {
  readonly #synchronising: boolean;
  #state = OVER;
  /** NUL: nothing that a token could go on from. */
  #previous = NUL;
  #number = 0;
  #digits = 0;
  #word = true;
  #plus = false;
  #file = false;

  /** `synchronising`: the sender of a `{n}` waits for a go-ahead that does not come, so the line ends there. */
  constructor(synchronising: boolean) {
    this.#synchronising = synchronising;
  }

  /** Begins before `literalBytes` that are already announced, or inside a word or a file header. */
  begin(literalBytes = 0, inside?: 'word' | 'file header'): void {
    const inFileHeader = inside === 'file header';
    this.#previous = inside === undefined ? NUL : 0x61;
    this.#number = literalBytes;
    this.#state = literalBytes > 0 ? BODY : inFileHeader ? FILE : TEXT;
    this.#file = inFileHeader;
    this.#digits = 0;
    this.#word = !inFileHeader;
  }

  /** The line is over. */
  get done(): boolean {
    return this.#state === OVER;
  }

  /** Consumes bytes up to the end of the line or of the bytes. */
  push(bytes: Uint8Array, start: number, end: number): number {
    let pos = start;
    while (pos < end && this.#state !== OVER) {
      if (this.#state === BODY) {
        const take = Math.min(end - pos, this.#number);
        pos += take;
        this.#number -= take;
        if (this.#number === 0) this.#afterBody();
      } else {
        this.#byte(bytes[pos++] as number);
      }
    }
    return pos;
  }

  #byte(byte: number): void {
    const previous = this.#previous;
    this.#previous = byte;
    if (byte === LF) {
      this.#lineEnd();
    } else if (this.#state === TEXT || byte === LBRACE) {
      this.#text(byte, previous);
    } else if (this.#state === LITERAL) {
      this.#literal(byte);
    } else if (this.#state === FILE) {
      this.#fileHeader(byte);
    } else if (this.#state === LITERAL_PLUS) {
      this.#state = byte === RBRACE ? CLOSED : TEXT;
    } else {
      this.#state = this.#state === CLOSED && byte === CR ? CLOSED_CR : TEXT;
    }
  }

  #text(byte: number, previous: number): void {
    if (byte !== LBRACE) return;
    this.#file = previous === PERCENT;
    this.#number = 0;
    this.#digits = 0;
    this.#plus = false;
    this.#word = false;
    if (this.#file) this.#state = FILE;
    else this.#state = ENDS_ATOM[previous] === 1 ? LITERAL : TEXT;
  }

  #literal(byte: number): void {
    if (isDigit(byte)) {
      this.#number = addDigit(this.#number, byte);
      this.#digits++;
    } else if (byte === PLUS && this.#digits > 0) {
      this.#plus = true;
      this.#state = LITERAL_PLUS;
    } else {
      this.#state = byte === RBRACE && this.#digits > 0 ? CLOSED : TEXT;
    }
  }

  #fileHeader(byte: number): void {
    if (byte === SP) {
      this.#number = 0;
      this.#digits = 0;
      this.#word = true;
    } else if (isDigit(byte)) {
      this.#number = addDigit(this.#number, byte);
      this.#digits++;
    } else if (byte === RBRACE && this.#word && this.#digits > 0) {
      this.#state = CLOSED;
    } else {
      this.#word = false;
    }
  }

  #lineEnd(): void {
    const announced = this.#state === CLOSED || this.#state === CLOSED_CR;
    const refused = !this.#file && !this.#plus && this.#synchronising;
    if (!announced || refused) this.#state = OVER;
    else if (this.#number > 0) this.#state = BODY;
    else this.#afterBody();
  }

  #afterBody(): void {
    this.#state = TEXT;
    this.#previous = NUL;
  }
}
