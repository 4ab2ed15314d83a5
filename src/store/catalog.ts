import {
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  fdatasyncSync,
  fstatSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
} from 'node:fs';
import path from 'node:path';
import { makeDirectorySync, syncDirectorySync } from '../platform/durable.ts';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { type LockMode, lockHolder, lockSync, unlock } from '../platform/file-lock.ts';
import { ioError } from '../platform/io-error.ts';
import { checkpointPays, writeCheckpoint } from './twoskip/checkpoint.ts';
import { DiskFile } from './twoskip/file.ts';
import { TwoskipReader } from './twoskip/reader.ts';
import { recover } from './twoskip/recovery.ts';
import { createEmpty, neverCreated, Transaction } from './twoskip/transaction.ts';

/** Everybody, Cyrus's programs too, locks the catalog for one operation only. */
const LOCK_TIMEOUT_MS = 30_000;
/** Entries that are read under one lock by entries(). */
const ENTRIES_PER_LOCK = 256;
const CACHED_ENTRIES = 10_000;
/** Two writes within one tick of the clock that stamps files (10 ms at most) leave the same time. */
const RACY_MS = 50;

/**
 * backups.db: which data file belongs to which user. A twoskip file that Cyrus's programs read and write too.
 *
 * A userid is a string of bytes (each character stands for one, as in latin1); a path is a string as node:fs
 * takes it. Each operation takes the lock of the whole file, looks whether the path still names this file, and
 * sees what everybody else has committed. Changes are on disk when the call returns. All calls throw
 * BackupError: CATALOG_CORRUPT, LOCKED, or what ioError() makes of a failed system call.
 */
export class Catalog {
  readonly path: string;
  #file: DiskFile | undefined;
  #cache = new Map<string, string | undefined>();
  /** What the cache is of: it is as good as a read while header and inode are unchanged. */
  #cacheOf = '';
  /** The file's inode, length and times when the cache was last found good; see isUntouched(). */
  #seen: Stats | undefined;
  #checkpointFailure: BackupError | undefined;

  readonly #checkpointFailed: (failure: BackupError) => void;

  /** @param checkpointFailed called when the file cannot be put in order; nothing is lost by that */
  constructor(file: string, checkpointFailed: (failure: BackupError) => void = () => {}) {
    this.path = file;
    this.#checkpointFailed = checkpointFailed;
  }

  /** Why the last checkpoint failed: the catalog is whole, but longer than it need be. */
  get checkpointFailure(): BackupError | undefined {
    return this.#checkpointFailure;
  }

