import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DecoderLimits } from '../../src/csync/limits.ts';
import { dlist, printLoosely } from './arbitraries.ts';
import { decode, inPieces, Recorder, toBytes } from './recorder.ts';

const GUID = 'a9993e364706816aba3e25717850c26c9cd0d89d';
const x = (length: number) => 'x'.repeat(length);

/** What came of a line and of the NOOP behind it, which must be seen as a command whatever the line was. */
function outcome(line: string, limits: Partial<DecoderLimits>): string {
  const bytes = toBytes(`${line}NOOP\r\n`);
  const log = decode(bytes, { limits });
  for (const size of [1, 3, 50]) {
    expect(new Recorder({ limits }).feed(inPieces(bytes, size)).end().log, `pieces of ${size}`).toEqual(log);
  }
  expect(log.at(-1), 'the line after').toEqual({ kind: 'command', word: 'NOOP', args: [], sent: 'NOOP' });
  return log
    .slice(0, -1)
    .map((entry) =>
      entry.kind === 'abort' || entry.kind === 'bad' ? `${entry.kind} ${entry.reason.kind}` : entry.kind,
    )
    .join(', ');
}

describe('limits of the decoder, at the cap and one over', () => {
  it('words', () => {
    const limits = { maxWordBytes: 10 };
    expect(outcome(`APPLY UNUSER ${x(10)}\r\n`, limits)).toBe('apply');
    expect(outcome(`APPLY UNUSER ${x(11)}\r\n`, limits)).toBe('abort limit');
    expect(outcome(`GET USER ${x(10)}\r\n`, limits)).toBe('get');
    expect(outcome(`GET USER ${x(11)}\r\n`, limits)).toBe('bad limit');
    // A brace inside the word announces no literal.
    expect(outcome(`APPLY UNUSER ${x(11)}{4+}\r\n`, limits)).toBe('abort limit');
  });

  it('names of what to get or apply', () => {
    expect(outcome(`APPLY ${x(64)} y\r\n`, {})).toBe('apply');
    expect(outcome(`APPLY ${x(65)} y\r\n`, {})).toBe('bad limit');
    expect(outcome(`APPLY ${x(65)} {6+}\r\nEXIT\r\n\r\n`, {})).toBe('bad limit');
  });

  it('quoted strings, with escapes undone', () => {
    const limits = { maxQuotedBytes: 10 };
    expect(outcome(`APPLY UNUSER "${x(10)}"\r\n`, limits)).toBe('apply');
    expect(outcome(`APPLY UNUSER "${x(11)}"\r\n`, limits)).toBe('abort limit');
    expect(outcome(`APPLY UNUSER "${'\\"'.repeat(10)}"\r\n`, limits)).toBe('apply');
    expect(outcome(`APPLY UNUSER "${'\\"'.repeat(11)}"\r\n`, limits)).toBe('abort limit');
    expect(outcome(`APPLY SUB (${'"'}${x(11)} {6+}" {6+}\r\nEXIT\r\n)\r\n`, limits)).toBe('abort limit');
  });

  it('text literals', () => {
    const limits = { maxLiteralBytes: 10 };
    expect(outcome(`APPLY MAILBOX (a {10+}\r\n${x(10)})\r\n`, limits)).toBe('apply');
    expect(outcome(`APPLY MAILBOX (a {11+}\r\n${x(9)}\r\n)\r\n`, limits)).toBe('abort limit');
    expect(outcome(`APPLY MAILBOX (a {11+}\r\n${x(9)}\r\n {99+}\r\n${x(97)}\r\n)\r\n`, limits)).toBe(
      'abort limit',
    );
    expect(outcome(`GET USER {10+}\r\n${x(10)}\r\n`, limits)).toBe('get');
    expect(outcome(`GET USER {11+}\r\n${x(11)}\r\n`, limits)).toBe('bad limit');
  });

  it('all text literals of a small command together, each by itself in a large one', () => {
    const limits = { maxLiteralBytes: 10 };
    const two = (first: number) => `(a {${first}+}\r\n${x(first)} {5+}\r\nEXIT\n)\r\n`;
    expect(outcome(`APPLY SIEVE ${two(5)}`, limits)).toBe('apply');
    expect(outcome(`APPLY SIEVE ${two(6)}`, limits)).toBe('abort limit');
    expect(outcome(`GET MAILBOXES ${two(5)}`, limits)).toBe('get');
    expect(outcome(`GET MAILBOXES ${two(6)}`, limits)).toBe('bad limit');
    expect(outcome(`APPLY MAILBOX ${two(10)}`, limits)).toBe('apply');
  });

  it('a synchronising literal over the limit gets no go-ahead and ends the line', () => {
    const limits = { maxLiteralBytes: 10, maxItems: 3 };
    expect(outcome(`APPLY UNUSER {10}\r\n${x(10)}\r\n`, limits)).toBe('continuation, apply');
    expect(outcome('APPLY UNUSER {11}\r\n', limits)).toBe('abort limit');
    expect(outcome('GET USER {11}\r\n', limits)).toBe('bad limit');
    // Also where the command was refused before, for whatever reason.
    expect(outcome('APPLY SUB (a b c d {5}\r\n', limits)).toBe('abort limit');
    expect(outcome('APPLY SUB (a"b" c {5}\r\n', limits)).toBe('abort malformed');
  });

  it('messages', () => {
    const limits = { maxMessageBytes: 10 };
    const message = (size: number) => `%{default ${GUID} ${size}}\r\n${'EXIT\r\n'.repeat(9).slice(0, size)}`;
    expect(outcome(`APPLY MESSAGE (${message(10)} ${message(3)})\r\n`, limits)).toBe('apply');
    expect(outcome(`APPLY MESSAGE (${message(3)} ${message(11)} ${message(2)})\r\n`, limits)).toBe(
      'abort limit',
    );
    expect(outcome(`APPLY MESSAGE (${message(11)} {5+}\r\na\r\nb\n ${message(12)})\r\n`, limits)).toBe(
      'abort limit',
    );
  });

  it('parentheses', () => {
    const limits = { maxDepth: 3 };
    expect(outcome('APPLY SEEN (%((x A (y))))\r\n'.replace('(x ', ''), limits)).toBe('abort malformed');
    expect(outcome('APPLY SEEN (%(A (x)) {5+}\r\nEXIT\n)\r\n', limits)).toBe('apply');
    expect(outcome('APPLY SEEN (%(A (x ())) {5+}\r\nEXIT\n)\r\n', limits)).toBe('abort limit');
    expect(outcome('APPLY SEEN (((%(A {5+}\r\nEXIT\n))))\r\n', limits)).toBe('abort limit');
  });

  it('length of a small command, without its literals', () => {
    const limits = { maxLineBytes: 20 };
    const value = (length: number) => `(${x(length - 9)} {6+}\r\nEXIT\r\n)`;
    expect(outcome(`APPLY SEEN ${value(20)}\r\n`, limits)).toBe('apply');
    expect(outcome(`APPLY SEEN ${value(21)}\r\n`, limits)).toBe('abort limit');
    expect(outcome(`GET MAILBOXES ${value(20)}\r\n`, limits)).toBe('get');
    expect(outcome(`GET MAILBOXES ${value(21)}\r\n`, limits)).toBe('bad limit');
    for (const verb of ['MAILBOX', 'LOCAL_MAILBOX', 'MESSAGE', 'RESERVE', 'EXPUNGE']) {
      expect(outcome(`APPLY ${verb} ${value(200)}\r\n`, limits)).toBe('apply');
    }
  });

  it('number of values of a small command', () => {
    const limits = { maxItems: 4 };
    expect(outcome('APPLY SEEN (a b c)\r\n', limits)).toBe('apply');
    expect(outcome('APPLY SEEN (a b c d)\r\n', limits)).toBe('abort limit');
    expect(outcome('GET MAILBOXES (a b c d)\r\n', limits)).toBe('bad limit');
    expect(outcome('APPLY EXPUNGE (a b c d e f)\r\n', limits)).toBe('apply');
    // Refused, but still read by the grammar: what looks like a literal in the string is none.
    expect(outcome('APPLY SEEN (a b c d " {6+}" {6+}\r\nEXIT\r\n e)\r\n', limits)).toBe('abort limit');
    expect(outcome('APPLY SEEN (a b c d {6+}\r\nEXIT\r\n"e" {6+}\r\nEXIT\r\n)\r\n', limits)).toBe(
      'abort limit',
    );
  });

  it('other commands, literals included', () => {
    const limits = { maxCommandBytes: 20 };
    expect(outcome(`ENABLE ${x(13)}\n`, limits)).toBe('command');
    expect(outcome(`ENABLE ${x(14)}\n`, limits)).toBe('bad limit');
    expect(outcome(`${x(20)}\n`, limits)).toBe('command');
    expect(outcome(`${x(21)}\n`, limits)).toBe('bad limit');
    // `ENABLE {n+}` and the line feed are 12 bytes.
    expect(outcome(`ENABLE {8+}\n${x(6)}\r\n\n`, limits)).toBe('command');
    expect(outcome(`ENABLE {9+}\n${x(7)}\r\n\n`, limits)).toBe('bad limit');
    expect(outcome('ENABLE {10}\n', limits)).toBe('bad limit');
    expect(outcome(`ENABLE ${x(8)} {12+}\r\nEXIT\r\nEXIT\r\n\r\n`, limits)).toBe('bad limit');
    expect(outcome(`ENABLE ${x(30)} {12+}\r\nEXIT\r\nEXIT\r\n\r\n`, limits)).toBe('bad limit');
  });

  it('SASL responses', () => {
    const limits = { maxCommandBytes: 20 };
    expect(outcome(`AUTHENTICATE PLAIN\r\n${x(19)}\r\n`, limits)).toBe('command, line');
    expect(outcome(`AUTHENTICATE PLAIN\r\n${x(21)}\r\n`, limits)).toBe('command, bad limit');
    expect(outcome(`AUTHENTICATE PLAIN\r\n${x(50)} {90+}\r\n`, limits)).toBe('command, bad limit');
  });

  it('keys', () => {
    expect(outcome(`APPLY SEEN %(${x(1024)} a)\r\n`, {})).toBe('apply');
    expect(outcome(`APPLY SEEN %(${x(1025)} a)\r\n`, {})).toBe('abort limit');
    expect(outcome(`APPLY SEEN %({1024+}\r\n${x(1024)} a)\r\n`, {})).toBe('apply');
    expect(outcome(`APPLY SEEN %({1025+}\r\n${x(1023)}\r\n a)\r\n`, {})).toBe('abort limit');
  });

  it('file headers', () => {
    const header = (length: number) => `(%{${x(length - 51)} ${GUID} 6}\r\nEXIT\r\n)`;
    expect(outcome(`APPLY MESSAGE ${header(2000)}\r\n`, {})).toBe('apply');
    expect(outcome(`APPLY MESSAGE ${header(4000)}\r\n`, {})).toBe('abort limit');
  });

  it('announced sizes beyond all numbers are over every limit', () => {
    const log = decode(`APPLY UNUSER {${'9'.repeat(30)}+}\r\nNOOP\r\n`);
    expect(log).toMatchObject([{ kind: 'abort', reason: { kind: 'limit' } }]);
    const file = decode(`APPLY MESSAGE (%{default ${GUID} ${'9'.repeat(30)}}\r\nNOOP\r\n`);
    expect(file).toMatchObject([{ kind: 'abort', reason: { kind: 'limit' } }]);
  });

  it('leave the decoder in step after any value, whatever limit it is over and whatever it holds', () => {
    const small: fc.Arbitrary<Partial<DecoderLimits>> = fc.record({
      maxWordBytes: fc.integer({ min: 1, max: 40 }),
      maxQuotedBytes: fc.integer({ min: 1, max: 40 }),
      maxLiteralBytes: fc.integer({ min: 1, max: 40 }),
      maxMessageBytes: fc.integer({ min: 1, max: 40 }),
      maxDepth: fc.integer({ min: 1, max: 4 }),
      maxLineBytes: fc.integer({ min: 1, max: 400 }),
      maxItems: fc.integer({ min: 1, max: 20 }),
    });
    const verb = fc.constantFrom('APPLY MESSAGE', 'APPLY MAILBOX', 'APPLY SUB', 'GET MAILBOXES', 'APPLY M%');
    const seen = new Set<string>();
    fc.assert(
      fc.property(
        dlist(true),
        verb,
        small,
        fc.infiniteStream(fc.nat(1000)),
        (value, word, limits, stream) => {
          // Without the literals that wait: one that is refused ends its line.
          const choose = (ways: number) => (stream.next().value as number) % (ways === 4 ? 3 : ways);
          const bytes = toBytes(`${word} ${printLoosely(value, choose)}\r\nNOOP\r\n`);
          const log = new Recorder({ limits }).feed(inPieces(bytes, 1 + choose(90))).end().log;
          expect(log.map((entry) => entry.kind).slice(1)).toEqual(['command']);
          const [first] = log;
          seen.add(first && 'reason' in first ? first.reason.text.replaceAll(/\d+/g, 'N') : 'taken');
        },
      ),
      { numRuns: 2000 },
    );
    // All kinds of refusal were met.
    expect(seen.size).toBeGreaterThanOrEqual(9);
  });
});
