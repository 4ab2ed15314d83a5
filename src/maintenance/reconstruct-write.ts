/** Puts a catalog that was made anew in the place of the old one, all at once. */
import fs from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/config.ts';
import { crashPoint } from '../platform/crash-points.ts';
import { syncDirectorySync } from '../platform/durable.ts';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { lockSync, unlock } from '../platform/file-lock.ts';
import { ioError } from '../platform/io-error.ts';
import { writeCheckpoint } from '../store/twoskip/checkpoint.ts';
import { DiskFile } from '../store/twoskip/file.ts';

const LOCK_TIMEOUT_MS = 30_000;

/** Two of them are equal if nobody has changed the catalog in between; undefined if there is none. */
export function catalogVersion(file: string): string | undefined {
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  return stat && `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeMs}`;
}

/**
 * Everybody who waits for the lock of the old file finds out that it was replaced, as after a rewrite in order.
 *
 * @param version of the catalog that the plan was made from
 * @param rows in the order of their keys; called twice
 * @returns under which name the old one is kept; null if there was none
 * @throws BackupError LOCKED if the catalog is not that any more
 */
export function replaceCatalog(
  config: Config,
  version: string | undefined,
  count: number,
  rows: () => Iterable<{ key: Buffer; path: Buffer }>,
): string | null {
  const file = config.backupDbPath;
  const fresh = `${file}.reconstruct`;
  let old: DiskFile | undefined;
  try {
    if (version !== undefined) {
      old = new DiskFile(file);
      if (!lockSync(old.fd, 'exclusive', LOCK_TIMEOUT_MS)) throw changed(file, 'somebody has it locked');
    }
    if (catalogVersion(file) !== version) throw changed(file, 'somebody has changed it meanwhile');
    write(fresh, count, rows, old?.fd, config);
    crashPoint('reconstruct-written');
    const keptAs = old === undefined ? null : keep(file);
    crashPoint('reconstruct-kept');
    if (old === undefined) putFirst(fresh, file);
    else fs.renameSync(fresh, file);
    syncDirectorySync(path.dirname(file));
    crashPoint('reconstruct-renamed');
    return keptAs;
  } catch (error) {
    fs.rmSync(fresh, { force: true });
    throw ioError(error, 'replace', file);
  } finally {
    if (old !== undefined) {
      unlock(old.fd);
      old.close();
    }
  }
}

function write(
  fresh: string,
  count: number,
  rows: () => Iterable<{ key: Buffer; path: Buffer }>,
  oldFd: number | undefined,
  config: Config,
): void {
  fs.rmSync(fresh, { force: true });
  const { O_RDWR, O_CREAT, O_EXCL } = fs.constants;
  const target = new DiskFile(fresh, O_RDWR | O_CREAT | O_EXCL);
  try {
    const model = oldFd === undefined ? fs.statSync(config.configDirectory) : fs.fstatSync(oldFd);
    if (oldFd !== undefined) fs.fchmodSync(target.fd, model.mode & 0o777);
    if (process.geteuid?.() === 0) fs.fchownSync(target.fd, model.uid, model.gid);
    const records = function* () {
      for (const row of rows()) yield { key: row.key, value: row.path };
    };
    writeCheckpoint(
      { header: { recordCount: count, generation: 0 }, file: { path: fresh }, records },
      target,
    );
  } finally {
    target.close();
  }
  syncDirectorySync(path.dirname(fresh));
}

/** A second name: at no time is there no catalog. */
function keep(file: string): string {
  for (let time = Math.floor(Date.now() / 1000); ; time++) {
    const keptAs = `${file}.${time}`;
    try {
      fs.linkSync(file, keptAs);
      syncDirectorySync(path.dirname(file));
      return keptAs;
    } catch (error) {
      if (!hasErrno(error, 'EEXIST')) throw error;
    }
  }
}

/** There was none; if a server has made one meanwhile that is not replaced. */
function putFirst(fresh: string, file: string): void {
  try {
    fs.linkSync(fresh, file);
  } catch (error) {
    if (hasErrno(error, 'EEXIST')) throw changed(file, 'somebody has made one meanwhile');
    throw error;
  }
  fs.rmSync(fresh);
}

function changed(file: string, reason: string): BackupError {
  return new BackupError({
    code: 'LOCKED',
    tried: 'replace',
    subject: file,
    reason: `${reason}, so the plan is out of date`,
    remedy: 'Run it again; stop the server first if new users come all the time',
  });
}
