/** Many users from one: copies of a real backup under new names, and a catalog that knows them. */
import fs from 'node:fs';
import path from 'node:path';
import { DiskFile } from '../../src/store/twoskip/file.ts';
import { TwoskipReader } from '../../src/store/twoskip/reader.ts';
import { createEmpty, Transaction } from '../../src/store/twoskip/transaction.ts';

const FOLDERS = 23;
/** A file of ext4 may have 65,000 names. */
const NAMES_PER_COPY = 50_000;

export interface CloneOptions {
  /**
   * Hard links instead of copies, so that a million users need no more disk than their names: for what only reads,
   * or does not meet two of them at a time.
   */
  linked?: boolean;
}

/**
 * Copies the backup of which `partition` holds one until there are `users`, and writes the catalog anew.
 *
 * @returns bytes of all data files and indexes.
 */
export function cloneStore(
  partition: string,
  catalogPath: string,
  users: number,
  { linked = false }: CloneOptions = {},
): number {
  const original = findDataFile(partition);
  const sizes = [original, `${original}.index`].map((file) => fs.statSync(file).size);
  const owner = fs.statSync(original);
  const database = fs.statSync(catalogPath);
  // A server that runs would take a transaction without a lock for one whose program has died.
  const unnamed = `${catalogPath}.cloned`;
  const catalog = new DiskFile(unnamed, fs.constants.O_RDWR | fs.constants.O_CREAT);
  try {
    createEmpty(catalog);
    const transaction = new Transaction(new TwoskipReader(catalog));
    for (let folder = 0; folder < FOLDERS; folder++) {
      const dir = path.join(partition, `clone${folder}`);
      fs.mkdirSync(dir, { mode: 0o700 });
      fs.chownSync(dir, owner.uid, owner.gid);
    }
    let last = original;
    for (let i = 0; i < users; i++) {
      const userid = `user${String(i).padStart(6, '0')}@example.com`;
      const file = path.join(partition, `clone${i % FOLDERS}`, `${userid}_clone0`);
      for (const suffix of ['', '.index']) {
        if (linked && i % NAMES_PER_COPY > 0) fs.linkSync(last + suffix, file + suffix);
        else {
          fs.copyFileSync(original + suffix, file + suffix, fs.constants.COPYFILE_FICLONE);
          fs.chownSync(file + suffix, owner.uid, owner.gid);
        }
      }
      if (i % NAMES_PER_COPY === 0) last = file;
      transaction.put(Buffer.from(userid), Buffer.from(file));
    }
    transaction.commit();
  } finally {
    catalog.close();
  }
  fs.chownSync(unnamed, database.uid, database.gid);
  fs.renameSync(unnamed, catalogPath);
  return users * sizes.reduce((sum, size) => sum + size, 0);
}

function findDataFile(partition: string): string {
  for (const entry of fs.readdirSync(partition, { recursive: true, withFileTypes: true }))
    if (entry.isFile() && /_[^_.]{6}$/.test(entry.name)) return path.join(entry.parentPath, entry.name);
  throw new Error(`${partition} holds no backup`);
}
