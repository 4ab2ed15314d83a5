import { expect, test } from 'vitest';
import { shown } from '../../grafana/src/pictures/units.ts';

test.each([
  [0, 'short', undefined, '0'],
  [1234, 'short', undefined, '1.23 K'],
  [12, 'none', undefined, '12'],
  [0.256, 'percentunit', 0, '26%'],
  [1536, 'bytes', undefined, '1.5 KiB'],
  [3 * 2 ** 30, 'bytes', undefined, '3 GiB'],
  [2 ** 20, 'Bps', undefined, '1 MiB/s'],
  [0.002, 's', undefined, '2 ms'],
  [90, 's', undefined, '1.5 mins'],
  [86_400 * 3, 's', 0, '3 days'],
  [86_400 * 30, 's', 0, '4 weeks'],
  [0.5, 'ops', undefined, '0.5 ops/s'],
  [-5, 's', undefined, '-5 s'],
  [Number.POSITIVE_INFINITY, 's', undefined, 'Infinity'],
] as const)('%d in %s is shown as Grafana would', (value, unit, decimals, text) => {
  expect(shown(value, unit, decimals)).toBe(text);
});
