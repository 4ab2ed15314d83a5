/**
 * DEFLATE for what has nothing to find in it, base64 of compressed data above all: one Huffman code for its symbols, and
 * matches only where a line begins, of the line end with the first letters of a line before. Those save the two symbols of the
 * line end, which no code for single symbols can make cheap; the result is as small as that of compressors that look for a match
 * at each byte. Repeated lines are found as well.
 */
import { BackupError } from './errors.ts';
import { describeCodes, makeCode, newCode } from './huffman-code.ts';
import {
  ENTRY_BITS,
  ENTRY_SHIFT,
  type LiteralKernel,
  loadLiteralKernel,
  MATCH_BYTES,
  MOST_INPUT,
  PLACES,
  PRINTABLE,
} from './literal-kernel.ts';

/** So that the code of a pair fits into an entry, and those of two pairs into what is held. */
const MAX_CODE_BITS = 13;
const END_OF_BLOCK = 256;
const LITLEN_SYMBOLS = 286;
const DISTANCE_SYMBOLS = 30;
const FIRST_LENGTH_SYMBOL = 257;
const LAST_LENGTH_SYMBOL = 285;
const MIN_MATCH = 3;
const MAX_MATCH = 258;
const MAX_STORED_BLOCK = 65535;

/** RFC 1951, section 3.2.5, by length of the match. */
const lengthSymbols = new Uint16Array(MAX_MATCH + 1);
const lengthExtraBits = new Uint8Array(MAX_MATCH + 1);
const lengthExtra = new Uint8Array(MAX_MATCH + 1);
for (let symbol = FIRST_LENGTH_SYMBOL, length = MIN_MATCH; symbol < LAST_LENGTH_SYMBOL; symbol++) {
  const extraBits = symbol < 265 ? 0 : (symbol - 261) >> 2;
  for (let extra = 0; extra < 1 << extraBits; extra++, length++) {
    lengthSymbols[length] = symbol;
    lengthExtraBits[length] = extraBits;
    lengthExtra[length] = extra;
  }
}
lengthSymbols[MAX_MATCH] = LAST_LENGTH_SYMBOL;
lengthExtraBits[MAX_MATCH] = 0;
lengthExtra[MAX_MATCH] = 0;

function distanceExtraBits(symbol: number): number {
  return symbol < 4 ? 0 : (symbol >> 1) - 1;
}

/**
 * A compressor for one thread. The function compresses `raw` into `out` as raw deflate without a final block, ended by a full
 * flush; it refers to nothing before it. `out` has at least maxDeflatedLength(raw.byteLength) bytes (deflate.ts).
 */
export function loadLiteralDeflate(
  kernel: LiteralKernel = loadLiteralKernel(),
): (raw: Uint8Array, out: Uint8Array) => number {
  const coder = new LiteralCoder(kernel);
  return (raw, out) => {
    const pieces = Math.max(1, Math.ceil(raw.byteLength / MOST_INPUT));
    let length = 0;
    for (let piece = 0, from = 0; piece < pieces; piece++) {
      const to = Math.floor((raw.byteLength * (piece + 1)) / pieces);
      const done = coder.compress(raw.subarray(from, to));
      copy(done, out, length);
      length += done.byteLength;
      from = to;
    }
    return length;
  };
}

class LiteralCoder {
  readonly #kernel: LiteralKernel;
  readonly #view: DataView;
  readonly #pairEntries: Uint32Array;
  readonly #byteEntries: Uint32Array;
  readonly #lengthEntries: Uint32Array;
  readonly #distanceEntries: Uint32Array;
  readonly #litlenCounts: Uint32Array;
  readonly #distanceCounts: Uint32Array;
  /** Both tables of lines. */
  readonly #lines: Uint8Array;
  readonly #litlen = newCode(LITLEN_SYMBOLS);
  readonly #distances = newCode(DISTANCE_SYMBOLS);

