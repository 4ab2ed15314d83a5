import { BackupError } from './errors.ts';
import { CODE_LENGTH_ORDER } from './huffman-code.ts';

/** Where a raw deflate stream has what keeps it from being continued. */
export interface StreamEnd {
  /** Bit number (bit 0 is the lowest of byte 0) of the final block's BFINAL flag. */
  finalFlagBit: number;
  /** Bit number behind the last block. */
  endBit: number;
}

const MAX_CODE_BITS = 15;
const END_OF_BLOCK = 256;

/**
 * What a symbol stands for, in the form of a table entry without its code length: bits 4-7 number of extra bits,
 * bits 8-16 value of a code length symbol, bit 17 a distance follows, bit 18 end of block.
 */
const EXTRA_SHIFT = 4;
const VALUE_SHIFT = 8;
const IS_LENGTH = 1 << 17;
const IS_END = 1 << 18;

/** RFC 1951, section 3.2.5: 257.. are lengths 3 to 258. Only how many extra bits they have matters here. */
const LITLEN_SYMBOLS = new Int32Array(288);
LITLEN_SYMBOLS[END_OF_BLOCK] = IS_END;
for (let symbol = 257; symbol < 285; symbol++) {
  LITLEN_SYMBOLS[symbol] = IS_LENGTH | ((symbol < 265 ? 0 : (symbol - 261) >> 2) << EXTRA_SHIFT);
}
LITLEN_SYMBOLS[285] = IS_LENGTH;

const DISTANCE_SYMBOLS = new Int32Array(32);
for (let symbol = 4; symbol < 30; symbol++) DISTANCE_SYMBOLS[symbol] = ((symbol - 2) >> 1) << EXTRA_SHIFT;

const PLAIN_SYMBOLS = Int32Array.from({ length: 19 }, (_, symbol) => symbol << VALUE_SHIFT);

/**
 * Decodes the next code by looking up the next `bits` bits of the stream. A longer code is found in a second table, which
 * begins at minus the entry and is looked up with the bits behind them: one table for the longest codes would take longer
 * to fill than most blocks take to walk over. Entry 0: no code begins so.
 */
interface CodeTable {
  entries: Int32Array;
  bits: number;
  /** Of the second tables. */
  moreBits: number;
}

/** Longer codes are seldom. */
const FIRST_BITS = 10;
const LONGEST_ALPHABET = 288;

function newTable(): CodeTable {
  const most = (1 << FIRST_BITS) + LONGEST_ALPHABET * (1 << (MAX_CODE_BITS - FIRST_BITS));
  return { entries: new Int32Array(most), bits: 0, moreBits: 0 };
}

// One thread, no reentrance: scratch memory is kept.
const litlenTable = newTable();
const distanceTable = newTable();
const precodeTable = newTable();
const codeLengths = new Uint8Array(320);
const nextCode = new Uint16Array(MAX_CODE_BITS + 2);
const lengthCounts = new Uint16Array(MAX_CODE_BITS + 1);

/** The first code of each length, of canonical codes (RFC 1951, section 3.2.2). @returns the longest length */
function firstCodes(lengths: Uint8Array): number {
  lengthCounts.fill(0);
  for (const length of lengths) lengthCounts[length]!++;
  lengthCounts[0] = 0;
  let longest = MAX_CODE_BITS;
  while (longest > 1 && lengthCounts[longest] === 0) longest--;
  for (let length = 1, code = 0; length <= MAX_CODE_BITS; length++) {
    code = (code + lengthCounts[length - 1]!) << 1;
    nextCode[length] = code;
  }
  return longest;
}

