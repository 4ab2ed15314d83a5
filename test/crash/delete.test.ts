import { describe, expect, test } from 'vitest';
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
});
