/** Canonical Huffman codes of DEFLATE (RFC 1951, 3.2.2): lengths to decoding tables. */

const MAX_CODE_BITS = 15;

/**
 * Decoding tables of one code. `fast` is indexed by the next FAST_BITS bits of the stream and gives
 * `symbol << 4 | bits`, or 0 where the code is longer; those are decoded bit by bit from the other tables.
 */
export class HuffmanCode {
  readonly fast: Uint16Array;
  readonly fastBits: number;
  /** First code of each length, and where its symbols begin in #symbols. */
  readonly #firstCode = new Int32Array(MAX_CODE_BITS + 2);
  readonly #firstIndex = new Int32Array(MAX_CODE_BITS + 2);
  readonly #count = new Int32Array(MAX_CODE_BITS + 1);
  readonly #symbols: Uint16Array;

  constructor(fastBits: number, symbols: number) {
    this.fastBits = fastBits;
    this.fast = new Uint16Array(1 << fastBits);
    this.#symbols = new Uint16Array(symbols);
  }

  /**
   * Takes the code whose symbol i has `lengths[from + i]` bits (0: not used).
   *
   * @returns false if no such code exists: too many codes of a length, or too few. A single code of one bit
   * and no code at all are allowed, as zlib allows them.
   */
  build(lengths: Uint8Array, from: number, count: number): boolean {
    const counts = this.#count.fill(0);
    for (let i = 0; i < count; i++) counts[lengths[from + i]!]!++;
    const used = count - counts[0]!;
    counts[0] = 0;
    let code = 0;
    let index = 0;
    let left = 1;
    for (let bits = 1; bits <= MAX_CODE_BITS; bits++) {
      left = left * 2 - counts[bits]!;
      if (left < 0) return false;
      code = (code + counts[bits - 1]!) << 1;
      this.#firstCode[bits] = code;
      this.#firstIndex[bits] = index;
      index += counts[bits]!;
    }
    if (left > 0 && !(used === 0 || (used === 1 && counts[1] === 1))) return false;
    this.#fill(lengths, from, count);
    return true;
  }

  #fill(lengths: Uint8Array, from: number, count: number): void {
    const { fast, fastBits } = this;
    fast.fill(0);
    const next = new Int32Array(MAX_CODE_BITS + 1);
    for (let symbol = 0; symbol < count; symbol++) {
      const bits = lengths[from + symbol]!;
      if (bits === 0) continue;
      const nth = next[bits]!++;
      this.#symbols[this.#firstIndex[bits]! + nth] = symbol;
      if (bits > fastBits) continue;
      // The stream has a code's highest bit first, the table index has the stream's first bit lowest.
      const start = reverse(this.#firstCode[bits]! + nth, bits);
      const entry = (symbol << 4) | bits;
      for (let at = start; at < fast.length; at += 1 << bits) fast[at] = entry;
    }
  }

  /**
   * A code longer than `fastBits` at the low end of `stream`, of which `available` bits are valid.
   *
   * @returns `symbol << 4 | bits`; 0 if the code needs more bits than there are; -1 if it is none.
   */
  slow(stream: number, available: number): number {
    let code = 0;
    for (let bits = 1; bits <= MAX_CODE_BITS; bits++) {
      if (bits > available) return 0;
      code = (code << 1) | ((stream >>> (bits - 1)) & 1);
      const nth = code - this.#firstCode[bits]!;
      if (nth < this.#count[bits]!) {
        return nth < 0 ? -1 : (this.#symbols[this.#firstIndex[bits]! + nth]! << 4) | bits;
      }
    }
    return -1;
  }
}

function reverse(code: number, bits: number): number {
  let reversed = 0;
  for (let i = 0; i < bits; i++) reversed |= ((code >>> i) & 1) << (bits - 1 - i);
  return reversed;
}
