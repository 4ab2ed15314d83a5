/** Makes the (still empty, staged) data file of a user who has no backup yet. */
import type { Config } from '../config/config.ts';
import { hasErrno } from '../platform/errors.ts';
import { DataFile } from './data-file.ts';
import { refuseVanishedCatalog } from './lost-catalog.ts';
import { choosePartition, dataFilePath } from './partition.ts';

/**
 * Tries until the random part of the name is free, as mkstemp does.
 *
 * @throws BackupError CATALOG_CORRUPT if backups.db has gone: then the user may well have a backup
 */
export function chooseDataFile(userid: string, config: Config): DataFile {
  refuseVanishedCatalog(config);
  for (;;) {
    const partition = choosePartition(config);
    try {
      return DataFile.create(dataFilePath(partition.path, userid, config.fullDirHash));
    } catch (error) {
      if (!hasErrno(error, 'EEXIST')) throw error;
    }
  }
}