/** Canonical codes from their lengths, entered at every index whose low bits they are. */
function buildTable(table: CodeTable, lengths: Uint8Array, symbols: Int32Array): void {
  const longest = firstCodes(lengths);
  const bits = Math.min(longest, FIRST_BITS);
  const moreBits = longest - bits;
  const size = 1 << bits;
  const entries = table.entries;
  table.bits = bits;
  table.moreBits = moreBits;
  entries.fill(0, 0, size); // an incomplete code (a single distance) leaves holes
  let end = size;
  for (let symbol = 0; symbol < lengths.length; symbol++) {
    const length = lengths[symbol]!;
    if (length === 0) continue;
    let code = nextCode[length]!++;
    let reversed = 0;
    for (let i = 0; i < length; i++, code >>= 1) reversed = (reversed << 1) | (code & 1);
    const entry = symbols[symbol]! | length;
    if (length <= bits) {
      for (let index = reversed; index < size; index += 1 << length) entries[index] = entry;
      continue;
    }
    const first = reversed & (size - 1);
    if (entries[first]! >= 0) {
      entries[first] = -end;
      entries.fill(0, end, end + (1 << moreBits));
      end += 1 << moreBits;
    }
    const start = -entries[first]!;
    for (let index = reversed >>> bits; index < 1 << moreBits; index += 1 << (length - bits))
      entries[start + index] = entry;
  }
}

const FIXED_LITLEN_LENGTHS = new Uint8Array(288)
  .fill(8, 0, 144)
  .fill(9, 144, 256)
  .fill(7, 256, 280)
  .fill(8, 280);
const FIXED_DISTANCE_LENGTHS = new Uint8Array(32).fill(5);

/**
 * Walks over the blocks of the raw deflate stream in bytes[0..length), without inflating it, to its end. Of the final
 * block only the codes are read: its end follows from where the last bit is set, since that belongs to the end-of-block
 * code, and behind that are zeros up to the byte border. `bytes` needs 8 readable bytes behind the stream.
 *
 * @throws BackupError CHUNK_CORRUPT when it is no complete deflate stream
 */
