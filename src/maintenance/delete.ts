/**
 * `delete`: puts the backup of a user aside under a key of its own, `%DELETED.USERID.HEXTIME`, as the server does
 * when somebody new gets the userid of a user who is gone. Clients do not find it any more, tools do, and until the
 * retention is over it can be given back. A user who is backed up again meanwhile begins a new backup, which does
 * not know of the old one.
 *
 * Removing for good, in this order: the data file goes to the staging folder, the catalog loses the entry (this is
 * the removal), the files are unlinked. Killed before the catalog was changed, whoever opens the backup puts it back;
 * killed later, the next start of the server removes the rest (src/store/sweep-staging.ts).
 */
import fs from 'node:fs';
import path from 'node:path';
import { crashPoint } from '../platform/crash-points.ts';
import { syncDirectorySync } from '../platform/durable.ts';
import { BackupError } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import type { Catalog } from '../store/catalog.ts';
import { removeCompanions } from '../store/companions.ts';
import { type DataFile, indexPathOf, stagedPathOf } from '../store/data-file.ts';
import { formerKey, ownerOf } from '../store/former-users.ts';
import { BackupIndex } from '../store/index/backup-index.ts';
import { giveToOwner } from './copy-file.ts';
import { openLockedData } from './locked-data.ts';
import { movedAway } from './move.ts';
import { statBackup } from './stat.ts';

export interface DeleteOptions {
  catalog: Catalog;
  /** Key of the catalog. */
  userid: string;
  dataPath: string;
  /** Wait for the lock. */
  wait?: boolean;
  /** Only look whether it can be done. */
  dryRun?: boolean;
}

/** A backup that was put aside. */
export interface DeletedBackup {
  /** Key of the catalog. */
  key: string;
  userid: string;
  dataPath: string;
  /** Seconds since 1970. */
  deletedAt: number;
}

const KEY = /^%DELETED\.(.+)\.([0-9A-F]+)$/s;

/** What a key of a backup that was put aside says; undefined for other keys. */
export function parseDeletedKey(key: string): { userid: string; deletedAt: number } | undefined {
  const match = KEY.exec(key);
  return match === null ? undefined : { userid: match[1]!, deletedAt: Number.parseInt(match[2]!, 16) };
}

/**
 * Puts the backup aside.
 *
 * @returns the key under which it is kept
 * @throws BackupError LOCKED, NOT_FOUND, EXISTS if it is put aside already
 */
export async function deleteBackup(options: DeleteOptions & { now?: number }): Promise<string> {
  const { catalog, userid, dryRun } = options;
  if (parseDeletedKey(userid) !== undefined) {
    throw new BackupError({
      code: 'EXISTS',
      tried: 'delete the backup',
      subject: userid,
      reason: 'it is deleted already, and kept until backup_retention is over',
      remedy: 'Give --now to remove it for good',
    });
  }
  return await locked(options, () => {
    // By a clock that is behind, the retention would be over at once.
    const lastLine = statBackup(options.dataPath, { locked: 'read' }).lastEnd ?? 0;
    let deletedAt = Math.max(options.now ?? Math.floor(Date.now() / 1000), lastLine);
    while (catalog.get(formerKey(userid, deletedAt)) !== undefined) deletedAt++;
    const key = formerKey(userid, deletedAt);
    if (!dryRun) {
      catalog.rename(userid, key);
      crashPoint('delete-aside');
    }
    return key;
  });
}

export interface RemovedBackup {
  /** Of data file and index. */
  removedBytes: number;
  /** Another key whose backup is the same file: that stays, and only the entry is gone. */
  sharedWith?: string;
}

/** Removes the backup for good. @throws BackupError LOCKED, NOT_FOUND, IO_ERROR */
export async function removeBackup(options: DeleteOptions): Promise<RemovedBackup> {
  const { catalog, userid, dataPath, dryRun } = options;
  return await locked(options, (file) => {
    const sharedWith = otherKeyOf(options);
    if (sharedWith !== undefined) {
      if (!dryRun) catalog.delete(userid);
      return { removedBytes: 0, sharedWith };
    }
    const index = fs.statSync(indexPathOf(dataPath), { throwIfNoEntry: false });
    const removedBytes = file.size() + (index?.size ?? 0);
    if (dryRun) return { removedBytes };
    const staged = stagedPathOf(dataPath);
    fs.mkdirSync(path.dirname(staged), { recursive: true, mode: 0o700 });
    giveToOwner(path.dirname(staged));
    file.keepLocked(staged);
    fs.renameSync(dataPath, staged);
    syncDirectorySync(path.dirname(staged));
    syncDirectorySync(path.dirname(dataPath));
    crashPoint('delete-staged');
    catalog.delete(userid);
    crashPoint('delete-catalog');
    // Somebody who was about to open it may have put it back; the entry is gone all the same.
    fs.rmSync(dataPath, { force: true });
    removeCompanions(dataPath);
    syncDirectorySync(path.dirname(dataPath));
    crashPoint('delete-unlinked');
    fs.rmSync(staged, { force: true });
    syncDirectorySync(path.dirname(staged));
    return { removedBytes };
  });
}

