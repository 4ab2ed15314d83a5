import fs from 'node:fs';
import { describe, expect, test } from 'vitest';
import { formerKey } from '../../src/store/former-users.ts';
import { SmallStore } from '../support/small-store.ts';

describe('delete killed', () => {
  test('while it puts a backup aside, or gives it back: it is under one of its keys, whole', async () => {
    using store = new SmallStore();
    const dataPath = store.add('anne');
    const before = await store.state('anne');
    expect(store.run(['delete', 'anne', '--yes'], 'delete-aside').signal).toBe('SIGKILL');
    store.restart();
    const [key] = Object.keys(store.entries());
    expect(store.entries()).toEqual({ [key!]: dataPath });
    expect(key).toMatch(/^%DELETED\.anne\.[0-9A-F]+$/);
    expect(await store.state(key!)).toBe(before);
    expect(store.run(['delete', '--undo', 'anne'], 'undelete-catalog').signal).toBe('SIGKILL');
    expect(store.entries()).toEqual({ anne: dataPath });
    expect(await store.state('anne')).toBe(before);
  });

  test('while it removes one, before backups.db was changed: nothing is lost', async () => {
    using store = new SmallStore();
    // Named after somebody else: the sweep must not go by the name of the file.
    const dataPath = store.add('anne', { key: 'bob' });
    const before = await store.state('bob');
    expect(store.run(['delete', 'bob', '--now', '--yes'], 'delete-staged').signal).toBe('SIGKILL');
    expect(store.files()).toContain('one/.staging/anne_x1Y2z3');
    store.restart();
    expect(store.entries()).toEqual({ bob: dataPath });
    expect(await store.state('bob')).toBe(before);
    expect(store.files()).toEqual(['one/a/anne_x1Y2z3', 'one/a/anne_x1Y2z3.index']);
  });

  for (const point of ['delete-catalog', 'delete-unlinked'] as const) {
    test(`while it removes one, at ${point}: nothing is left of it`, async () => {
      using store = new SmallStore();
      store.add('anne');
      store.add('carl');
      expect(store.run(['delete', 'anne', '--now', '--yes'], point).signal).toBe('SIGKILL');
      store.restart();
      expect(Object.keys(store.entries())).toEqual(['carl']);
      expect(store.files()).toEqual(['one/c/carl_x1Y2z3', 'one/c/carl_x1Y2z3.index']);
      await store.state('carl');
    });
  }

  /** Two whose retention is over and one that is younger; each with something beside it that was put aside. */
  function withDeleted(): { store: SmallStore; keys: [string, string, string]; young: string } {
    const store = new SmallStore('backup_retention: 7d');
    const now = Math.floor(Date.now() / 1000);
    const days = [9, 8, 6] as const;
    const keys = days.map((n) => formerKey('anne', now - n * 86_400)) as [string, string, string];
    const paths = keys.map((key, i) => store.add('anne', { key, random: `x1Y2z${i}` }));
    for (const dataPath of paths) fs.writeFileSync(`${dataPath}.damaged.1700000000`, 'mail');
    return { store, keys, young: paths[2]! };
  }

  const beside = ['one/a/anne_x1Y2z2', 'one/a/anne_x1Y2z2.damaged.1700000000', 'one/a/anne_x1Y2z2.index'];

  test('--expired removes what is past the retention with all that lies beside it, and nothing younger', async () => {
    const { store, keys, young } = withDeleted();
    using _ = store;
    const before = await store.state(keys[2]);
    const all = store.files();
    expect(store.run(['delete', '--expired'])).toMatchObject({
      status: 64,
      stderr: expect.stringContaining(`${keys[0]}, ${keys[1]}: it was not confirmed`),
    });
    expect(store.run(['delete', '--expired', '--dry-run']).stdout).toContain('2 backups: 2 done');
    expect(store.files()).toEqual(all);
    const done = store.run(['delete', '--expired', '--yes', '--json']);
    expect(done).toMatchObject({ status: 0, stderr: '' });
    const lines = done.stdout.trim().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { type: 'backup', action: 'removed', key: keys[0] },
      { type: 'backup', action: 'removed', key: keys[1] },
      { type: 'summary', backups: 2, done: 2, failed: 0, removedBytes: expect.any(Number) },
    ]);
    expect(store.entries()).toEqual({ [keys[2]]: young });
    expect(store.files()).toEqual(beside);
    expect(await store.state(keys[2])).toBe(before);
    expect(store.run(['delete', '--expired', '--yes']).stdout).toContain('0 backups: 0 done');
  });

  test('with --expired, before backups.db was changed: the next run removes it, and the younger one stays', async () => {
    const { store, keys, young } = withDeleted();
    using _ = store;
    const before = await store.state(keys[2]);
    const gone = await store.state(keys[1]);
    expect(store.run(['delete', '--expired', '--yes'], 'delete-staged').signal).toBe('SIGKILL');
    expect(Object.keys(store.entries())).toEqual([...keys].sort());
    expect(await store.state(keys[1])).toBe(gone); // the next in turn is untouched
    expect(store.run(['delete', '--expired', '--yes']).stdout).toContain('2 backups: 2 done');
    expect(store.entries()).toEqual({ [keys[2]]: young });
    expect(store.files()).toEqual(beside);
    expect(await store.state(keys[2])).toBe(before);
  });

  test.each(['delete-catalog', 'delete-unlinked'] as const)(
    'with --expired, at %s: start and next run leave nothing but the younger one',
    async (point) => {
      const { store, keys, young } = withDeleted();
      using _ = store;
      const before = await store.state(keys[2]);
      expect(store.run(['delete', '--expired', '--yes'], point).signal).toBe('SIGKILL');
      expect(Object.keys(store.entries())).toEqual([keys[1], keys[2]].sort());
      expect(store.run(['delete', '--expired', '--yes']).stdout).toContain('1 backup: 1 done');
      store.restart();
      expect(store.entries()).toEqual({ [keys[2]]: young });
      expect(store.files()).toEqual(beside);
      expect(await store.state(keys[2])).toBe(before);
    },
  );
});
