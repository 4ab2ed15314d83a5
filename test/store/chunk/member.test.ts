import zlib from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32 } from '../../../src/platform/crc32.ts';
import {
  decodeFooter,
  decodeMemberHeader,
  encodeMemberHeader,
  encodeTrailer,
  GZIP_FOOTER_BYTES,
  MAX_HEADER_BYTES,
  MEMBER_HEADER_BYTES,
  TRAILER_BYTES,
} from '../../../src/store/chunk/member.ts';

const tag = fc.uint8Array({ minLength: 8, maxLength: 8 });
const plain = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

describe('member header', () => {
  it('gives back the boot tag, wherever it stands', () => {
    fc.assert(
      fc.property(tag, fc.nat(40), (bytes, start) => {
        const header = encodeMemberHeader(bytes);
        const decoded = decodeMemberHeader(Buffer.concat([Buffer.alloc(start), header]), start);
        expect(header.length).toBe(MEMBER_HEADER_BYTES);
        expect(decoded).toEqual({ length: MEMBER_HEADER_BYTES, bootTag: bytes });
      }),
    );
  });

  it('is torn at every length below its own', () => {
    const header = encodeMemberHeader(Uint8Array.from([8, 7, 6, 5, 4, 3, 2, 1]));
    for (let length = 0; length < header.length; length++) {
      expect(decodeMemberHeader(header.subarray(0, length))).toBe('torn');
    }
  });

  it("takes zlib's, and those with every optional field", () => {
    expect(decodeMemberHeader(zlib.gzipSync('x'))).toEqual({ length: 10 });
    const fields = [
      0x1f,
      0x8b,
      8,
      2 | 4 | 8 | 16,
      0,
      0,
      0,
      0,
      0,
      3,
      5,
      0,
      65,
      66,
      1,
      0,
      9,
      110,
      0,
      99,
      99,
      0,
      1,
      2,
    ];
    expect(decodeMemberHeader(Uint8Array.from(fields))).toEqual({
      length: fields.length,
      bootTag: undefined,
    });
    expect(decodeMemberHeader(Uint8Array.from(fields.slice(0, -1)))).toBe('torn');
  });

  it('finds the boot tag behind other subfields, and none where it is cut', () => {
    const extra = [65, 66, 2, 0, 9, 9, 0x43, 0x42, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const withExtra = (bytes: number[]): Uint8Array =>
      Uint8Array.from([...plain.slice(0, 3), 4, ...plain.slice(4), bytes.length, 0, ...bytes]);
    expect(decodeMemberHeader(withExtra(extra))).toEqual({
      length: 12 + extra.length,
      bootTag: Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]),
    });
    expect(decodeMemberHeader(withExtra(extra.slice(0, -1)))).toEqual({
      length: 11 + extra.length,
      bootTag: undefined,
    });
  });

  it('refuses other magic, methods and flags', () => {
    for (const [at, value] of [
      [0, 0x1e],
      [1, 0],
      [2, 7],
      [3, 0x20],
    ] as const) {
      const bytes = Uint8Array.from(plain);
      bytes[at] = value;
      expect(decodeMemberHeader(bytes)).toBe('invalid');
    }
  });

  it('may be MAX_HEADER_BYTES long and no longer', () => {
    const named = (length: number): Uint8Array =>
      Uint8Array.from([
        ...plain.slice(0, 3),
        8,
        ...plain.slice(4),
        ...Array(length - 11).fill(110),
        0,
        1,
        2,
        3,
      ]);
    expect(decodeMemberHeader(named(MAX_HEADER_BYTES))).toEqual({ length: MAX_HEADER_BYTES });
    expect(decodeMemberHeader(named(MAX_HEADER_BYTES + 1))).toBe('invalid');
  });
});

describe('trailer', () => {
  it('makes a whole gzip file of header and segments', () => {
    fc.assert(
      fc.property(tag, fc.uint8Array({ maxLength: 500 }), (bytes, content) => {
        const segment = zlib.deflateRawSync(content, { finishFlush: zlib.constants.Z_FULL_FLUSH });
        const trailer = encodeTrailer(crc32(content), content.length);
        expect(trailer.length).toBe(TRAILER_BYTES);
        const file = Buffer.concat([encodeMemberHeader(bytes), segment, trailer]);
        expect(zlib.gunzipSync(file).equals(content)).toBe(true);
        expect(decodeFooter(file, file.length - GZIP_FOOTER_BYTES)).toEqual({
          crc32: crc32(content),
          length: content.length,
        });
      }),
    );
  });

  it('holds lengths modulo 2^32', () => {
    expect(decodeFooter(encodeTrailer(1, 2 ** 32 + 5), 2)).toEqual({ crc32: 1, length: 5 });
  });
});
