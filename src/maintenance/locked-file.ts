/** Opening a data file for a tool: locked, so that nobody changes the backup meanwhile. */
import fs from 'node:fs';
import { hasErrno } from '../platform/errors.ts';
import { lockAsync, lockHolder, tryLock, unlock } from '../platform/file-lock.ts';
import { ioError } from '../platform/io-error.ts';
import { settleSwap } from '../store/swap.ts';
import { lockedError } from './locked-data.ts';

export interface LockedFile {
  fd: number;
  sizeBytes: number;
  /** Unlocks and closes. */
  close(): void;
}

/**
 * The lock is exclusive, since Cyrus's programs know no other; where the file may only be read it is shared.
 *
 * @throws BackupError LOCKED if somebody else has it and `wait` is false, NOT_FOUND, PERMISSION_DENIED, IO_ERROR.
 */
export async function openLocked(path: string, wait: boolean): Promise<LockedFile> {
  for (;;) {
    const { fd, mode } = open(path);
    try {
      if (wait) await lockAsync(fd, mode);
      else if (!tryLock(fd, mode)) throw lockedError(path, lockHolder(fd, mode));
      if (isCurrent(fd, path)) {
        if (mode === 'exclusive') settleSwap(path);
        return { fd, sizeBytes: fs.fstatSync(fd).size, close: () => close(fd) };
      }
    } catch (error) {
      close(fd);
      throw error;
    }
    close(fd); // replaced by another program while we waited
  }
}

function open(path: string): { fd: number; mode: 'exclusive' | 'shared' } {
  try {
    return { fd: fs.openSync(path, 'r+'), mode: 'exclusive' };
  } catch (error) {
    if (!hasErrno(error, 'EACCES') && !hasErrno(error, 'EROFS')) throw ioError(error, 'open', path);
  }
  try {
    return { fd: fs.openSync(path, 'r'), mode: 'shared' };
  } catch (error) {
    throw ioError(error, 'open', path);
  }
}

function close(fd: number): void {
  unlock(fd);
  fs.closeSync(fd);
}

function isCurrent(fd: number, path: string): boolean {
  try {
    const [ours, named] = [fs.fstatSync(fd), fs.statSync(path)];
    return ours.ino === named.ino && ours.dev === named.dev;
  } catch (error) {
    throw ioError(error, 'open', path);
  }
}
