/** backups.db goes while everything runs: nobody gets a second backup for it, and no command takes that for "no backups". */
import fs from 'node:fs';
import { expect, test } from 'vitest';
import { eachBackup } from '../../src/cli/select-backups.ts';
import { chooseDataFile } from '../../src/store/create-data-file.ts';
import { SmallStore } from '../support/small-store.ts';

const LOST = expect.objectContaining({
  code: 'CATALOG_CORRUPT',
  message: expect.stringMatching(/backups\.db: it does not exist, but \S+anne_\S+ is one\. .*reconstruct/),
});

test('no new backup is made while the catalog of the others is gone', () => {
  using store = new SmallStore();
  store.add('anne');
  chooseDataFile('bob', store.config).close();
  fs.rmSync(store.config.backupDbPath);
  expect(() => chooseDataFile('bob', store.config)).toThrow(LOST);
  fs.writeFileSync(store.config.backupDbPath, '');
  expect(() => chooseDataFile('bob', store.config)).toThrow(/it names no backups, but/);
});

test('nor do commands find that there are none', () => {
  using store = new SmallStore();
  store.add('anne');
  fs.rmSync(store.config.backupDbPath);
  const config = store.configFile;
  expect(() => [...eachBackup({ config, all: true })]).toThrow(LOST);
  expect(() => [...eachBackup({ config, user: ['anne'] })]).toThrow(LOST);
});

test('a store without backups is one', () => {
  using store = new SmallStore();
  expect([...eachBackup({ config: store.configFile, all: true })]).toEqual([]);
  chooseDataFile('anne', store.config).close();
});
