/**
 * Making an index anew from the data file alone: what recovery does when an index cannot be trusted, and what
 * `reindex` does on request. One pass; the old index stays until the new one is complete and synced.
 */
import fs from 'node:fs';
import path from 'node:path';
import { crashPoint } from '../platform/crash-points.ts';
import { fdatasync, syncDirectory } from '../platform/durable.ts';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { ResumableSha1 } from '../platform/sha1.ts';
import {
  type AppliedMembers,
  applyMembers,
  type Damage,
  type PutAside,
  type RecoveryEnvironment,
  writeTrailer,
} from './apply-members.ts';
import type { DataFile } from './data-file.ts';
import { BackupIndex, type IndexState } from './index/backup-index.ts';
import { carryChecksums } from './index/checksum.ts';
import { mailboxesLacking, markLost } from './index/damage.ts';
import { isSqliteError } from './index/index-error.ts';
import { carryLacking } from './index/lacking.ts';
import { type MemberReaders, type ReadMember, readMembers } from './member-source.ts';

/** State of an index that describes nothing yet. */
export const NOTHING_INDEXED: IndexState = {
  committedEnd: 0,
  trailer: new Uint8Array(0),
  fileSha1State: ResumableSha1.create().save(),
  lastTime: 0,
};

export interface RebuildOptions {
  /** Threads that read ahead. */
  readers?: MemberReaders | undefined;
  /** Gets how many more bytes of the data file are indexed. */
  onProgress?: ((bytes: number) => void) | undefined;
}

/** What shows of a data file while its index is made anew. */
export interface FoundByRebuild {
  damage: Damage;
  putAside: PutAside | undefined;
  /** Bytes of the data file that the old index knew of and that are gone, or can be read no more. */
  lostBytes: number;
  /** What the old index is called now: then, where it knows of mailboxes or messages whose lines are damaged, or if it is wanted. */
  keptIndex: string | undefined;
}

export interface RebuiltIndex extends AppliedMembers, FoundByRebuild {
  /** Open. */
  index: BackupIndex;
}

/** Whether anything that the backup had is not in it any more. */
export function hasLost({ damage, putAside, lostBytes }: FoundByRebuild): boolean {
  return damage.chunks + damage.guids.length + lostBytes > 0 || putAside !== undefined;
}

/**
 * Makes the index of a locked data file anew and puts it in place of the old one when it is complete. An unfinished
 * last member is finished, or cut off, as in recovery.
 *
 * @throws BackupError IO_ERROR or NO_SPACE; the old index is in its place then.
 */
export async function rebuildIndex(
  file: DataFile,
  env: RecoveryEnvironment,
  options: RebuildOptions = {},
): Promise<RebuiltIndex> {
  const fresh = `${file.indexPath}.rebuild`;
  const described = describedEnd(file.indexPath);
  const sizeBytes = file.size();
  let lostBytes = 0;
  let knowsMore = false;
  let keptIndex: string | undefined;
  removeIndex(fresh);
  let applied: AppliedMembers;
  try {
    const index = BackupIndex.open(fresh, { create: true });
    try {
      index.allowSpill(false); // a larger cache: it is filled as a whole, and nobody else reads it
      index.isMadeAnew = true;
      index.begin();
      const members = readMembers(file.fd, 0, file.size(), ResumableSha1.create(), options.readers);
      const read = counted(members, options);
      applied = await applyMembers(file, index, read, new Map(), NOTHING_INDEXED, env, described ?? null);
      lostBytes = Math.max(0, (described ?? 0) - applied.state.committedEnd);
      // HEAL notes may be among what was cut off. Where the mail server has these messages no more it says so once more.
      if (described === undefined || lostBytes > 0) {
        for (const uniqueid of mailboxesLacking(index)) markLost(index, uniqueid, []);
      }
      knowsMore = carryFrom(file.indexPath, index, applied.damage.chunks > 0);
      index.commit();
    } finally {
      index.close();
    }
    giveTo(fresh, fs.fstatSync(file.fd));
    await syncPath(fresh);
    crashPoint('rebuild-synced');
    keptIndex = keepPrevious(file.indexPath, lostBytes > 0 || knowsMore || env.config.backupKeepPrevious);
    fs.renameSync(fresh, file.indexPath);
    crashPoint('rebuild-renamed');
  } catch (error) {
    removeIndex(fresh);
    throw error;
  }
  await syncDirectory(path.dirname(file.indexPath));
  if (applied.needsTrailer) await writeTrailer(file, applied.state);
  if (lostBytes > 0) {
    const facts = { path: file.path, sizeBytes, indexedBytes: described, target: keptIndex };
    env.log.error(facts, 'the end of the data file is lost; the index that describes it is kept');
  }
  env.figures.count('index_rebuilds_total');
  return { ...applied, lostBytes, keptIndex, index: BackupIndex.open(file.indexPath) };
}

