/** Holding a backup for somebody outside: nobody changes it until it is released or this process ends. */
import fs from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/config.ts';
import { syncDirectorySync } from '../platform/durable.ts';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { tryLock, unlock } from '../platform/file-lock.ts';
import { ioError } from '../platform/io-error.ts';
import { Catalog } from '../store/catalog.ts';
import { chooseDataFile } from '../store/create-data-file.ts';
import { indexPathOf } from '../store/data-file.ts';
import { BackupIndex } from '../store/index/backup-index.ts';
import { openLocked } from './locked-file.ts';

export interface HeldBackup {
  dataPath: string;
  indexPath: string;
  /** Of the open and locked data file. */
  fd: number;
  release(): void;
}

/** @throws BackupError LOCKED if somebody else has it and `wait` is false, NOT_FOUND, PERMISSION_DENIED, IO_ERROR. */
export async function holdBackup(dataPath: string, wait: boolean): Promise<HeldBackup> {
  const file = await openLocked(dataPath, wait);
  return { dataPath, indexPath: indexPathOf(dataPath), fd: file.fd, release: () => file.close() };
}

/**
 * Makes an empty backup in this file, with an empty index, and holds it. The catalog is not told.
 *
 * @throws BackupError EXISTS if there is such a file.
 */
export function holdNewFile(dataPath: string): HeldBackup {
  let fd: number;
  try {
    fd = fs.openSync(dataPath, 'wx+', 0o600);
  } catch (error) {
    if (hasErrno(error, 'EEXIST')) throw exists(dataPath, `${dataPath} is there already`);
    throw ioError(error, 'create', dataPath);
  }
  tryLock(fd, 'exclusive');
  return finish(fd, dataPath);
}

/**
 * Makes an empty backup for a user on the partition that the configuration chooses, enters it into the catalog, and
 * holds it.
 *
 * @throws BackupError EXISTS if the user has one.
 */
export function holdNewUser(userid: string, config: Config): HeldBackup {
  const catalog = new Catalog(config.backupDbPath);
  try {
    const present = catalog.get(userid);
    if (present !== undefined) throw exists(userid, `the user has the backup ${present}`);
    const file = chooseDataFile(userid, config);
    file.publish(userid, catalog);
    return finish(file.fd, file.path);
  } finally {
    catalog.close();
  }
}

function finish(fd: number, dataPath: string): HeldBackup {
  BackupIndex.open(indexPathOf(dataPath), { create: true }).close();
  syncDirectorySync(path.dirname(dataPath));
  return {
    dataPath,
    indexPath: indexPathOf(dataPath),
    fd,
    release: () => {
      unlock(fd);
      fs.closeSync(fd);
    },
  };
}

function exists(subject: string, reason: string): BackupError {
  return new BackupError({
    code: 'EXISTS',
    tried: 'create a backup for',
    subject,
    reason,
    remedy: 'Leave out --create to lock the one that is there',
  });
}
