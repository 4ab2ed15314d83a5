/** A disk is gone: what is on the others can be read all the same, and nothing is put in its place. */
import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { chooseDataFile } from '../../src/store/create-data-file.ts';
import { SmallStore } from '../support/small-store.ts';

test('commands that read do without a partition that is not there; those that need all say so', () => {
  using store = new SmallStore();
  store.add('anne');
  const lost = store.add('bob', { partition: 'two' });
  fs.renameSync(path.join(store.folder, 'two'), path.join(store.folder, 'away'));
  const listed = store.run(['list']);
  expect(listed).toMatchObject({ status: 65, stderr: expect.stringContaining(`bob: NOT_FOUND: ${lost}`) });
  expect(listed.stdout).toMatch(/^anne\t.*\nbob\t\S+\t-\t-\t-\n$/);
  const target = `eml:${store.folder}/out`;
  expect(store.run(['restore', '-u', 'anne', '--to', target, '--in-place']).status).toBe(0);
  expect(store.run(['restore', '-u', 'bob', '--to', target, '--in-place']).status).toBe(65);
  const gone = /backuppartition-two "\S+two" does not exist/;
  expect(store.run(['reconstruct'])).toMatchObject({ status: 78, stderr: expect.stringMatching(gone) });
  const doctor = store.run(['doctor']);
  expect(doctor.stdout).toMatch(gone);
  expect(doctor.stdout).toContain('error catalog/FILE_MISSING');
  expect(fs.existsSync(path.join(store.folder, 'two'))).toBe(false);
});

test('a partition that has just gone is not made anew on the disk below it', () => {
  using store = new SmallStore('partition_select_exclude: two');
  chooseDataFile('anne', store.config).close();
  const partition = path.join(store.folder, 'one');
  fs.renameSync(partition, path.join(store.folder, 'away'));
  expect(() => chooseDataFile('bob', store.config)).toThrow(/on partition one \S+one: it does not exist/);
  expect(fs.existsSync(partition)).toBe(false);
});
