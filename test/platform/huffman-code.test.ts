import fc from 'fast-check';
import { expect, test } from 'vitest';
import { makeCode, newCode } from '../../src/platform/huffman-code.ts';

const counts = fc.oneof(
  fc.array(fc.nat(1000), { minLength: 2, maxLength: 286 }),
  fc.array(
    fc.nat(24).map((power) => 2 ** power),
    { minLength: 2, maxLength: 100 },
  ),
);

test('codes are complete, not longer than allowed, and shorter for what occurs more often', () => {
  fc.assert(
    fc.property(counts, fc.integer({ min: 9, max: 15 }), (list, maxBits) => {
      const code = newCode(list.length);
      makeCode(Uint32Array.from(list), maxBits, code);
      const used = list
        .map((count, symbol) => ({ count, bits: code.lengths[symbol]! }))
        .filter(({ count }) => count > 0);
      expect([...code.lengths].filter((bits) => bits > 0)).toHaveLength(used.length);
      expect(Math.max(...code.lengths)).toBeLessThanOrEqual(maxBits);
      const room = used.reduce((sum, { bits }) => sum + 2 ** -bits, 0);
      if (used.length > 1) expect(room).toBe(1);
      used.sort((a, b) => b.count - a.count);
      for (let at = 1; at < used.length; at++) {
        if (used[at]!.count < used[at - 1]!.count)
          expect(used[at]!.bits).toBeGreaterThanOrEqual(used[at - 1]!.bits);
      }
    }),
  );
});

test('codes without a limit that matters are the shortest there are', () => {
  // Huffman's own: the cost is the sum of the weights of all inner nodes.
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 2, maxLength: 40 }), (list) => {
      const code = newCode(list.length);
      makeCode(Uint32Array.from(list), 15, code);
      fc.pre(Math.max(...code.lengths) < 15);
      const cost = list.reduce((sum, count, symbol) => sum + count * code.lengths[symbol]!, 0);
      const weights = [...list];
      let least = 0;
      while (weights.length > 1) {
        weights.sort((a, b) => b - a);
        const joined = weights.pop()! + weights.pop()!;
        least += joined;
        weights.push(joined);
      }
      expect(cost).toBe(least);
    }),
  );
});

test('of one symbol, and of none', () => {
  const code = newCode(3);
  makeCode(Uint32Array.of(0, 5, 0), 15, code);
  expect([...code.lengths]).toEqual([0, 1, 0]);
  makeCode(new Uint32Array(3), 15, code);
  expect([...code.lengths]).toEqual([0, 0, 0]);
});
