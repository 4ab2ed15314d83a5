import { describe, expect, test } from 'vitest';
import { syncCrcs } from '../../src/restore/csync-crc.ts';
import { type CsyncMailbox, printApplyMailbox } from '../../src/restore/csync-mailbox.ts';
import { recordedMailboxes } from './recorded-mailboxes.ts';

const recorded = recordedMailboxes('3.6');
/** Sent with all their records, so that the CRCs can be computed from the command alone. */
const whole = recorded.filter(({ since, mailbox }) => since === undefined && mailbox.records.length > 0);

describe('APPLY MAILBOX', () => {
  test('is printed byte for byte as the real client does', () => {
    expect(recorded.length).toBeGreaterThan(40);
    for (const { file, text, mailbox, crcs, since } of recorded) {
      expect([...printApplyMailbox(mailbox, mailbox.records, crcs, since)].join(''), file).toBe(text);
    }
  });

  test('comes in pieces of bounded length, with one space between records', () => {
    const mailbox = withRecords(3000);
    const pieces = [...printApplyMailbox(mailbox, mailbox.records, { basic: 1, annot: 2 })];
    expect(pieces.length).toBeGreaterThan(5);
    expect(Math.max(...pieces.map((piece) => piece.length))).toBeLessThan(300_000);
    const uids = [...pieces.join('').matchAll(/(?:\(| )%\(UID (\d+) /g)].map((match) => Number(match[1]));
    expect(uids).toEqual(Array.from({ length: 3000 }, (_, at) => at + 1));
    expect(pieces.join('')).not.toMatch(/ {2}/);
  });

  test('prints modseqs above 2^53 exactly', () => {
    const mailbox = { ...withRecords(1), highestmodseq: 2n ** 63n + 1n };
    expect([...printApplyMailbox(mailbox, [], { basic: 0, annot: 0 })].join('')).toContain(
      ' HIGHESTMODSEQ 9223372036854775809 ',
    );
  });
});

describe('syncCrcs', () => {
  test('are those that the real client sends', () => {
    expect(whole.length).toBeGreaterThan(15);
    for (const { file, mailbox, crcs } of whole) expect(syncCrcs(mailbox.records), file).toEqual(crcs);
  });

  test('of no records are those of an empty mailbox', () => {
    expect(syncCrcs([])).toEqual({ basic: 0, annot: 12_345_678 });
  });

  test('do not depend on the order of records or flags, nor on the case of flags', () => {
    const { records } = whole.find(({ mailbox }) => mailbox.records.length > 3)!.mailbox;
    const turned = records.map((record) => ({
      ...record,
      flags: [...record.flags].reverse().map((flag) => (flag === '\\Expunged' ? flag : flag.toUpperCase())),
    }));
    expect(syncCrcs(turned.reverse())).toEqual(syncCrcs(records));
  });

  test('leave out expunged records and notice every other change', () => {
    const { records } = withRecords(3);
    const all = syncCrcs(records);
    const first = records[0]!;
    const rest = records.slice(1);
    expect(syncCrcs([{ ...first, flags: ['\\Expunged'] }, ...rest])).toEqual(syncCrcs(rest));
    for (const change of [
      { uid: 9 },
      { modseq: 9 },
      { lastUpdated: 9 },
      { internaldate: 9 },
      { guid: 'a'.repeat(40) },
    ]) {
      expect(syncCrcs([{ ...first, ...change }, ...rest]).basic).not.toBe(all.basic);
    }
    expect(syncCrcs([{ ...first, flags: ['\\Seen'] }, ...rest]).basic).not.toBe(all.basic);
    const annotations = [{ entry: '/comment', userid: '', modseq: 1, value: 'x' }];
    expect(syncCrcs([{ ...first, annotations }, ...rest]).annot).not.toBe(all.annot);
  });
});

function withRecords(count: number): CsyncMailbox {
  return {
    uniqueid: 'abc',
    mboxname: 'user.a',
    lastUid: count,
    highestmodseq: count + 1,
    recentuid: 0,
    recenttime: 0,
    lastAppenddate: 0,
    pop3LastLogin: 0,
    uidvalidity: 1,
    partition: 'default',
    acl: 'a\tlrs\t',
    options: 'P',
    records: Array.from({ length: count }, (_, at) => ({
      uid: at + 1,
      modseq: at + 2,
      lastUpdated: 5,
      flags: [],
      internaldate: 6,
      size: 7,
      guid: String(at).padStart(40, '0'),
    })),
  };
}
