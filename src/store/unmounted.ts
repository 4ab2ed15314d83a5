/** A mount point without its disk is an empty directory that looks like a partition on which nobody is yet. */
import fs from 'node:fs';
import type { PartitionConfig } from '../config/config.ts';
import { BackupError } from '../platform/errors.ts';
import { Catalog } from './catalog.ts';
import { stagedPathOf } from './data-file.ts';
import { hasHashFolder } from './partition-folders.ts';

/**
 * For whoever is about to store something new there: it would lie below the disk when that is mounted again.
 *
 * @throws BackupError with this code if the partition is empty, but not by what backups.db says
 */
export function refuseUnmounted(
  { name, path: folder }: PartitionConfig,
  backupDbPath: string,
  code: 'CONFIG_INVALID' | 'NOT_FOUND',
): void {
  if (hasHashFolder(folder)) return;
  const prefix = `${folder.replace(/\/+$/, '')}/`;
  const catalog = new Catalog(backupDbPath);
  try {
    for (const [, file] of catalog.entries()) {
      if (!file.startsWith(prefix) || fs.existsSync(file) || fs.existsSync(stagedPathOf(file))) continue;
      throw new BackupError({
        code,
        tried: `use partition ${name}`,
        subject: folder,
        reason: `it is empty, but ${backupDbPath} names backups on it, ${file} for one`,
        remedy:
          'Mount its disk. If what was on it is lost for good, csync-backup reconstruct --prune names whom that concerns, ' +
          'and with --apply has them begin anew',
      });
    }
  } finally {
    catalog.close();
  }
}
