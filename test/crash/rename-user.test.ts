import { describe, expect, test } from 'vitest';
import type { CrashPoint } from '../../src/platform/crash-points.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { mailboxesUnderHeal } from '../../src/store/index/damage.ts';
import { mailboxByName, mailboxes } from '../../src/store/index/queries.ts';
import { SmallStore } from '../support/small-store.ts';

const SUBSCRIBED = '1700000001 APPLY SUB %(USERID anne MBOXNAME user.anne.Sent)\r\n';
const ANNOTATED =
  '1700000002 APPLY RESERVE %(NOTE ANNOTATION VALUE %(MBOXNAME user.anne.Sent USERID anne ENTRY /comment VALUE "MBOXNAME user.anne.Sent"))\r\n';
const POINTS: CrashPoint[] = [
  'rename-catalog',
  'segment-written',
  'data-synced',
  'index-committed',
  'trailer-written',
  'rename-lines',
];

function hex(text: string): string {
  return Buffer.from(text).toString('hex').toUpperCase();
}

describe('rename killed', () => {
  let expected: string | undefined;
  for (const point of POINTS) {
    test(`${point}: the same command again comes to its end, and nothing is lost`, async () => {
      using store = new SmallStore();
      const dataPath = store.add('anne', { lines: [SUBSCRIBED, ANNOTATED] });
      expect(store.run(['rename', 'anne', 'anna'], point).signal).toBe('SIGKILL');
      expect(store.entries()).toEqual({ anna: dataPath });
      const again = store.run(['rename', 'anne', 'anna']);
      // When all lines were in the file there is nothing left to be done, which is said.
      expect([0, 65], again.stderr).toContain(again.status);
      // Times are those of the run; names stand there in hex.
      const state = (await store.state('anna')).replaceAll(/\b1[78]\d{8}\b/g, 'TIME');
      expect(state).toContain(hex('user.anna.Sent'));
      expect(state).toContain(hex('DELETED.user.anna.Old'));
      expect(state).not.toContain(`| ${hex('user.anne')}`);
      expect(state).toContain(
        hex('%(MBOXNAME user.anna.Sent USERID anne ENTRY /comment VALUE "MBOXNAME user.anne.Sent")'),
      );
      expected ??= state;
      expect(state).toBe(expected);
      expect(store.entries()).toEqual({ anna: dataPath });
    });
  }
});

describe('rename', () => {
  test('a mailbox that is to be sent again still is', async () => {
    using store = new SmallStore();
    const dataPath = store.add('anne');
    const uniqueids = (): string[] => {
      const index = BackupIndex.open(`${dataPath}.index`);
      try {
        const sent = [...mailboxes(index)].filter(({ mboxname }) => mboxname.endsWith('.Sent'));
        for (const { uniqueid } of sent) index.markForHeal(uniqueid, []);
        return [...mailboxesUnderHeal(index).keys()];
      } finally {
        index.close();
      }
    };
    const before = uniqueids();
    expect(before).toHaveLength(1);
    expect(store.run(['rename', 'anne', 'anna'])).toMatchObject({ status: 0 });
    const index = BackupIndex.open(`${dataPath}.index`, { readonly: true });
    expect([...mailboxesUnderHeal(index).keys()]).toEqual(before);
    expect(mailboxByName(index, 'user.anna.Sent')?.underHeal).toBe(true);
    index.close();
  });
});