/** Whoever has the same file by a mistake of the past would lose it. */
function otherKeyOf({ catalog, userid, dataPath }: DeleteOptions): string | undefined {
  const { dev, ino } = fs.statSync(dataPath);
  for (const [key, file] of catalog.entries()) {
    if (key === userid || path.basename(file) !== path.basename(dataPath)) continue;
    const other = fs.statSync(file, { throwIfNoEntry: false });
    if (other?.dev === dev && other.ino === ino) return key;
  }
  return undefined;
}

/**
 * Gives a deleted backup back to its user.
 *
 * @throws BackupError LOCKED; BAD_PARAMETERS if the user has another backup by now
 */
export async function undeleteBackup(
  deleted: DeletedBackup,
  options: Pick<DeleteOptions, 'catalog' | 'wait' | 'dryRun'>,
): Promise<void> {
  const { catalog, dryRun } = options;
  const present = catalog.get(deleted.userid);
  if (present !== undefined) {
    throw new BackupError({
      code: 'EXISTS',
      tried: 'give back the deleted backup of',
      subject: deleted.userid,
      reason: `the user was backed up again since and has ${present}`,
      remedy:
        'Read the old one with csync-backup show and dump under its key, or delete or rename the new one first',
    });
  }
  await locked({ ...options, userid: deleted.key, dataPath: deleted.dataPath }, () => {
    if (dryRun) return;
    catalog.rename(deleted.key, deleted.userid);
    crashPoint('undelete-catalog');
  });
}

/** Deleted backups, of one user (oldest first) or of all. */
export function* deletedBackups(catalog: Catalog, userid?: string): Generator<DeletedBackup, void> {
  const found: DeletedBackup[] = [];
  for (const [key, dataPath] of catalog.entries()) {
    const parsed = parseDeletedKey(key);
    if (parsed === undefined || (userid !== undefined && parsed.userid !== userid)) continue;
    if (userid === undefined) yield { key, dataPath, ...parsed };
    else found.push({ key, dataPath, ...parsed });
  }
  yield* found.sort((a, b) => a.deletedAt - b.deletedAt);
}

/**
 * Whether a backup that was put aside is to be removed: its retention is over, and the backup of a new owner of the
 * userid does not answer for mailboxes in it that the mail server still has.
 */
export function isExpired(
  { key, deletedAt, dataPath }: DeletedBackup,
  o: { catalog: Catalog; retentionMs: number; nowMs?: number },
): boolean {
  const { catalog, retentionMs, nowMs = Date.now() } = o;
  if (retentionMs === 0 || nowMs - deletedAt * 1000 <= retentionMs) return false;
  const successor = catalog.get(ownerOf(key));
  if (successor === undefined || !withIndex(successor, (index) => index.formerKeys().includes(key)))
    return true;
  return !withIndex(dataPath, hasLiveMailbox);
}

function hasLiveMailbox(index: BackupIndex): boolean {
  return index.statement('SELECT 1 FROM mailbox WHERE deleted IS NULL LIMIT 1', 'pluck').get() !== undefined;
}

/** An index that cannot be read counts as a reason to keep the backup. */
function withIndex(dataPath: string, ask: (index: BackupIndex) => boolean): boolean {
  let index: BackupIndex | undefined;
  try {
    index = BackupIndex.open(indexPathOf(dataPath), { readonly: true });
    return ask(index);
  } catch {
    return true;
  } finally {
    index?.close();
  }
}

async function locked<T>(options: DeleteOptions, work: (file: DataFile) => T): Promise<T> {
  const { catalog, userid, dataPath } = options;
  const file = await openLockedData(dataPath, options.wait ?? false);
  try {
    if (catalog.get(userid) !== dataPath) throw movedAway(userid, dataPath, catalog);
    return work(file);
  } catch (error) {
    throw ioError(error, 'delete', dataPath);
  } finally {
    file.close();
  }
}
