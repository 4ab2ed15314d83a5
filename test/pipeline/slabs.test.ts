import fc from 'fast-check';
import { expect, test } from 'vitest';
import { copyToSlab, createSlabMemory, slabText } from '../../src/pipeline/slabs.ts';

test('copyToSlab copies what is between the positions, and nothing else', () => {
  const slab = slabText(createSlabMemory(1), 0, 600);
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 300 }),
      fc.nat(300),
      fc.nat(300),
      fc.nat(300),
      (bytes, one, other, at) => {
        const [start, end] = [
          Math.min(one, other, bytes.length),
          Math.min(Math.max(one, other), bytes.length),
        ];
        slab.fill(0xa5);
        copyToSlab(slab, at, bytes, start, end);
        const wanted = Buffer.alloc(600, 0xa5);
        wanted.set(bytes.subarray(start, end), at);
        expect(Buffer.from(slab).equals(wanted)).toBe(true);
      },
    ),
  );
});
