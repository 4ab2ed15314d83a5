import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseDlist } from '../../src/csync/dlist.ts';
import {
  printFileHeader,
  printKvlist,
  printList,
  printLiteral,
  printNumber,
  printString,
} from '../../src/csync/encoder.ts';
import { bytes } from './arbitraries.ts';

describe('printString', () => {
  it.each([
    [null, 'NIL'],
    ['', '""'],
    ['NIL', '"NIL"'],
    ['nil', 'nil'],
    ['NILS', 'NILS'],
    ['user.alice', 'user.alice'],
    ['$Label1', '$Label1'],
    ['a]b}c+d-e^f&g', 'a]b}c+d-e^f&g'],
    ['user.alice.Projekte Gr&APYA3w-e', '"user.alice.Projekte Gr&APYA3w-e"'],
    ['alice\tlrswipkxtecdan\t', '"alice\tlrswipkxtecdan\t"'],
    ['(a)', '"(a)"'],
    ['{5}', '"{5}"'],
    ['a*', '"a*"'],
    ['\x1e', '"\x1e"'],
    ['\x1f', '\x1f'],
    ['\x7f', '"\x7f"'],
    ['100%', '{4}\r\n100%'],
    ['say "x"', '{7}\r\nsay "x"'],
    ['a\\b', '{3}\r\na\\b'],
    ['\\Seen', '{5}\r\n\\Seen'],
    ['a\r\nb', '{4}\r\na\r\nb'],
    ['a\nb', '{3}\r\na\nb'],
    ['a\0', '{2}\r\na\0'],
    ['\xfc', '{1}\r\n\xfc'],
  ])('prints %j as %j', (value, printed) => {
    expect(printString(value)).toBe(printed);
  });

  it('prints atoms and quoted strings below 1024 bytes, literals from there on', () => {
    expect(printString('a'.repeat(1023))).toBe('a'.repeat(1023));
    expect(printString('a'.repeat(1024))).toBe(`{1024}\r\n${'a'.repeat(1024)}`);
    expect(printString(` ${'a'.repeat(1022)}`)).toBe(`" ${'a'.repeat(1022)}"`);
    expect(printString(` ${'a'.repeat(1023)}`)).toBe(`{1024}\r\n ${'a'.repeat(1023)}`);
  });

  it('announces literals as a client or as a server does', () => {
    expect(printString('\n', { nonSynchronising: true })).toBe('{1+}\r\n\n');
    expect(printLiteral(Buffer.from('ü'))).toBe('{2}\r\n\xc3\xbc');
  });

  it('refuses text that is not bytes', () => {
    expect(() => printString('€')).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
  });

  it('can be read back, as bytes or as a string', () => {
    fc.assert(
      fc.property(bytes, (value) => {
        const printed = printString(value);
        expect(printString(value.toString('latin1'))).toBe(printed);
        expect(parseDlist(Buffer.from(printed, 'latin1'))).toEqual({ kind: 'atom', value });
      }),
      { numRuns: 1000 },
    );
  });
});

describe('the other printers', () => {
  it('prints numbers exactly or throws', () => {
    expect(printNumber(0)).toBe('0');
    expect(printNumber(Number.MAX_SAFE_INTEGER)).toBe('9007199254740991');
    expect(printNumber(2n ** 64n - 1n)).toBe('18446744073709551615');
    for (const wrong of [-1, 1.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, -1n, 2n ** 64n]) {
      expect(() => printNumber(wrong)).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
    }
  });

  it('puts lists together, without what is undefined', () => {
    expect(
      printKvlist([
        ['UID', '1'],
        ['NAME', undefined],
        ['FLAGS', printList(['\\Seen', 'x'])],
      ]),
    ).toBe('%(UID 1 FLAGS (\\Seen x))');
    expect(printKvlist([])).toBe('%()');
    expect(printList([])).toBe('()');
  });

  it('prints the header of a file', () => {
    const guid = 'a9993e364706816aba3e25717850c26c9cd0d89d';
    expect(printFileHeader('default', guid, 3)).toBe(`%{default ${guid} 3}\r\n`);
    expect(printFileHeader('a b', guid, 0)).toBe(`%{"a b" ${guid} 0}\r\n`);
  });
});
