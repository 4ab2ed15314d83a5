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

const MOST_SYMBOLS = 286;
/** Symbols are sorted by count and then number, as numbers. */
const SORT_SHIFT = 512;
const sorted = new Float64Array(MOST_SYMBOLS);
const used = new Uint16Array(MOST_SYMBOLS);
const weights = new Float64Array(2 * MOST_SYMBOLS);
const parents = new Uint16Array(2 * MOST_SYMBOLS);
const depths = new Uint16Array(2 * MOST_SYMBOLS);

/** The shortest code for symbols, at most 286, that occur so often; none of it longer than `maxBits`. */
export function makeCode(counts: Uint32Array, maxBits: number, into: HuffmanCode): void {
  let leaves = 0;
  for (let symbol = 0; symbol < counts.length; symbol++) {
    if (counts[symbol]! > 0) sorted[leaves++] = counts[symbol]! * SORT_SHIFT + symbol;
  }
  sorted.subarray(0, leaves).sort();
  for (let leaf = 0; leaf < leaves; leaf++) {
    used[leaf] = sorted[leaf]! % SORT_SHIFT;
    weights[leaf] = counts[used[leaf]!]!;
  }
  countLengths(leaves, maxBits);
  into.lengths.fill(0);
  for (let length = maxBits, at = 0; length > 0; length--) {
    for (let left = lengthCounts[length]!; left > 0; left--) into.lengths[used[at++]!] = length;
  }
  assignCodes(into);
}

/** Fills `lengthCounts`: how many of the leaves, whose `weights` ascend, get each length. */
function countLengths(leaves: number, maxBits: number): void {
  lengthCounts.fill(0);
  if (leaves < 2) {
    lengthCounts[1] = leaves;
    return;
  }
  // Leaves first, then inner nodes in the order in which they are made, which is that of their weights.
  const root = 2 * leaves - 2;
  let leaf = 0;
  let node = leaves;
  for (let made = leaves; made <= root; made++) {
    weights[made] = 0;
    for (let child = 0; child < 2; child++) {
      const least = leaf < leaves && (node === made || weights[leaf]! <= weights[node]!) ? leaf++ : node++;
      weights[made]! += weights[least]!;
      parents[least] = made;
    }
  }
  depths[root] = 0;
  for (let at = root - 1; at >= 0; at--) {
    const depth = depths[parents[at]!]! + 1;
    depths[at] = depth;
    if (at < leaves) lengthCounts[Math.min(depth, maxBits)]!++;
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
const MOST_LENGTHS = MOST_SYMBOLS + 30;
const lengths = new Uint8Array(MOST_LENGTHS + 1);
/** Not a length: ends the last run. */
const NO_LENGTH = 255;
/** Symbols of the code length code, and their extra bits and the number of those. */
const items = new Uint8Array(3 * MOST_LENGTHS);
let itemsEnd = 0;

/** Head of a block of dynamic codes that is not the last, as what is to be put out: values and numbers of bits in turn. */
export function describeCodes(litlen: Uint8Array, distance: Uint8Array): number[] {
  const litlenCount = Math.max(257, usedLength(litlen));
  const distanceCount = Math.max(1, usedLength(distance));
  lengths.set(litlen.subarray(0, litlenCount));
  lengths.set(distance.subarray(0, distanceCount), litlenCount);
  lengths[litlenCount + distanceCount] = NO_LENGTH;
  findRuns(litlenCount + distanceCount);
  makeCode(precodeCounts, PRECODE_MAX_BITS, precode);
  let sent = CODE_LENGTH_ORDER.length;
  while (sent > 4 && precode.lengths[CODE_LENGTH_ORDER[sent - 1]!] === 0) sent--;
  const head = [0, 1, 2, 2, litlenCount - 257, 5, distanceCount - 1, 5, sent - 4, 4];
  for (let at = 0; at < sent; at++) head.push(precode.lengths[CODE_LENGTH_ORDER[at]!]!, 3);
  for (let at = 0; at < itemsEnd; at += 3) {
    const symbol = items[at]!;
    head.push(precode.codes[symbol]!, precode.lengths[symbol]!);
    if (items[at + 2]! > 0) head.push(items[at + 1]!, items[at + 2]!);
  }
  return head;
}

function usedLength(of: Uint8Array): number {
  let end = of.length;
  while (end > 0 && of[end - 1] === 0) end--;
  return end;
}

/** Fills `items` and `precodeCounts` for the first `count` of `lengths`. */
function findRuns(count: number): void {
  precodeCounts.fill(0);
  itemsEnd = 0;
  for (let at = 0; at < count; ) {
    const length = lengths[at]!;
    let run = 1;
    while (lengths[at + run] === length) run++;
    at += run;
    if (length === 0) {
      for (; run >= 11; run -= Math.min(run, 138)) addItem(18, Math.min(run, 138) - 11, 7);
      if (run >= 3) addItem(17, run - 3, 3);
      else for (; run > 0; run--) addItem(0, 0, 0);
      continue;
    }
    addItem(length, 0, 0);
    for (run--; run >= 3; run -= Math.min(run, 6)) addItem(16, Math.min(run, 6) - 3, 2);
    for (; run > 0; run--) addItem(length, 0, 0);
  }
}

function addItem(symbol: number, extra: number, extraBits: number): void {
  precodeCounts[symbol]!++;
  items[itemsEnd++] = symbol;
  items[itemsEnd++] = extra;
  items[itemsEnd++] = extraBits;
}
