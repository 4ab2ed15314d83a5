/** The files that a compaction works on, beside the backup. */
import fs from 'node:fs';
import { BackupError, hasErrno } from '../../platform/errors.ts';
import { tryLock, unlock } from '../../platform/file-lock.ts';
import { ioError } from '../../platform/io-error.ts';
import { removeWork, type WorkPaths, workPathsOf } from '../../store/swap.ts';

export class WorkFiles {
  readonly paths: WorkPaths;
  /** The new data file, locked: nobody else compacts this backup, and nobody uses it before its index is there. */
  readonly fd: number;
  #isSwapped = false;

  private constructor(paths: WorkPaths, fd: number) {
    this.paths = paths;
    this.fd = fd;
  }

  /** @throws BackupError LOCKED if another compaction of this backup is under way */
  static open(dataPath: string, owner: { uid: number; gid: number }): WorkFiles {
    const paths = workPathsOf(dataPath);
    for (;;) {
      let fd: number;
      try {
        fd = fs.openSync(paths.data, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
      } catch (error) {
        throw ioError(error, 'create', paths.data);
      }
      if (!tryLock(fd, 'exclusive')) {
        fs.closeSync(fd);
        throw new BackupError({
          code: 'LOCKED',
          tried: 'compact',
          subject: dataPath,
          reason: 'another compaction of it is under way',
          remedy: 'Wait for that one to end',
        });
      }
      if (!isCurrent(fd, paths.data)) {
        unlock(fd);
        fs.closeSync(fd); // cleared away before we had it locked
        continue;
      }
      fs.ftruncateSync(fd, 0);
      const own = fs.fstatSync(fd);
      if (own.uid !== owner.uid || own.gid !== owner.gid) fs.fchownSync(fd, owner.uid, owner.gid);
      return new WorkFiles(paths, fd);
    }
  }

  /** The new files have taken their places. */
  swapped(): void {
    this.#isSwapped = true;
  }

  /** Removes the indexes that only the compaction reads; open ones stay readable. */
  removeScratch(): void {
    for (const file of [this.paths.before, this.paths.window]) {
      for (const name of [file, `${file}-journal`]) fs.rmSync(name, { force: true });
    }
  }

  /** Removes what is left, and unlocks. */
  close(): void {
    if (!this.#isSwapped) removeWork(this.paths);
    unlock(this.fd);
    fs.closeSync(this.fd);
  }
}

function isCurrent(fd: number, path: string): boolean {
  try {
    return fs.statSync(path).ino === fs.fstatSync(fd).ino;
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return false;
    throw error;
  }
}
