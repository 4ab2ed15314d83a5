/** Where on a partition data files may lie. */
import fs from 'node:fs';
import path from 'node:path';
import { hasErrno } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';

/** Whether hashFolder() can be called so. */
export function isHashFolder(name: string): boolean {
  return /^[A-Za-z]$/.test(name);
}

/**
 * Names of the folders of a partition in which data files may lie. One that is not ours and that this user may not look
 * into is left out: `lost+found`, where the partition is the mount point itself, is root's.
 *
 * @throws BackupError NOT_FOUND, PERMISSION_DENIED or IO_ERROR when the partition cannot be listed
 */
export function dataFoldersOn(partition: string): string[] {
  try {
    const folders: string[] = [];
    for (const entry of fs.readdirSync(partition, { withFileTypes: true })) {
      if (!entry.isDirectory() || entry.name.startsWith('.')) continue;
      if (isHashFolder(entry.name) || mayLookInto(path.join(partition, entry.name))) folders.push(entry.name);
    }
    return folders;
  } catch (error) {
    throw ioError(error, 'list', partition);
  }
}

/** Whether the server has ever made a backup there. @throws BackupError as dataFoldersOn() */
export function hasHashFolder(partition: string): boolean {
  return dataFoldersOn(partition).some(isHashFolder);
}

function mayLookInto(folder: string): boolean {
  try {
    fs.opendirSync(folder).closeSync();
    return true;
  } catch (error) {
    if (hasErrno(error, 'EACCES')) return false;
    throw error;
  }
}
