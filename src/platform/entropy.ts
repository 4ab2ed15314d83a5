/** Grain of the search: finer costs time, coarser leaves incompressible bytes to the slow compressor. */
const BLOCK_BYTES = 16 * 1024;
/** What is looked at of each block, spread over it evenly. */
const SAMPLES = 8;
const SAMPLE_BYTES = 128;
/** Shorter runs than DEFLATE's window stay with their neighbours, which may refer to what is on the other side. */
const SHORTEST_RUN_BLOCKS = 2;
/**
 * Share of the highest entropy that its symbols allow from which a block counts as incompressible. Blocks of
 * base64 of compressed data (JPEG, PNG, PDF, ZIP) have 0.99 or more; of anything that zlib can compress, text
 * and base64 of programs or documents included, at most 0.98.
 */
const INCOMPRESSIBLE_SHARE = 0.984;
/** Below it, even symbols may be a short pattern that repeats. Base64 has 64 and the line end. */
const FEWEST_SYMBOLS = 60;

export interface Run {
  start: number;
  end: number;
  /** Nothing repeats in it: only the coding of its symbols can make it smaller, which any compressor does. */
  incompressible: boolean;
}

const counts = new Uint16Array(256);
/** COUNT_LOG[c] = c * log2(c) */
const COUNT_LOG = Float64Array.from({ length: SAMPLES * SAMPLE_BYTES + 1 }, (_, c) =>
  c === 0 ? 0 : c * Math.log2(c),
);

/** Judges a block by the order-0 entropy of samples of it. */
function isIncompressible(block: Uint8Array): boolean {
  counts.fill(0);
  const stride = Math.max(SAMPLE_BYTES, Math.floor(block.byteLength / SAMPLES));
  let sampled = 0;
  for (let at = 0; at < block.byteLength && sampled < SAMPLES * SAMPLE_BYTES; at += stride) {
    const end = Math.min(at + SAMPLE_BYTES, block.byteLength);
    for (let i = at; i < end; i++) counts[block[i]!]!++;
    sampled += end - at;
  }
  let symbols = 0;
  let sum = 0;
  for (let i = 0; i < 256; i++) {
    const count = counts[i]!;
    if (count === 0) continue;
    symbols++;
    sum += COUNT_LOG[count]!;
  }
  if (symbols < FEWEST_SYMBOLS) return false;
  return Math.log2(sampled) - sum / sampled >= INCOMPRESSIBLE_SHARE * Math.log2(symbols);
}

/** By byte, 1: base64 or a line end. */
const IS_BASE64 = new Uint8Array(256);
for (const byte of Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/\r\n')) {
  IS_BASE64[byte] = 1;
}
/** Base64 is looked for in so many bytes at each step; other text has a space or a full stop among them. */
const LOOK_BYTES = 32;
const STEP_BYTES = 512;

function isBase64(raw: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (IS_BASE64[raw[at]!] === 0) return false;
  return true;
}

/** Where the base64 before `high`, which is base64, begins; undefined if it is not above `low`. */
function base64Start(raw: Uint8Array, low: number, high: number): number | undefined {
  let at = high;
  while (at - STEP_BYTES > low && isBase64(raw, at - STEP_BYTES, at - STEP_BYTES + LOOK_BYTES))
    at -= STEP_BYTES;
  while (at > low && IS_BASE64[raw[at - 1]!] === 1) at--;
  return at > low ? at : undefined;
}

/** Where the base64 behind `low` ends; undefined if it is not below `high`. */
function base64End(raw: Uint8Array, low: number, high: number): number | undefined {
  let at = low;
  while (at + STEP_BYTES < high && isBase64(raw, at + STEP_BYTES - LOOK_BYTES, at + STEP_BYTES))
    at += STEP_BYTES;
  while (at < high && IS_BASE64[raw[at]!] === 1) at++;
  return at < high ? at : undefined;
}

/** Moves the borders of runs of base64 from those of blocks to where base64 begins and ends. */
function sharpen(raw: Uint8Array, runs: readonly Run[]): void {
  for (let i = 1; i < runs.length; i++) {
    const [before, after] = [runs[i - 1]!, runs[i]!];
    const border = after.start;
    const low = Math.max(border - BLOCK_BYTES, before.start);
    const high = Math.min(border + BLOCK_BYTES, after.end - LOOK_BYTES);
    const from = Math.max(border - BLOCK_BYTES, before.start + LOOK_BYTES);
    if (after.incompressible) {
      if (isBase64(raw, high, high + LOOK_BYTES)) after.start = base64Start(raw, low, high) ?? border;
    } else if (isBase64(raw, from - LOOK_BYTES, from)) {
      after.start = base64End(raw, from, Math.min(border + BLOCK_BYTES, after.end)) ?? border;
    }
    before.end = after.start;
  }
}

/** Divides bytes into runs to be compressed each in the way that suits it, in order and without gaps. */
export function splitByEntropy(raw: Uint8Array): Run[] {
  const runs: Run[] = [];
  for (let start = 0; start < raw.byteLength; ) {
    let end = Math.min(start + BLOCK_BYTES, raw.byteLength);
    if (raw.byteLength - end < BLOCK_BYTES / 2) end = raw.byteLength; // a short rest goes with the last block
    const incompressible = isIncompressible(raw.subarray(start, end));
    const last = runs.at(-1);
    if (last?.incompressible === incompressible) last.end = end;
    else runs.push({ start, end, incompressible });
    start = end;
  }
  const merged: Run[] = [];
  for (const run of runs) {
    const short = run.incompressible && run.end - run.start < SHORTEST_RUN_BLOCKS * BLOCK_BYTES;
    if (short && runs.length > 1) run.incompressible = false;
    const last = merged.at(-1);
    if (last?.incompressible === run.incompressible) last.end = run.end;
    else merged.push(run);
  }
  sharpen(raw, merged);
  return merged;
}
