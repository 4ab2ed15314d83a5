/**
 * `move`: brings a backup to another partition while the server runs. The data file stays locked throughout, so
 * clients of that one user are told to come again. Order of writes (docs/crash-safety.md):
 *
 *     copy of the data file -> staging folder of the new partition; compare; sync
 *     copy of the index -> its final place; sync
 *     second name of the old data file -> staging folder of the old partition
 *     catalog (this is the move); rename of the copy from the staging folder
 *     the old files are removed, the second name last
 *
 * A copy that the catalog does not name and an old file that it names no more are both known by what is in the
 * staging folders, from where the next start of the server, or of a move, clears them up.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Logger } from 'pino';
import type { Config, PartitionConfig } from '../config/config.ts';
import { crashPoint } from '../platform/crash-points.ts';
import type { DeflateEngine } from '../platform/deflate.ts';
import { syncDirectorySync } from '../platform/durable.ts';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import { ResumableSha1 } from '../platform/sha1.ts';
import type { Catalog } from '../store/catalog.ts';
import { hashRange } from '../store/chunk/hash-range.ts';
import { companions, removeCompanions } from '../store/companions.ts';
import { DataFile, indexPathOf, stagedPathOf } from '../store/data-file.ts';
import { ownerOf } from '../store/former-users.ts';
import { enterPartition } from '../store/freeze-lock.ts';
import { dataFilePath, useridOfDataFile } from '../store/partition.ts';
import { hasLost } from '../store/rebuild.ts';
import { openTrusted } from '../store/recovery.ts';
import { copyBytes, copyFile, giveToOwner } from './copy-file.ts';
import { openLockedData } from './locked-data.ts';
import { environment } from './reindex.ts';

export interface MoveOptions {
  /** Key of the catalog. */
  userid: string;
  dataPath: string;
  to: PartitionConfig;
  config: Config;
  catalog: Catalog;
  /** For mending the end of a data file before it is copied. */
  engine: DeflateEngine;
  /** Wait for the lock. */
  wait?: boolean;
  /** Only say whether it can be done. */
  dryRun?: boolean;
  log?: Logger;
  /** Gets how many more bytes of the data file are copied. */
  onProgress?(bytes: number): void;
}

export interface MoveReport {
  from: string;
  /** Null after a dry run. */
  to: string | null;
  /** Of the data file. */
  sizeBytes: number;
  indexSizeBytes: number;
  /** False: the data file is not what its index said, before the move as after it. */
  isIntact: boolean;
}

/** Room that must be left on the new partition. */
const MARGIN_BYTES = 16 << 20;

/**
 * @throws BackupError LOCKED, NOT_FOUND (also if the catalog names another file meanwhile), NO_SPACE, EXISTS if it is
 *   there already, PERMISSION_DENIED or IO_ERROR; the backup is where it was then.
 */
export async function moveBackup(options: MoveOptions): Promise<MoveReport> {
  const { userid, dataPath, to, catalog } = options;
  const from = path.dirname(path.dirname(dataPath));
  if (isSameFolder(from, to.path)) throw alreadyThere(userid, to);
  const file = await openLockedData(dataPath, options.wait ?? false);
  try {
    if (catalog.get(userid) !== dataPath) throw movedAway(userid, dataPath, catalog);
    return await moveLocked(file, options);
  } catch (error) {
    throw ioError(error, 'move', dataPath);
  } finally {
    file.close();
  }
}

async function moveLocked(file: DataFile, options: MoveOptions): Promise<MoveReport> {
  const { userid, dataPath, to, config, catalog } = options;
  if (options.dryRun) {
    const report = sizes(file, dataPath, true);
    checkSpace(report, dataPath, to);
    return report;
  }
  const trusted = await openTrusted(file, userid, {
    ...environment({ ...options, keepPrevious: config.backupKeepPrevious }),
    config,
  });
  trusted.index.close();
  const report = sizes(file, dataPath, true);
  checkSpace(report, dataPath, to);

  const copy = await createCopy(dataPath, options);
  try {
    const read = await copyBytes(file.fd, copy.fd, report.sizeBytes, options.onProgress);
    const written = hashRange(copy.fd, 0, report.sizeBytes, ResumableSha1.create()).digestHex();
    if (written !== read) throw badCopy(dataPath, to);
    const isLossy = trusted.rebuilt !== undefined && hasLost(trusted.rebuilt);
    report.isIntact = read === trusted.fileSha1.digestHex() && !isLossy;
    crashPoint('move-data-copied');
    await copyFile(indexPathOf(dataPath), copy.indexPath);
    for (const { path: kept, kind } of companions(dataPath)) {
      if (kind === 'kept')
        await copyFile(kept, `${copy.path}${path.basename(kept).slice(path.basename(dataPath).length)}`);
    }
    syncDirectorySync(path.dirname(copy.path));
    crashPoint('move-index-copied');
    const second = stagedPathOf(dataPath);
    fs.mkdirSync(path.dirname(second), { recursive: true, mode: 0o700 });
    giveToOwner(path.dirname(second));
    fs.rmSync(second, { force: true }); // of a move that was cut off
    file.keepLocked(second);
    fs.linkSync(dataPath, second);
    syncDirectorySync(path.dirname(second));
    crashPoint('move-marked');
    try {
      copy.publish(userid, catalog);
    } catch (error) {
      if (catalog.get(userid) === dataPath) fs.rmSync(second, { force: true });
      throw error;
    }
    crashPoint('move-switched');
  } catch (error) {
    if (copy.staged) removeCompanions(copy.path);
    throw error;
  } finally {
    copy.close();
  }
  removeOld(dataPath);
  return { ...report, to: copy.path };
}

