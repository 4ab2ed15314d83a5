import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BackupError } from '../../../src/platform/errors.ts';
import {
  blanksBefore,
  decodeHead,
  decodeHeader,
  encodeHead,
  encodeHeader,
  FormatFault,
} from '../../../src/store/twoskip/format.ts';
import { MemoryFile } from './memory-file.ts';
import { contentOf, type Model, newFile, sorted, transact } from './operations.ts';

const safe = fc.maxSafeNat();

describe('header and record head', () => {
  test('what is encoded is decoded', () => {
    const header = fc.record({
      generation: safe,
      recordCount: safe,
      repackSize: safe,
      currentSize: safe,
      dirty: fc.boolean(),
    });
    fc.assert(
      fc.property(header, (each) => {
        expect(decodeHeader(encodeHeader(each))).toEqual(each);
      }),
    );
    const length = (limit: number) =>
      fc.oneof(fc.nat(100), fc.constantFrom(limit - 1, limit, limit + 1), safe);
    const head = fc.nat(31).chain((level) =>
      fc.record({
        type: fc.constantFrom(0x3d, 0x2b, 0x2d, 0x24),
        level: fc.constant(level),
        keyLength: length(0xffff),
        valueLength: length(0xffffffff),
        pointers: fc.array(safe, { minLength: level + 1, maxLength: level + 1 }),
        tailCrc: fc.nat(0xffffffff),
      }),
    );
    fc.assert(
      fc.property(head, (each) => {
        expect(decodeHead(encodeHead(each))).toEqual(each);
      }),
    );
  });

  test('numbers beyond what is safe are refused', () => {
    const bytes = encodeHeader({
      generation: 1,
      recordCount: 0,
      repackSize: 0,
      currentSize: 64,
      dirty: false,
    });
    expect(() => decodeHeader(bytes.subarray(0, 63))).toThrow(FormatFault);
    const head = { type: 0x2b, level: 1, keyLength: 1, valueLength: 1, pointers: [0, 2 ** 53], tailCrc: 0 };
    expect(() => decodeHead(encodeHead(head))).toThrow('a pointer is out of range');
  });

  test('blanks keep what is written again within one block, and are no more than needed', () => {
    fc.assert(
      fc.property(fc.nat(1 << 20), fc.integer({ min: 3, max: 63 }), (place, words) => {
        const [end, length] = [place * 8, words * 8];
        const at = end + blanksBefore(end, length);
        expect(at % 8).toBe(0);
        expect(Math.floor((at + 8) / 512)).toBe(Math.floor((at + length - 8) / 512));
        expect(at - end).toBeLessThan(length);
      }),
    );
  });
});

describe('damage', () => {
  test('any byte that is changed is reported, or lies where nothing reads it', () => {
    const file = newFile();
    let model: Model = new Map();
    for (const name of ['anne', 'berta', 'carla', 'dora'])
      model = transact(file, model, [{ put: name, value: `/backup/${name}` }]);
    model = transact(file, model, [{ put: 'berta', value: '/other/berta' }, { delete: 'carla' }]);
    let reported = 0;
    for (let at = 0; at < file.size(); at++) {
      const bytes = file.bytes;
      bytes[at]! ^= 1 << (at % 8);
      try {
        expect([...contentOf(new MemoryFile(bytes))]).toEqual(sorted(model));
      } catch (error) {
        if (!(error instanceof BackupError)) throw error;
        expect(error.code).toBe('CATALOG_CORRUPT');
        expect(error.subject).toBe('memory.db');
        reported++;
      }
    }
    // The rest are records that were replaced or deleted, and commit records.
    expect(reported).toBeGreaterThan(file.size() / 2);
  });

  test('a file that is cut off is reported', () => {
    const file = newFile();
    transact(file, new Map(), [{ put: 'anne', value: '/backup/anne' }]);
    for (let size = 1; size < file.size(); size++) {
      const cut = new MemoryFile(file.bytes.subarray(0, size));
      expect(() => contentOf(cut)).toThrowError(
        expect.objectContaining({ code: 'CATALOG_CORRUPT' }) as Error,
      );
    }
  });

  test('arbitrary bytes are reported and never make the reader go on for ever', () => {
    const whole = newFile();
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 2000 }), fc.boolean(), (bytes, withHeader) => {
        fc.pre(bytes.some((byte) => byte !== 0));
        const start = withHeader ? whole.bytes.subarray(0, 64) : new Uint8Array(0);
        expect(() => contentOf(new MemoryFile(Buffer.concat([start, bytes])))).toThrow(BackupError);
      }),
    );
  });
});
