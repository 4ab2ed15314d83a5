import fs from 'node:fs';
import { expect, test } from 'vitest';
import { BackupError } from '../../src/platform/errors.ts';
import { Catalog } from '../../src/store/catalog.ts';
import { chooseDataFile } from '../../src/store/create-data-file.ts';
import { prepareStore } from '../../src/store/prepare.ts';
import { SmallStore } from '../support/small-store.ts';

function refusal(store: SmallStore): BackupError {
  try {
    prepareStore(store.config);
  } catch (error) {
    if (error instanceof BackupError) return error;
    throw error;
  }
  throw new Error('it was prepared');
}

test('an unmounted configdirectory does not look like an empty catalog', () => {
  using store = new SmallStore();
  fs.rmSync(`${store.folder}/conf`, { recursive: true });
  expect(refusal(store)).toMatchObject({
    code: 'CONFIG_INVALID',
    subject: `${store.folder}/conf`,
    reason: 'it does not exist',
  });
  expect(fs.existsSync(`${store.folder}/conf`)).toBe(false);
});

test('nor does the folder of backup_db_path, or a file in its place', () => {
  using store = new SmallStore(`backup_db_path: ${'/nonexistent/backups.db'}`);
  expect(refusal(store)).toMatchObject({ code: 'CONFIG_INVALID', subject: '/nonexistent' });
  using other = new SmallStore();
  fs.rmdirSync(`${other.folder}/conf`);
  fs.writeFileSync(`${other.folder}/conf`, '');
  expect(refusal(other)).toMatchObject({ code: 'CONFIG_INVALID', reason: 'it is no directory' });
});

test('a damaged catalog is found before the first client comes, with the way out', () => {
  using store = new SmallStore();
  store.add('anne');
  fs.writeFileSync(store.config.backupDbPath, Buffer.alloc(400, 'x'));
  const error = refusal(store);
  expect(error.code).toBe('CATALOG_CORRUPT');
  expect(error.remedy).toContain('csync-backup reconstruct');
});

test('a catalog that names nothing does not go with backups that are there', () => {
  using store = new SmallStore();
  const anne = store.add('anne');
  fs.rmSync(store.config.backupDbPath);
  const error = refusal(store);
  expect(error).toMatchObject({ code: 'CATALOG_CORRUPT', reason: expect.stringContaining(anne) as string });
  expect(error.remedy).toContain('csync-backup reconstruct');
  store.catalog.put('anne', anne);
  prepareStore(store.config);
});

test('a mount point without its disk does not look like a partition on which nobody is yet', () => {
  using store = new SmallStore();
  store.add('anne');
  const bob = store.add('bob', { partition: 'two' });
  fs.renameSync(`${store.folder}/two`, `${store.folder}/disk`);
  fs.mkdirSync(`${store.folder}/two`, { mode: 0o700 });
  expect(refusal(store)).toMatchObject({
    code: 'CONFIG_INVALID',
    subject: `${store.folder}/two`,
    reason: `it is empty, but ${store.config.backupDbPath} names backups on it, ${bob} for one`,
  });
  expect(fs.readdirSync(`${store.folder}/two`)).toEqual([]);
  fs.rmdirSync(`${store.folder}/two`);
  fs.renameSync(`${store.folder}/disk`, `${store.folder}/two`);
  prepareStore(store.config);
});

test('nor does one that has lost its disk while the server runs take somebody new', () => {
  using store = new SmallStore('partition_select_exclude: one');
  store.add('bob', { partition: 'two' });
  fs.renameSync(`${store.folder}/two`, `${store.folder}/disk`);
  fs.mkdirSync(`${store.folder}/two`, { mode: 0o700 });
  expect(() => chooseDataFile('anne', store.config)).toThrow(
    /partition two .* it is empty, but .* Mount its disk/,
  );
  expect(fs.readdirSync(`${store.folder}/two`)).toEqual([]);
});

test('an index alone is no backup: a kill before the first commit ever leaves one', () => {
  using store = new SmallStore();
  const anne = store.add('anne');
  fs.rmSync(store.config.backupDbPath);
  fs.rmSync(anne);
  expect(fs.existsSync(`${anne}.index`)).toBe(true);
  prepareStore(store.config);
});

test('a staging folder that is none names itself', () => {
  using store = new SmallStore();
  fs.rmdirSync(`${store.folder}/staging`);
  fs.writeFileSync(`${store.folder}/staging`, '');
  const error = refusal(store);
  expect(error.message).toContain(`${store.folder}/staging`);
  expect(error.code).not.toBe('INTERNAL');
  using other = new SmallStore();
  fs.writeFileSync(`${other.folder}/two/.staging`, '');
  expect(refusal(other).message).toContain(`${other.folder}/two/.staging`);
});

test('a catalog that cannot be put in order says so, and goes on', () => {
  using store = new SmallStore();
  const failures: string[] = [];
  const catalog = new Catalog(store.config.backupDbPath, ({ code }) => failures.push(code));
  // A folder in the place of the new file: it can neither be removed like a file nor be written.
  fs.mkdirSync(`${store.config.backupDbPath}.NEW/x`, { recursive: true });
  for (let i = 0; i < 2000 && failures.length === 0; i++) catalog.put(`user${i % 50}`, `/srv/backup/${i}`);
  expect(failures.length).toBeGreaterThan(0);
  expect(catalog.get('user0')).toMatch(/^\/srv\/backup\//);
  catalog.check();
  catalog.close();
});
