import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ImapSplitter } from '../../src/imap/splitter.ts';
import { pairsOf, readTokens } from '../../src/imap/tokens.ts';
import { expandUids } from '../../src/restore/imap/appended.ts';
import { Fingerprint, headerFingerprint } from '../../src/restore/imap/fingerprint.ts';
import { Doubts, Inventory } from '../../src/restore/imap/inventory.ts';
import { parseInternalDate, printInternalDate } from '../../src/restore/imap/mailbox.ts';

/** What a splitter makes of bytes that come in two pieces. */
function unitsOf(bytes: Buffer, cut: number): string[] {
  const splitter = new ImapSplitter();
  const units: string[] = [];
  for (const piece of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
    splitter.push(piece);
    for (let unit = splitter.next(); unit !== undefined; unit = splitter.next())
      units.push(unit.toString('latin1'));
  }
  expect(splitter.pendingBytes).toBe(0);
  return units;
}

describe('units', () => {
  const units = [
    '* OK [UIDNEXT 4] up to {5}',
    '* 1 FETCH (BODY[HEADER] {12}\r\nA: b\r\n\r\n{3}\r FLAGS ())',
    'P1 NO because of {9}',
    '* LIST () "/" {3}\r\na\nb',
    '"main" ACTIVE',
  ];
  const bytes = Buffer.from(units.map((unit) => `${unit}\r\n`).join(''), 'latin1');

  test('come whole wherever the stream is cut', () => {
    for (let cut = 0; cut <= bytes.length; cut++) expect(unitsOf(bytes, cut)).toEqual(units);
  });

  test('have an end', () => {
    const limits = { maxLineBytes: 10, maxUnitBytes: 40 };
    const atLimit = new ImapSplitter(limits);
    atLimit.push(Buffer.from('* 34567890\n* A {20}\r\n'));
    expect([atLimit.next()?.length, atLimit.next()]).toEqual([10, undefined]);
    for (const text of ['* 345678901', '* A {200}\r\n']) {
      const over = new ImapSplitter(limits);
      over.push(Buffer.from(text));
      expect(() => over.next()).toThrow(/a line without end/);
    }
  });
});

describe('tokens', () => {
  test('of every kind', () => {
    const text =
      'FETCH (UID 7 BODY[HEADER.FIELDS (TO)] {4}\r\n"(\r\n X ("a\\"b" NIL ()) BODY[]<0> ~{1}\r\n\0)';
    expect(readTokens(Buffer.from(text, 'latin1'))).toEqual([
      'FETCH',
      ['UID', '7', 'BODY[HEADER.FIELDS (TO)]', '"(\r\n', 'X', ['a"b', null, []], 'BODY[]<0>', '\0'],
    ]);
    expect(pairsOf(['uid', '7', 'X', []])).toEqual(
      new Map<string, unknown>([
        ['UID', '7'],
        ['X', []],
      ]),
    );
  });

  test('of anything: it comes to an end and throws nothing', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'()"{}[]\\ \r\n0~aN+') }), (text) => {
        readTokens(Buffer.from(text, 'latin1'));
      }),
    );
  });
});

test('internal dates', () => {
  fc.assert(
    fc.property(fc.integer({ min: -2_000_000_000, max: 10_000_000_000 }), (seconds) => {
      expect(parseInternalDate(printInternalDate(seconds))).toBe(seconds);
    }),
  );
  expect(printInternalDate(0)).toBe(' 1-Jan-1970 00:00:00 +0000');
  expect(parseInternalDate('15-Jan-2024 12:00:00 -0130')).toBe(Date.UTC(2024, 0, 15, 13, 30) / 1000);
});

test('UID sets', () => {
  expect(expandUids('3,9:7,12')).toEqual([3, 7, 8, 9, 12]);
  for (const text of ['', '*', '1:*', '1:4000000000', 'x']) expect(expandUids(text)).toEqual([]);
});

test('a fingerprint is the same however the message is cut, and says where the header ends', () => {
  const message = Buffer.from('A: \xe4\r\nB: c\n\r\nbo\r\n\r\nd\0y', 'latin1');
  const of = (cut: number) => {
    const fingerprint = new Fingerprint();
    for (const piece of [message.subarray(0, cut), message.subarray(cut)]) fingerprint.push(piece);
    const { sizeWithCrlf, has8BitHeader, hasNul } = fingerprint;
    return [fingerprint.header(), fingerprint.whole(), sizeWithCrlf, has8BitHeader, hasNul];
  };
  for (let cut = 0; cut <= message.length; cut++) expect(of(cut)).toEqual(of(0));
  expect(of(3)[0]).toBe(headerFingerprint(Buffer.from('A: X\r\nB: c\r\n\r\n')));
  expect(of(3)[0]).not.toBe(headerFingerprint(Buffer.from('A: X\r\nB: d\r\n\r\n')));
  expect(of(3).slice(2)).toEqual([message.length + 1, true, true]);
});

describe('an inventory', () => {
  test('gives each message once, by what it is asked for', () => {
    const entry = fc.record({
      size: fc.integer({ min: 0, max: 3 }),
      date: fc.integer({ min: -1, max: 1 }),
      digest: fc.integer({ min: 0, max: 3 }),
    });
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 40 }), fc.boolean(), (entries, hasDigests) => {
        const digest = (n: number) => `${'ab'.repeat(6)}${n}${'0'.repeat(27)}`;
        const inventory = new Inventory();
        for (const [i, one] of entries.entries()) {
          inventory.add(i + 1, one.size, one.date, hasDigests ? digest(one.digest) : undefined);
        }
        inventory.seal();
        for (const { size, date } of entries) {
          const same = entries.flatMap((one, i) => (one.size === size && one.date === date ? [i + 1] : []));
          expect(inventory.candidates(size, date)).toEqual(same);
          expect(inventory.hasDate(date)).toBe(true);
        }
        expect(inventory.hasDate(5)).toBe(false);
        if (!hasDigests) {
          expect(inventory.takeDigest(digest(0))).toBe(false);
          return;
        }
        for (const one of entries) expect(inventory.takeDigest(digest(one.digest))).toBe(true);
        for (const one of entries) expect(inventory.takeDigest(digest(one.digest))).toBe(false);
        for (const { size, date } of entries) expect(inventory.candidates(size, date)).toEqual([]);
      }),
    );
  });

  test('grows', () => {
    const inventory = new Inventory();
    for (let uid = 1; uid <= 5000; uid++) inventory.add(uid, uid % 7, 5, uid.toString(16).padStart(40, '0'));
    inventory.seal();
    expect(inventory.candidates(3, 5)).toHaveLength(714);
    inventory.take(3, 5, 3);
    expect(inventory.candidates(3, 5)).toHaveLength(713);
    expect(inventory.takeDigest((3).toString(16).padStart(40, '0'))).toBe(false);
    expect(inventory.takeDigest((4999).toString(16).padStart(40, '0'))).toBe(true);
  });
});

test('doubts are sizes and dates that different messages share', () => {
  const guid = (n: number) => `${n.toString(16)}`.padStart(5, '0').padEnd(40, '0');
  const records = [
    ...[1, 2].map((n) => ({ size: 10, internaldate: 7, guid: guid(n) })),
    ...[3, 3].map((n) => ({ size: 10, internaldate: 8, guid: guid(n) })),
    ...Array.from({ length: 3000 }, (_, i) => ({ size: i, internaldate: -1, guid: guid(i) })),
  ];
  const doubts = new Doubts(records);
  expect([doubts.has(10, 7), doubts.has(10, 8), doubts.has(11, -1)]).toEqual([true, false, false]);
});
