import { createHash, type Hash } from 'node:crypto';

const CR = 0x0d;
const LF = 0x0a;
const REPLACED = 0x58;
/** What Dovecot writes for NUL. */
const REPLACED_NUL = 0x80;

/**
 * What tells messages from one another at servers that change them a little on the way in. Cyrus writes `X` for bytes
 * of a header that are not ASCII, others end lines that end with LF with CRLF; NUL is written in several ways. So bytes of
 * the header that are not ASCII count as `X`, and CR counts for nothing.
 */
export class Fingerprint {
  readonly #header: Hash = createHash('sha1');
  readonly #whole: Hash = createHash('sha1');
  #inHeader = true;
  /** Bytes of the line so far, without CR. */
  #lineBytes = 0;
  #lineFeeds = 0;
  #carriageReturns = 0;
  /** The header has bytes that a server may replace. */
  has8BitHeader = false;
  hasNul = false;
  size = 0;

  push(bytes: Uint8Array): void {
    this.size += bytes.length;
    if (!this.hasNul && bytes.includes(0)) this.hasNul = true;
    let at = 0;
    if (this.#inHeader) {
      at = this.#pushHeader(bytes);
      if (at === bytes.length) return;
    }
    const body = bytes.subarray(at);
    const clean = Buffer.allocUnsafe(body.length);
    let length = 0;
    for (const byte of body) {
      if (byte === CR) this.#carriageReturns++;
      else {
        if (byte === LF) this.#lineFeeds++;
        clean[length++] = byte === 0 ? REPLACED_NUL : byte;
      }
    }
    this.#whole.update(clean.subarray(0, length));
  }

  /** Of the header with the empty line behind it; for what has none, of all of it. Call once. */
  header(): string {
    return this.#header.digest('hex');
  }

  /** Of the whole message. Call once. */
  whole(): string {
    return this.#whole.digest('hex');
  }

  get isHeaderComplete(): boolean {
    return !this.#inHeader;
  }

  /** With all lines ended by CRLF. */
  get sizeWithCrlf(): number {
    return this.size - this.#carriageReturns + this.#lineFeeds;
  }

  /** @returns where the body begins */
  #pushHeader(bytes: Uint8Array): number {
    const clean = Buffer.allocUnsafe(bytes.length);
    let length = 0;
    let at = 0;
    while (at < bytes.length && this.#inHeader) {
      const byte = bytes[at++]!;
      if (byte === CR) {
        this.#carriageReturns++;
        continue;
      }
      if (byte >= 0x80 || byte === 0) this.has8BitHeader = true;
      clean[length++] = byte >= 0x80 || byte === 0 ? REPLACED : byte;
      if (byte === LF) {
        this.#lineFeeds++;
        if (this.#lineBytes === 0) this.#inHeader = false;
        this.#lineBytes = 0;
      } else this.#lineBytes++;
    }
    const part = clean.subarray(0, length);
    this.#header.update(part);
    this.#whole.update(part);
    return at;
  }
}

/** Of a header as a server gives it. */
export function headerFingerprint(header: Uint8Array): string {
  const fingerprint = new Fingerprint();
  fingerprint.push(header);
  return fingerprint.header();
}
