/**
 * The content of a chunk without the bytes of its messages, which were hashed on the way: all that an index is
 * made of, in a hundredth of the size. Threads that read chunks hand it to the one that writes the index.
 */
import { createHash, type Hash } from 'node:crypto';
import type { FileHeader } from '../csync/file-header.ts';
import { LineParser, NO_LINE_EVENTS } from '../csync/line-parser.ts';

export interface CondensedContent {
  /** The content, messages left out. */
  text: Uint8Array<ArrayBuffer>;
  /** Pairs: position in `text`, and how many bytes of a message are left out there. In order. */
  skips: Float64Array<ArrayBuffer>;
  /** For each message in order: 1 if its bytes are what its GUID says. */
  verdicts: Uint8Array<ArrayBuffer>;
}

/** A chunk with more text than this is read again by whoever needs it, instead of being handed over. */
const MAX_TEXT_BYTES = 8 << 20;

export class Condenser {
  readonly #parser: LineParser;
  readonly #text = new GrowingBytes();
  #skips: number[] = [];
  #verdicts: number[] = [];
  #guid = '';
  #sha1: Hash | undefined;
  /** Where in the block that is being pushed the bytes not copied yet begin. */
  #copied = 0;
  #isTooLong = false;

  constructor() {
    this.#parser = new LineParser({
      ...NO_LINE_EVENTS,
      file: (file: FileHeader) => {
        this.#guid = file.guid;
        this.#sha1 = createHash('sha1');
      },
      fileBytes: (bytes, start, end) => this.#fileBytes(bytes, start, end),
      fileEnd: () => this.#verdicts.push(this.#sha1?.digest('hex') === this.#guid ? 1 : 0),
    });
  }

  /** Begins with the content of another chunk. */
  reset(): void {
    this.#parser.reset(0);
    this.#text.clear();
    this.#skips = [];
    this.#verdicts = [];
    this.#isTooLong = false;
  }

  push(bytes: Uint8Array): void {
    if (this.#isTooLong) return;
    this.#copied = 0;
    this.#parser.push(bytes);
    this.#copy(bytes, bytes.length);
    if (this.#text.length > MAX_TEXT_BYTES) this.#isTooLong = true;
  }

  /** Undefined if there is too much text, or if more than `contentLength` bytes were pushed. */
  finish(contentLength: number): CondensedContent | undefined {
    if (this.#isTooLong || this.#parser.offset !== contentLength) return undefined;
    return {
      text: this.#text.copy(),
      skips: Float64Array.from(this.#skips),
      verdicts: Uint8Array.from(this.#verdicts),
    };
  }

  #fileBytes(bytes: Uint8Array, start: number, end: number): void {
    this.#sha1?.update(bytes.subarray(start, end));
    this.#copy(bytes, start);
    this.#copied = end;
    const at = this.#text.length;
    if (this.#skips.at(-2) === at) this.#skips[this.#skips.length - 1]! += end - start;
    else this.#skips.push(at, end - start);
  }

  #copy(bytes: Uint8Array, end: number): void {
    this.#text.append(bytes.subarray(this.#copied, end));
    this.#copied = end;
  }
}

/**
 * Pushes condensed content into a parser whose `fileEnd` events ask for the verdicts in the same order.
 *
 * @param limit bytes of the content; what is behind is left out. Not inside a message.
 */
export function pushCondensed(parser: LineParser, { text, skips }: CondensedContent, limit: number): void {
  let at = 0;
  let left = limit;
  const push = (end: number): void => {
    const to = Math.min(end, at + left);
    parser.push(text, at, to);
    left -= to - at;
    at = to;
  };
  for (let i = 0; i < skips.length && left > 0; i += 2) {
    push(skips[i]!);
    if (left <= 0) return;
    parser.skipFile(skips[i + 1]!);
    left -= skips[i + 1]!;
  }
  push(text.length);
}

/** How much memory it takes. */
export function condensedBytes({ text, skips, verdicts }: CondensedContent): number {
  return text.byteLength + skips.byteLength + verdicts.byteLength;
}

class GrowingBytes {
  #bytes = new Uint8Array(64 * 1024);
  length = 0;

  clear(): void {
    this.length = 0;
  }

  append(bytes: Uint8Array): void {
    if (this.length + bytes.length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(2 * this.#bytes.length, this.length + bytes.length));
      grown.set(this.#bytes.subarray(0, this.length));
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  copy(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.length);
  }
}