  constructor(kernel: LiteralKernel) {
    const { buffer } = kernel.memory;
    this.#kernel = kernel;
    this.#view = new DataView(buffer);
    this.#pairEntries = new Uint32Array(buffer, PLACES.pairEntries, 1 << 16);
    this.#byteEntries = new Uint32Array(buffer, PLACES.byteEntries, 256);
    this.#lengthEntries = new Uint32Array(buffer, PLACES.lengthEntries, MAX_MATCH + 1);
    this.#distanceEntries = new Uint32Array(buffer, PLACES.distanceEntries, DISTANCE_SYMBOLS);
    this.#litlenCounts = new Uint32Array(buffer, PLACES.litlenCounts, LITLEN_SYMBOLS);
    this.#distanceCounts = new Uint32Array(buffer, PLACES.distanceCounts, DISTANCE_SYMBOLS);
    this.#lines = kernel.memory.subarray(PLACES.lineByByte, PLACES.litlenCounts);
    new Uint32Array(buffer, PLACES.lengthSymbols, MAX_MATCH + 1).set(lengthSymbols);
  }

  /** At most MOST_INPUT bytes, as one block with a flush behind it. The result is valid until the next call. */
  compress(raw: Uint8Array): Uint8Array {
    const { memory } = this.#kernel;
    copy(raw, memory, PLACES.input);
    this.#lines.fill(0);
    this.#keep(PLACES.result, 0, 0);
    if (raw.byteLength > 0) this.#writeBlock(PLACES.input, PLACES.input + raw.byteLength);
    this.#putStored(0, 0);
    return memory.subarray(PLACES.result, this.#view.getUint32(PLACES.output, true));
  }

  #writeBlock(from: number, to: number): void {
    const kernel = this.#kernel;
    const [litlen, distances] = [this.#litlen, this.#distances];
    this.#litlenCounts.fill(0);
    this.#distanceCounts.fill(0);
    this.#count(from, to);
    const matchesEnd = kernel.findMatches(from, to);
    this.#litlenCounts[END_OF_BLOCK]!++;
    makeCode(this.#litlenCounts, MAX_CODE_BITS, litlen);
    makeCode(this.#distanceCounts, MAX_CODE_BITS, distances);
    const head = describeCodes(litlen.lengths, distances.lengths);
    const bits = this.#codedBits(head, matchesEnd);
    if (bits >= 8 * storedLength(to - from)) {
      this.#putStored(from, to);
      return;
    }
    const end = this.#bitsOut + bits;
    for (let at = 0; at < head.length; at += 2) this.#put(head[at]!, head[at + 1]!);
    this.#enterCodes();
    kernel.encode(from, to, matchesEnd);
    this.#put(litlen.codes[END_OF_BLOCK]!, litlen.lengths[END_OF_BLOCK]!);
    if (this.#bitsOut !== end) throw wrongLength(to - from, this.#bitsOut - end);
  }

  /** Bits that were put out, and those of the memory before them. */
  get #bitsOut(): number {
    const view = this.#view;
    return 8 * view.getUint32(PLACES.output, true) + view.getUint32(PLACES.output + 16, true);
  }

  #count(from: number, to: number): void {
    const kernel = this.#kernel;
    const pairs = (to - from) >> 1;
    kernel.countPairs(from, from + 2 * pairs);
    if (to > from + 2 * pairs) this.#litlenCounts[kernel.memory[to - 1]!]!++;
    if (kernel.takePairs(PRINTABLE) < pairs) kernel.takePairs(1 << 8);
  }

  /** Bits that the block takes. */
  #codedBits(head: readonly number[], matchesEnd: number): number {
    let bits = 0;
    for (let at = 1; at < head.length; at += 2) bits += head[at]!;
    for (let symbol = 0; symbol < LITLEN_SYMBOLS; symbol++) {
      bits += this.#litlenCounts[symbol]! * this.#litlen.lengths[symbol]!;
    }
    for (let symbol = 0; symbol < DISTANCE_SYMBOLS; symbol++) {
      bits += this.#distanceCounts[symbol]! * (this.#distances.lengths[symbol]! + distanceExtraBits(symbol));
    }
    for (let match = PLACES.matches; match < matchesEnd; match += MATCH_BYTES) {
      bits += lengthExtraBits[this.#view.getUint32(match + 4, true)]!;
    }
    return bits;
  }

  /** Tells the kernel the codes. Entries of what does not occur stay as they were, and are never looked up. */
  #enterCodes(): void {
    const { lengths, codes } = this.#litlen;
    const used: number[] = [];
    for (let byte = 0; byte < END_OF_BLOCK; byte++) {
      if (lengths[byte] === 0) continue;
      used.push(byte);
      this.#byteEntries[byte] = (codes[byte]! << ENTRY_SHIFT) | lengths[byte]!;
    }
    const pairs = this.#pairEntries;
    for (const high of used) {
      const highCode = codes[high]! << ENTRY_SHIFT;
      const highBits = lengths[high]!;
      for (const low of used) {
        const entry = this.#byteEntries[low]!;
        pairs[low | (high << 8)] = (highCode << (entry & ENTRY_BITS)) + entry + highBits;
      }
    }
    for (let length = MIN_MATCH; length <= MAX_MATCH; length++) {
      const symbol = lengthSymbols[length]!;
      const value = codes[symbol]! | (lengthExtra[length]! << lengths[symbol]!);
      this.#lengthEntries[length] = (value << ENTRY_SHIFT) | (lengths[symbol]! + lengthExtraBits[length]!);
    }
    for (let symbol = 0; symbol < DISTANCE_SYMBOLS; symbol++) {
      const code = this.#distances.codes[symbol]!;
      this.#distanceEntries[symbol] = (code << ENTRY_SHIFT) | this.#distances.lengths[symbol]!;
    }
  }

  /** What the kernel's encode() goes on from. */
  #keep(at: number, held: number, heldBits: number): void {
    const view = this.#view;
    view.setUint32(PLACES.output, at, true);
    view.setUint32(PLACES.output + 8, held, true);
    view.setUint32(PLACES.output + 12, 0, true);
    view.setUint32(PLACES.output + 16, heldBits, true);
    view.setUint32(PLACES.output + 20, 0, true);
  }

