import { deflateRawSync, inflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type DeflateEngine,
  loadDeflateEngine,
  loadIsal,
  maxDeflatedLength,
} from '../../src/platform/deflate.ts';
import { findStreamEnd } from '../../src/platform/deflate-blocks.ts';
import { type Run, splitByEntropy } from '../../src/platform/entropy.ts';
import { endWithFlush, loadLibdeflate } from '../../src/platform/libdeflate.ts';
import { samples } from './samples.ts';

const FLUSH = Buffer.from('0000ffff', 'hex');
const FINAL_BLOCK = Buffer.from('0300', 'hex');

/** As a reader sees it: several segments and a final block. */
function inflate(...segments: Uint8Array[]): Buffer {
  return inflateRawSync(Buffer.concat([...segments, FINAL_BLOCK]));
}

function segmentOf(engine: DeflateEngine, raw: Uint8Array): Buffer {
  // Guards on both sides: nothing may be written outside `out`.
  const limit = maxDeflatedLength(raw.length);
  const memory = Buffer.alloc(limit + 64, 0xa5);
  const length = engine.deflateSegment(raw, memory.subarray(32, 32 + limit));
  expect(memory.subarray(0, 32).every((byte) => byte === 0xa5)).toBe(true);
  expect(memory.subarray(32 + limit).every((byte) => byte === 0xa5)).toBe(true);
  return memory.subarray(32, 32 + length);
}

// Whatever is installed: isa-l with libdeflate, isa-l alone, or neither; node:zlib always.
const engines = [
  ...new Map(
    (['auto', 'zlib'] as const).map((choice) => loadDeflateEngine(choice)).map((e) => [e.name, e]),
  ).values(),
];

describe.each(engines)('deflateSegment of $name', (engine) => {
  test('gives segments that any inflater reads, alone and after each other', () => {
    const raw = fc.oneof(
      fc.uint8Array({ maxLength: 5000 }),
      fc.string({ maxLength: 5000 }).map((text) => Buffer.from(text)),
      fc
        .array(fc.constantFrom('a', 'b', 'abab', '\r\n'), { maxLength: 3000 })
        .map((list) => Buffer.from(list.join(''))),
    );
    fc.assert(
      fc.property(raw, raw, (one, other) => {
        const segments = [one, other].map((each) => segmentOf(engine, each));
        for (const segment of segments) expect(segment.subarray(-4)).toEqual(FLUSH);
        expect(inflate(segments[0]!)).toEqual(Buffer.from(one));
        expect(inflate(segments[1]!, segments[0]!)).toEqual(Buffer.concat([other, one]));
      }),
      { numRuns: 60 },
    );
  });

  const content = samples(1 << 20);
  test.each(Object.keys(content))('a slab of %s, at most 2 % larger than zlib level 6 makes it', (kind) => {
    const raw = content[kind]!;
    const segment = segmentOf(engine, raw);
    expect(segment.subarray(-4)).toEqual(FLUSH);
    expect(inflate(segment).equals(raw)).toBe(true);
    const peer = deflateRawSync(raw, { level: 6 }).length;
    // The alphabet over and over looks like base64 of noise to the sampler; it is none that mail has.
    if (kind !== 'alphabet') expect(segment.length).toBeLessThan(peer * 1.02 + 64);
  });

  test('works in shared memory, where the slabs are', () => {
    const raw = new Uint8Array(new SharedArrayBuffer(100_000), 1000, 80_000);
    raw.set(content.mail!.subarray(0, 80_000));
    const out = new Uint8Array(new SharedArrayBuffer(200_000), 500, maxDeflatedLength(raw.length));
    const length = engine.deflateSegment(raw, out);
    expect(inflate(out.subarray(0, length)).equals(raw)).toBe(true);
  });

  test('of nothing is a flush alone', () => {
    expect(inflate(segmentOf(engine, new Uint8Array(0)))).toHaveLength(0);
  });

  test('refuses an output that might be too short, at one byte less', () => {
    for (const length of [0, 1, 4096, 4097, 70_000]) {
      const raw = content.noise!.subarray(0, length);
      segmentOf(engine, raw);
      const short = new Uint8Array(maxDeflatedLength(length) - 1);
      expect(() => engine.deflateSegment(raw, short)).toThrow(RangeError);
    }
  });

  test('bytes that do not compress and end like a flush get a flush of their own', () => {
    const raw = Buffer.from(content.noise!.subarray(0, 3000));
    for (const end of ['0000ffff', '000000ffff', '00ffff', 'ffff']) {
      raw.write(end, raw.length - end.length / 2, 'hex');
      const segment = segmentOf(engine, raw);
      expect(inflate(segment)).toEqual(raw);
      // The flush is not the content's end: what precedes it inflates to all of it.
      expect(inflate(segment.subarray(0, -5))).toEqual(raw);
    }
  });
});

describe('the choice of an engine', () => {
  test('zlib is always there', () => {
    expect(loadDeflateEngine('zlib').name).toBe('zlib');
  });

  test('auto takes isa-l where it loads, and isal alone is an error where it does not', () => {
    const isal = loadIsal();
    expect(loadDeflateEngine('auto').name).toBe(isal ? 'isal' : 'zlib');
    const unavailable = expect.objectContaining({ code: 'UNAVAILABLE' }) as Error;
    if (isal) expect(loadDeflateEngine('isal').name).toBe('isal');
    else expect(() => loadDeflateEngine('isal')).toThrowError(unavailable);
  });
});

