/** Huffman codes as RFC 1951 wants them: canonical, of limited length, and the lengths described at a block's head. */

/** Where the code's bits are looked up; least significant bit first, as they are written. */
export interface HuffmanCode {
  /** By symbol; 0: it has no code. */
  lengths: Uint8Array;
  codes: Uint16Array;
}

export function newCode(symbols: number): HuffmanCode {
  return { lengths: new Uint8Array(symbols), codes: new Uint16Array(symbols) };
}

const MAX_CODE_BITS = 15;
const lengthCounts = new Uint32Array(MAX_CODE_BITS + 1);
const nextCode = new Uint32Array(MAX_CODE_BITS + 2);

/** The shortest code for symbols that occur so often, none of it longer than `maxBits`. */
export function makeCode(counts: Uint32Array, maxBits: number, into: HuffmanCode): void {
  const used: number[] = [];
  for (let symbol = 0; symbol < counts.length; symbol++) if (counts[symbol]! > 0) used.push(symbol);
  used.sort((a, b) => counts[a]! - counts[b]! || a - b);
  countLengths(used, counts, maxBits);
  into.lengths.fill(0);
  for (let length = maxBits, at = 0; length > 0; length--) {
    for (let left = lengthCounts[length]!; left > 0; left--) into.lengths[used[at++]!] = length;
  }
  assignCodes(into);
}

/** Fills `lengthCounts`: how many of the symbols, which are in ascending order of their counts, get each length. */
function countLengths(used: readonly number[], counts: Uint32Array, maxBits: number): void {
  lengthCounts.fill(0);
  const leaves = used.length;
  if (leaves < 2) {
    lengthCounts[1] = leaves;
    return;
  }
  // Leaves first, then inner nodes in the order in which they are made, which is that of their weights.
  const weights = Float64Array.from(used, (symbol) => counts[symbol]!);
  const inner = new Float64Array(leaves - 1);
  const parents = new Uint16Array(2 * leaves - 1);
  let leaf = 0;
  let node = 0;
  for (let made = 0; made < inner.length; made++) {
    for (let child = 0; child < 2; child++) {
      const takeLeaf = leaf < leaves && (node >= made || weights[leaf]! <= inner[node]!);
      inner[made]! += takeLeaf ? weights[leaf]! : inner[node]!;
      parents[takeLeaf ? leaf++ : leaves + node++] = leaves + made;
    }
  }
  const depths = new Uint8Array(2 * leaves - 1);
  for (let at = 2 * leaves - 3; at >= 0; at--) {
    depths[at] = depths[parents[at]!]! + 1;
    if (at < leaves) lengthCounts[Math.min(depths[at]!, maxBits)]!++;
  }
  // What was cut to maxBits takes more room than there is: a shorter code is made longer for each place too many.
  let room = 0;
  for (let length = 1; length <= maxBits; length++) room += lengthCounts[length]! << (maxBits - length);
  for (; room > 1 << maxBits; room--) {
    lengthCounts[maxBits]!--;
    let length = maxBits - 1;
    while (lengthCounts[length] === 0) length--;
    lengthCounts[length]!--;
    lengthCounts[length + 1]! += 2;
  }
}

/** RFC 1951, section 3.2.2. */
function assignCodes({ lengths, codes }: HuffmanCode): void {
  for (let length = 1, code = 0; length <= MAX_CODE_BITS; length++) {
    nextCode[length] = code;
    code = (code + lengthCounts[length]!) << 1;
  }
  for (let symbol = 0; symbol < lengths.length; symbol++) {
    const length = lengths[symbol]!;
    if (length === 0) continue;
    let code = nextCode[length]!++;
    let reversed = 0;
    for (let i = 0; i < length; i++, code >>= 1) reversed = (reversed << 1) | (code & 1);
    codes[symbol] = reversed;
  }
}

/** RFC 1951, section 3.2.7: the order in which the lengths of the code length code are sent. */
export const CODE_LENGTH_ORDER: readonly number[] = [
  16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
const PRECODE_MAX_BITS = 7;
const precode = newCode(19);
const precodeCounts = new Uint32Array(19);

/** Head of a block of dynamic codes that is not the last, as what is to be put out: values and numbers of bits in turn. */
export function describeCodes(litlen: Uint8Array, distance: Uint8Array): number[] {
  const litlenCount = Math.max(257, 1 + litlen.findLastIndex((length) => length > 0));
  const distanceCount = Math.max(1, 1 + distance.findLastIndex((length) => length > 0));
  const items = runLengths([...litlen.subarray(0, litlenCount), ...distance.subarray(0, distanceCount)]);
  precodeCounts.fill(0);
  for (let at = 0; at < items.length; at += 3) precodeCounts[items[at]!]!++;
  makeCode(precodeCounts, PRECODE_MAX_BITS, precode);
  const precodeCount = 1 + CODE_LENGTH_ORDER.findLastIndex((symbol) => precode.lengths[symbol]! > 0);
  const head = [0, 1, 2, 2, litlenCount - 257, 5, distanceCount - 1, 5];
  const sent = Math.max(4, precodeCount);
  head.push(sent - 4, 4);
  for (let at = 0; at < sent; at++) head.push(precode.lengths[CODE_LENGTH_ORDER[at]!]!, 3);
  for (let at = 0; at < items.length; at += 3) {
    const [symbol, extra, extraBits] = items.slice(at, at + 3) as [number, number, number];
    head.push(precode.codes[symbol]!, precode.lengths[symbol]!);
    if (extraBits > 0) head.push(extra, extraBits);
  }
  return head;
}

/** Symbols of the code length code with their extra bits and the number of those. */
function runLengths(lengths: readonly number[]): number[] {
  const items: number[] = [];
  for (let at = 0; at < lengths.length; ) {
    const length = lengths[at]!;
    let run = 1;
    while (lengths[at + run] === length) run++;
    at += run;
    if (length === 0) {
      for (; run >= 11; run -= Math.min(run, 138)) items.push(18, Math.min(run, 138) - 11, 7);
      if (run >= 3) items.push(17, run - 3, 3);
      else for (; run > 0; run--) items.push(0, 0, 0);
      continue;
    }
    items.push(length, 0, 0);
    for (run--; run >= 3; run -= Math.min(run, 6)) items.push(16, Math.min(run, 6) - 3, 2);
    for (; run > 0; run--) items.push(length, 0, 0);
  }
  return items;
}