  /** Absolute path of the user's data file. Reads create nothing: a catalog that does not exist is empty. */
  get(userid: string): string | undefined {
    const key = keyOf(userid);
    if (this.#cache.has(userid) && this.#isUntouched()) return this.#cache.get(userid);
    return this.#run('shared', (reader) => {
      const { generation, currentSize } = reader.header;
      const stat = fstatSync(this.#file!.fd);
      const version = `${stat.dev} ${stat.ino} ${generation} ${currentSize}`;
      // What somebody wrote who was killed before it was synced could be gone after a power failure, while we have
      // acknowledged data on the strength of it.
      if (version !== this.#cacheOf) fdatasyncSync(this.#file!.fd);
      if (version !== this.#cacheOf || this.#cache.size >= CACHED_ENTRIES) this.#cache.clear();
      this.#cacheOf = version;
      this.#seen = Date.now() - stat.mtimeMs > RACY_MS ? stat : undefined;
      if (this.#cache.has(userid)) return this.#cache.get(userid);
      const found = reader.find(key).exact?.value.toString('utf8');
      this.#cache.set(userid, found);
      return found;
    });
  }

  /** Nobody has written to the file or replaced it since get() last read it: the lock and a read would tell the same. */
  #isUntouched(): boolean {
    if (this.#seen === undefined) return false;
    const { ino, dev, size, mtimeMs, ctimeMs } = this.#seen;
    const now = statSync(this.path, { throwIfNoEntry: false });
    return (
      now !== undefined &&
      now.ino === ino &&
      now.dev === dev &&
      now.size === size &&
      now.mtimeMs === mtimeMs &&
      now.ctimeMs === ctimeMs
    );
  }

  /** Adds or replaces an entry. */
  put(userid: string, dataPath: string): void {
    const key = keyOf(userid);
    this.#change((transaction) => transaction.put(key, Buffer.from(dataPath, 'utf8')));
  }

  /** Adds an entry. @throws BackupError EXISTS when the user has one */
  add(userid: string, dataPath: string): void {
    const key = keyOf(userid);
    this.#change((transaction) => {
      const present = transaction.get(key);
      if (present) throw entryExists(userid, present.toString('utf8'));
      transaction.put(key, Buffer.from(dataPath, 'utf8'));
    });
  }

  /** Does nothing when there is no such entry. */
  delete(userid: string): void {
    const key = keyOf(userid);
    this.#change((transaction) => transaction.delete(key));
  }

  /**
   * Gives the entry of one userid to another, all at once.
   *
   * @throws BackupError NOT_FOUND when `from` has no entry, BAD_PARAMETERS when `to` has one
   */
  rename(from: string, to: string): void {
    const keys = [keyOf(from), keyOf(to)] as const;
    this.#change((transaction) => {
      const value = transaction.get(keys[0]);
      if (!value) {
        throw new BackupError({
          code: 'NOT_FOUND',
          tried: 'rename in the catalog the entry of',
          subject: from,
          reason: `${this.path} has none`,
          remedy: 'Check the userid with csync-backup list',
        });
      }
      if (from === to) return;
      const inTheWay = transaction.get(keys[1]);
      if (inTheWay) {
        throw new BackupError({
          code: 'BAD_PARAMETERS',
          tried: `give the backup of ${from} to`,
          subject: to,
          reason: `${to} has the backup ${inTheWay.toString('utf8')}, to which nothing would lead any more`,
          remedy: 'Give that one another userid first',
        });
      }
      transaction.put(keys[1], value);
      transaction.delete(keys[0]);
    });
  }

  /** All entries in the order of their bytes. What others change meanwhile may be seen or not. */
  *entries(): Generator<[userid: string, dataPath: string]> {
    let after: Buffer = Buffer.alloc(0);
    for (;;) {
      const page: [Buffer, string][] = [];
      this.#run('shared', (reader) => {
        for (const record of reader.records(after)) {
          page.push([record.key, record.value.toString('utf8')]);
          if (page.length === ENTRIES_PER_LOCK) break;
        }
      });
      for (const [key, dataPath] of page) yield [key.toString('latin1'), dataPath];
      if (page.length < ENTRIES_PER_LOCK) return;
      after = page.at(-1)![0];
    }
  }

  /** Undoes what somebody left half done, and rewrites the file in order if anything was changed since it was. */
  tidy(): void {
    if (!existsSync(this.path)) return;
    this.#run('exclusive', (reader) => {
      if (reader.header.currentSize > reader.header.repackSize) this.#checkpoint(reader);
    });
    if (this.#checkpointFailure !== undefined) throw this.#checkpointFailure;
  }

  /** Checks every record and link of the file. @throws BackupError CATALOG_CORRUPT */
  check(): void {
    this.#run('shared', (reader) => reader.check());
  }

  /** Gives up the descriptor. The catalog can be used again. */
  close(): void {
    this.#file?.close();
    this.#file = undefined;
    this.#cache.clear();
    this.#cacheOf = '';
    this.#seen = undefined;
  }

  #change(work: (transaction: Transaction) => void): void {
    this.#run('exclusive', (reader) => {
      const transaction = new Transaction(reader);
      work(transaction);
      transaction.commit();
      if (checkpointPays(reader)) this.#checkpoint(reader);
    });
  }

  /** undefined for a shared lock on a file that does not exist yet. */
  #run<T>(mode: LockMode, work: (reader: TwoskipReader) => T): T | undefined {
    try {
      for (;;) {
        const file = this.#open(mode);
        if (!file) return undefined;
        this.#lock(file, mode);
        try {
          if (!isCurrent(file)) {
            this.#forget(file);
            continue;
          }
          const reader = prepare(file, mode);
          if (reader === 'empty') return undefined;
          if (reader !== 'unclean') return work(reader);
        } finally {
          if (this.#file === file) unlock(file.fd);
        }
        // Somebody died in a transaction. The exclusive lock, under which it is undone, is not to be had while
        // keeping the shared one.
        this.#run('exclusive', () => undefined);
      }
    } catch (error) {
      throw ioError(error, 'use the catalog', this.path);
    }
  }

  #open(mode: LockMode): DiskFile | undefined {
    if (this.#file) return this.#file;
    try {
      this.#file = new DiskFile(this.path);
    } catch (error) {
      const unwritable = hasErrno(error, 'EACCES') || hasErrno(error, 'EROFS');
      if (mode === 'shared' && hasErrno(error, 'ENOENT')) return undefined;
      if (mode === 'shared' && unwritable) return (this.#file = new DiskFile(this.path, constants.O_RDONLY));
      if (!hasErrno(error, 'ENOENT')) throw error;
      makeDirectorySync(path.dirname(this.path), 0o700);
      this.#file = new DiskFile(this.path, constants.O_RDWR | constants.O_CREAT);
      syncDirectorySync(path.dirname(this.path));
    }
    return this.#file;
  }

  #lock(file: DiskFile, mode: LockMode): void {
    if (lockSync(file.fd, mode, LOCK_TIMEOUT_MS)) return;
    const holder = lockHolder(file.fd, mode);
    throw new BackupError({
      code: 'LOCKED',
      tried: 'lock the catalog',
      subject: this.path,
      reason: `process ${holder || 'unknown'} has held it for ${LOCK_TIMEOUT_MS / 1000} seconds`,
      remedy: 'End that process if it hangs',
    });
  }

  #forget(file: DiskFile): void {
    unlock(file.fd);
    file.close();
    this.#file = undefined;
  }

  /** Replaces the file by one in order. Whoever waits for the old one's lock finds out and opens the new one. */
  #checkpoint(reader: TwoskipReader): void {
    const old = this.#file!;
    const name = `${this.path}.NEW`;
    try {
      rmSync(name, { force: true });
      const target = new DiskFile(name, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL);
      try {
        copyOwner(fstatSync(old.fd), target.fd);
        writeCheckpoint(reader, target);
      } finally {
        target.close();
      }
      renameSync(name, this.path);
      syncDirectorySync(path.dirname(this.path));
      this.#forget(old);
      this.#checkpointFailure = undefined;
    } catch (error) {
      // What the caller wanted is committed; only the tidying failed, and it is tried again at the next change.
      this.#checkpointFailure = ioError(error, 'rewrite the catalog', this.path);
      this.#checkpointFailed(this.#checkpointFailure);
      try {
        rmSync(name, { force: true });
      } catch {
        // The next attempt removes it, or says again that it cannot.
      }
    }
  }
}

