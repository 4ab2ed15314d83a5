/**
 * A user's data file as a thing on disk: where it lies, its lock, and how a new one comes into being.
 *
 * A new file is made as `PARTITION/.staging/NAME`, so that what is half done never looks like a backup. It is
 * published by the first commit: catalog entry first, then the rename to `PARTITION/H/NAME`. Whoever finds a
 * catalogued path missing looks into `.staging` and finishes the rename; a staged file that the catalog does
 * not name holds nothing that was acknowledged and is removed when the server starts.
 */
import fs from 'node:fs';
import path from 'node:path';
import { crashPoint } from '../platform/crash-points.ts';
import { makeDirectorySync, syncDirectorySync } from '../platform/durable.ts';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { lockName, tryLock, unlock } from '../platform/file-lock.ts';
import type { Catalog } from './catalog.ts';

export const STAGING_FOLDER = '.staging';

/** An open data file. `path` is its place in the hash folder even while it is still staged. */
export class DataFile {
  readonly path: string;
  readonly fd: number;
  readonly device: number;
  readonly inode: number;
  #stagedPath: string | undefined;
  #onClose: () => void = () => {};

  private constructor(finalPath: string, fd: number, stagedPath?: string) {
    this.path = finalPath;
    this.fd = fd;
    this.#stagedPath = stagedPath;
    const stat = fs.fstatSync(fd);
    this.device = stat.dev;
    this.inode = stat.ino;
  }

  /** The SQLite index beside the data file. */
  get indexPath(): string {
    return indexPathOf(this.path);
  }

  /** True until `publish`: no catalog entry and no place in the hash folder yet. */
  get staged(): boolean {
    return this.#stagedPath !== undefined;
  }

  /**
   * Opens an existing file, finishing an interrupted publication.
   *
   * @throws BackupError NOT_FOUND if the file is nowhere.
   */
  static open(finalPath: string): DataFile {
    try {
      return new DataFile(finalPath, fs.openSync(finalPath, 'r+'));
    } catch (error) {
      if (!hasErrno(error, 'ENOENT')) throw error;
    }
    const staged = stagedPathOf(finalPath);
    try {
      fs.renameSync(staged, finalPath);
    } catch (error) {
      if (!hasErrno(error, 'ENOENT')) throw error;
      throw new BackupError({
        code: 'NOT_FOUND',
        tried: 'open the data file',
        subject: finalPath,
        reason: 'it does not exist',
        remedy:
          'If backups.db names it, mount its partition, or put the file back from a copy; until then its user is not backed up',
        cause: error,
      });
    }
    syncDirectorySync(path.dirname(finalPath));
    return new DataFile(finalPath, fs.openSync(finalPath, 'r+'));
  }

  /** Creates an empty staged file; throws with errno EEXIST if the name is taken (choose another). */
  static create(finalPath: string): DataFile {
    const staged = stagedPathOf(finalPath);
    // Whoever finds the catalog naming a file that was never moved looks into these after a power failure.
    makeDirectorySync(path.dirname(staged), 0o700);
    makeDirectorySync(path.dirname(finalPath), 0o700);
    if (fs.existsSync(finalPath)) {
      throw Object.assign(new Error(`${finalPath} exists`), { code: 'EEXIST' });
    }
    const file = new DataFile(finalPath, fs.openSync(staged, 'wx+', 0o600), staged);
    // Locked from its birth, so that sweepStaging() of another process leaves it alone.
    file.lock();
    return file;
  }

  /** Exclusive lock that keeps out other processes, Cyrus's programs among them. False: somebody has it. */
  lock(): boolean {
    return tryLock(this.fd, 'exclusive');
  }

  unlock(): void {
    unlock(this.fd);
  }

  /**
   * Has the lock hold under a name that the file is about to get.
   *
   * @throws BackupError LOCKED
   */
  keepLocked(newPath: string): void {
    if (lockName(this.fd, newPath)) return;
    throw new BackupError({
      code: 'LOCKED',
      tried: 'lock',
      subject: newPath,
      reason: 'another process has a lock file of that name',
      remedy: `Try again when it has ended; ${newPath}.lock says which it is`,
    });
  }

  /** Whether the path still names this very file: another program may have replaced it. */
  isCurrent(): boolean {
    try {
      const stat = fs.statSync(this.#stagedPath ?? this.path);
      return stat.ino === this.inode && stat.dev === this.device;
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) return false;
      throw error;
    }
  }

  /** Whether no name leads to it any more: it was moved, compacted or deleted. */
  isRemoved(): boolean {
    return fs.fstatSync(this.fd).nlink === 0;
  }

  /** Bytes in the file. */
  size(): number {
    return fs.fstatSync(this.fd).size;
  }

  /**
   * Makes a staged file, whose content must have been synced, the backup of `userid`; durable on return.
   *
   * @throws BackupError EXISTS with `add` if the user has got another meanwhile, LOCKED if somebody has its place.
   */
  publish(userid: string, catalog: Catalog, how: 'put' | 'add' = 'put'): void {
    if (this.#stagedPath === undefined) return;
    syncDirectorySync(path.dirname(this.#stagedPath));
    this.keepLocked(this.path);
    catalog[how](userid, this.path);
    crashPoint('catalog-written');
    try {
      fs.renameSync(this.#stagedPath, this.path);
    } catch (error) {
      // Whoever found it in the catalog meanwhile may have finished this for us: open().
      if (!hasErrno(error, 'ENOENT') || fs.statSync(this.path).ino !== this.inode) throw error;
    }
    this.#stagedPath = undefined;
    syncDirectorySync(path.dirname(this.path));
    crashPoint('staging-renamed');
  }

  /** Has this called when the file is closed. */
  closeWith(release: () => void): void {
    this.#onClose = release;
  }

  /** Unlocks and closes the descriptor. A file that was never published is removed. */
  close(): void {
    if (this.#stagedPath !== undefined) {
      fs.rmSync(this.#stagedPath, { force: true });
      fs.rmSync(this.indexPath, { force: true });
      this.#stagedPath = undefined;
    }
    this.unlock();
    fs.closeSync(this.fd);
    this.#onClose();
    this.#onClose = () => {};
  }
}

/** Path of the index that belongs to a data file. */
export function indexPathOf(dataPath: string): string {
  return `${dataPath}.index`;
}

/** `PARTITION/H/NAME` -> `PARTITION/.staging/NAME`. */
export function stagedPathOf(finalPath: string): string {
  return path.join(path.dirname(path.dirname(finalPath)), STAGING_FOLDER, path.basename(finalPath));
}
