/** Opening a data file for a tool that is going to change the backup. */
import { BackupError } from '../platform/errors.ts';
import { lockAsync, lockHolder } from '../platform/file-lock.ts';
import { ioError } from '../platform/io-error.ts';
import { DataFile } from '../store/data-file.ts';
import { enterPartition } from '../store/freeze-lock.ts';

/**
 * Opens and locks the file that the path names, even if another program replaces it meanwhile, and not during a
 * freeze. Closing it unlocks.
 *
 * @throws BackupError LOCKED if somebody else has it and `wait` is false, NOT_FOUND, PERMISSION_DENIED, IO_ERROR.
 */
export async function openLockedData(dataPath: string, wait: boolean): Promise<DataFile> {
  const leave = await enterPartition(dataPath, wait);
  try {
    const file = await openLocked(dataPath, wait);
    file.closeWith(leave);
    return file;
  } catch (error) {
    leave();
    throw error;
  }
}

async function openLocked(dataPath: string, wait: boolean): Promise<DataFile> {
  for (;;) {
    let file: DataFile;
    try {
      file = DataFile.open(dataPath);
    } catch (error) {
      throw error instanceof BackupError ? error : ioError(error, 'open', dataPath);
    }
    try {
      if (wait) await lockAsync(file.fd, 'exclusive');
      else if (!file.lock()) throw lockedError(dataPath, lockHolder(file.fd, 'exclusive'));
      if (file.isCurrent()) return file;
    } catch (error) {
      file.close();
      throw error;
    }
    file.close(); // replaced by another program while we waited
  }
}

export function lockedError(dataPath: string, holder: number | undefined): BackupError {
  return new BackupError({
    code: 'LOCKED',
    tried: 'lock',
    subject: dataPath,
    reason: holder
      ? `process ${holder} has it locked`
      : 'it is locked by a session of the server or another program',
    remedy: 'Try again when the session has ended, or give --wait',
  });
}
