import fs from 'node:fs';
import { describe, expect, test } from 'vitest';
import { SmallStore } from '../support/small-store.ts';

describe('reconstruct killed', () => {
  for (const point of ['reconstruct-written', 'reconstruct-kept', 'reconstruct-renamed'] as const) {
    test(`${point}: there is the old backups.db or the new one`, async () => {
      using store = new SmallStore();
      store.add('anne');
      const found = store.add('bob', { key: null });
      const before = store.entries();
      expect(store.run(['reconstruct', '--apply'], point).signal).toBe('SIGKILL');
      const after = { ...before, bob: found };
      expect(store.entries()).toEqual(point === 'reconstruct-renamed' ? after : before);
      store.catalog.check();
      const again = store.run(['reconstruct', '--apply']);
      expect(again.status, again.stderr).toBe(0);
      expect(store.entries()).toEqual(after);
      store.catalog.check();
      expect(await store.state('bob')).toContain('mailbox');
      expect(fs.existsSync(`${store.config.backupDbPath}.reconstruct`)).toBe(false);
    });
  }
});
