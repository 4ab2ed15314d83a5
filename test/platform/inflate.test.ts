import { constants, deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type InflateEngine,
  inflateEngine,
  inflateInto,
  inflateSegment,
  loadIsalInflate,
  loadLibdeflateInflate,
  loadZlibInflate,
} from '../../src/platform/inflate.ts';
import { samples } from './samples.ts';

const engines = [loadIsalInflate(), loadLibdeflateInflate(), loadZlibInflate()].filter(
  (engine): engine is InflateEngine => engine !== undefined,
);
const corrupt = expect.objectContaining({ code: 'CHUNK_CORRUPT' }) as Error;
const segmentOf = (raw: Uint8Array): Buffer => deflateRawSync(raw, { finishFlush: constants.Z_FULL_FLUSH });

test('the best engine of this machine is used', () => {
  expect(inflateEngine().name).toBe(engines[0]!.name);
});

describe.each(engines)('inflateInto by $name', (engine) => {
  test('gives back any segments, and says that the stream goes on', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 3000 }), { minLength: 1, maxLength: 3 }), (list) => {
        const raw = Buffer.concat(list);
        const deflated = Buffer.concat(list.map(segmentOf));
        const output = new Uint8Array(raw.length);
        expect(inflateInto(deflated, output, engine)).toEqual({
          produced: raw.length,
          consumed: deflated.length,
          ended: false,
        });
        expect(Buffer.from(output)).toEqual(raw);
      }),
    );
  });

  test('stops behind a final block and leaves the trailer alone', () => {
    for (const raw of Object.values(samples(50_000))) {
      const stream = deflateRawSync(raw);
      for (const trailer of [Buffer.alloc(0), Buffer.alloc(8, 0xff), Buffer.from('0300', 'hex')]) {
        const output = new Uint8Array(raw.length + 5);
        const deflated = Buffer.concat([stream, trailer]);
        expect(inflateInto(deflated, output, engine)).toEqual({
          produced: raw.length,
          consumed: stream.length,
          ended: true,
        });
        expect(raw.equals(output.subarray(0, raw.length))).toBe(true);
      }
    }
  });

  test('takes an output of exactly the right length and none that is one shorter', () => {
    const raw = samples(5000).text!;
    const segment = segmentOf(raw);
    inflateInto(segment, new Uint8Array(raw.length), engine);
    expect(() => inflateInto(segment, new Uint8Array(raw.length - 1), engine)).toThrowError(corrupt);
    expect(() => inflateInto(segment, new Uint8Array(0), engine)).toThrowError(corrupt);
  });

  test('a segment that is cut off anywhere is corrupt', () => {
    const raw = samples(3000).mail!;
    const segment = segmentOf(raw);
    for (let cut = 0; cut < segment.length; cut++) {
      const output = new Uint8Array(raw.length);
      try {
        // Only a cut at the end of a block leaves something whole, and then less than all.
        expect(inflateInto(segment.subarray(0, cut), output, engine).produced).toBeLessThanOrEqual(
          raw.length,
        );
        expect([0, segment.length - 5, segment.length - 4]).toContain(cut);
      } catch (error) {
        expect(error).toMatchObject({ code: 'CHUNK_CORRUPT' });
      }
    }
  });

  test('arbitrary bytes are corrupt or inflate, and nothing else happens', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        try {
          const { produced, consumed } = inflateInto(bytes, new Uint8Array(1000), engine);
          expect(produced).toBeLessThanOrEqual(1000);
          expect(consumed).toBeLessThanOrEqual(bytes.length);
        } catch (error) {
          expect(error).toMatchObject({ code: 'CHUNK_CORRUPT' });
        }
      }),
      { numRuns: 300 },
    );
  });

  test('works in shared memory', () => {
    const raw = samples(10_000).text!;
    const segment = segmentOf(raw);
    const input = new Uint8Array(new SharedArrayBuffer(segment.length));
    input.set(segment);
    const output = new Uint8Array(new SharedArrayBuffer(raw.length));
    inflateInto(input, output, engine);
    expect(raw.equals(output)).toBe(true);
  });
});

test('inflateSegment gives as many bytes as there are, up to the limit', () => {
  const raw = samples(20_000).mail!;
  for (const limit of [raw.length, raw.length + 1, raw.length * 2]) {
    expect(raw.equals(inflateSegment(segmentOf(raw), limit))).toBe(true);
  }
  expect(() => inflateSegment(segmentOf(raw), raw.length - 1)).toThrowError(corrupt);
});
