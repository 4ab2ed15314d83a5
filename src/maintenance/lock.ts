/** Holding a backup for somebody outside: nobody changes it until it is released or this process ends. */
import fs from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/config.ts';
import { syncDirectorySync } from '../platform/durable.ts';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { tryLock, unlock } from '../platform/file-lock.ts';
import { ioError } from '../platform/io-error.ts';
import { Catalog, entryExists } from '../store/catalog.ts';
import { chooseDataFile } from '../store/create-data-file.ts';
import { indexPathOf } from '../store/data-file.ts';
import { enterPartition } from '../store/freeze-lock.ts';
import { BackupIndex } from '../store/index/backup-index.ts';
import { openLocked } from './locked-file.ts';

export interface HeldBackup {
  dataPath: string;
  indexPath: string;
  /** Of the open and locked data file. */
  fd: number;
  release(): void;
}

/**
 * Not during a freeze: what is done to the files would spoil the snapshot. A freeze waits for the end of it.
 *
 * @throws BackupError LOCKED if somebody else has it and `wait` is false, NOT_FOUND, PERMISSION_DENIED, IO_ERROR.
 */
export async function holdBackup(dataPath: string, wait: boolean): Promise<HeldBackup> {
  const leave = await enterPartition(dataPath, wait);
  try {
    const file = await openLocked(dataPath, wait);
    return held(dataPath, file.fd, () => {
      file.close();
      leave();
    });
  } catch (error) {
    leave();
    throw error;
  }
}

/**
 * Makes an empty backup in this file, with an empty index, and holds it. The catalog is not told.
 *
 * @throws BackupError EXISTS if there is such a file; LOCKED during a freeze.
 */
export async function holdNewFile(dataPath: string, wait: boolean): Promise<HeldBackup> {
  const leave = await enterPartition(dataPath, wait);
  try {
    const fd = create(dataPath);
    tryLock(fd, 'exclusive');
    return finish(fd, dataPath, () => {
      unlock(fd);
      fs.closeSync(fd);
      leave();
    });
  } catch (error) {
    leave();
    throw error;
  }
}

/**
 * Makes an empty backup for a user on the partition that the configuration chooses, enters it into the catalog, and
 * holds it.
 *
 * @throws BackupError EXISTS if the user has one; LOCKED during a freeze.
 */
export async function holdNewUser(userid: string, config: Config, wait: boolean): Promise<HeldBackup> {
  const catalog = new Catalog(config.backupDbPath);
  try {
    const present = catalog.get(userid);
    if (present !== undefined) throw entryExists(userid, present);
    const file = chooseDataFile(userid, config);
    try {
      file.closeWith(await enterPartition(file.path, wait));
      file.publish(userid, catalog, 'add');
    } catch (error) {
      file.close();
      throw error;
    }
    return finish(file.fd, file.path, () => file.close());
  } finally {
    catalog.close();
  }
}

function create(dataPath: string): number {
  try {
    return fs.openSync(dataPath, 'wx+', 0o600);
  } catch (error) {
    if (hasErrno(error, 'EEXIST')) throw fileExists(dataPath);
    throw ioError(error, 'create', dataPath);
  }
}

function finish(fd: number, dataPath: string, leave: () => void): HeldBackup {
  BackupIndex.open(indexPathOf(dataPath), { create: true }).close();
  syncDirectorySync(path.dirname(dataPath));
  return held(dataPath, fd, leave);
}

function held(dataPath: string, fd: number, release: () => void): HeldBackup {
  return { dataPath, indexPath: indexPathOf(dataPath), fd, release };
}

function fileExists(dataPath: string): BackupError {
  return new BackupError({
    code: 'EXISTS',
    tried: 'create',
    subject: dataPath,
    reason: 'there is such a file',
    remedy: 'Leave out --create to lock it',
  });
}
