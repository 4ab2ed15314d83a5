import { expect, test } from 'vitest';
import { deleteBackup, parseDeletedKey } from '../../src/maintenance/delete.ts';
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
