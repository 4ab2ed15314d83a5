import { describe, expect, test } from 'vitest';
import type { CrashPoint } from '../../src/platform/crash-points.ts';
import { SmallStore } from '../support/small-store.ts';

const SUBSCRIBED = '1700000001 APPLY SUB %(USERID anne MBOXNAME user.anne.Sent)\r\n';
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
      const dataPath = store.add('anne', { lines: [SUBSCRIBED] });
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
      expected ??= state;
      expect(state).toBe(expected);
      expect(store.entries()).toEqual({ anna: dataPath });
    });
  }
});
