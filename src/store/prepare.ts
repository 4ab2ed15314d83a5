/** What has to be put in order once, before any shard serves: leftovers of a server that was killed. */
import fs from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/config.ts';
import { SHARED_USERID } from '../pipeline/messages.ts';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import { Catalog } from './catalog.ts';
import { STAGING_FOLDER } from './data-file.ts';
import { refuseLostCatalog } from './lost-catalog.ts';
import { hashFolder } from './partition.ts';
import { sweepStaging } from './sweep-staging.ts';
import { refuseUnmounted } from './unmounted.ts';

export interface PreparedStore {
  /** New backups whose publication was finished. */
  published: number;
  /** Staged files that held nothing acknowledged. */
  removed: number;
  /** Files of sessions that no longer exist. */
  spools: number;
}

/**
 * Clears the staging folders. Files that another living process has locked stay.
 *
 * @throws BackupError CONFIG_INVALID if the folder of the catalog does not exist or a partition is a mount point without
 *   its disk, CATALOG_CORRUPT, or what ioError() makes of a folder that cannot be used.
 */
export function prepareStore(config: Config): PreparedStore {
  const result: PreparedStore = { published: 0, removed: 0, spools: 0 };
  requireFolder(config.configDirectory, 'configdirectory');
  requireFolder(path.dirname(config.backupDbPath), 'the folder of backup_db_path');
  const catalog = new Catalog(config.backupDbPath);
  try {
    // The header and a way through the skip list: better found damaged now than by the first client. All records are
    // checked by doctor, since that takes a minute for millions of users.
    catalog.get(SHARED_USERID);
    refuseLostCatalog(config);
    for (const partition of config.partitions)
      refuseUnmounted(partition, config.backupDbPath, 'CONFIG_INVALID');
    for (const partition of config.partitions) {
      const swept = usingFolder(path.join(partition.path, STAGING_FOLDER), () =>
        sweepStaging(partition.path, (userid) => hashFolder(userid, config.fullDirHash), catalog),
      );
      result.published += swept.published;
      result.removed += swept.removed;
    }
  } finally {
    catalog.close();
  }
  result.spools = usingFolder(config.backupStagingPath, () => sweepSpools(config.backupStagingPath));
  return result;
}

/** Files of sessions that no longer exist are removed; returns how many. */
function sweepSpools(folder: string): number {
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  fs.accessSync(folder, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
  let count = 0;
  for (const name of fs.readdirSync(folder)) {
    // Only our own: Cyrus's backupd may have its staging folders in the same place.
    const pid = /^session-(\d+)-/.exec(name)?.[1];
    if (pid === undefined || isOtherProcess(Number(pid))) continue;
    fs.rmSync(path.join(folder, name), { force: true });
    count++;
  }
  return count;
}

/** @throws BackupError that names the folder instead of an errno error */
function usingFolder<T>(folder: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw ioError(error, 'use the staging folder', folder);
  }
}

/** An unmounted disk must not look like a server that knows no backups yet. */
function requireFolder(folder: string, what: string): void {
  if (fs.statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return;
  throw new BackupError({
    code: 'CONFIG_INVALID',
    tried: `use ${what}`,
    subject: folder,
    reason: fs.existsSync(folder) ? 'it is no directory' : 'it does not exist',
    remedy: 'Mount its disk. Make it, mode 0700, only for a server that has no backups yet',
  });
}

/** Whether a process other than this one has this number now. */
function isOtherProcess(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !hasErrno(error, 'ESRCH');
  }
}
