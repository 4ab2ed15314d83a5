import path from 'node:path';
import type { Config } from '../../config/config.ts';
import { syncFilesystems } from '../../platform/sync-filesystems.ts';
import { Catalog } from '../../store/catalog.ts';

/** All files of the store as they are now are on disk, and backups.db is in order. Expects that nobody writes. */
export async function syncStore(config: Config): Promise<void> {
  const catalog = new Catalog(config.backupDbPath);
  try {
    catalog.tidy();
  } finally {
    catalog.close();
  }
  const { partitions, backupDbPath, configDirectory } = config;
  const folders = [configDirectory, path.dirname(backupDbPath), ...partitions.map((one) => one.path)];
  await syncFilesystems(folders);
}
