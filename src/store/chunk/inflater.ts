/**
 * An inflater (RFC 1951) that says exactly where it is. zlib tells neither where a flush point lies nor up to
 * which byte a damaged stream was good, and recovery must know both: a chunk is cut at the last flush point,
 * and what was torn is good to the byte. Everything that only reads content uses the faster ones of
 * src/platform/inflate.ts.
 */
import { CODE_LENGTH_ORDER } from '../../platform/huffman-code.ts';
import { HuffmanCode } from './huffman.ts';

const WINDOW_BYTES = 32 * 1024;
const BUFFER_BYTES = 256 * 1024;
const LONGEST_MATCH = 258;

const LENGTH_BASE = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
  227, 258,
];
const LENGTH_EXTRA = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASE = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097,
  6145, 8193, 12289, 16385, 24577,
];

const FIXED_LITERALS = new HuffmanCode(10, 288);
const FIXED_DISTANCES = new HuffmanCode(8, 32);
FIXED_LITERALS.build(
  Uint8Array.from({ length: 288 }, (_, i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8)),
  0,
  288,
);
FIXED_DISTANCES.build(new Uint8Array(32).fill(5), 0, 32);

/**
 * - `input`: all input that makes up whole symbols was decoded; more may follow.
 * - `full`: there is enough content for once; call `run` again with the rest of the input.
 * - `end`: the final block has ended; `run` returned the position behind its last byte.
 * - `error`: what follows is no deflate stream. Everything before was decoded.
 */
export type InflateStatus = 'input' | 'full' | 'end' | 'error';

export interface InflateEvents {
  /** Decoded bytes, at most about 256 KiB in one `run`; the view is valid until the next `run`. */
  content(bytes: Uint8Array): void;
  /**
   * A flush point: an empty stored block ended just before `position` of the input of this `run`. All content
   * before it was handed over.
   */
  flushPoint(position: number): void;
}

type State = 'header' | 'stored' | 'codes' | 'end' | 'error';

export class Inflater {
  #events: InflateEvents;
  readonly #out = new Uint8Array(BUFFER_BYTES + LONGEST_MATCH);
  /** Where the next byte is written, and up to where bytes were handed over. */
  #at = 0;
  #handed = 0;
  #flushed = 0;
  #state: State = 'header';
  #final = false;
  #storedLeft = 0;
  #literals = FIXED_LITERALS;
  #distances = FIXED_DISTANCES;
  readonly #dynamicLiterals = new HuffmanCode(10, 288);
  readonly #dynamicDistances = new HuffmanCode(8, 32);
  readonly #lengthCode = new HuffmanCode(7, 19);
  readonly #lengths = new Uint8Array(320);
  // The stream's next bits, lowest first; fewer than 8 of them between two calls of run().
  #bits = 0;
  #bitCount = 0;
  #input: Uint8Array = new Uint8Array(0);
  #position = 0;
  #to = 0;

  constructor(events: InflateEvents) {
    this.#events = events;
  }

  /** Ready for a new stream, and other listeners. */
  reset(events: InflateEvents = this.#events): void {
    this.#events = events;
    this.#at = this.#handed = this.#flushed = 0;
    this.#bits = this.#bitCount = 0;
    this.#state = 'header';
    this.#final = false;
  }

