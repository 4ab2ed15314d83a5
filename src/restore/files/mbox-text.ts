/**
 * Messages as they stand in an mbox file. The form is mboxrd: a line that is `From ` behind any number of `>` gets one `>`
 * more, so taking one away gives back what was there (RFC 4155 names the family; qmail's mbox(5) this member of it).
 */
import type { StoredRecord } from '../source.ts';

const LF = 0x0a;
const CR = 0x0d;
const GT = 0x3e;
const FROM = Buffer.from('From ');
const OUTPUT_BYTES = 128 * 1024;
/** What one byte of input becomes at most: a held CR, held `From`, `>` and itself. */
const MAX_STEP_BYTES = 8;

/** `crlf`: each line end is CR LF in the message and LF in the file; `asis`: the message has a bare LF, so nothing is changed. */
export type LineEnds = 'crlf' | 'asis';

/** Quotes one message that comes in pieces. */
export class MboxQuoter {
  readonly #ends: LineEnds;
  readonly #write: (bytes: Uint8Array) => void;
  readonly #output = new Uint8Array(OUTPUT_BYTES);
  #at = 0;
  /** Nothing but `>` since the last line end. */
  #isLineStart = true;
  /** Bytes of `From ` that are held back. */
  #matched = 0;
  #holdsCr = false;
  #last = 0;
  /** A LF without a CR was found: the message is to be written again with `asis`. */
  foundBareLf = false;

  /** @param write gets bytes that are valid during the call */
  constructor(ends: LineEnds, write: (bytes: Uint8Array) => void) {
    this.#ends = ends;
    this.#write = write;
  }

  /** @returns false if it is of no use to go on */
  push(bytes: Uint8Array): boolean {
    for (let i = 0; i < bytes.length; ) {
      if (this.#at > OUTPUT_BYTES - MAX_STEP_BYTES) this.#flush();
      if (!this.#isLineStart && !this.#holdsCr) i = this.#restOfLine(bytes, i);
      if (i < bytes.length) this.#byte(bytes[i++]!);
    }
    return !(this.#ends === 'crlf' && this.foundBareLf);
  }

  /** The end of the message, with the line end that it may lack and the empty line behind it. */
  end(): void {
    this.#release();
    if (this.#holdsCr) this.#put(CR);
    if (this.#last !== LF) this.#put(LF);
    this.#put(LF);
    this.#flush();
  }

  /** Copies up to what may be a line end. @returns where that is */
  #restOfLine(bytes: Uint8Array, from: number): number {
    const lf = bytes.indexOf(LF, from);
    let end = lf === -1 ? bytes.length : lf;
    if (end > from && bytes[end - 1] === CR) end--;
    end = Math.min(end, from + OUTPUT_BYTES - MAX_STEP_BYTES - this.#at);
    if (end <= from) return from;
    this.#output.set(bytes.subarray(from, end), this.#at);
    this.#at += end - from;
    this.#last = bytes[end - 1]!;
    return end;
  }

  #byte(byte: number): void {
    if (this.#holdsCr) {
      this.#holdsCr = false;
      if (byte === LF) {
        this.#put(LF);
        this.#isLineStart = true;
        return;
      }
      this.#put(CR);
    }
    if (this.#isLineStart) {
      if (byte === FROM[this.#matched]) {
        if (++this.#matched < FROM.length) return;
        this.#put(GT);
        this.#release();
        this.#isLineStart = false;
        return;
      }
      if (byte === GT && this.#matched === 0) {
        this.#put(GT);
        return;
      }
      this.#release();
      this.#isLineStart = false;
    }
    if (byte === CR && this.#ends === 'crlf') this.#holdsCr = true;
    else {
      if (byte === LF) {
        if (this.#last !== CR) this.foundBareLf = true;
        this.#isLineStart = true;
      }
      this.#put(byte);
    }
  }

  #release(): void {
    for (let i = 0; i < this.#matched; i++) this.#put(FROM[i]!);
    this.#matched = 0;
  }

  #put(byte: number): void {
    this.#output[this.#at++] = byte;
    this.#last = byte;
  }

  #flush(): void {
    this.#write(this.#output.subarray(0, this.#at));
    this.#at = 0;
  }
}

const STATUS: Readonly<Record<string, string>> = {
  '\\answered': 'A',
  '\\flagged': 'F',
  '\\draft': 'T',
  '\\deleted': 'D',
};

/** What the first message of a file says of the mailbox. */
export interface MboxBase {
  uidvalidity: number;
  lastUid: number;
  keywords: readonly string[];
}

/**
 * The From_ line and the header fields before the message's own. X-Csync-Backup is the last of them, and says what is
 * needed to get the message back byte for byte.
 */
export function mboxHead(
  { uid, guid, flags, internaldate }: StoredRecord,
  size: number,
  ends: LineEnds,
  base: MboxBase | undefined,
): Buffer {
  const lower = flags.map((flag) => flag.toLowerCase());
  const status = lower.map((flag) => STATUS[flag] ?? '').join('');
  const keywords = flags.filter((flag) => flag.toLowerCase() !== '\\seen' && !(flag.toLowerCase() in STATUS));
  const lines = [`From MAILER-DAEMON ${asctime(internaldate)}`];
  if (base !== undefined) {
    const { uidvalidity, lastUid } = base;
    const names = base.keywords.map((name) => ` ${name}`).join('');
    lines.push(`X-IMAPbase: ${uidvalidity} ${String(lastUid).padStart(10, '0')}${names}`);
  }
  lines.push(`X-UID: ${uid}`, `Status: ${lower.includes('\\seen') ? 'RO' : 'O'}`);
  if (status !== '') lines.push(`X-Status: ${status}`);
  if (keywords.length > 0) lines.push(`X-Keywords: ${keywords.join(' ')}`);
  lines.push(`X-Csync-Backup: guid=${guid} size=${size} lines=${ends}`, '');
  return Buffer.from(lines.join('\n'), 'latin1');
}

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** As C's asctime() in UTC: `Thu Nov  5 14:00:00 2026`. */
function asctime(seconds: number): string {
  const date = new Date(seconds * 1000);
  const time = date.toISOString().slice(11, 19);
  const day = String(date.getUTCDate()).padStart(2, ' ');
  return `${DAYS[date.getUTCDay()]} ${MONTHS[date.getUTCMonth()]} ${day} ${time} ${date.getUTCFullYear()}`;
}
