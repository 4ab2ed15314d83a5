/** Opening an index: settings of the connection, creation, upgrades. */
import fs from 'node:fs';
import Database from 'better-sqlite3';
import { BackupError } from '../../platform/errors.ts';
import { INDEX_REMEDY, indexError, isCutOff } from './index-error.ts';
import {
  areTablesCurrent,
  completeTemporarily,
  createTables,
  FRESH_USER_VERSION,
  readState,
  UPGRADED_USER_VERSION,
  upgradeOwnTables,
  upgradeTables,
} from './schema.ts';

export interface OpenOptions {
  /** Make it if it is missing or empty. */
  create?: boolean;
  /** Page size of an index that is made, if it is known how much is to come. */
  pageBytes?: number;
  /** Change nothing; missing tables look empty. */
  readonly?: boolean;
  /** With `readonly`: not even what a crash has cut off is undone, which is an error then (see isCutOff()). */
  asItIs?: boolean;
  /** Of pages, at most; for who looks up many rows of one index. */
  cacheKibibytes?: number;
}

/**
 * Most indexes are small, and a page is what each of the 29 tables and indexes of an empty one takes. Measured:
 * an index without rows has 21, 36, 68 and 131 kB with pages of 512, 1024, 2048 and 4096 bytes; one of 100,000
 * records 43, 40, 38 and 37 MB, and filling it takes 2.1, 1.7, 1.5 and 1.4 s of CPU time.
 */
const PAGE_BYTES = 1024;
/** Many indexes are open at a time. */
export const CACHE_KIBIBYTES = 512;
const BUSY_TIMEOUT_MS = 1000;

/** An open index and, unless it is read only, the rows of its `cb_state`. */
export interface OpenedDatabase {
  db: Database.Database;
  state: [name: string, value: unknown][] | undefined;
}

/** A connection to the index at `path`. @throws BackupError INDEX_STALE and others, see index-error.ts. */
export function openDatabase(path: string, options: OpenOptions): OpenedDatabase {
  try {
    return open(path, options);
  } catch (error) {
    if (!options.readonly || options.asItIs || !isCutOff(error))
      throw indexError(error, 'open the index', path);
  }
  // Nobody can read it before the half change is undone, and that is what SQLite does for whoever may write.
  try {
    undoCutOff(path);
    return open(path, options);
  } catch (error) {
    throw indexError(error, 'open the index', path);
  }
}

/** Reads as who may write: that is enough, and all that is done here, without the lock of the data file. */
function undoCutOff(path: string): void {
  const db = new Database(path, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
  try {
    db.pragma('user_version');
  } finally {
    db.close();
  }
}

function open(path: string, options: OpenOptions): OpenedDatabase {
  const readonly = options.readonly ?? false;
  let db: Database.Database | undefined;
  try {
    if (options.create) createIfEmpty(path, options.pageBytes ?? PAGE_BYTES);
    const header = readHeader(path);
    db = new Database(path, { readonly, fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
    // Rows refer only to rows that the same transaction or an earlier one has put there, so SQLite need not look.
    db.exec(
      `PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -${options.cacheKibibytes ?? CACHE_KIBIBYTES}`,
    );
    return { db, state: prepareTables(db, path, options, header) };
  } catch (error) {
    db?.close();
    throw error;
  }
}

/** @returns the rows of `cb_state`, which tell at once whether our tables are there */
function prepareTables(
  db: Database.Database,
  path: string,
  options: OpenOptions,
  header: Header | undefined,
): OpenedDatabase['state'] {
  const userVersion = header?.userVersion ?? (db.pragma('user_version', { simple: true }) as number);
  if (userVersion < 1 || userVersion > UPGRADED_USER_VERSION) {
    throw new BackupError({
      code: 'INDEX_STALE',
      tried: 'open the index',
      subject: path,
      reason: `its user_version is ${userVersion}, known are 1 to ${UPGRADED_USER_VERSION}`,
      remedy: INDEX_REMEDY,
    });
  }
  if (options.readonly) {
    completeTemporarily(db);
    return undefined;
  }
  if (header === undefined || header.isWal) db.pragma('journal_mode = DELETE');
  const state = userVersion < FRESH_USER_VERSION ? undefined : readState(db);
  if (state !== undefined && areTablesCurrent(state)) return state;
  if (state !== undefined) {
    // No unfinished member of the data file would tell that a power failure has torn the index meanwhile.
    db.pragma('synchronous = FULL');
    db.transaction(() => upgradeOwnTables(db, state))();
    db.pragma('synchronous = OFF');
    return readState(db);
  }
  db.transaction(() => upgradeTables(db, userVersion))();
  return readState(db);
}

interface Header {
  userVersion: number;
  isWal: boolean;
}

/**
 * What two pragmas would have to ask SQLite for, at a tenth of the cost (https://sqlite.org/fileformat.html, 1.3).
 * Undefined where SQLite has to be asked: a journal may have to be played back first.
 */
function readHeader(path: string): Header | undefined {
  const bytes = Buffer.alloc(HEADER_BYTES);
  let fd: number;
  try {
    fd = fs.openSync(path, 'r');
  } catch {
    return undefined; // SQLite says why, and better
  }
  try {
    if (fs.readSync(fd, bytes, 0, HEADER_BYTES, 0) < HEADER_BYTES) return undefined;
  } finally {
    fs.closeSync(fd);
  }
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC) || fs.existsSync(`${path}-journal`)) return undefined;
  return { userVersion: bytes.readUInt32BE(60), isWal: bytes[18] !== 1 || bytes[19] !== 1 };
}

const HEADER_BYTES = 100;
const MAGIC = Buffer.from('SQLite format 3\0', 'latin1');

/** An index without rows, byte for byte: to copy it costs a tenth of carrying out all that makes it. */
let fresh: Buffer | undefined;

function createIfEmpty(path: string, pageBytes: number): void {
  if ((fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 0) return;
  if (pageBytes === PAGE_BYTES) fresh ??= freshIndex(pageBytes);
  // SQLite would create it readable for everybody.
  fs.writeFileSync(path, pageBytes === PAGE_BYTES ? fresh! : freshIndex(pageBytes), { mode: 0o600 });
}

function freshIndex(pageBytes: number): Buffer {
  const db = new Database(':memory:');
  try {
    db.pragma(`page_size = ${pageBytes}`);
    db.transaction(() => createTables(db))();
    return db.serialize();
  } finally {
    db.close();
  }
}
