/** Bytes of mail as text: whatever charset it says, and something sensible where it says none or one that nobody knows. */
import { isUtf8 } from 'node:buffer';
import { TextDecoder } from 'node:util';

/** What mail that does not say is in, if it is no UTF-8. */
const FALLBACK = 'windows-1252';
/** Those in which bytes below 0x80 are not always ASCII. */
const NOT_ASCII = /^(?:utf-?16|utf-?7|ucs-?2|iso-2022|csiso2022|hz-gb|unicode)/i;
/** A hostile message may name any number of charsets. */
const MAX_DECODERS = 64;

const decoders = new Map<string, TextDecoder | undefined>();

/** Never fails: what is no text in the charset becomes U+FFFD. */
export function decodeBytes(bytes: Uint8Array, charset: string | undefined): string {
  const decoder = charset === undefined ? undefined : decoderFor(charset);
  if (decoder !== undefined) return decoder.decode(bytes);
  return isUtf8(bytes) ? Buffer.from(bytes).toString('utf8') : decoderFor(FALLBACK)!.decode(bytes);
}

/** Bytes that were read as one character each. */
export function decodeLatin1(text: string, charset?: string): string {
  if (isAscii(text) && (charset === undefined || !NOT_ASCII.test(charset))) return text;
  return decodeBytes(Buffer.from(text, 'latin1'), charset);
}

export function isAscii(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what ASCII is
  return !/[^\x00-\x7f]/.test(text);
}

/** One that is not kept: it can be used for a stream. Undefined for a charset that nobody knows. */
export function newDecoder(charset: string): TextDecoder | undefined {
  try {
    return new TextDecoder(charset.trim());
  } catch {
    return undefined;
  }
}

function decoderFor(charset: string): TextDecoder | undefined {
  const name = charset.toLowerCase();
  if (!decoders.has(name)) {
    if (decoders.size >= MAX_DECODERS) decoders.clear();
    decoders.set(name, newDecoder(name));
  }
  return decoders.get(name);
}

/** Text that comes in pieces of latin1 characters, in one charset. */
export class CharsetStream {
  readonly #isAsciiBelow80: boolean;
  #decoder: TextDecoder | undefined;
  /** The decoder holds the beginning of a character. */
  #isInside = false;

  constructor(charset: string | undefined) {
    this.#decoder = charset === undefined ? undefined : newDecoder(charset);
    this.#isAsciiBelow80 = charset === undefined || !NOT_ASCII.test(charset);
  }

  push(text: string): string {
    const isPlain = this.#isAsciiBelow80 && isAscii(text);
    if (isPlain && !this.#isInside) return text;
    const bytes = Buffer.from(text, 'latin1');
    // What does not say is judged by the first bytes that are no ASCII.
    this.#decoder ??= new TextDecoder(looksLikeUtf8(bytes) ? 'utf-8' : FALLBACK);
    this.#isInside = !isPlain;
    return this.#decoder.decode(bytes, { stream: true });
  }

  finish(): string {
    return this.#decoder?.decode() ?? '';
  }
}

/** Up to where its last character may be cut off. */
function looksLikeUtf8(bytes: Uint8Array): boolean {
  for (let cut = 0; cut < 4 && cut < bytes.length; cut++) {
    if (isUtf8(bytes.subarray(0, bytes.length - cut))) return bytes.length - cut > 0;
  }
  return false;
}
