import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseDlist } from '../../../src/csync/dlist.ts';
import { DlistSax } from '../../../src/csync/dlist-sax.ts';
import { printDlist } from '../../../src/csync/encoder.ts';
import { DlistText } from '../../../src/store/index/dlist-text.ts';
import { fromBlob, sqlText, toSigned64, unsignedDigits } from '../../../src/store/index/sql-text.ts';

/** What DlistText makes of a value that comes in pieces. */
function throughText(value: Buffer, step = value.length): string {
  const text = new DlistText();
  const sax = new DlistSax({
    beginList: () => text.beginList(),
    beginKvlist: () => text.beginKvlist(),
    end: () => text.end(),
    key: (key) => text.key(key),
    scalar: (scalar) => text.scalar(scalar),
    file: () => {},
  });
  sax.begin(0);
  const ended = Buffer.concat([value, Buffer.from('\r')]);
  for (let at = 0; at < ended.length && !sax.done; at += step)
    sax.push(ended, at, Math.min(ended.length, at + step));
  const out = text.text();
  return typeof out === 'string' ? out : out.toString('latin1');
}

const bytes = fc.oneof(
  fc.constantFrom(
    '',
    'NIL',
    'a',
    'atom',
    '\\Seen',
    'two words',
    'quo"te',
    'back\\slash',
    'a\r\nb',
    '\u00e4\u00ff',
    ')',
  ),
  fc.string({
    unit: fc.integer({ min: 0, max: 255 }).map((byte) => String.fromCharCode(byte)),
    maxLength: 300,
  }),
);
const scalar = fc.oneof(
  bytes.map((text) => ({ kind: 'atom' as const, value: Buffer.from(text, 'latin1') })),
  fc.constant({ kind: 'nil' as const }),
);
const { value } = fc.letrec<{ value: Parameters<typeof printDlist>[0] }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    scalar,
    fc.array(tie('value'), { maxLength: 4 }).map((items) => ({ kind: 'list' as const, items })),
    fc
      .array(fc.tuple(fc.constantFrom('ENTRY', 'VALUE', 'X-1'), tie('value')), { maxLength: 4 })
      .map((entries) => ({ kind: 'kvlist' as const, entries })),
  ),
}));

test('text as Cyrus prints it comes out as it was, wherever it is cut', () => {
  fc.assert(
    fc.property(value, fc.integer({ min: 1, max: 40 }), (tree, step) => {
      const printed = printDlist(tree);
      expect(throughText(Buffer.from(printed, 'latin1'), step)).toBe(printed);
    }),
    { numRuns: 500 },
  );
});

test('text in any other form comes out meaning the same, without {n+} and escapes', () => {
  const quoted = (text: string): string => `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
  const literal = (text: string): string => `{${text.length}+}\r\n${text}`;
  const word = bytes.chain((text) =>
    /[\0\r\n]/.test(text) ? fc.constant(literal(text)) : fc.constantFrom(quoted(text), literal(text)),
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 5 }), fc.constantFrom(' ', '  ', '\t'), (words, space) => {
      const sent = Buffer.from(`(${words.join(space)})`, 'latin1');
      const kept = throughText(sent);
      expect(parseDlist(Buffer.from(kept, 'latin1'))).toEqual(parseDlist(sent));
      expect(kept).not.toMatch(/^\((?:\{\d+\+\}|"[^"]*\\")/);
    }),
    { numRuns: 300 },
  );
});

test('a gatherer that is used again starts empty, also after something huge', () => {
  const text = new DlistText();
  text.raw('x'.repeat(1_000_000));
  expect(text.text()).toHaveLength(1_000_000);
  text.reset();
  expect(text.length).toBe(0);
  text.beginList();
  text.raw('A');
  text.raw('B');
  text.end();
  expect(text.text()).toBe('(A B)');
});

test('byte strings go into SQLite as they are', () => {
  expect(sqlText('plain')).toBe('plain');
  expect(sqlText('\u00e4')).toEqual(Buffer.from([0xe4]));
  expect(sqlText(null)).toBeNull();
  expect(fromBlob(Buffer.from([0xe4, 0x41]))).toBe('\u00e4A');
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (number) => {
      expect(unsignedDigits(String(toSigned64(number)))).toBe(String(number));
    }),
  );
});
