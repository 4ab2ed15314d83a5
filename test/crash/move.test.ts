import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { CrashPoint } from '../../src/platform/crash-points.ts';
import { SmallStore } from '../support/small-store.ts';

const BEFORE: CrashPoint[] = ['move-data-copied', 'move-index-copied', 'move-marked'];
const AFTER: CrashPoint[] = [
  'catalog-written',
  'staging-renamed',
  'move-switched',
  'move-old-unlinked',
  'move-old-gone',
];

describe('move killed', () => {
  for (const point of [...BEFORE, ...AFTER]) {
    // Half of them a backup whose file is named after somebody else, which the sweep must not go by.
    const key = ['move-marked', 'catalog-written', 'move-switched'].includes(point) ? 'bob' : 'anne';
    test(`${point}: exactly one backup is left, whole`, async () => {
      using store = new SmallStore();
      const old = store.add('anne', { key });
      fs.writeFileSync(`${old}.torn.1700000000`, 'cut off');
      const before = await store.state(key);
      expect(store.run(['move', '-u', key, '--to', 'two'], point).signal).toBe('SIGKILL');
      store.restart();
      const [dataPath] = Object.values(store.entries());
      expect(
        path.relative(store.folder, dataPath!).startsWith(BEFORE.includes(point) ? 'one/' : 'two/'),
      ).toBe(true);
      expect(await store.state(key)).toBe(before);
      const name = path.relative(store.folder, dataPath!);
      expect(store.files()).toEqual([name, `${name}.index`, `${name}.torn.1700000000`]);
      // And the next one comes to its end.
      const again = store.run(['move', '-u', key, '--to', BEFORE.includes(point) ? 'two' : 'one']);
      expect(again, again.stderr).toMatchObject({ status: 0 });
      expect(await store.state(key)).toBe(before);
      expect(store.files()).toHaveLength(3);
    });
  }

  test('with backups.db lost as well, nothing that was a backup is removed', () => {
    using store = new SmallStore();
    const old = store.add('anne');
    store.run(['move', '-u', 'anne', '--to', 'two'], 'move-marked');
    fs.rmSync(store.config.backupDbPath);
    // The server does not start on a catalog that is gone, and takes nothing away.
    expect(() => store.restart()).toThrow(/does not exist, but \S+ is one/);
    expect(fs.existsSync(old)).toBe(true);
    expect(fs.existsSync(`${old}.index`)).toBe(true);
  });
});
