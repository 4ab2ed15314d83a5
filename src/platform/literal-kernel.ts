/**
 * The loops over every byte of literal-deflate.ts, as WebAssembly: in JavaScript they take twice the time, for want of a register
 * of 64 bits. What they work on lies in a memory of their own, whose layout PLACES is.
 */
import {
  block,
  type Code,
  choose,
  i32,
  i64,
  instantiate,
  type Local,
  loop,
  type NewLocal,
  PAGE_BYTES,
  select,
  when,
} from './wasm-builder.ts';

/** Longest input, which is one block, in bytes: long enough that its head does not count, short enough for its counts to fit it. */
export const MOST_INPUT = 1 << 19;
/** Matches of a block, at most. */
export const MOST_MATCHES = 8192;
/** Of a match in memory: where it begins, its length and its distance. */
export const MATCH_BYTES = 12;

/**
 * Byte offsets. An entry of a code is what is to be put out, shifted left by ENTRY_SHIFT, and below it the number of bits.
 */
export const PLACES = {
  /** Entries by pair of bytes, the first in the low byte. */
  pairEntries: 0,
  /** How often each pair occurs; two of them, since a counter that was just written is slow to read. */
  evenCounts: 0x4_0000,
  oddCounts: 0x8_0000,
  /** Where the latest line end is that this byte follows, and one more; 0: none. */
  lineByByte: 0xc_0000,
  /** The same by a hash of the four bytes that follow. */
  lineByHash: 0xc_1000,
  /** How often each literal and length, and each distance, is to be put out. */
  litlenCounts: 0xc_6000,
  distanceCounts: 0xc_7000,
  /** Entries by byte, by length of a match with its extra bits, by symbol of a distance without. */
  byteEntries: 0xc_8000,
  lengthEntries: 0xc_9000,
  distanceEntries: 0xc_a000,
  /** Symbols by length of a match. */
  lengthSymbols: 0xc_b000,
  /** What encode() goes on from and leaves: address, bits that are held, less than 8, and their number; 64 bits each. */
  output: 0xc_c000,
  matches: 0xd_0000,
  input: 0x10_0000,
  result: 0x19_0000,
} as const;
const MEMORY_PAGES = (PLACES.result + MOST_INPUT) / PAGE_BYTES + 1;

export const ENTRY_SHIFT = 6;
/** Mask of the number of bits. */
export const ENTRY_BITS: number = (1 << ENTRY_SHIFT) - 1;

const CR = 13;
const CR_LF = 0x0a0d;
/** Bytes of text are below it. */
export const PRINTABLE = 128;
const MIN_MATCH = 3;
const MAX_MATCH = 258;
const WINDOW_BYTES = 32 * 1024;
/** A match of few bytes is not worth more bits of distance. */
const SHORT_MATCH_WINDOW_BYTES = 16 * 1024;
const FEW_BYTES = 4;
const LINE_HASH_BITS = 12;

const increment = (address: Code, by: number, offset = 0): Code =>
  i32.store(address, i32.add(i32.load(address, offset), i32.const(by)), offset);

const wordAt = (base: number, index: Code): Code =>
  i32.add(i32.const(base), i32.shiftLeft(index, i32.const(2)));

/** countPairs(from, to): adds the pairs of bytes of the input, an even number of bytes, to evenCounts and oddCounts. */
function countPairs(local: NewLocal, from: Local, to: Local): Code {
  const pairs = local('i32');
  const counted = (pair: Code, counts: number): Code =>
    increment(i32.shiftLeft(pair, i32.const(2)), 1, counts);
  return block(
    loop(
      i32.lessOrEqual(i32.add(from.get, i32.const(4)), to.get),
      pairs.set(i32.load(from.get)),
      counted(i32.and(pairs.get, i32.const(0xffff)), PLACES.evenCounts),
      counted(i32.shiftRight(pairs.get, i32.const(16)), PLACES.oddCounts),
      from.set(i32.add(from.get, i32.const(4))),
    ),
    when(i32.less(from.get, to.get), counted(i32.load16(from.get), PLACES.evenCounts)),
  );
}

