/** What maintenance makes of a data file that it was sent to and that is not there. */
import fs from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/config.ts';
import { Catalog } from '../store/catalog.ts';
import { stagedPathOf } from '../store/data-file.ts';
import { emptyResult, type JobRequest, type JobResult } from './job.ts';

/**
 * `gone` if the backup was removed or moved meanwhile. Else backups.db still names the file: it is lost, which is for
 * verification to say, or the disk is not there, which says nothing of the backup.
 */
export function resultOfMissingFile({ kind, userid, path: file, config }: JobRequest): JobResult {
  // One whose publication was cut short is in the staging folder; whoever opens the backup finishes it.
  if (!isNamed(config, userid, file) || fs.existsSync(stagedPathOf(file))) return emptyResult('gone');
  const text = `backups.db names ${file}, which does not exist`;
  if (!isDiskThere(config, file))
    return emptyResult('failed', { code: 'NOT_FOUND', text: `${text}; is its partition mounted?` });
  if (kind !== 'verify') return emptyResult('failed', { code: 'NOT_FOUND', text });
  const result = emptyResult('faulty', { code: 'NOT_FOUND', text });
  return { ...result, faults: 1, codes: { FILE_MISSING: 1 } };
}

function isNamed({ backupDbPath }: Config, userid: string, file: string): boolean {
  const catalog = new Catalog(backupDbPath);
  try {
    return catalog.get(userid) === file;
  } finally {
    catalog.close();
  }
}

/** An unmounted disk leaves its mount point, with nothing in it, or not even the folder below. */
function isDiskThere({ partitions }: Config, file: string): boolean {
  const partition = partitions.find((one) => file.startsWith(`${one.path.replace(/\/+$/, '')}/`));
  const folder = partition?.path ?? path.dirname(path.dirname(file));
  try {
    return fs.readdirSync(folder).length > 0;
  } catch {
    return false;
  }
}
