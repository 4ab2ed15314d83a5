/**
 * The catalog against the files: each entry's file is there and on a partition, no two entries share one, and no
 * data file lies on a partition without an entry. Nothing is opened; one listing of each folder.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/config.ts';
import { hasErrno } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import { stagedPathOf } from '../store/data-file.ts';
import { useridOfDataFile } from '../store/partition.ts';
import { dataFoldersOn } from '../store/partition-folders.ts';
import type { Finding } from '../store/verify/finding.ts';

export interface CatalogFinding extends Finding {
  /** Key of the catalog, or the userid after which a file is named (bytes as characters). */
  userid: string;
  path: string;
}

const INDEX_SUFFIX = '.index';

/** @throws BackupError PERMISSION_DENIED or IO_ERROR when a partition cannot be listed */
export function* verifyCatalog(
  entries: Iterable<readonly [userid: string, path: string]>,
  { partitions }: Pick<Config, 'partitions'>,
): Generator<CatalogFinding, void> {
  const keys = new Map<string, string>();
  for (const [userid, file] of entries) {
    const other = keys.get(file);
    if (other !== undefined) {
      const text = `backups.db names the same file for ${other} and for ${userid}: ${file}`;
      yield { code: 'FILE_SHARED', severity: 'fault', text, userid, path: file };
    }
    keys.set(file, userid);
    if (!partitions.some((partition) => isInside(partition.path, file))) {
      const text = `its file is on no partition of the configuration: ${file}`;
      yield { code: 'FILE_OUTSIDE', severity: 'notice', text, userid, path: file };
    }
    // One whose publication was cut short is in the staging folder; whoever opens the backup finishes it.
    if (!fs.existsSync(file) && !fs.existsSync(stagedPathOf(file))) {
      const text = `backups.db names ${file}, which does not exist`;
      yield { code: 'FILE_MISSING', severity: 'fault', text, userid, path: file };
    }
  }
  for (const partition of partitions) {
    for (const file of dataFilesOn(partition.path)) {
      if (keys.has(file)) continue;
      const userid = useridOfDataFile(path.basename(file))!;
      const text = `backups.db names no user for ${file}`;
      yield { code: 'FILE_NOT_IN_CATALOG', severity: 'fault', text, userid, path: file };
    }
  }
}

/** `PARTITION/H/USERID_XXXXXX`, and nothing that lies beside these. */
function* dataFilesOn(partition: string): Generator<string, void> {
  if (!fs.existsSync(partition)) return;
  for (const folder of dataFoldersOn(partition)) {
    const parent = path.join(partition, folder);
    for (const entry of list(parent)) {
      if (!entry.isFile() || entry.name.endsWith(INDEX_SUFFIX)) continue;
      if (useridOfDataFile(entry.name) !== undefined) yield path.join(parent, entry.name);
    }
  }
}

function list(folder: string): fs.Dirent[] {
  try {
    return fs.readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return [];
    throw ioError(error, 'list', folder);
  }
}

function isInside(folder: string, file: string): boolean {
  const relative = path.relative(folder, file);
  return relative !== '' && !relative.startsWith('..') && !path.isAbsolute(relative);
}
