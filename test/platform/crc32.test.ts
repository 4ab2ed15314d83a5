import { crc32 as zlibCrc32 } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { crc32, crc32Combine } from '../../src/platform/crc32.ts';

const bytes = fc.uint8Array({ maxLength: 300 });

test('crc32 is that of gzip, and goes on from a seed', () => {
  expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926);
  expect(crc32(new Uint8Array(0))).toBe(0);
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      expect(crc32(b, crc32(a))).toBe(crc32(Buffer.concat([a, b])));
    }),
  );
});

test('crc32 of many bytes is that of few, wherever they begin', () => {
  const memory = new Uint8Array(new SharedArrayBuffer(80_000));
  for (let at = 0; at < memory.length; at++) memory[at] = (at * 7919) >>> 5;
  for (const [start, length] of [
    [0, 4096],
    [1, 4097],
    [63, 70_001],
    [5, 65_536],
    [0, 80_000],
  ] as const) {
    const many = memory.subarray(start, start + length);
    let piecewise = 0;
    for (let at = 0; at < length; at += 1000) piecewise = crc32(many.subarray(at, at + 1000), piecewise);
    expect(crc32(many)).toBe(piecewise);
    expect(crc32(many, 0x12345678)).toBe(zlibCrc32(Uint8Array.from(many), 0x12345678));
  }
});

test('crc32Combine gives the CRC of both from those of each', () => {
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      expect(crc32Combine(crc32(a), crc32(b), b.length)).toBe(crc32(Buffer.concat([a, b])));
    }),
  );
});

test('crc32Combine is right for lengths beyond 32 bits', () => {
  // 5 GiB of zeros, doubled up from one.
  let length = 5;
  let zeros = crc32(new Uint8Array(5));
  for (let i = 0; i < 30; i++) {
    zeros = crc32Combine(zeros, zeros, length);
    length *= 2;
  }
  const start = crc32(Buffer.from('start'));
  const half = crc32Combine(start, crc32Combine(zeros, 0, 0), length);
  // The same in two steps of other lengths: zeros of 3 * 2^30 and 2 * 2^30 bytes.
  const zerosOf = (count: number): number => {
    let [crc, size] = [crc32(new Uint8Array(count)), count];
    for (; size < count * 2 ** 30; size *= 2) crc = crc32Combine(crc, crc, size);
    return crc;
  };
  const first = crc32Combine(start, zerosOf(3), 3 * 2 ** 30);
  expect(crc32Combine(first, zerosOf(2), 2 * 2 ** 30)).toBe(half);
  expect(length).toBe(5 * 2 ** 30);
});
