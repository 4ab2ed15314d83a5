/** One backup opened for reading, without a lock: what the index knows of is never changed, only followed by more. */
import fs from 'node:fs';
import { ioError } from '../platform/io-error.ts';
import { indexPathOf } from './data-file.ts';
import { BackupIndex } from './index/backup-index.ts';

export interface OpenBackup {
  path: string;
  fd: number;
  index: BackupIndex;
  /** Of the data file when it was opened. */
  sizeBytes: number;
}

const TRIES = 5;

/** @throws BackupError NOT_FOUND, PERMISSION_DENIED, IO_ERROR, INDEX_STALE. */
export async function withBackup<T>(path: string, use: (backup: OpenBackup) => Promise<T> | T): Promise<T> {
  const backup = open(path);
  try {
    return await use(backup);
  } finally {
    close(backup);
  }
}

function open(path: string): OpenBackup {
  for (let tries = 1; ; tries++) {
    let fd: number;
    try {
      fd = fs.openSync(path, 'r');
    } catch (error) {
      throw ioError(error, 'open', path);
    }
    let backup: OpenBackup | undefined;
    try {
      const { size, ino, dev } = fs.fstatSync(fd);
      const index = BackupIndex.open(indexPathOf(path), { readonly: true });
      backup = { path, fd, index, sizeBytes: size };
      const named = fs.statSync(path, { throwIfNoEntry: false });
      if ((named?.ino === ino && named.dev === dev) || tries === TRIES) return backup;
      close(backup); // replaced in between, so that index and data file may not belong together
    } catch (error) {
      if (backup === undefined) fs.closeSync(fd);
      throw error;
    }
  }
}

function close({ fd, index }: OpenBackup): void {
  index.close();
  fs.closeSync(fd);
}
