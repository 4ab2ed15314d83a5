/**
 * Putting a compacted backup in place of the old one: two files, of which only one can be renamed at a time. While
 * they do not fit each other there is no index, so that no program takes the one for the other's:
 *
 *     NAME.new, NAME.index.new   complete and synced
 *     NAME.index -> NAME.index.old
 *     NAME.new -> NAME
 *     NAME.index.new -> NAME.index
 *     NAME.index.old removed
 *
 * Each step is on disk before the next. The data files, old and new, are locked all the while. Whoever finds a
 * backup without an index looks here first: before the second rename the swap is undone, behind it finished.
 * docs/crash-safety.md has the table.
 */
import fs from 'node:fs';
import path from 'node:path';
import { crashPoint } from '../platform/crash-points.ts';
import { syncDirectorySync } from '../platform/durable.ts';
import { hasErrno } from '../platform/errors.ts';
import { lockKind, tryLock, unlock } from '../platform/file-lock.ts';
import { removeDeadLockFile } from '../platform/file-lock-file.ts';
import { indexPathOf } from './data-file.ts';

/** Names of what compaction works on. */
export interface WorkPaths {
  data: string;
  index: string;
  /** The old index during the swap. */
  aside: string;
  /** Indexes that only the compaction itself reads. */
  before: string;
  window: string;
}

export function workPathsOf(dataPath: string): WorkPaths {
  const index = indexPathOf(dataPath);
  return {
    data: `${dataPath}.new`,
    index: `${index}.new`,
    aside: `${index}.old`,
    before: `${index}.new-before`,
    window: `${index}.new-window`,
  };
}

/**
 * Puts the new files in place. All are complete, synced and closed but for the locks on both data files.
 *
 * @param keepAs what replaced files are called from now on; undefined: they are removed
 */
export function swapIn(dataPath: string, keepAs: ((file: string) => string) | undefined): void {
  const work = workPathsOf(dataPath);
  const index = indexPathOf(dataPath);
  const folder = path.dirname(dataPath);
  if (keepAs !== undefined) fs.linkSync(dataPath, keepAs(dataPath));
  crashPoint('compact-synced');
  fs.rmSync(`${index}-journal`, { force: true });
  fs.renameSync(index, work.aside);
  syncDirectorySync(folder);
  crashPoint('compact-index-aside');
  fs.renameSync(work.data, dataPath);
  syncDirectorySync(folder);
  crashPoint('compact-data-renamed');
  fs.renameSync(work.index, index);
  syncDirectorySync(folder);
  crashPoint('compact-index-renamed');
  if (keepAs === undefined) fs.rmSync(work.aside, { force: true });
  else fs.renameSync(work.aside, keepAs(index));
  syncDirectorySync(folder);
  crashPoint('compact-done');
}

/**
 * Finishes or undoes a swap that a crash has cut short, and removes what an unfinished compaction left. The data
 * file is locked by the caller.
 */
export function settleSwap(dataPath: string): void {
  const work = workPathsOf(dataPath);
  const index = indexPathOf(dataPath);
  if (fs.existsSync(work.aside)) {
    if (!fs.existsSync(index)) {
      const from = fs.existsSync(work.data) ? work.aside : work.index;
      try {
        fs.renameSync(from, index);
      } catch (error) {
        if (!hasErrno(error, 'ENOENT')) throw error; // then it is made anew
      }
      syncDirectorySync(path.dirname(dataPath));
    }
    fs.rmSync(work.aside, { force: true });
  }
  if (fs.existsSync(work.data)) removeAbandoned(work);
  else if (lockKind() === 'lockfile') removeDeadLockFile(`${work.data}.lock`);
}

/** Removes the work of a compaction that is not under way any more. */
function removeAbandoned(work: WorkPaths): void {
  let fd: number;
  try {
    fd = fs.openSync(work.data, 'r+');
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return;
    throw error;
  }
  try {
    if (tryLock(fd, 'exclusive')) removeWork(work);
  } finally {
    unlock(fd);
    fs.closeSync(fd);
  }
}

/** The data file goes last: while it is there, and nobody has it locked, somebody cleans up. */
export function removeWork(work: WorkPaths): void {
  for (const file of [work.index, work.before, work.window]) {
    for (const name of [file, `${file}-journal`]) fs.rmSync(name, { force: true });
  }
  fs.rmSync(work.data, { force: true });
}
