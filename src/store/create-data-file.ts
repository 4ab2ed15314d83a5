/** Makes the (still empty, staged) data file of a user who has no backup yet. */
import type { Config } from '../config/config.ts';
import { hasErrno } from '../platform/errors.ts';
import { DataFile } from './data-file.ts';
import { choosePartition, dataFilePath } from './partition.ts';

/** Tries until the random part of the name is free, as mkstemp does. */
export function chooseDataFile(userid: string, config: Config): DataFile {
  for (;;) {
    const partition = choosePartition(config);
    try {
      return DataFile.create(dataFilePath(partition.path, userid, config.fullDirHash));
    } catch (error) {
      if (!hasErrno(error, 'EEXIST')) throw error;
    }
  }
}