/**
 * Up to where the index describes the data file, without the last trailer, which a power failure may take; undefined if
 * there is none or it does not say.
 */
export function describedEnd(indexPath: string): number | undefined {
  if (!fs.existsSync(indexPath)) return undefined;
  try {
    const index = BackupIndex.open(indexPath, { readonly: true });
    try {
      const state = index.state();
      return state && state.committedEnd - state.trailer.length;
    } finally {
      index.close();
    }
  } catch {
    return undefined; // it is made anew because it cannot be used
  }
}

/**
 * Takes over from the old index what only it knows, as far as it can be read and still holds.
 *
 * @returns whether it knows of more than damaged lines say any more
 */
function carryFrom(indexPath: string, index: BackupIndex, isDamaged: boolean): boolean {
  if (!fs.existsSync(indexPath)) return false;
  try {
    const old = BackupIndex.open(indexPath, { readonly: true });
    try {
      const knowsMore = isDamaged && counts(old).some((count, i) => count > counts(index)[i]!);
      carryChecksums(old, index);
      carryLacking(old, index);
      return knowsMore;
    } finally {
      old.close();
    }
  } catch (error) {
    // What cannot be read there is asked for once more.
    if (!(error instanceof BackupError) && !isSqliteError(error)) throw error;
    return false;
  }
}

/** Of mailboxes, and of what is known to be in them. */
function counts(index: BackupIndex): number[] {
  const sql = `SELECT (SELECT count(*) FROM mailbox),
    (SELECT count(*) FROM mailbox_message) + (SELECT count(*) FROM cb_record WHERE replaced = 0)`;
  return index.statement(sql, 'raw').get() as number[];
}

async function* counted(
  members: AsyncIterable<ReadMember>,
  { onProgress }: RebuildOptions,
): AsyncGenerator<ReadMember, void> {
  for await (const read of members) {
    yield read;
    onProgress?.(read.member.end - read.member.offset);
  }
}

/**
 * The journal goes first: SQLite must not find that of the old index beside the new one.
 *
 * @returns the name that it is kept under
 */
export function keepPrevious(indexPath: string, keep: boolean): string | undefined {
  fs.rmSync(`${indexPath}-journal`, { force: true });
  if (!keep) return undefined;
  for (let seconds = Math.floor(Date.now() / 1000); ; seconds++) {
    const target = `${indexPath}.${seconds}`;
    try {
      // A second name, and no rename: at no time is there no index.
      fs.linkSync(indexPath, target);
      return target;
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) return undefined;
      if (!hasErrno(error, 'EEXIST')) throw error;
    }
  }
}

/** Removes an index and its journal. */
export function removeIndex(indexPath: string): void {
  fs.rmSync(indexPath, { force: true });
  fs.rmSync(`${indexPath}-journal`, { force: true });
}

/** What root makes for a backup belongs to the backup's owner. */
export function giveTo(path: string, owner: { uid: number; gid: number }): void {
  const { uid, gid } = fs.statSync(path);
  if (uid !== owner.uid || gid !== owner.gid) fs.chownSync(path, owner.uid, owner.gid);
}

/** Syncs a file that somebody else has written. */
export async function syncPath(file: string): Promise<void> {
  const fd = fs.openSync(file, 'r+');
  try {
    await fdatasync(fd);
  } finally {
    fs.closeSync(fd);
  }
}