describe('splitByEntropy', () => {
  const kinds = samples(200_000);

  test('sends base64 of noise to the quick compressor, and nothing that zlib can make smaller', () => {
    const quick = Object.entries(kinds)
      .filter(([, raw]) => splitByEntropy(raw).some((run) => run.incompressible))
      .map(([kind]) => kind);
    // The alphabet over and over only looks like it.
    expect(quick.sort()).toEqual(['alphabet', 'attachment', 'mail']);
  });

  test.each([0, 1, 5000])(
    'finds the attachment in a mail to within a word on each side, %i bytes on',
    (shift) => {
      const third = Math.floor(200_000 / 3);
      const runs = splitByEntropy(kinds.mail!.subarray(shift));
      expect(runs.map((run) => run.incompressible)).toEqual([false, true, false]);
      // Letters that the words before and behind it end and begin with may belong to it.
      expect(third - shift - runs[1]!.start).toBeGreaterThanOrEqual(0);
      expect(third - shift - runs[1]!.start).toBeLessThan(12);
      expect(runs[1]!.end - (2 * third - shift)).toBeGreaterThanOrEqual(0);
      expect(runs[1]!.end - (2 * third - shift)).toBeLessThan(12);
    },
  );

  test('leaves compressible base64 beside incompressible base64 to the strong compressor', () => {
    const half = 98_304; // whole blocks
    const documents = kinds['compressible attachment']!.subarray(0, half);
    const pictures = kinds.attachment!.subarray(0, half);
    const incompressible = (run: Run): boolean => run.incompressible;
    const [first, second] = [Buffer.concat([documents, pictures]), Buffer.concat([pictures, documents])];
    expect(splitByEntropy(first).find(incompressible)).toMatchObject({ start: half, end: 2 * half });
    expect(splitByEntropy(second).find(incompressible)).toMatchObject({ start: 0, end: half });
  });

  test('covers everything in order, alternating', () => {
    const piece = fc.tuple(fc.constantFrom(...Object.keys(kinds)), fc.nat(90_000));
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (list) => {
        const raw = Buffer.concat(list.map(([kind, length]) => kinds[kind]!.subarray(0, length)));
        const runs = splitByEntropy(raw);
        let at = 0;
        runs.forEach((run, i) => {
          expect(run.start).toBe(at);
          expect(run.end).toBeGreaterThan(run.start);
          if (i > 0) expect(run.incompressible).toBe(!runs[i - 1]!.incompressible);
          at = run.end;
        });
        expect(at).toBe(raw.length);
      }),
      { numRuns: 50 },
    );
  });
});

describe('findStreamEnd', () => {
  /** Streams with every type of block and with codes of every length. */
  const streams = Object.values(samples(60_000)).flatMap((raw) =>
    [
      { level: 0 },
      { level: 1, memLevel: 1 },
      { level: 6 },
      { level: 9, memLevel: 9 },
      { strategy: 2 },
      { strategy: 3 },
      { strategy: 4 },
    ].map((options) => ({ raw, stream: deflateRawSync(raw, options) })),
  );

  test('finds the end of any stream', () => {
    for (const { stream } of streams) {
      const end = findStreamEnd(Buffer.concat([stream, Buffer.alloc(8, 0xff)]), stream.length);
      expect(Math.ceil(end.endBit / 8)).toBe(stream.length);
    }
  });

  test('and so such a stream becomes a segment', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), fc.nat(9), fc.nat(4), (raw, level, strategy) => {
        const stream = deflateRawSync(raw, { level, strategy });
        const out = Buffer.concat([stream, Buffer.alloc(16, 0xa5)]);
        const segment = out.subarray(0, endWithFlush(out, stream.length));
        expect(segment.subarray(-4)).toEqual(FLUSH);
        expect(inflate(segment, segment)).toEqual(Buffer.concat([raw, raw]));
      }),
    );
    for (const { raw, stream } of streams) {
      const out = Buffer.concat([stream, Buffer.alloc(16, 0xa5)]);
      expect(inflate(out.subarray(0, endWithFlush(out, stream.length))).equals(raw)).toBe(true);
    }
  });

  test('a stream that ends elsewhere is not made a segment', () => {
    for (const { stream } of streams) {
      const out = Buffer.concat([stream, Buffer.alloc(16)]);
      expect(() => endWithFlush(out, stream.length + 1)).toThrowError(
        expect.objectContaining({ code: 'INTERNAL' }) as Error,
      );
    }
  });

  test('damage and truncation are errors, never an endless loop or another kind of exception', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...streams),
        fc.nat(),
        fc.nat(7),
        fc.boolean(),
        ({ stream }, place, bit, cut) => {
          const at = place % stream.length;
          const damaged = Buffer.from(cut ? stream.subarray(0, at) : stream);
          if (!cut) damaged[at]! ^= 1 << bit;
          try {
            findStreamEnd(Buffer.concat([damaged, Buffer.alloc(8)]), damaged.length);
          } catch (error) {
            expect(error).toMatchObject({ code: 'CHUNK_CORRUPT' });
          }
        },
      ),
      { numRuns: 400 },
    );
  });
});

test('libdeflate, where it is installed, makes segments at every level', () => {
  const compress = loadLibdeflate();
  const raw = samples(100_000).mail!;
  for (const level of compress ? [1, 6, 9, 12] : []) {
    const out = new Uint8Array(maxDeflatedLength(raw.length));
    const length = compress!(raw, out, level);
    expect(inflate(out.subarray(0, length)).equals(raw)).toBe(true);
  }
  expect(compress?.(raw, new Uint8Array(100), 6) ?? 0).toBe(0);
});