  get status(): InflateStatus {
    if (this.#state === 'end' || this.#state === 'error') return this.#state;
    return this.#at >= BUFFER_BYTES ? 'full' : 'input';
  }

  /** Whether it stands inside a stored block, whose bytes are content as they are. */
  get isCopying(): boolean {
    return this.#state === 'stored' && this.#storedLeft > 0;
  }

  /** Bytes decoded since the start of the stream. */
  get contentLength(): number {
    return this.#flushed + this.#at;
  }

  /**
   * Decodes `input[from..to)` as far as it makes whole symbols.
   *
   * @returns the position of the first byte that was not used up; the next call must begin with that byte.
   */
  run(input: Uint8Array, from: number, to: number): number {
    this.#input = input;
    this.#position = from;
    this.#to = to;
    if (this.#at >= BUFFER_BYTES) this.#makeRoom();
    let more = true;
    while (more) {
      if (this.#state === 'header') more = this.#blockHeader();
      else if (this.#state === 'stored') more = this.#stored();
      else if (this.#state === 'codes') more = this.#symbols();
      else more = false;
    }
    this.#unread();
    this.#hand();
    return this.#position;
  }

  /** Gives whole bytes in the bit buffer back to the input. */
  #unread(): void {
    this.#position -= this.#bitCount >>> 3;
    this.#bitCount &= 7;
    this.#bits &= (1 << this.#bitCount) - 1;
  }

  #hand(): void {
    if (this.#at > this.#handed) this.#events.content(this.#out.subarray(this.#handed, this.#at));
    this.#handed = this.#at;
  }

  /** Makes room, keeping the window; everything was handed over. */
  #makeRoom(): void {
    const keep = Math.min(this.#at, WINDOW_BYTES);
    this.#out.copyWithin(0, this.#at - keep, this.#at);
    this.#flushed += this.#at - keep;
    this.#at = this.#handed = keep;
  }

  /** Next `count` bits (at most 16), or -1 if they are not all there. */
  #take(count: number): number {
    while (this.#bitCount < count) {
      if (this.#position >= this.#to) return -1;
      this.#bits |= this.#input[this.#position++]! << this.#bitCount;
      this.#bitCount += 8;
    }
    const value = this.#bits & ((1 << count) - 1);
    this.#bits >>>= count;
    this.#bitCount -= count;
    return value;
  }

  /** All of the block's header or nothing, so that it can be read again when more input is there. */
  #blockHeader(): boolean {
    this.#unread();
    const { position, bits, bitCount } = this.#mark();
    const header = this.#take(3);
    const done = header === -1 ? 'input' : this.#startBlock(header >>> 1);
    if (done === 'input') {
      this.#position = position;
      this.#bits = bits;
      this.#bitCount = bitCount;
      return false;
    }
    if (done === 'error') {
      this.#state = 'error';
      return false;
    }
    this.#final = (header & 1) === 1;
    this.#state = done;
    return true;
  }

  #mark(): { position: number; bits: number; bitCount: number } {
    return { position: this.#position, bits: this.#bits, bitCount: this.#bitCount };
  }

  #startBlock(type: number): 'stored' | 'codes' | 'input' | 'error' {
    if (type === 0) {
      // What fills the current byte is skipped; whole bytes go back.
      this.#unread();
      this.#bits = this.#bitCount = 0;
      const length = this.#take(16);
      const check = length === -1 ? -1 : this.#take(16);
      if (check === -1) return 'input';
      if ((length ^ check) !== 0xffff) return 'error';
      this.#storedLeft = length;
      this.#empty = length === 0;
      return 'stored';
    }
    if (type === 1) {
      this.#literals = FIXED_LITERALS;
      this.#distances = FIXED_DISTANCES;
      return 'codes';
    }
    return type === 2 ? this.#dynamicHeader() : 'error';
  }
  #empty = false;

  #stored(): boolean {
    while (this.#storedLeft > 0) {
      const length = Math.min(this.#storedLeft, this.#to - this.#position, BUFFER_BYTES - this.#at);
      if (length <= 0) return false;
      this.#out.set(this.#input.subarray(this.#position, this.#position + length), this.#at);
      this.#at += length;
      this.#position += length;
      this.#storedLeft -= length;
    }
    this.#endBlock();
    if (this.#empty && this.#state === 'header') {
      this.#hand();
      this.#events.flushPoint(this.#position);
    }
    return true;
  }

  #endBlock(): void {
    this.#state = this.#final ? 'end' : 'header';
    if (!this.#final) return;
    this.#unread();
    this.#bits = this.#bitCount = 0;
  }

  #dynamicHeader(): 'codes' | 'input' | 'error' {
    const sizes = this.#take(14);
    if (sizes === -1) return 'input';
    const literals = (sizes & 31) + 257;
    const distances = ((sizes >>> 5) & 31) + 1;
    const lengths = this.#lengths.fill(0);
    if (literals > 286 || distances > 30) return 'error';
    for (let i = 0; i < (sizes >>> 10) + 4; i++) {
      const bits = this.#take(3);
      if (bits === -1) return 'input';
      lengths[CODE_LENGTH_ORDER[i]!] = bits;
    }
    if (!this.#lengthCode.build(lengths, 0, 19)) return 'error';
    lengths.fill(0);
    for (let i = 0; i < literals + distances; ) {
      const symbol = this.#lengthSymbol();
      if (symbol < 0) return symbol === -1 ? 'input' : 'error';
      if (symbol < 16) {
        lengths[i++] = symbol;
        continue;
      }
      const extra = this.#take(symbol === 16 ? 2 : symbol === 17 ? 3 : 7);
      if (extra === -1) return 'input';
      const repeat = extra + (symbol === 18 ? 11 : 3);
      if ((symbol === 16 && i === 0) || i + repeat > literals + distances) return 'error';
      lengths.fill(symbol === 16 ? lengths[i - 1]! : 0, i, i + repeat);
      i += repeat;
    }
    if (lengths[256] === 0) return 'error';
    if (!this.#dynamicLiterals.build(lengths, 0, literals)) return 'error';
    if (!this.#dynamicDistances.build(lengths, literals, distances)) return 'error';
    this.#literals = this.#dynamicLiterals;
    this.#distances = this.#dynamicDistances;
    return 'codes';
  }

  /** A symbol of the code length code; -1: more input, -2: none. */
  #lengthSymbol(): number {
    while (this.#bitCount < 7 && this.#position < this.#to) {
      this.#bits |= this.#input[this.#position++]! << this.#bitCount;
      this.#bitCount += 8;
    }
    const entry = this.#lengthCode.fast[this.#bits & 127]!;
    if (entry === 0) return this.#bitCount < 7 ? -1 : -2;
    const bits = entry & 15;
    if (bits > this.#bitCount) return -1;
    this.#bits >>>= bits;
    this.#bitCount -= bits;
    return entry >>> 4;
  }

  /** Symbols up to the end of the block or of the input. A symbol that is not all there stays in the input. */
  #symbols(): boolean {
    const input = this.#input;
    const to = this.#to;
    const out = this.#out;
    const literals = this.#literals;
    const distances = this.#distances;
    const literalFast = literals.fast;
    const distanceFast = distances.fast;
    let position = this.#position;
    let bits = this.#bits;
    let count = this.#bitCount;
    let at = this.#at;
    let outcome: 'input' | 'end' | 'error' | undefined;
    // What to go back to when the symbol is not all there.
    let startPosition = position;
    let startBits = bits;
    let startCount = count;
    for (;;) {
      if (at >= BUFFER_BYTES) {
        outcome = 'input';
        startPosition = position;
        startBits = bits;
        startCount = count;
        break;
      }
      while (count <= 24 && position < to) {
        bits |= input[position++]! << count;
        count += 8;
      }
      startPosition = position;
      startBits = bits;
      startCount = count;
      let entry = literalFast[bits & 1023]!;
      if (entry === 0) entry = literals.slow(bits, count);
      let length = entry & 15;
      if (entry <= 0 || length > count) {
        outcome = entry < 0 ? 'error' : 'input';
        break;
      }
      bits >>>= length;
      count -= length;
      entry >>>= 4;
      if (entry < 256) {
        out[at++] = entry;
        continue;
      }
      if (entry === 256) {
        outcome = 'end';
        break;
      }
      entry -= 257;
      if (entry > 28) {
        outcome = 'error';
        break;
      }
      const lengthExtra = LENGTH_EXTRA[entry]!;
      if (lengthExtra > count) {
        outcome = 'input';
        break;
      }
      length = LENGTH_BASE[entry]! + (bits & ((1 << lengthExtra) - 1));
      bits >>>= lengthExtra;
      count -= lengthExtra;
      while (count <= 24 && position < to) {
        bits |= input[position++]! << count;
        count += 8;
      }
      entry = distanceFast[bits & 255]!;
      if (entry === 0) entry = distances.slow(bits, count);
      const distanceBits = entry & 15;
      if (entry <= 0 || distanceBits > count) {
        outcome = entry < 0 ? 'error' : 'input';
        break;
      }
      bits >>>= distanceBits;
      count -= distanceBits;
      entry >>>= 4;
      if (entry > 29) {
        outcome = 'error';
        break;
      }
      while (count <= 24 && position < to) {
        bits |= input[position++]! << count;
        count += 8;
      }
      const distanceExtra = entry < 4 ? 0 : (entry >>> 1) - 1;
      if (distanceExtra > count) {
        outcome = 'input';
        break;
      }
      const distance = DISTANCE_BASE[entry]! + (bits & ((1 << distanceExtra) - 1));
      bits >>>= distanceExtra;
      count -= distanceExtra;
      if (distance > at) {
        outcome = 'error';
        break;
      }
      if (distance >= length && length > 16) {
        out.copyWithin(at, at - distance, at - distance + length);
        at += length;
      } else {
        for (const end = at + length; at < end; at++) out[at] = out[at - distance]!;
      }
    }
    this.#at = at;
    if (outcome === 'end') {
      this.#position = position;
      this.#bits = bits;
      this.#bitCount = count;
      this.#endBlock();
      return true;
    }
    this.#position = startPosition;
    this.#bits = startBits;
    this.#bitCount = startCount;
    if (outcome === 'error') this.#state = 'error';
    return false;
  }
}