/** takePairs(most): moves what was counted to litlenCounts; that of the pairs of bytes below `most`. Returns how many. */
function takePairs(local: NewLocal, most: Local): Code {
  const [high, low, at, count, taken] = [
    local('i32'),
    local('i32'),
    local('i32'),
    local('i32'),
    local('i32'),
  ];
  const zero = i64.const(0);
  const take = (offset: number): Code =>
    block(
      count.set(
        i32.add(
          i32.load(at.get, PLACES.evenCounts + 4 * offset),
          i32.load(at.get, PLACES.oddCounts + 4 * offset),
        ),
      ),
      taken.set(i32.add(taken.get, count.get)),
      addTo(wordAt(PLACES.litlenCounts, i32.add(low.get, i32.const(offset))), count.get),
      addTo(wordAt(PLACES.litlenCounts, high.get), count.get),
    );
  return block(
    loop(
      i32.less(high.get, most.get),
      low.set(i32.const(0)),
      loop(
        i32.less(low.get, most.get),
        at.set(i32.shiftLeft(i32.or(low.get, i32.shiftLeft(high.get, i32.const(8))), i32.const(2))),
        when(
          i64.ne(i64.or(i64.load(at.get, PLACES.evenCounts), i64.load(at.get, PLACES.oddCounts)), zero),
          take(0),
          take(1),
          i64.store(at.get, zero, PLACES.evenCounts),
          i64.store(at.get, zero, PLACES.oddCounts),
        ),
        low.set(i32.add(low.get, i32.const(2))),
      ),
      high.set(i32.add(high.get, i32.const(1))),
    ),
    taken.get,
  );
}

function addTo(address: Code, value: Code): Code {
  return i32.store(address, i32.add(i32.load(address), value));
}

/**
 * findMatches(from, to): looks at each line end of the input there for a line before that begins alike, notes what matches and takes
 * it out of litlenCounts. Returns where the matches end.
 */
function findMatches(local: NewLocal, from: Local, to: Local): Code {
  const i32s = Array.from({ length: 9 }, () => local('i32')) as [
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
  ];
  const [end, period, resume, matches, start, length, alike, slot, four] = i32s;
  const step = local('i32');
  const byte = (address: Code): Code => i32.load8(address);
  /** Sets `length` to how far the bytes from `start` are those from `end`; 0 where that cannot be referred to, or is too short. */
  const measure = block(
    length.set(i32.const(0)),
    when(
      i32.and(
        i32.ne(start.get, i32.const(0)),
        i32.lessOrEqual(i32.subtract(end.get, start.get), i32.const(WINDOW_BYTES)),
      ),
      loop(
        i32.and(
          i32.and(i32.less(length.get, i32.const(MAX_MATCH)), i32.less(i32.add(end.get, length.get), to.get)),
          i32.eq(byte(i32.add(start.get, length.get)), byte(i32.add(end.get, length.get))),
        ),
        length.set(i32.add(length.get, i32.const(1))),
      ),
      when(i32.less(length.get, i32.const(MIN_MATCH)), length.set(i32.const(0))),
    ),
  );
  const distance = i32.subtract(end.get, start.get);
  const note = block(
    i32.store(matches.get, end.get),
    i32.store(matches.get, length.get, 4),
    i32.store(matches.get, distance, 8),
    matches.set(i32.add(matches.get, i32.const(MATCH_BYTES))),
    increment(wordAt(PLACES.litlenCounts, i32.load(wordAt(PLACES.lengthSymbols, length.get))), 1),
    increment(wordAt(PLACES.distanceCounts, distanceSymbol(distance)), 1),
    step.set(i32.const(0)),
    loop(
      i32.less(step.get, length.get),
      increment(wordAt(PLACES.litlenCounts, byte(i32.add(end.get, step.get))), -1),
      step.set(i32.add(step.get, i32.const(1))),
    ),
  );
  const lookAtLine = block(
    four.set(i32.load(end.get, 2)),
    slot.set(
      wordAt(
        PLACES.lineByHash,
        i32.shiftRight(i32.multiply(four.get, i32.const(0x9e3779b1)), i32.const(32 - LINE_HASH_BITS)),
      ),
    ),
    start.set(i32.load(slot.get)),
    i32.store(slot.get, end.get),
    slot.set(wordAt(PLACES.lineByByte, i32.and(four.get, i32.const(0xff)))),
    alike.set(i32.load(slot.get)),
    i32.store(slot.get, end.get),
    measure,
    when(
      i32.lessOrEqual(length.get, i32.const(FEW_BYTES + 1)),
      start.set(alike.get),
      measure,
      when(
        i32.and(
          i32.lessOrEqual(length.get, i32.const(FEW_BYTES)),
          i32.more(distance, i32.const(SHORT_MATCH_WINDOW_BYTES)),
        ),
        length.set(i32.const(0)),
      ),
    ),
    resume.set(i32.add(end.get, i32.const(2))),
    when(i32.ne(length.get, i32.const(0)), note, resume.set(i32.add(end.get, length.get))),
  );
  const findCr = loop(
    i32.and(i32.less(end.get, to.get), i32.ne(byte(end.get), i32.const(CR))),
    end.set(i32.add(end.get, i32.const(1))),
  );
  return block(
    matches.set(i32.const(PLACES.matches)),
    end.set(from.get),
    findCr,
    loop(
      i32.and(
        i32.lessOrEqual(i32.add(end.get, i32.const(6)), to.get),
        i32.less(matches.get, i32.const(PLACES.matches + MOST_MATCHES * MATCH_BYTES)),
      ),
      resume.set(i32.add(end.get, i32.const(1))),
      when(i32.eq(i32.load16(end.get), i32.const(CR_LF)), lookAtLine),
      // Most lines are as long as the one before.
      start.set(end.get),
      end.set(i32.add(start.get, period.get)),
      when(
        i32.or(
          i32.or(i32.less(end.get, resume.get), i32.moreOrEqual(end.get, to.get)),
          i32.ne(byte(end.get), i32.const(CR)),
        ),
        end.set(resume.get),
        findCr,
      ),
      period.set(i32.subtract(end.get, start.get)),
    ),
    matches.get,
  );
}

