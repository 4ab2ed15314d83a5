import { expect, test } from 'vitest';
import { block, choose, i32, i64, instantiate, loop, select, when } from '../../src/platform/wasm-builder.ts';

test('constants of every length come through', () => {
  const values = [
    0,
    1,
    -1,
    63,
    64,
    -64,
    -65,
    127,
    128,
    8191,
    8192,
    65_535,
    65_536,
    0x9e3779b1 | 0,
    2 ** 31 - 1,
    -(2 ** 31),
  ];
  const { exports } = instantiate<Record<string, () => number>>(
    1,
    values.map((value, n) => ({ name: `f${n}`, parameters: 0, result: true, code: () => i32.const(value) })),
  );
  expect(values.map((_, n) => exports[`f${n}`]!())).toEqual(values);
});

test('variables, branches, loops and both widths', () => {
  const { memory, exports } = instantiate<{
    sum(from: number, to: number): number;
    reverse(at: number): void;
    sign(value: number): number;
  }>(1, [
    {
      name: 'sum',
      parameters: 2,
      result: true,
      code: (local, from, to) => {
        const total = local('i32');
        return block(
          loop(
            i32.less(from.get, to.get),
            when(
              i32.ne(i32.and(from.get, i32.const(1)), i32.const(0)),
              total.set(i32.add(total.get, i32.load8(from.get))),
            ),
            from.set(i32.add(from.get, i32.const(1))),
          ),
          total.get,
        );
      },
    },
    {
      name: 'reverse',
      parameters: 1,
      result: false,
      code: (local, at) => {
        const value = local('i64');
        return block(
          value.set(i64.load(at.get)),
          i64.store(
            at.get,
            i64.or(i64.shiftLeft(value.get, i64.const(32)), i64.shiftRight(value.get, i64.const(32))),
          ),
        );
      },
    },
    {
      name: 'sign',
      parameters: 1,
      result: true,
      code: (local, value) => {
        const sign = local('i32');
        return block(
          choose(i32.more(value.get, i32.const(0x7fffffff)), sign.set(i32.const(-1)), sign.set(i32.const(1))),
          select(i32.eq(value.get, i32.const(0)), i32.const(0), sign.get),
        );
      },
    },
  ]);
  memory.set([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(exports.sum(0, 8)).toBe(20);
  exports.reverse(0);
  expect([...memory.subarray(0, 8)]).toEqual([5, 6, 7, 8, 1, 2, 3, 4]);
  expect([-7, 0, 9].map((value) => exports.sign(value))).toEqual([-1, 0, 1]);
});
