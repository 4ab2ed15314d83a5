/** Piscina entry of the verify pool: checks chunks. */
import { closeSync, openSync } from 'node:fs';
import { BackupIndex } from '../src/store/index/backup-index.ts';
import {
  type ChunkReport,
  type ChunkTask,
  checkIndexedChunks,
  INDEX_CACHE_KIBIBYTES,
} from '../src/store/verify/chunk-check.ts';

/** The files of the last task: the next one is most likely about the same backup. */
let open: { dataPath: string; fd: number; index: BackupIndex } | undefined;

export default (task: ChunkTask): ChunkReport[] => {
  if (open?.dataPath !== task.dataPath) {
    if (open !== undefined) {
      open.index.close();
      closeSync(open.fd);
      open = undefined;
    }
    const index = BackupIndex.open(task.indexPath, { readonly: true, cacheKibibytes: INDEX_CACHE_KIBIBYTES });
    open = { dataPath: task.dataPath, fd: openSync(task.dataPath, 'r'), index };
  }
  open.index.beginRead();
  try {
    return checkIndexedChunks(open.fd, open.index, task);
  } finally {
    open.index.commit();
  }
};