export function findStreamEnd(bytes: Uint8Array, length: number): StreamEnd {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const lastWord = bytes.byteLength - 4;
  let position = 0;
  let litlenCount = 0;
  let codeCount = 0;

  /** At least 25 bits from `position` on. */
  function peek(): number {
    if (position >>> 3 > lastWord) throw damaged('it ends inside a block');
    return view.getUint32(position >>> 3, true) >>> (position & 7);
  }
  function take(count: number): number {
    const value = peek() & ((1 << count) - 1);
    position += count;
    return value;
  }

  function readDynamicCodes(): void {
    litlenCount = take(5) + 257;
    codeCount = litlenCount + take(5) + 1;
    const precodeCount = take(4) + 4;
    codeLengths.fill(0, 0, 19);
    for (let i = 0; i < precodeCount; i++) codeLengths[CODE_LENGTH_ORDER[i]!] = take(3);
    buildTable(precodeTable, codeLengths.subarray(0, 19), PLAIN_SYMBOLS);
    for (let i = 0; i < codeCount; ) {
      const entry = precodeTable.entries[peek() & ((1 << precodeTable.bits) - 1)]!;
      if (entry === 0) throw damaged('a code length has no meaning');
      position += entry & 15;
      const symbol = entry >> VALUE_SHIFT;
      if (symbol < 16) {
        codeLengths[i++] = symbol;
        continue;
      }
      // 16 repeats the length before 3-6 times; 17 and 18 are runs of 3-10 and 11-138 zeros.
      const value = symbol === 16 && i > 0 ? codeLengths[i - 1]! : 0;
      const run = symbol === 16 ? 3 + take(2) : symbol === 17 ? 3 + take(3) : 11 + take(7);
      codeLengths.fill(value, i, i + run);
      i += run;
      if (i > codeCount) throw damaged('a run of code lengths is too long');
    }
  }

  /** The end of the final block, whose codes were read; undefined if its end-of-block code has no bit that is set. */
  function endOfCodes(): number | undefined {
    const codeBits = codeLengths[END_OF_BLOCK]!;
    if (codeBits === 0) throw damaged('a block cannot end');
    firstCodes(codeLengths.subarray(0, litlenCount));
    let code = nextCode[codeBits]!;
    for (let symbol = 0; symbol < END_OF_BLOCK; symbol++) if (codeLengths[symbol] === codeBits) code++;
    if (code === 0) return undefined;
    let last = length - 1;
    while (last > 0 && bytes[last] === 0) last--;
    const lastSetBit = last * 8 + 31 - Math.clz32(bytes[last]!);
    // A code's last bit is its lowest: as many zeros follow the last one that is set.
    const zeros = 31 - Math.clz32(code & -code);
    const end = lastSetBit + 1 + zeros;
    if (end - codeBits < position) throw damaged('it ends inside a block');
    for (let bit = 0; bit < codeBits; bit++, code >>= 1) {
      const at = end - 1 - bit;
      if (((bytes[at >>> 3]! >>> (at & 7)) & 1) !== (code & 1)) throw damaged('it ends inside a block');
    }
    return end;
  }

  function skipStored(): void {
    const header = (position + 7) >>> 3;
    if (header > lastWord) throw damaged('it ends inside a stored block');
    const storedLength = view.getUint16(header, true);
    if ((storedLength ^ view.getUint16(header + 2, true)) !== 0xffff)
      throw damaged('a stored length is wrong');
    position = (header + 4 + storedLength) * 8;
  }

  function skipCoded(): void {
    const { entries: litlen, moreBits: moreLitlenBits, bits: litlenBits } = litlenTable;
    const { entries: distance, moreBits: moreDistanceBits, bits: distanceBits } = distanceTable;
    const litlenMask = (1 << litlenBits) - 1;
    const moreLitlenMask = (1 << moreLitlenBits) - 1;
    const distanceMask = (1 << distanceBits) - 1;
    const moreDistanceMask = (1 << moreDistanceBits) - 1;
    const lastBit = lastWord * 8;
    let at = position;
    for (;;) {
      if (at > lastBit) throw damaged('it ends inside a block');
      let word = view.getUint32(at >>> 3, true) >>> (at & 7);
      let entry = litlen[word & litlenMask]!;
      // A literal has no extra bits. A word holds 25 bits: often two of them and a code.
      if (entry < IS_LENGTH && entry > 0) {
        word >>>= entry;
        at += entry;
        entry = litlen[word & litlenMask]!;
      }
      if (entry < 0) entry = litlen[((word >>> litlenBits) & moreLitlenMask) - entry]!;
      const codeBits = entry & 15;
      if (entry < IS_LENGTH) {
        if (entry === 0) throw damaged('a code has no meaning');
        at += codeBits;
        continue;
      }
      if (entry >= IS_END) {
        at += codeBits;
        break;
      }
      at += codeBits + ((entry >> EXTRA_SHIFT) & 15);
      word = view.getUint32(at >>> 3, true) >>> (at & 7);
      let code = distance[word & distanceMask]!;
      if (code < 0) code = distance[((word >>> distanceBits) & moreDistanceMask) - code]!;
      if (code === 0) throw damaged('a distance code has no meaning');
      at += (code & 15) + (code >> EXTRA_SHIFT);
    }
    position = at;
  }

  for (;;) {
    const finalFlagBit = position;
    const isFinal = take(1) === 1;
    const type = take(2);
    if (type === 3) throw damaged('a block has no known type');
    if (type === 0) skipStored();
    else {
      if (type === 2) readDynamicCodes();
      const endBit = isFinal && type === 2 ? endOfCodes() : undefined;
      if (endBit !== undefined) return { finalFlagBit, endBit };
      if (type === 2) {
        buildTable(litlenTable, codeLengths.subarray(0, litlenCount), LITLEN_SYMBOLS);
        buildTable(distanceTable, codeLengths.subarray(litlenCount, codeCount), DISTANCE_SYMBOLS);
      } else {
        buildTable(litlenTable, FIXED_LITLEN_LENGTHS, LITLEN_SYMBOLS);
        buildTable(distanceTable, FIXED_DISTANCE_LENGTHS, DISTANCE_SYMBOLS);
      }
      skipCoded();
    }
    if (isFinal) return { finalFlagBit, endBit: position };
  }
}

function damaged(reason: string): BackupError {
  return new BackupError({
    code: 'CHUNK_CORRUPT',
    tried: 'find the end of',
    subject: 'a deflate stream',
    reason,
    remedy: 'Run csync-backup verify on this backup',
  });
}
