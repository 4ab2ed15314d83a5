import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AnswerSplitter } from '../../src/restore/csync-answers.ts';
import { parseFinal, parseLine } from '../../src/restore/csync-reply.ts';

const GUID = '85f3068696564bcd9c845affa08553d000a8928b';
const UNITS = [
  '* SASL PLAIN SCRAM-SHA-256',
  '* OK host Cyrus backup server 3.6.1',
  '* MAILBOX %(UNIQUEID u MBOXNAME {12}\r\nuser.a\r\nb {3} ACL "x\ty\t" RECORD ())',
  '* SIEVE %(FILENAME a CONTENT {0}\r\n)',
  `* MESSAGE %{default ${GUID} 7}\r\n\r\n\r\n{1}`,
  '* MISSING (a {5+}\r\n12345 {2}\r\n\r\n)',
  'NO IMAP_SYNC_CHECKSUM text that ends like a literal {5}',
  '+ cj1m',
  'OK Success',
];
const STREAM = Buffer.from(UNITS.map((unit) => `${unit}\r\n`).join(''), 'latin1');

function split(chunks: Iterable<Uint8Array>, splitter = new AnswerSplitter()): string[] {
  const units: string[] = [];
  for (const chunk of chunks) {
    splitter.push(chunk);
    for (let unit = splitter.next(); unit !== undefined; unit = splitter.next())
      units.push(unit.toString('latin1'));
  }
  return units;
}

describe('AnswerSplitter', () => {
  test('finds the same units at every split position', () => {
    for (let at = 0; at <= STREAM.length; at++) {
      expect(split([STREAM.subarray(0, at), STREAM.subarray(at)])).toEqual(UNITS);
    }
  });

  test('finds the same units byte by byte', () => {
    const splitter = new AnswerSplitter();
    expect(
      split(
        Array.from(STREAM, (byte) => Uint8Array.of(byte)),
        splitter,
      ),
    ).toEqual(UNITS);
    expect(splitter.pendingBytes).toBe(0);
  });

  test('gives out a long answer in pieces, literals included, and ends it where next() would', () => {
    const records = Array.from(
      { length: 4000 },
      (_, i) => `%(UID ${i} VALUE {${i % 90}}\r\n${'\n'.repeat(i % 90)})`,
    );
    const long = `* MAILBOX %(RECORD (${records.join(' ')}))`;
    const stream = Buffer.from(`${UNITS[0]}\r\n${long}\r\nOK Success\r\n`, 'latin1');
    for (const size of [1000, 50_000, 70_001, stream.length]) {
      const splitter = new AnswerSplitter();
      const units: string[] = [];
      let [open, pieces] = ['', 0];
      for (let at = 0; at < stream.length; at += size) {
        splitter.push(stream.subarray(at, at + size));
        for (let piece = splitter.nextPiece(); piece !== undefined; piece = splitter.nextPiece()) {
          pieces++;
          open += piece.bytes.toString('latin1');
          if (!piece.isLast) continue;
          units.push(open);
          open = '';
        }
      }
      expect(units).toEqual([UNITS[0], long, 'OK Success']);
      if (size < stream.length) expect(pieces).toBeGreaterThan(4);
    }
  });

  test('takes any bytes in literals, in any pieces', () => {
    const literal = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(
        fc.array(literal, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 64 }),
        (literals, step) => {
          const parts = literals.flatMap((bytes) => [Buffer.from(` {${bytes.length}}\r\n`), bytes]);
          const stream = Buffer.concat([Buffer.from('* X ('), ...parts, Buffer.from(')\r\nOK\r\n')]);
          const chunks: Uint8Array[] = [];
          for (let from = 0; from < stream.length; from += step)
            chunks.push(stream.subarray(from, from + step));
          const units = split(chunks);
          expect(units).toHaveLength(2);
          expect(units[0]).toBe(stream.toString('latin1', 0, stream.length - 6));
        },
      ),
    );
  });

  test('takes a unit at the limit and refuses one over it', () => {
    expect(split([Buffer.from(`* ${'x'.repeat(96)}\r\n`)], new AnswerSplitter(100))).toHaveLength(1);
    expect(() => split([Buffer.from(`* ${'x'.repeat(99)}`)], new AnswerSplitter(100))).toThrow(
      /longer than 100/,
    );
    expect(() => split([Buffer.from('* {101}\r\n')], new AnswerSplitter(100))).toThrow(/longer than 100/);
  });
});

describe('parseFinal', () => {
  test.each([
    ['OK Success', { status: 'OK', code: '', text: 'Success' }],
    ['OK', { status: 'OK', code: '', text: '' }],
    ['* OK host server', { status: 'OK', code: '', text: 'host server' }],
    [
      'NO IMAP_MAILBOX_LOCKED Mailbox locked',
      { status: 'NO', code: 'IMAP_MAILBOX_LOCKED', text: 'Mailbox locked' },
    ],
    ['BAD IMAP_PROTOCOL_ERROR', { status: 'BAD', code: 'IMAP_PROTOCOL_ERROR', text: '' }],
    ['* BYE shutting down', { status: 'BYE', code: '', text: 'shutting down' }],
    ['+ abcd', { status: '+', code: '', text: 'abcd' }],
  ])('%s', (line, final) => {
    expect(parseFinal(Buffer.from(line))).toEqual(final);
  });

  test.each(['* MAILBOX %(A 1)', '* OKAY', 'OKAY', ''])('is not for %j', (line) => {
    expect(parseFinal(Buffer.from(line))).toBeUndefined();
  });
});

describe('parseLine', () => {
  test('gives the name in upper case and the value', () => {
    expect(parseLine(Buffer.from('* missing (a b)'))).toEqual({
      name: 'MISSING',
      value: {
        kind: 'list',
        items: ['a', 'b'].map((value) => ({ kind: 'atom', value: Buffer.from(value) })),
      },
    });
    expect(parseLine(Buffer.from('* NONSYNC'))).toEqual({ name: 'NONSYNC', value: { kind: 'nil' } });
  });

  test.each(['Q01 OK', '* X (', '* X a b'])('refuses %j', (line) => {
    expect(() => parseLine(Buffer.from(line))).toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }));
  });
});
