import fs from 'node:fs';
import { expect, test } from 'vitest';
import { deleteBackup, parseDeletedKey, removeBackup } from '../../src/maintenance/delete.ts';
import { SmallStore } from '../support/small-store.ts';

test('a clock that is far behind does not end the retention before it has begun', async () => {
  using store = new SmallStore();
  const dataPath = store.add('anne');
  const { catalog } = store;
  const key = await deleteBackup({ catalog, userid: 'anne', dataPath, now: -300_000_000 });
  const lastLine = Date.parse('2023-11-14T00:00:00Z') / 1000;
  expect(parseDeletedKey(key)).toMatchObject({ userid: 'anne' });
  expect(parseDeletedKey(key)!.deletedAt).toBeGreaterThanOrEqual(lastLine);
  catalog.close();
});

test('what another entry leads to as well is taken out, and its file stays', async () => {
  using store = new SmallStore();
  const dataPath = store.add('anne');
  const { catalog } = store;
  catalog.put('ann', dataPath);
  const of = { catalog, userid: 'ann', dataPath };
  expect(await removeBackup({ ...of, dryRun: true })).toEqual({ removedBytes: 0, sharedWith: 'anne' });
  expect(await removeBackup(of)).toEqual({ removedBytes: 0, sharedWith: 'anne' });
  expect(store.entries()).toEqual({ anne: dataPath });
  await store.state('anne');
  expect((await removeBackup({ ...of, userid: 'anne' })).removedBytes).toBeGreaterThan(0);
  expect(fs.existsSync(dataPath)).toBe(false);
  catalog.close();
});