/** Under the lock: whoever has it open sees that the path names it no more. */
function removeOld(dataPath: string): void {
  fs.rmSync(dataPath, { force: true });
  crashPoint('move-old-unlinked');
  removeCompanions(dataPath);
  syncDirectorySync(path.dirname(dataPath));
  crashPoint('move-old-gone');
  fs.rmSync(stagedPathOf(dataPath), { force: true });
  syncDirectorySync(path.dirname(stagedPathOf(dataPath)));
}

/** Named after the same userid as the old file: sweepStaging() knows the copy by that. */
async function createCopy(dataPath: string, { userid, to, config, wait }: MoveOptions): Promise<DataFile> {
  const stem = useridOfDataFile(path.basename(dataPath)) ?? ownerOf(userid);
  for (;;) {
    const target = dataFilePath(to.path, stem, config.fullDirHash);
    const leave = await enterPartition(target, wait ?? false);
    try {
      const copy = DataFile.create(target);
      copy.closeWith(leave);
      for (const folder of [path.dirname(target), path.dirname(stagedPathOf(target))]) giveToOwner(folder);
      return copy;
    } catch (error) {
      leave();
      if (!hasErrno(error, 'EEXIST')) throw error;
    }
  }
}

function sizes(file: DataFile, dataPath: string, isIntact: boolean): MoveReport {
  const index = fs.statSync(indexPathOf(dataPath), { throwIfNoEntry: false });
  return { from: dataPath, to: null, sizeBytes: file.size(), indexSizeBytes: index?.size ?? 0, isIntact };
}

function checkSpace({ sizeBytes, indexSizeBytes }: MoveReport, dataPath: string, to: PartitionConfig): void {
  const { bavail, bsize } = fs.statfsSync(to.path);
  let needed = sizeBytes + indexSizeBytes + MARGIN_BYTES;
  for (const { path: kept, kind } of companions(dataPath))
    if (kind === 'kept') needed += fs.statSync(kept).size;
  if (bavail * bsize >= needed) return;
  throw new BackupError({
    code: 'NO_SPACE',
    tried: 'move',
    subject: dataPath,
    reason: `partition ${to.name} (${to.path}) has ${bavail * bsize} bytes free, and ${needed} are needed`,
    remedy: 'Make room there, or move to another partition',
  });
}

function isSameFolder(one: string, other: string): boolean {
  const [a, b] = [one, other].map((folder) => fs.statSync(folder, { throwIfNoEntry: false }));
  return a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev;
}

function alreadyThere(userid: string, to: PartitionConfig): BackupError {
  return new BackupError({
    code: 'EXISTS',
    tried: 'move the backup of',
    subject: userid,
    reason: `it is on partition ${to.name} already`,
    remedy: 'Name another partition with --to',
  });
}

export function movedAway(userid: string, dataPath: string, catalog: Catalog): BackupError {
  const now = catalog.get(userid);
  return new BackupError({
    code: 'NOT_FOUND',
    tried: 'work on',
    subject: dataPath,
    reason: `it is not the backup of ${userid} any more: backups.db ${now === undefined ? 'has no such user' : `names ${now}`}`,
    remedy: 'Somebody else has moved, renamed or deleted it meanwhile; look again with csync-backup list',
  });
}

function badCopy(dataPath: string, to: PartitionConfig): BackupError {
  return new BackupError({
    code: 'IO_ERROR',
    tried: 'copy',
    subject: dataPath,
    reason: `what was read back from partition ${to.name} is not what was written`,
    remedy: `Check the disk of ${to.path}. The backup is where it was`,
  });
}
