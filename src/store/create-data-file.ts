/** Makes the (still empty, staged) data file of a user who has no backup yet. */
import fs from 'node:fs';
import type { Config, PartitionConfig } from '../config/config.ts';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { DataFile } from './data-file.ts';
import { refuseVanishedCatalog } from './lost-catalog.ts';
import { choosePartition, dataFilePath } from './partition.ts';
import { refuseUnmounted } from './unmounted.ts';

/**
 * Tries until the random part of the name is free, as mkstemp does.
 *
 * @throws BackupError CATALOG_CORRUPT if backups.db has gone: then the user may well have a backup; NOT_FOUND if
 *   the disk of the partition is not mounted
 */
export function chooseDataFile(userid: string, config: Config): DataFile {
  refuseVanishedCatalog(config);
  for (;;) {
    const partition = choosePartition(config);
    requirePartition(partition);
    refuseUnmounted(partition, config.backupDbPath, 'NOT_FOUND');
    try {
      return DataFile.create(dataFilePath(partition.path, userid, config.fullDirHash));
    } catch (error) {
      if (!hasErrno(error, 'EEXIST')) throw error;
    }
  }
}

/** Otherwise it would be made, with all folders above it, on the disk below the one that is not mounted. */
function requirePartition({ name, path }: PartitionConfig): void {
  if (fs.existsSync(path)) return;
  throw new BackupError({
    code: 'NOT_FOUND',
    tried: `make a new backup on partition ${name}`,
    subject: path,
    reason: 'it does not exist',
    remedy: 'Mount its disk',
  });
}
