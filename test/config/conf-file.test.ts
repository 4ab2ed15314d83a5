import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { parseConf, readConfFile } from '../../src/config/conf-file.ts';

const directory = mkdtempSync(path.join(os.tmpdir(), 'conf-file-'));
afterAll(() => rmSync(directory, { recursive: true }));

function put(name: string, text: string): string {
  const file = path.join(directory, name);
  writeFileSync(file, text);
  return file;
}

const pairs = (text: string) => parseConf(text, 'f').entries.map(({ key, value }) => [key, value]);
const reasons = (text: string) => parseConf(text, 'f').problems.map(({ line, reason }) => [line, reason]);

describe('lines', () => {
  test('an option is a key, a colon and a value without white space around it', () => {
    expect(pairs('  Admins:\t cyrus  backup \r\n')).toEqual([['admins', 'cyrus  backup']]);
    expect(pairs('backuppartition-A_1:/srv:x')).toEqual([['backuppartition-a_1', '/srv:x']]);
  });

  test('empty lines and comments are left out', () => {
    expect(pairs('\n   \n# a: b\n   # c: d\ne: f # g\n')).toEqual([['e', 'f # g']]);
  });

  test('a backslash joins a line to the next, whose leading space stays', () => {
    expect(pairs('a: one\\\n  two\\\nthree\nb: c\n')).toEqual([
      ['a', 'one  twothree'],
      ['b', 'c'],
    ]);
  });

  test('a comment is continued as well, as Cyrus reads it', () => {
    expect(pairs('# old: \\\na: b\nc: d\n')).toEqual([['c', 'd']]);
  });

  test('the number of an entry is that of its first line', () => {
    const { entries } = parseConf('\na: b\\\nc\n\nd: e', 'f');
    expect(entries.map(({ line }) => line)).toEqual([2, 5]);
  });

  test('the last line needs no newline, and a backslash at its end is part of it', () => {
    expect(pairs('a: b\\')).toEqual([['a', 'b\\']]);
  });

  test('a continuation that leads nowhere is a problem, not a lost line', () => {
    expect(pairs('a: b\\\n')).toEqual([]);
    expect(reasons('\na: b\\\n')).toEqual([[2, 'the file ends where a line is continued with a backslash']]);
  });

  test.each(['word', 'a b: c', 'a : c', '=', ': x', 'ä: x', '@: x\n'])('%j is no option', (line) => {
    expect(pairs(line)).toEqual([]);
    expect(reasons(line)).toHaveLength(1);
  });

  test('a value is needed', () => {
    expect(reasons('a:  \nb:')).toEqual([
      [1, 'has no value'],
      [2, 'has no value'],
    ]);
  });

  test('no key may occur twice', () => {
    expect(reasons('a: 1\nb: 2\nA: 3\n')).toEqual([[3, 'given twice; the first is at f:1']]);
    expect(pairs('a: 1\nb: 2\nA: 3\n')).toEqual([
      ['a', '1'],
      ['b', '2'],
    ]);
  });
});

describe('@include', () => {
  test('the file stands in place of the line, found beside the file that names it', () => {
    put('inner.conf', 'b: 2\nc: 3\n');
    const file = put('outer.conf', 'a: 1\n@include: inner.conf\nd: 4\n');
    expect(readConfFile(file).entries).toEqual([
      { key: 'a', value: '1', file, line: 1 },
      { key: 'b', value: '2', file: path.join(directory, 'inner.conf'), line: 1 },
      { key: 'c', value: '3', file: path.join(directory, 'inner.conf'), line: 2 },
      { key: 'd', value: '4', file, line: 3 },
    ]);
  });

  test('a file that includes itself is refused, not read for ever', () => {
    const file = put('loop.conf', '@include: loop.conf\n');
    expect(readConfFile(file).problems).toMatchObject([
      { file, line: 1, reason: 'this file is included twice' },
    ]);
  });

  test('a file that cannot be read is a problem of the line that names it', () => {
    const file = put('lost.conf', 'a: 1\n@Include: nowhere.conf\n');
    const problem = {
      file,
      line: 2,
      value: path.join(directory, 'nowhere.conf'),
      reason: 'cannot be read (ENOENT)',
    };
    expect(readConfFile(file).problems).toMatchObject([problem]);
  });

  test('other directives do not exist', () => {
    expect(reasons('@define: x')).toEqual([[1, 'no such directive; there is @include']]);
  });
});

test('a file that cannot be read is a problem', () => {
  expect(readConfFile(directory).problems).toMatchObject([{ file: directory, line: 0 }]);
});

/** Writes entries with comments, case, white space and continuations that must not matter. */
function print(entries: { key: string; value: string; style: number; cut: number }[]): string {
  return entries
    .map(({ key, value, style, cut }) => {
      const name = style & 1 ? key.toUpperCase() : key;
      const space = style & 2 ? ' \t' : ' ';
      const at = 1 + (cut % value.length);
      // Cutting behind a backslash would leave two, of which the second is the continuation: that is fine.
      const broken = style & 4 ? `${value.slice(0, at)}\\\n${value.slice(at)}` : value;
      return `${style & 8 ? '# comment\n\n' : ''}${style & 16 ? '  ' : ''}${name}:${space}${broken}${space}\n`;
    })
    .join('');
}

const key = fc.stringMatching(/^[a-z0-9_-]{1,12}$/);
const value = fc
  .string({ minLength: 1, maxLength: 30, unit: 'grapheme' })
  .map((text) => text.replaceAll('\n', '').replace(/^[ \t\v\f\r]+|[ \t\v\f\r]+$/g, ''))
  .filter((text) => text !== '');

test('property: what is printed is read back', () => {
  const entry = fc.record({ key, value, style: fc.nat(31), cut: fc.nat(30) });
  fc.assert(
    fc.property(fc.uniqueArray(entry, { selector: (one) => one.key, maxLength: 8 }), (entries) => {
      const read = parseConf(print(entries), 'f');
      expect(read.problems).toEqual([]);
      expect(read.entries.map((one) => ({ key: one.key, value: one.value }))).toEqual(
        entries.map((one) => ({ key: one.key, value: one.value })),
      );
    }),
  );
});

test('property: every text is read without an exception, and each line is an entry, a problem or nothing', () => {
  const piece = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom(':', '\n', '\\\n', '#', '@include:', 'a', ' '),
  );
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      const text = pieces.join('').replaceAll(/@include/gi, '@inclu');
      const { entries, problems } = parseConf(text, 'f');
      const lines = text.split('\n').length;
      for (const { line } of [...entries, ...problems]) {
        expect(line).toBeGreaterThanOrEqual(1);
        expect(line).toBeLessThanOrEqual(lines);
      }
      expect(new Set(entries.map((entry) => entry.key)).size).toBe(entries.length);
    }),
  );
});
