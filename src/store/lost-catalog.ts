/** backups.db is gone, but backups are there: everybody would get a second one, and the first would be forgotten. */
import fs from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/config.ts';
import { BackupError } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import { Catalog } from './catalog.ts';
import { splitCompanion } from './companions.ts';
import { useridOfDataFile } from './partition.ts';
import { dataFoldersOn } from './partition-folders.ts';
import { EMPTY_CATALOG_BYTES } from './twoskip/transaction.ts';

type Store = Pick<Config, 'backupDbPath' | 'partitions'>;

/**
 * For whoever has found no entry, or is about to make the first one. Also of an empty directory under a disk that is
 * not mounted.
 *
 * @throws BackupError CATALOG_CORRUPT
 */
export function refuseLostCatalog(config: Store): void {
  if (hasEntries(config.backupDbPath)) return;
  const backup = firstBackup(config);
  if (backup === undefined) return;
  const there = fs.existsSync(config.backupDbPath);
  throw new BackupError({
    code: 'CATALOG_CORRUPT',
    tried: 'use the catalog',
    subject: config.backupDbPath,
    reason: `${there ? 'it names no backups' : 'it does not exist'}, but ${backup} is one`,
    remedy: 'Mount its disk if that is missing. If it was lost, csync-backup reconstruct makes it anew',
  });
}

/** The same where it has to cost next to nothing: one that is longer than an empty one is taken to have entries. */
export function refuseVanishedCatalog(config: Store): void {
  let size: number;
  try {
    size = fs.statSync(config.backupDbPath, { throwIfNoEntry: false })?.size ?? 0;
  } catch (error) {
    throw ioError(error, 'use the catalog', config.backupDbPath);
  }
  if (size <= EMPTY_CATALOG_BYTES) refuseLostCatalog(config);
}

function hasEntries(file: string): boolean {
  const catalog = new Catalog(file);
  try {
    return catalog.entries().next().done !== true;
  } finally {
    catalog.close();
  }
}

/** A data file on any partition, with something in it. */
function firstBackup({ partitions }: Store): string | undefined {
  for (const partition of partitions) {
    if (!fs.existsSync(partition.path)) continue;
    for (const folder of dataFoldersOn(partition.path)) {
      const place = path.join(partition.path, folder);
      // The index of a new backup stands in its place before the data file does.
      const name = fs.readdirSync(place).find((one) => isDataFile(one) && sizeOf(path.join(place, one)) > 0);
      if (name !== undefined) return path.join(place, name);
    }
  }
  return undefined;
}

function isDataFile(name: string): boolean {
  return splitCompanion(name) === undefined && useridOfDataFile(name) !== undefined;
}

function sizeOf(file: string): number {
  return fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}
