import fc from 'fast-check';
import { expect, test } from 'vitest';
import { saslprep } from '../../src/sasl/saslprep.ts';

test.each([
  // RFC 4013, section 3
  ['I\u00adX', 'IX'],
  ['user', 'user'],
  ['USER', 'USER'],
  ['\u00aa', 'a'],
  ['\u2168', 'IX'],
  ['a\u00a0b\u3000c', 'a b c'],
  ['e\u0301', '\u00e9'],
  ['\u{1f511}', '\u{1f511}'],
])('%j is prepared as %j', (text, prepared) => {
  expect(saslprep(text)).toBe(prepared);
});

test.each([
  '',
  '\u0007',
  'a\0',
  'a\u007f',
  '\u00ad',
  '\ue000',
  '\ufffd',
  '\u202e',
  '\ud800',
  '\ufdd0',
  '\u{e0041}',
])('%j is prohibited', (text) => {
  expect(saslprep(text)).toBeUndefined();
});

test('property: preparing twice is preparing once', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const once = saslprep(text);
      if (once !== undefined) expect(saslprep(once)).toBe(once);
    }),
    { numRuns: 1000 },
  );
});
