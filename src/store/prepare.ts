/** What has to be put in order once, before any shard serves: leftovers of a server that was killed. */
import fs from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/config.ts';
import { hasErrno } from '../platform/errors.ts';
import { Catalog } from './catalog.ts';
import { hashFolder } from './partition.ts';
import { sweepStaging } from './sweep-staging.ts';

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
 * @throws BackupError CATALOG_CORRUPT, or an errno error if a folder cannot be read.
 */
export function prepareStore(config: Config): PreparedStore {
  const result: PreparedStore = { published: 0, removed: 0, spools: 0 };
  const catalog = new Catalog(config.backupDbPath);
  try {
    for (const partition of config.partitions) {
      const swept = sweepStaging(partition.path, (userid) => hashFolder(userid, config.fullDirHash), catalog);
      result.published += swept.published;
      result.removed += swept.removed;
    }
  } finally {
    catalog.close();
  }
  fs.mkdirSync(config.backupStagingPath, { recursive: true, mode: 0o700 });
  for (const name of fs.readdirSync(config.backupStagingPath)) {
    // Only our own: Cyrus's backupd may have its staging folders in the same place.
    const pid = /^session-(\d+)-/.exec(name)?.[1];
    if (pid === undefined || isOtherProcess(Number(pid))) continue;
    fs.rmSync(path.join(config.backupStagingPath, name), { force: true });
    result.spools++;
  }
  return result;
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
