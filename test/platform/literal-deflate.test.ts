import { constants, deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { maxDeflatedLength } from '../../src/platform/deflate.ts';
import {
  type InflateEngine,
  inflateInto,
  loadIsalInflate,
  loadLibdeflateInflate,
  loadZlibInflate,
} from '../../src/platform/inflate.ts';
import { loadLiteralDeflate } from '../../src/platform/literal-deflate.ts';
import { loadLiteralKernel } from '../../src/platform/literal-kernel.ts';
import { Inflater } from '../../src/store/chunk/inflater.ts';
import { Random } from '../support/random.ts';
import { samples } from './samples.ts';

const deflate = loadLiteralDeflate();
const engines = [loadIsalInflate(), loadLibdeflateInflate(), loadZlibInflate()].filter(
  (engine): engine is InflateEngine => engine !== undefined,
);
const FLUSH = Buffer.from('0000ffff', 'hex');
const random = new Random('literals');

/** The compressed bytes, after every reader has made the same of them as was put in. */
function deflated(raw: Uint8Array): Buffer {
  const limit = maxDeflatedLength(raw.length);
  const memory = Buffer.alloc(limit + 64, 0xa5);
  const length = deflate(raw, memory.subarray(32, 32 + limit));
  const result = memory.subarray(32, 32 + length);
  expect(memory.subarray(0, 32).every((byte) => byte === 0xa5)).toBe(true);
  expect(memory.subarray(32 + length).every((byte) => byte === 0xa5)).toBe(true);
  expect(result.subarray(-4)).toEqual(FLUSH);
  const whole = { produced: raw.length, consumed: length, ended: false };
  for (const engine of engines) {
    const output = new Uint8Array(raw.length);
    expect(inflateInto(result, output, engine)).toEqual(whole);
    expect(Buffer.compare(output, raw), engine.name).toBe(0);
  }
  const pieces: Buffer[] = [];
  const inflater = new Inflater({
    content: (bytes) => pieces.push(Buffer.from(bytes)),
    flushPoint: () => {},
  });
  for (let at = 0; at < length; ) {
    const next = inflater.run(result, at, length);
    if (next === at) break;
    at = next;
  }
  expect(Buffer.concat(pieces).equals(raw)).toBe(true);
  return result;
}

function base64Lines(lines: number, chars = 76): Buffer {
  const text = random.bytes(lines * chars).toString('base64');
  return Buffer.from(
    Array.from({ length: lines }, (_, line) => `${text.slice(line * chars, (line + 1) * chars)}\r\n`).join(
      '',
    ),
  );
}

describe('deflate of literals', () => {
  test('gives back any bytes, in any reader', () => {
    const line = fc.string({ maxLength: 90 }).map((text) => `${text}\r\n`);
    const lines = fc
      .tuple(fc.array(line, { minLength: 1, maxLength: 6 }), fc.array(fc.nat(5), { maxLength: 200 }))
      .map(([from, which]) => Buffer.from(which.map((each) => from[each % from.length]!).join('')));
    const raw = fc.oneof(
      fc.uint8Array({ maxLength: 3000 }),
      lines,
      fc
        .array(fc.constantFrom('\r', '\n', '\r\n', 'a', 'ab'), { maxLength: 2000 })
        .map((all) => Buffer.from(all.join(''))),
    );
    fc.assert(
      fc.property(
        raw,
        fc.nat(3),
        (bytes, shift) => void deflated(bytes.subarray(Math.min(shift, bytes.length))),
      ),
      { numRuns: 150 },
    );
  });

  test.each([
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    65_534,
    65_535,
    65_536,
    2 ** 18 + 1,
    2 ** 19 - 1,
    2 ** 20 - 1,
    2 ** 20 + 3,
  ])('gives back %i bytes of base64, of noise, of one byte and of lines that repeat', (length) => {
    const noise = random.bytes(length + 1);
    deflated(base64Lines(Math.ceil((length + 2) / 78)).subarray(0, length));
    expect(deflated(noise.subarray(1)).length).toBeLessThanOrEqual(
      length + 5 * (Math.ceil(length / 65_535) + 6),
    );
    deflated(Buffer.alloc(length, 'A'));
    deflated(Buffer.alloc(length, 'some line\r\nanother one\r\n'));
  });

  test('works in shared memory, at odd places', () => {
    const text = base64Lines(2000);
    const raw = new Uint8Array(new SharedArrayBuffer(text.length + 1), 1);
    raw.set(text);
    const out = new Uint8Array(new SharedArrayBuffer(maxDeflatedLength(raw.length) + 3), 3);
    const length = deflate(raw, out);
    const output = new Uint8Array(raw.length);
    inflateInto(Uint8Array.from(out.subarray(0, length)), output, loadZlibInflate());
    expect(text.equals(output)).toBe(true);
  });

  test('of symbols some of which are so rare that their codes would be too long', () => {
    const counts = [1, 1];
    while (counts.length < 25) counts.push(counts.at(-1)! + counts.at(-2)!);
    const raw = Buffer.concat(counts.map((count, symbol) => Buffer.alloc(count, 50 + 3 * symbol)));
    expect(deflated(raw).length).toBeLessThan(raw.length / 2);
  });

  test('makes base64 of what is compressed as small as zlib does at its best', () => {
    for (const chars of [60, 64, 72, 76]) {
      const raw = base64Lines(8000, chars);
      expect(deflated(raw).length).toBeLessThan(deflateRawSync(raw, { level: 9 }).length * 1.0005);
      const huffman = deflateRawSync(raw, { strategy: constants.Z_HUFFMAN_ONLY }).length;
      expect(deflated(raw).length).toBeLessThan(huffman * 0.999);
    }
  });

  test('finds lines that repeat', () => {
    const lines = base64Lines(300);
    expect(deflated(Buffer.concat([lines, lines])).length).toBeLessThan(deflated(lines).length * 1.25);
  });

  test('gives nothing out when what was put out is not as long as was counted', () => {
    const kernel = loadLiteralKernel();
    const faulty = loadLiteralDeflate({
      ...kernel,
      encode: (from, to, matchesEnd) => kernel.encode(from, to - 1, matchesEnd),
    });
    const raw = base64Lines(100);
    expect(() => faulty(raw, new Uint8Array(maxDeflatedLength(raw.length)))).toThrow('bits too short');
  });

  test('knows nothing of what it has compressed before', () => {
    const kinds = Object.values(samples(30_000));
    const first = kinds.map((raw) => Buffer.from(deflated(raw)));
    kinds.forEach((raw, kind) => {
      expect(deflated(raw).equals(first[kind]!)).toBe(true);
    });
  });
});
