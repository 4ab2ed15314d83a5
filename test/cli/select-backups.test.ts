import { expect, test } from 'vitest';
import { selectBackup } from '../../src/cli/select-backups.ts';
import { SmallStore } from '../support/small-store.ts';

test('who is not there may be somebody else, or deleted', () => {
  using store = new SmallStore();
  store.add('director.mueller');
  store.add('erik', { key: '%DELETED.erik.6B07BE68' });
  const found = (user: string) => () => selectBackup({ user, config: store.configFile });
  expect(found('Director')).toThrow(/has no such user\. Did you mean director\.mueller\? See/);
  expect(found('directormuller')).toThrow(/Did you mean director\.mueller\?/);
  expect(found('erik')).toThrow(/Did you mean %DELETED\.erik\.6B07BE68\?/);
  expect(found('zoe')).toThrow(/has no such user\. See csync-backup list/);
});
