import { CR, LF, latin1, SP } from './bytes.ts';
import { announcedLiteral, commandWords } from './command-line.ts';
import { parseFileHeader } from './file-header.ts';
import { upperCase } from './key-table.ts';
import type { BadCommand } from './limits.ts';
import type { LineSkipper } from './skipper.ts';

/** What a line, or its beginning, turned out to be. */
export type Gathered =
  /** `APPLY ` or `GET ` was read: a name and a value follow. */
  | { kind: 'value'; word: 'APPLY' | 'GET' }
  | { kind: 'command'; word: string; args: string[]; sent: string }
  | { kind: 'line'; text: string }
  | { kind: 'continuation' }
  /** Skip the rest with the skipper, unless it is done. */
  | { kind: 'bad'; reason: BadCommand };

const FIRST_BYTES = 128;
const WORD = 0; // up to the first white space
const REST = 1;
const LITERAL = 2;
const RESPONSE = 3;
const OVERLONG_RESPONSE = 4;

/** Gathers short lines: commands other than APPLY and GET with their literals, and SASL responses. */
export class CommandGatherer {
  readonly #maxBytes: number;
  readonly #skipper: LineSkipper;
  #line: Buffer = Buffer.allocUnsafe(FIRST_BYTES);
  #length = 0;
  /** Where the current line within the command begins: after the last literal. */
  #segment = 0;
  #literal = 0;
  #state = WORD;
  #found: Gathered | undefined;

  constructor(maxBytes: number, skipper: LineSkipper) {
    this.#maxBytes = maxBytes;
    this.#skipper = skipper;
  }

  expectLine(): void {
    this.#state = RESPONSE;
  }

  reset(): void {
    this.#length = 0;
    this.#segment = 0;
    this.#state = WORD;
    if (this.#line.length > FIRST_BYTES) this.#line = Buffer.allocUnsafe(FIRST_BYTES);
  }

  /** What the last push found, once. */
  take(): Gathered | undefined {
    const found = this.#found;
    this.#found = undefined;
    return found;
  }

  /** Consumes bytes until it finds something or none are left. */
  push(bytes: Uint8Array, start: number, end: number): number {
    let pos = start;
    while (pos < end && this.#found === undefined) {
      if (this.#state === LITERAL) {
        const take = Math.min(this.#literal, end - pos);
        this.#append(bytes, pos, pos + take);
        pos += take;
        this.#literal -= take;
        if (this.#literal === 0) this.#segmentStarts();
        continue;
      }
      let at = pos;
      const stop = this.#state === WORD ? SP : LF;
      while (at < end && bytes[at] !== LF && bytes[at] !== stop) at++;
      if (this.#state === OVERLONG_RESPONSE) {
        if (at < end) this.reset();
        pos = Math.min(end, at + 1);
        continue;
      }
      if (this.#length + at - pos > this.#maxBytes) return this.#tooLong(bytes, pos);
      this.#append(bytes, pos, at);
      pos = at;
      if (at === end) break;
      if (bytes[at] === LF) pos = this.#lineEnd(pos);
      else pos = this.#wordEnd(pos);
    }
    return pos;
  }

  #wordEnd(pos: number): number {
    const word = this.#length <= 5 ? upperCase(latin1(this.#line, 0, this.#length)) : '';
    if (word === 'APPLY' || word === 'GET') {
      this.reset();
      this.#found = { kind: 'value', word };
      return pos + 1;
    }
    this.#state = REST;
    return pos;
  }

  #lineEnd(pos: number): number {
    let end = this.#length;
    if (end > this.#segment && this.#line[end - 1] === CR) end--;
    if (this.#state === RESPONSE) {
      const text = latin1(this.#line, 0, end);
      this.reset();
      this.#found = { kind: 'line', text };
      return pos + 1;
    }
    const literal = announcedLiteral(this.#line, this.#segment, end);
    if (literal !== undefined) return this.#announced(literal.size, literal.synchronising, pos + 1);
    const fileBytes = announcedFile(this.#line.subarray(this.#segment, end));
    if (fileBytes !== undefined) {
      return this.#bad({ kind: 'malformed', text: 'a file stands where none belongs' }, fileBytes, pos + 1);
    }
    this.#complete(this.#line.subarray(0, end));
    return pos + 1;
  }

  #complete(line: Buffer): void {
    const [sent, ...args] = commandWords(line);
    const first = line[0];
    this.reset();
    if (sent === undefined || first === SP) {
      this.#found = { kind: 'bad', reason: { kind: 'empty', text: 'Null command' } };
      return;
    }
    const word = upperCase(sent);
    if (word === 'APPLY' || word === 'GET') {
      const text = `Missing required argument to ${word === 'GET' ? 'Get' : 'Apply'}`;
      this.#found = { kind: 'bad', reason: { kind: 'malformed', text } };
      return;
    }
    this.#found = { kind: 'command', word, args, sent };
  }

  #announced(size: number, synchronising: boolean, pos: number): number {
    if (this.#length + 1 + size > this.#maxBytes) {
      const reason: BadCommand = { kind: 'limit', text: `a command is longer than ${this.#maxBytes} bytes` };
      if (!synchronising) return this.#bad(reason, size, pos);
      this.reset();
      this.#found = { kind: 'bad', reason };
      return pos;
    }
    this.#append(Buffer.of(LF), 0, 1);
    this.#literal = size;
    this.#state = LITERAL;
    if (size === 0) this.#segmentStarts();
    if (synchronising) this.#found = { kind: 'continuation' };
    return pos;
  }

  #segmentStarts(): void {
    this.#segment = this.#length;
    this.#state = REST;
  }

  #bad(reason: BadCommand, literalBytes: number, pos: number): number {
    this.#skipper.begin(literalBytes);
    this.reset();
    this.#found = { kind: 'bad', reason };
    return pos;
  }

  #tooLong(_bytes: Uint8Array, pos: number): number {
    const reason: BadCommand = { kind: 'limit', text: `a command is longer than ${this.#maxBytes} bytes` };
    if (this.#state === RESPONSE) {
      this.reset();
      this.#state = OVERLONG_RESPONSE;
      this.#found = { kind: 'bad', reason };
      return pos;
    }
    // What was gathered of this line may hold the beginning of a literal's size.
    this.#skipper.begin();
    this.#skipper.push(this.#line, this.#segment, this.#length);
    this.reset();
    this.#found = { kind: 'bad', reason };
    return pos;
  }

  #append(bytes: Uint8Array, from: number, to: number): void {
    const length = this.#length + to - from;
    if (length > this.#line.length) {
      const grown = Buffer.allocUnsafe(Math.max(length, this.#line.length * 2));
      grown.set(this.#line.subarray(0, this.#length));
      this.#line = grown;
    }
    this.#line.set(bytes.subarray(from, to), this.#length);
    this.#length = length;
  }
}

/** Bytes of the message that a file header at the end of a line announces, if there is one. */
function announcedFile(line: Buffer): number | undefined {
  const at = line.lastIndexOf('%{', undefined, 'latin1');
  return at === -1 ? undefined : parseFileHeader(line.subarray(at + 2)).size;
}
