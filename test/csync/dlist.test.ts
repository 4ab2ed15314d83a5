import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  atom,
  child,
  type Dlist,
  kvlist,
  list,
  NIL,
  numberOf,
  parseDlist,
  parseNumber,
  textOf,
} from '../../src/csync/dlist.ts';
import { encodeDlist } from '../../src/csync/encoder.ts';
import { dlist, printLoosely } from './arbitraries.ts';
import { ANSWER_STREAMS, answerValues, fixture } from './fixtures.ts';

function parse(text: string): Dlist {
  return parseDlist(Buffer.from(text, 'latin1'));
}

describe('parseDlist', () => {
  it('gives back what was encoded, whatever the bytes', () => {
    fc.assert(
      fc.property(dlist(true), (value) => {
        expect(parseDlist(encodeDlist(value))).toEqual(value);
      }),
      { numRuns: 500 },
    );
  });

  it('reads every way in which a client may write a value', () => {
    fc.assert(
      fc.property(dlist(true), fc.infiniteStream(fc.nat(1000)), (value, stream) => {
        const choose = (ways: number) => (stream.next().value as number) % ways;
        expect(parse(printLoosely(value, choose))).toEqual(value);
      }),
      { numRuns: 500 },
    );
  });

  it('reads what Cyrus answers, and prints it byte for byte as Cyrus does', () => {
    let values = 0;
    for (const name of ANSWER_STREAMS) {
      for (const bytes of answerValues(fixture(name))) {
        expect(encodeDlist(parseDlist(bytes)).toString('latin1')).toBe(bytes.toString('latin1'));
        values++;
      }
    }
    expect(values).toBeGreaterThan(40);
  });

  it('takes NIL for null only as an atom', () => {
    expect(parse('NIL')).toEqual(NIL);
    expect(parse('"NIL"')).toEqual(atom('NIL'));
    expect(parse('{3}\r\nNIL')).toEqual(atom('NIL'));
    expect(parse('nil')).toEqual(atom('nil'));
    expect(parse('%(NIL NIL)')).toEqual({ kind: 'kvlist', entries: [['NIL', NIL]] });
  });

  it('keeps braces and percent signs inside an atom', () => {
    expect(parse('(a{5} b%c {3+}\r\nd e)')).toEqual(list([atom('a{5}'), atom('b%c'), atom('d e')]));
  });

  it.each([
    '',
    ' ',
    '(',
    '%(',
    '%(A',
    '%(A)',
    '%(A b',
    '%((a) b)',
    '%(%(A b) c)',
    ')',
    '(a))',
    '(a)(b)',
    '(a"b")',
    '(a(b))',
    'a b',
    '"a',
    '"a\r\n"',
    '"a\\',
    '"a\\\n"',
    '"a"b',
    '(a\r\nb)',
    '(a\x0bb)',
    'a\0b',
    '{3}',
    '{3}\r\nab',
    '{3}\r\nabcd',
    '{}\r\n',
    '{+}\r\n',
    '{3+3}\r\nabc',
    '{3++}\r\nabc',
    '{-1}\r\n',
    '{3} \r\nabc',
    '{3}\r\rabc',
    '%',
    '%a',
    '%{default}\r\n',
    '%{default abc 3}\r\nabc',
    '%{ a9993e364706816aba3e25717850c26c9cd0d89d 3}\r\nabc',
    '%{default a9993e364706816aba3e25717850c26c9cd0d89g 3}\r\nabc',
    '%{default a9993e364706816aba3e25717850c26c9cd0d89d x}\r\nabc',
    '%{default a9993e364706816aba3e25717850c26c9cd0d89d 3}\r\nab',
    '%{"a"b" a9993e364706816aba3e25717850c26c9cd0d89d 3}\r\nabc',
    '%{"a\rb" a9993e364706816aba3e25717850c26c9cd0d89d 3}\r\nabc',
    '%{"a\0b" a9993e364706816aba3e25717850c26c9cd0d89d 3}\r\nabc',
    '%{"a\\" a9993e364706816aba3e25717850c26c9cd0d89d 3}\r\nabc',
    '%{a b a9993e364706816aba3e25717850c26c9cd0d89d 3}\r\nabc',
  ])('refuses %j', (text) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'BAD_PARAMETERS' }));
  });

  it('throws nothing but its own error at any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          parseDlist(bytes);
        } catch (error) {
          expect(error).toMatchObject({ code: 'BAD_PARAMETERS' });
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('reading fields', () => {
  const value = kvlist({ UID: atom(12), NAME: atom('x'), NONE: NIL, FLAGS: list([]), LEFT_OUT: undefined });

  it('finds a field, upper case or not', () => {
    expect(textOf(child(value, 'name'))).toBe('x');
    expect(child(parse('%(name x)'), 'NAME')).toEqual(atom('x'));
    expect(child(value, 'LEFT_OUT')).toBeUndefined();
    expect(child(list([]), 'NAME')).toBeUndefined();
  });

  it('tells NIL from absent and from a list', () => {
    expect(textOf(child(value, 'NONE'))).toBeNull();
    expect(textOf(child(value, 'MISSING'))).toBeUndefined();
    expect(textOf(child(value, 'FLAGS'))).toBeUndefined();
  });

  it('reads numbers exactly or not at all', () => {
    expect(numberOf(child(value, 'UID'))).toBe(12n);
    expect(numberOf(child(value, 'NAME'))).toBeUndefined();
    expect(parseNumber('18446744073709551615')).toBe(2n ** 64n - 1n);
    expect(parseNumber('18446744073709551616')).toBeUndefined();
    expect(parseNumber('9007199254740993')).toBe(9007199254740993n);
    for (const text of ['', '-1', '+1', '1.0', '1e3', ' 1', '0x10', '99999999999999999999']) {
      expect(parseNumber(text)).toBeUndefined();
    }
  });
});