export function entryExists(userid: string, dataPath: string): BackupError {
  return new BackupError({
    code: 'EXISTS',
    tried: 'make a backup for',
    subject: userid,
    reason: `the user has ${dataPath}`,
    remedy: 'Use the one that is there',
  });
}

/** @throws BackupError BAD_PARAMETERS */
function keyOf(userid: string): Buffer {
  if (/^[\0-\xff]+$/.test(userid)) return Buffer.from(userid, 'latin1');
  throw new BackupError({
    code: 'BAD_PARAMETERS',
    tried: 'use as a key of the catalog',
    subject: `'${userid}'`,
    reason: userid === '' ? 'it is empty' : 'it has characters that are not single bytes',
    remedy: 'Give the userid as Cyrus sends it',
  });
}

/** Whether the path names this very file: a checkpoint of ours or Cyrus's replaces it. */
function isCurrent(file: DiskFile): boolean {
  try {
    const named = statSync(file.path);
    const own = fstatSync(file.fd);
    return named.ino === own.ino && named.dev === own.dev;
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return false;
    throw error;
  }
}

/** A reader of a clean file. Under the exclusive lock the file is made so; under the shared one, it says that it is not. */
function prepare(file: DiskFile, mode: LockMode): TwoskipReader | 'empty' | 'unclean' {
  if (neverCreated(file)) {
    if (mode === 'shared') return 'empty';
    createEmpty(file);
  }
  const reader = new TwoskipReader(file);
  if (reader.clean) return reader;
  if (mode === 'shared') return 'unclean';
  recover(file);
  return new TwoskipReader(file);
}

/** The new file belongs to whom the old one belonged to, also when root runs this. */
function copyOwner(from: Stats, fd: number): void {
  fchmodSync(fd, from.mode & 0o777);
  const own = fstatSync(fd);
  if (own.uid !== from.uid || own.gid !== from.gid) fchownSync(fd, from.uid, from.gid);
}
