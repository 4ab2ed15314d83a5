/** What is known of mailboxes that lack messages follows from the lines of the data file. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { BackupIndex } from '../../../src/store/index/backup-index.ts';
import { dueMailboxes } from '../../../src/store/index/lacking.ts';
import { guidOf, IndexRig } from './index-rig.ts';
import { mailboxText } from './mailbox-text.ts';

const GUIDS = [1, 2, 3, 4].map((n) => guidOf(n));

/** What a client does next, and when. */
const step = fc.record({
  hours: fc.integer({ min: 1, max: 100 }),
  mailbox: fc.constantFrom('a', 'b'),
  /** Of GUIDS: which records it has, which of them it has files of, which are expunged. */
  records: fc.subarray([0, 1, 2, 3]),
  files: fc.subarray([0, 1, 2, 3]),
  expunged: fc.subarray([0, 1, 2, 3], { maxLength: 1 }),
  what: fc.constantFrom('sync', 'sync', 'heal', 'unmailbox', 'rename'),
});

/** When nothing more comes. */
function dueByDay(index: BackupIndex, from: number): unknown[] {
  return Array.from({ length: 60 }, (_, day) =>
    dueMailboxes(index, { time: from + day * 43_200, isAlone: false }).map((due) => ({ day, ...due })),
  ).flat();
}

test('in the same way when they are applied as they come and when they are read again', () => {
  let withDue = 0;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const rig = new IndexRig();
      try {
        let time = 1_700_000_000;
        let modseq = 10;
        for (const { hours, mailbox, records, files, expunged, what } of steps) {
          time += hours * 3600;
          const name = `user.anne.${mailbox}`;
          if (what === 'unmailbox') rig.apply(`UNMAILBOX ${name}`, { time });
          else if (what === 'rename')
            rig.apply(`RENAME %(OLDMBOXNAME ${name} NEWMBOXNAME ${name}x PARTITION default UIDVALIDITY 1)`, {
              time,
            });
          else if (what === 'heal') rig.heal(mailbox, []);
          else {
            const sent = records.map((n) => ({
              uid: n + 1,
              guid: GUIDS[n]!,
              expunged: expunged.includes(n),
            }));
            if (files.length > 0) rig.message(...files.map((n) => GUIDS[n]!));
            const text = mailboxText({
              uniqueid: mailbox,
              mboxname: name,
              highestmodseq: ++modseq,
              records: sent,
            });
            rig.apply(text, { time, acceptMissing: true });
          }
        }
        const replayed = rig.replayed();
        try {
          const due = dueByDay(rig.index, time);
          expect(dueByDay(replayed.index, time)).toEqual(due);
          if (due.length > 0) withDue++;
        } finally {
          replayed.remove();
        }
      } finally {
        rig.remove();
      }
    }),
    { numRuns: Number(process.env.LACKING_RUNS ?? 60) },
  );
  expect(withDue).toBeGreaterThan(5);
});
