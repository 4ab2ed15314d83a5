/** Random histories of backups: every verb that is stored, in any order, with times that never go back. */
import fc from 'fast-check';
import { mailboxLine, messageLine } from './backup-files.ts';

/** A line of a data file but for its time. */
export type HistoryStep = (time: number) => string;

const NAMES = ['user.anne', 'user.anne.Sent', 'user.anne.Old', 'DELETED.user.anne.Sent.6B041', 'user.bea'];
const IDS = ['id1', 'id2', 'id3'];
export const CONTENTS: readonly string[] = Array.from({ length: 6 }, (_, i) =>
  `message ${i} `.repeat(10 + i * 40),
);

const name = fc.constantFrom(...NAMES);
const id = fc.constantFrom(...IDS);
const record = fc.record({
  uid: fc.integer({ min: 1, max: 5 }),
  content: fc.constantFrom(...CONTENTS),
  modseq: fc.integer({ min: 1, max: 99 }),
  flags: fc.constantFrom('', '\\Seen', '\\Expunged', '\\Expunged \\Seen'),
});
const records = fc.uniqueArray(record, { maxLength: 4, selector: ({ uid }) => uid });
const apply =
  (text: string): HistoryStep =>
  (time) =>
    `${time} APPLY ${text}\r\n`;
const note = (verb: string, value: string): HistoryStep => apply(`RESERVE %(NOTE ${verb} VALUE ${value})`);

const message = fc.uniqueArray(fc.constantFrom(...CONTENTS), { minLength: 1, maxLength: 3 }).map(
  (contents): HistoryStep =>
    (time) =>
      messageLine(contents, time).toString('latin1'),
);
/** A lower LAST_UID than before: the mail server was put back to an older state. */
const lastUid = fc.constantFrom(1000, 1000, 1000, 3);
const mailbox = fc.tuple(name, id, records, fc.integer({ min: 1, max: 99 }), lastUid).map(
  ([mboxname, uniqueid, list, modseq, highest]): HistoryStep =>
    (time) =>
      mailboxLine(mboxname, list, { time, uniqueid, modseq, lastUid: highest }),
);

const step: fc.Arbitrary<HistoryStep> = fc.oneof(
  { weight: 4, arbitrary: message },
  { weight: 6, arbitrary: mailbox },
  {
    weight: 3,
    arbitrary: fc
      .tuple(name, id, fc.uniqueArray(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 3 }))
      .map(([mboxname, uniqueid, uids]) =>
        apply(`EXPUNGE %(MBOXNAME ${mboxname} UNIQUEID ${uniqueid} UID (${uids.join(' ')}))`),
      ),
  },
  { weight: 2, arbitrary: name.map((mboxname) => apply(`UNMAILBOX ${mboxname}`)) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(name, name)
      .map(([from, to]) =>
        apply(`RENAME %(OLDMBOXNAME ${from} NEWMBOXNAME ${to} PARTITION p2 UIDVALIDITY 77)`),
      ),
  },
  name.map((mboxname) => apply(`SUB %(USERID anne MBOXNAME ${mboxname})`)),
  name.map((mboxname) => apply(`UNSUB %(USERID anne MBOXNAME ${mboxname})`)),
  fc
    .tuple(id, fc.nat(9))
    .map(([uniqueid, n]) =>
      apply(
        `SEEN %(USERID anne UNIQUEID ${uniqueid} LASTREAD ${n} LASTUID 3 LASTCHANGE ${n} SEENUIDS 1:${n})`,
      ),
    ),
  fc
    .tuple(fc.constantFrom('a.script', 'b.script'), fc.nat(2))
    .map(([file, n]) =>
      apply(`SIEVE %(USERID anne FILENAME ${file} LAST_UPDATE ${n} CONTENT {5}\r\nkeep${n})`),
    ),
  fc
    .constantFrom('a.script', 'b.script', 'a.bc')
    .map((file) => apply(`UNSIEVE %(USERID anne FILENAME ${file})`)),
  fc.constantFrom('a.bc', 'b.bc').map((file) => note('ACTIVATE_SIEVE', `%(USERID anne FILENAME ${file})`)),
  fc.constant(note('UNACTIVATE_SIEVE', '%(USERID anne)')),
  fc.nat(9).map((n) => note('QUOTA', `%(ROOT user.anne STORAGE ${n})`)),
  fc.constant(note('UNQUOTA', 'user.anne')),
  fc
    .tuple(fc.constantFrom('user.anne', '""'), fc.nat(3))
    .map(([mboxname, n]) =>
      note('ANNOTATION', `%(MBOXNAME ${mboxname} USERID anne ENTRY /x VALUE "v (${n}")`),
    ),
  fc.constant(note('UNANNOTATION', '%(MBOXNAME user.anne USERID anne ENTRY /x)')),
  fc.constant(note('UNUSER', 'anne')),
  fc
    .tuple(name, fc.constantFrom('id1', 'node', 'node2'), fc.constantFrom('i', 'ei', 'di'))
    .map(([mboxname, uniqueid, type]) =>
      note(
        'MAILBOX',
        `%(UNIQUEID ${uniqueid} MBOXNAME ${mboxname} MBOXTYPE ${type} HIGHESTMODSEQ 4 FOO bar)`,
      ),
    ),
  id.map((uniqueid) => note('HEAL', `%(UNIQUEID ${uniqueid})`)),
  fc.constantFrom('k1', '"k 2"').map((key) => note('FORMER', `%(KEY ${key})`)),
);

export interface History {
  /** Chunks of lines; as strings of one character per byte. */
  chunks: string[][];
  /** Of each line, in order; seconds. */
  times: number[];
}

export const FIRST_TIME = 1_700_000_000;

export const history: fc.Arbitrary<History> = fc
  .array(fc.record({ step, pause: fc.constantFrom(0, 0, 1, 3), ends: fc.constantFrom(false, false, true) }), {
    minLength: 1,
    maxLength: 30,
  })
  .map((steps) => {
    const chunks: string[][] = [];
    const times: number[] = [];
    let time = FIRST_TIME;
    let isOpen = false;
    for (const { step: make, pause, ends } of steps) {
      time += pause;
      if (!isOpen) chunks.push([]);
      chunks.at(-1)!.push(make(time));
      times.push(time);
      isOpen = !ends;
    }
    return { chunks, times };
  });
