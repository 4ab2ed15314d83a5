/** Files that were put back under the names of others. */
import fs from 'node:fs';
import { expect, test } from 'vitest';
import { verifyBackup } from '../../src/maintenance/verify.ts';
import { SmallStore } from '../support/small-store.ts';

const exchange = (one: string, other: string): void => {
  fs.renameSync(one, `${one}.aside`);
  fs.renameSync(other, one);
  fs.renameSync(`${one}.aside`, other);
};

test('a file in which another user has the INBOX, and the user nothing, is a fault, and the advice works', async () => {
  using store = new SmallStore();
  const [anne, bob] = [store.add('anne'), store.add('bob')];
  for (const suffix of ['', '.index']) exchange(anne + suffix, bob + suffix);
  const ran = store.run(['verify', '-A']);
  expect(ran.status).toBe(65);
  expect(ran.stdout).toMatch(
    /^anne: fault FILE_OF_OTHER: backups.db has this file for anne, but .* those of bob$/m,
  );
  expect(ran.stdout).toMatch(/^2 backups: 0 ok, 2 faulty; 2 faults, 0 notices$/m);
  exchange(anne, bob);
  // Each index is that of the other's file.
  for (const userid of ['anne', 'bob']) {
    fs.rmSync(`${store.catalog.get(userid)!}.index`);
    expect(store.run(['reindex', '-u', userid]).status).toBe(0);
  }
  expect(store.run(['verify', '-A'])).toMatchObject({ status: 0 });
});

test.each([
  ['anne', 'user.anne', true],
  ['%DELETED.anne.6B04A1C0', 'user.anne', true],
  ['bob', 'user.anne', false],
  ['%SHARED', 'user.anne', true],
])('%s with %s', async (userid, _, isRight) => {
  using store = new SmallStore();
  const dataPath = store.add('anne');
  const report = await verifyBackup({ dataPath, owner: { userid, rules: store.config } });
  expect(Object.keys(report.codes)).toEqual(isRight ? [] : ['FILE_OF_OTHER']);
});