  /** Puts out the lowest `count` bits, at most 24, of `value`; the rest of it is 0. */
  #put(value: number, count: number): void {
    const view = this.#view;
    const at = view.getUint32(PLACES.output, true);
    const heldBits = view.getUint32(PLACES.output + 16, true);
    const held = view.getUint32(PLACES.output + 8, true) | (value << heldBits);
    const bits = heldBits + count;
    view.setUint32(at, held, true);
    this.#keep(at + (bits >>> 3), held >>> (bits & 24), bits & 7);
  }

  /** Stored blocks of the input [from, to); one of no bytes is what a full flush leaves. */
  #putStored(from: number, to: number): void {
    const { memory } = this.#kernel;
    do {
      const length = Math.min(to - from, MAX_STORED_BLOCK);
      this.#put(0, 3);
      const heldBits = this.#view.getUint32(PLACES.output + 16, true);
      if (heldBits > 0) this.#put(0, 8 - heldBits);
      this.#put(length, 16);
      this.#put(length ^ 0xffff, 16);
      const at = this.#view.getUint32(PLACES.output, true);
      memory.copyWithin(at, from, from + length);
      this.#keep(at + length, 0, 0);
      from += length;
    } while (from < to);
  }
}

/** What was counted and what was put out come from different code: where they differ one of them is wrong. */
function wrongLength(bytes: number, off: number): BackupError {
  return new BackupError({
    code: 'INTERNAL',
    tried: 'compress',
    subject: `a block of ${bytes} bytes`,
    reason: `its result is ${Math.abs(off)} bits too ${off < 0 ? 'short' : 'long'}`,
    remedy: 'Report this',
  });
}

/** Length of bytes in stored blocks, with what may be missing to a byte border before. */
function storedLength(length: number): number {
  return length + 5 * Math.ceil(length / MAX_STORED_BLOCK);
}

/** Buffer's copy of a part of its bytes is memcpy; Uint8Array.set() copies from and to shared memory word by word. */
function copy(from: Uint8Array, to: Uint8Array, at: number): void {
  if (from.byteLength === 0) return;
  const last = from.byteLength - 1;
  Buffer.prototype.copy.call(from, to, at, 0, last);
  to[at + last] = from[last]!;
}
