import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseDuration, parseSize, printDuration, printSize, ValueError } from '../../src/config/units.ts';

describe('durations', () => {
  test.each([
    ['7d', 's', 604_800],
    ['1h30m', 's', 5400],
    ['7', 'd', 604_800],
    ['90', 'm', 5400],
    ['1h30', 'm', 5400],
    ['1d2h3m4s', 's', 93_784],
    ['1m1m', 's', 120],
    ['0', 'd', 0],
    ['-1d', 's', -86_400],
    ['-5', 's', -5],
    ['2147483647', 's', 2_147_483_647],
  ] as const)('%s (unit %s) is %d seconds', (text, unit, seconds) => {
    expect(parseDuration(text, unit)).toBe(seconds * 1000);
  });

  test.each(['', '-', 'd', '1x', '1D', '1 d', '1h 30m', '--1', '+1', '1.5h', 'h1', '2147483648', '24856d'])(
    '%j is refused',
    (text) => {
      expect(() => parseDuration(text, 's')).toThrow(ValueError);
    },
  );

  test('property: what is printed is read back, whatever the default unit', () => {
    const seconds = fc.integer({ min: -(2 ** 31) + 1, max: 2 ** 31 - 1 });
    fc.assert(
      fc.property(seconds, fc.constantFrom('s', 'm', 'h', 'd'), (value, unit) => {
        expect(parseDuration(printDuration(value * 1000), unit)).toBe(value * 1000);
      }),
    );
  });
});

describe('sizes', () => {
  test.each([
    ['64K', 'B', 65_536],
    ['64', 'K', 65_536],
    ['64', 'B', 64],
    ['64B', 'K', 64],
    ['1 KiB', 'B', 1024],
    ['1kb', 'B', 1024],
    ['2m', 'K', 2_097_152],
    ['2G', 'B', 2_147_483_648],
    ['1gib', 'B', 1_073_741_824],
    ['0', 'K', 0],
    ['-1', 'K', -1024],
    ['+1', 'B', 1],
    ['9007199254740991', 'B', Number.MAX_SAFE_INTEGER],
  ] as const)('%s (unit %s) is %d bytes', (text, unit, bytes) => {
    expect(parseSize(text, unit)).toBe(bytes);
  });

  test.each(['', 'K', '1T', '1ib', '1KK', '1.5M', '1 2', '0x10', '1Kx', '9007199254740992', '8388608G'])(
    '%j is refused',
    (text) => {
      expect(() => parseSize(text, 'B')).toThrow(ValueError);
    },
  );

  test('property: what is printed is read back, whatever the default unit', () => {
    const bytes = fc.oneof(
      fc.maxSafeInteger(),
      fc.nat().map((n) => n * 1024),
      fc.nat({ max: 1 << 20 }).map((n) => n * 2 ** 30),
    );
    fc.assert(
      fc.property(bytes, fc.constantFrom('B', 'K'), (value, unit) => {
        expect(parseSize(printSize(value), unit)).toBe(value + 0);
      }),
    );
  });
});

test('property: any text gives a whole number or a ValueError', () => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^-?[0-9]{0,20} ?[dhmsKMGBi]{0,3}[0-9]{0,3}$/));
  fc.assert(
    fc.property(text, (value) => {
      for (const parse of [() => parseDuration(value, 'm'), () => parseSize(value, 'K')]) {
        try {
          expect(Number.isSafeInteger(parse())).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(ValueError);
        }
      }
    }),
  );
});
