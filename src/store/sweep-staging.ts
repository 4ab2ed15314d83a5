/**
 * Clears the staging folder of a partition after a crash. There may be:
 *
 * - the data file of a new backup, or of one that is being moved here: the catalog names its final place if it was
 *   committed, and then the rename is finished; else it is removed;
 * - a second name of a data file that is being moved away from here (src/maintenance/move.ts): while the catalog names
 *   the file only the second name goes, else the file with all that belongs to it;
 * - the data file of a backup that was being removed (src/maintenance/delete.ts): put back while the catalog names it,
 *   else removed;
 * - lock files, where there are no record locks: those of processes that are no more go.
 */
import fs from 'node:fs';
import path from 'node:path';
import { syncDirectorySync } from '../platform/durable.ts';
import { hasErrno } from '../platform/errors.ts';
import { tryLock, unlock } from '../platform/file-lock.ts';
import { isLockFile, removeDeadLockFile } from '../platform/file-lock-file.ts';
import type { Catalog } from './catalog.ts';
import { removeCompanions } from './companions.ts';
import { DataFile, STAGING_FOLDER, stagedPathOf } from './data-file.ts';
import { useridOfDataFile } from './partition.ts';
import { dataFoldersOn } from './partition-folders.ts';

/**
 * What a living process has locked stays.
 *
 * @param olderThanMs leaves alone what is younger: a running server may just be about to lock it
 * @returns how many files were published (or put back) and removed
 */
export function sweepStaging(
  partitionPath: string,
  hashFolderOf: (userid: string) => string,
  catalog: Catalog,
  olderThanMs = 0,
): { published: number; removed: number } {
  const result = { published: 0, removed: 0 };
  const folder = path.join(partitionPath, STAGING_FOLDER);
  const found = namesIn(folder);
  const names = found.filter((name) => !isLockFile(name));
  for (const name of found) {
    const file = path.join(folder, name);
    if (isLockFile(name) && !(olderThanMs > 0 && isYounger(file, olderThanMs))) removeDeadLockFile(file);
  }
  if (names.length === 0) return result;
  const { named, stems } = lookUp(partitionPath, names, catalog);
  for (const name of names) {
    if (olderThanMs > 0 && isYounger(path.join(folder, name), olderThanMs)) continue;
    const finalPath = named.get(name);
    if (finalPath === undefined) {
      const places = placesOf(partitionPath, name, hashFolderOf);
      const isReplaced = stems.has(useridOfDataFile(name) ?? name);
      if (removeAbandoned(path.join(folder, name), places, isReplaced)) result.removed++;
    } else if (fs.existsSync(finalPath)) {
      if (removeSecondName(path.join(folder, name), finalPath)) result.removed++;
    } else {
      const file = DataFile.open(finalPath);
      file.close();
      result.published++;
    }
  }
  return result;
}

function isYounger(staged: string, olderThanMs: number): boolean {
  const stat = fs.statSync(staged, { throwIfNoEntry: false });
  return stat === undefined || Date.now() - stat.ctimeMs < olderThanMs;
}

function namesIn(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return [];
    throw error;
  }
}

/**
 * What the catalog says about these files. A user who was renamed or deleted has a file that is named after somebody
 * else, so all entries are looked at.
 */
function lookUp(
  partitionPath: string,
  names: string[],
  catalog: Catalog,
): {
  /** Final places of those that it names. */
  named: Map<string, string>;
  /** After whom files are named that it names elsewhere and that are there. A copy keeps that part of the name. */
  stems: Set<string>;
} {
  const wanted = new Set(names);
  const wantedStems = new Set(names.map((name) => useridOfDataFile(name) ?? name));
  const named = new Map<string, string>();
  const stems = new Set<string>();
  for (const [, dataPath] of catalog.entries()) {
    const name = path.basename(dataPath);
    const stem = useridOfDataFile(name);
    if (wanted.has(name) && path.dirname(path.dirname(dataPath)) === partitionPath) named.set(name, dataPath);
    else if (stem !== undefined && wantedStems.has(stem) && exists(dataPath)) stems.add(stem);
  }
  return { named, stems };
}

function exists(dataPath: string): boolean {
  return fs.existsSync(dataPath) || fs.existsSync(stagedPathOf(dataPath));
}

/** Where the file belongs, or has another name. */
function placesOf(partitionPath: string, name: string, hashFolderOf: (userid: string) => string): string[] {
  const userid = useridOfDataFile(name);
  const folders = new Set(userid === undefined ? [] : [hashFolderOf(userid)]);
  for (const folder of dataFoldersOn(partitionPath)) folders.add(folder);
  return [...folders].map((each) => path.join(partitionPath, each, name));
}

/**
 * Removes a staged file and what belongs to it unless a living process has it locked. One that has its place as well
 * was a backup once: that goes only if the catalog has the copy, which it has not if it was lost.
 */
function removeAbandoned(staged: string, places: readonly string[], isReplaced: boolean): boolean {
  return underLock(staged, (inode) => {
    for (const place of places) {
      const other = fs.statSync(place, { throwIfNoEntry: false });
      if (other !== undefined && (other.ino !== inode || !isReplaced)) continue;
      const folder = path.dirname(place);
      if (!fs.existsSync(folder)) continue;
      fs.rmSync(place, { force: true });
      removeCompanions(place);
      removeDeadLockFile(`${place}.lock`);
      syncDirectorySync(folder);
    }
    fs.rmSync(staged, { force: true });
  });
}

function removeSecondName(staged: string, finalPath: string): boolean {
  let isSame = false;
  const done = underLock(staged, (inode) => {
    isSame = fs.statSync(finalPath).ino === inode;
    if (isSame) fs.rmSync(staged, { force: true });
  });
  return done && isSame;
}

function underLock(staged: string, work: (inode: number) => void): boolean {
  const fd = fs.openSync(staged, 'r+');
  try {
    if (!tryLock(fd, 'exclusive')) return false;
    try {
      work(fs.fstatSync(fd).ino);
    } finally {
      unlock(fd);
    }
    return true;
  } finally {
    fs.closeSync(fd);
  }
}