/** RFC 1951, section 3.2.5; of distances from 1. */
function distanceSymbol(distance: Code): Code {
  const d = i32.subtract(distance, i32.const(1));
  const high = i32.subtract(i32.const(31), i32.leadingZeros(d));
  const long = i32.add(
    i32.shiftLeft(high, i32.const(1)),
    i32.and(i32.shiftRight(d, i32.subtract(high, i32.const(1))), i32.const(1)),
  );
  return select(i32.less(d, i32.const(4)), d, long);
}

/** encode(from, to, matchesEnd): puts out the input there, two bytes at a time between matches. */
function encode(local: NewLocal, from: Local, to: Local, matchesEnd: Local): Code {
  const [at, match, end, entry, symbol, d] = Array.from({ length: 6 }, () => local('i32')) as [
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
  ];
  const [held, bits] = [local('i64'), local('i64')];
  const [first, second, third, fourth] = Array.from({ length: 4 }, () => [local('i64'), local('i64')]) as [
    [Local, Local],
    [Local, Local],
    [Local, Local],
    [Local, Local],
  ];
  const hold = (value: Code, count: Code): Code =>
    block(
      held.set(i64.or(held.get, i64.shiftLeft(i64.of(value), bits.get))),
      bits.set(i64.add(bits.get, i64.of(count))),
    );
  const holdEntry = (value: Code): Code =>
    block(
      entry.set(value),
      hold(i32.shiftRight(entry.get, i32.const(ENTRY_SHIFT)), i32.and(entry.get, i32.const(ENTRY_BITS))),
    );
  const flush = block(
    i64.store(at.get, held.get),
    at.set(i32.add(at.get, i32.shiftRight(i32.of(bits.get), i32.const(3)))),
    held.set(i64.shiftRight(held.get, i64.and(bits.get, i64.const(~7)))),
    bits.set(i64.and(bits.get, i64.const(7))),
  );
  const pair = (value: Code): Code =>
    holdEntry(i32.load(i32.shiftLeft(value, i32.const(2)), PLACES.pairEntries));
  const four = block(
    d.set(i32.load(from.get)),
    pair(i32.and(d.get, i32.const(0xffff))),
    pair(i32.shiftRight(d.get, i32.const(16))),
    flush,
  );
  // Codes of eight symbols are joined before they are held, so that the processor does not wait for those before.
  const joined = ([low, lowBits]: [Local, Local], [high, highBits]: [Local, Local]): Code =>
    block(
      low.set(i64.or(low.get, i64.shiftLeft(high.get, lowBits.get))),
      lowBits.set(i64.add(lowBits.get, highBits.get)),
    );
  const look = ([value, count]: [Local, Local], pairOf: Code): Code =>
    block(
      entry.set(i32.load(i32.shiftLeft(pairOf, i32.const(2)), PLACES.pairEntries)),
      value.set(i64.of(i32.shiftRight(entry.get, i32.const(ENTRY_SHIFT)))),
      count.set(i64.of(i32.and(entry.get, i32.const(ENTRY_BITS)))),
    );
  const holdJoined = ([value, count]: [Local, Local]): Code =>
    block(
      held.set(i64.or(held.get, i64.shiftLeft(value.get, bits.get))),
      bits.set(i64.add(bits.get, count.get)),
    );
  const eight = block(
    d.set(i32.load(from.get)),
    look(first, i32.and(d.get, i32.const(0xffff))),
    look(second, i32.shiftRight(d.get, i32.const(16))),
    d.set(i32.load(from.get, 4)),
    look(third, i32.and(d.get, i32.const(0xffff))),
    look(fourth, i32.shiftRight(d.get, i32.const(16))),
    joined(first, second),
    joined(third, fourth),
    choose(
      i32.lessOrEqual(i32.of(i64.add(first[1].get, third[1].get)), i32.const(56)),
      block(joined(first, third), holdJoined(first), flush),
      block(holdJoined(first), flush, holdJoined(third), flush),
    ),
  );
  const on = (bytes: number): Code => from.set(i32.add(from.get, i32.const(bytes)));
  const fits = (bytes: number): Code => i32.lessOrEqual(i32.add(from.get, i32.const(bytes)), end.get);
  const state = i32.const(PLACES.output);
  const more = i32.less(match.get, matchesEnd.get);
  const extraBits = i32.subtract(i32.shiftRight(symbol.get, i32.const(1)), i32.const(1));
  const putMatch = block(
    holdEntry(i32.load(wordAt(PLACES.lengthEntries, i32.load(match.get, 4)))),
    d.set(i32.load(match.get, 8)),
    symbol.set(distanceSymbol(d.get)),
    holdEntry(i32.load(wordAt(PLACES.distanceEntries, symbol.get))),
    when(
      i32.more(symbol.get, i32.const(3)),
      hold(
        i32.and(
          i32.subtract(d.get, i32.const(1)),
          i32.subtract(i32.shiftLeft(i32.const(1), extraBits), i32.const(1)),
        ),
        extraBits,
      ),
    ),
    flush,
    from.set(i32.add(end.get, i32.load(match.get, 4))),
    match.set(i32.add(match.get, i32.const(MATCH_BYTES))),
  );
  return block(
    at.set(i32.load(state)),
    held.set(i64.load(state, 8)),
    bits.set(i64.load(state, 16)),
    match.set(i32.const(PLACES.matches)),
    loop(
      i32.less(from.get, to.get),
      end.set(to.get),
      when(more, end.set(i32.load(match.get))),
      loop(fits(8), eight, on(8)),
      when(fits(4), four, on(4)),
      when(fits(2), pair(i32.load16(from.get)), flush, on(2)),
      when(fits(1), holdEntry(i32.load(wordAt(PLACES.byteEntries, i32.load8(from.get)))), flush, on(1)),
      when(more, putMatch),
    ),
    i32.store(state, at.get),
    i64.store(state, held.get, 8),
    i64.store(state, bits.get, 16),
  );
}

export interface LiteralKernel {
  memory: Uint8Array;
  countPairs(from: number, to: number): void;
  takePairs(most: number): number;
  findMatches(from: number, to: number): number;
  encode(from: number, to: number, matchesEnd: number): void;
}

/** One of a thread: it has state. */
export function loadLiteralKernel(): LiteralKernel {
  const { memory, exports } = instantiate<Omit<LiteralKernel, 'memory'>>(MEMORY_PAGES, [
    { name: 'countPairs', parameters: 2, result: false, code: countPairs },
    { name: 'takePairs', parameters: 1, result: true, code: takePairs },
    { name: 'findMatches', parameters: 2, result: true, code: findMatches },
    { name: 'encode', parameters: 3, result: false, code: encode },
  ]);
  return { memory, ...exports };
}
