import zlib from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Inflater } from '../../../src/store/chunk/inflater.ts';

interface Decoded {
  status: string;
  /** Input used up. */
  position: number;
  content: Buffer;
  flushPoints: { position: number; content: number }[];
}

/** Decodes in pieces of these sizes, over and over. */
function decode(input: Uint8Array, pieces: readonly number[] = [input.length || 1]): Decoded {
  const content: Buffer[] = [];
  const flushPoints: Decoded['flushPoints'] = [];
  let length = 0;
  const inflater = new Inflater({
    content: (bytes) => {
      content.push(Buffer.from(bytes));
      length += bytes.length;
    },
    flushPoint: (position) => flushPoints.push({ position, content: length }),
  });
  let position = 0;
  let to = 0;
  for (let i = 0; inflater.status === 'input' || inflater.status === 'full'; i++) {
    if (inflater.status === 'input') {
      if (to === input.length && i > 0) break;
      to = Math.min(to + pieces[i % pieces.length]!, input.length);
    }
    position = inflater.run(input, position, to);
  }
  expect(inflater.contentLength).toBe(length);
  return { status: inflater.status, position, content: Buffer.concat(content), flushPoints };
}

/** Bytes that compress in every way: random, repetitive, few symbols. */
const raw = fc.oneof(
  fc.uint8Array({ maxLength: 600 }),
  fc.array(fc.constantFrom(97, 98, 99, 13, 10), { maxLength: 3000 }).map((bytes) => Uint8Array.from(bytes)),
  fc
    .tuple(fc.uint8Array({ minLength: 1, maxLength: 80 }), fc.nat(400))
    .map(([unit, times]) => Buffer.concat(Array(times).fill(unit))),
);
const options = fc.record({
  level: fc.integer({ min: 0, max: 9 }),
  strategy: fc.constantFrom(0, 1, 2, 3, 4),
  memLevel: fc.integer({ min: 1, max: 9 }),
});

describe('Inflater', () => {
  it('decodes what zlib made, whatever the pieces, and stops exactly at its end', () => {
    fc.assert(
      fc.property(
        raw,
        options,
        fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1 }),
        (bytes, how, pieces) => {
          const deflated = zlib.deflateRawSync(bytes, how);
          const result = decode(Buffer.concat([deflated, Buffer.from('more')]), pieces);
          expect(result.status).toBe('end');
          expect(result.position).toBe(deflated.length);
          expect(result.content.equals(bytes)).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('decodes more than its window and its buffer hold, at every level', () => {
    const long = Buffer.alloc(3_000_000);
    for (let i = 0; i < long.length; i++)
      long[i] = (i * i * 31 + (i >> 7)) & (i % 50_000 < 25_000 ? 0xff : 0x0f);
    for (const level of [0, 1, 6]) {
      const result = decode(zlib.deflateRawSync(long, { level }), [100_000, 7]);
      expect(result.content.equals(long)).toBe(true);
    }
  });

  it('agrees with zlib about what is no deflate stream', () => {
    fc.assert(
      fc.property(raw, options, fc.nat(), fc.nat(7), (bytes, how, where, bit) => {
        const deflated = zlib.deflateRawSync(bytes, how);
        deflated[where % deflated.length]! ^= 1 << bit;
        let expected: Buffer | undefined;
        try {
          expected = zlib.inflateRawSync(deflated);
        } catch {
          expected = undefined;
        }
        const result = decode(deflated);
        expect(result.status === 'end').toBe(expected !== undefined);
        if (expected !== undefined) expect(result.content.equals(expected)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('takes any bytes without throwing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void decode(bytes)),
      { numRuns: 1000 },
    );
  });

  it('decodes all that is there of a stream cut anywhere, as zlib does', () => {
    const text = Buffer.from('Received: from mail.example.com by other.example.com\r\n'.repeat(20));
    for (const level of [0, 1, 6]) {
      const deflated = zlib.deflateRawSync(text, { level });
      for (let length = 0; length < deflated.length; length++) {
        const result = decode(deflated.subarray(0, length));
        const expected = zlib.inflateRawSync(deflated.subarray(0, length), {
          finishFlush: zlib.constants.Z_SYNC_FLUSH,
        });
        expect(result.status).toBe('input');
        expect(result.content.equals(expected)).toBe(true);
      }
    }
  });

  it('reports each flush point once, with its exact place', () => {
    fc.assert(
      fc.property(
        fc.array(raw, { minLength: 1, maxLength: 5 }),
        options,
        fc.integer({ min: 1, max: 99 }),
        (parts, how, piece) => {
          const segments = parts
            .filter((part) => part.length > 0)
            .map((part) => ({
              part,
              deflated: zlib.deflateRawSync(part, { ...how, finishFlush: zlib.constants.Z_FULL_FLUSH }),
            }));
          const expected: Decoded['flushPoints'] = [];
          let position = 0;
          let content = 0;
          for (const { part, deflated } of segments) {
            expected.push({ position: (position += deflated.length), content: (content += part.length) });
          }
          const result = decode(Buffer.concat(segments.map((segment) => segment.deflated)), [piece]);
          expect(result.status).toBe('input');
          expect(result.flushPoints).toEqual(expected);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('takes no flush mark inside a stored block for a flush point', () => {
    const trap = Buffer.from('000000ffff'.repeat(30), 'hex');
    const deflated = zlib.deflateRawSync(trap, { level: 0, finishFlush: zlib.constants.Z_FULL_FLUSH });
    expect(decode(deflated).flushPoints).toEqual([{ position: deflated.length, content: trap.length }]);
  });

  it('refuses a distance that reaches before the start', () => {
    // Fixed block: match of length 3 at distance 1, with nothing before it.
    expect(decode(Buffer.from([0x03, 0x02, 0x00, 0x00])).status).toBe('error');
  });

  it('can be used for another stream after reset', () => {
    const content: string[] = [];
    const inflater = new Inflater({
      content: (bytes) => content.push(Buffer.from(bytes).toString()),
      flushPoint: () => {},
    });
    const deflated = zlib.deflateRawSync('first');
    inflater.run(deflated, 0, 3);
    inflater.reset({ content: (bytes) => content.push(`again ${Buffer.from(bytes)}`), flushPoint: () => {} });
    expect(inflater.run(deflated, 0, deflated.length)).toBe(deflated.length);
    expect(content.at(-1)).toBe('again first');
  });
});
