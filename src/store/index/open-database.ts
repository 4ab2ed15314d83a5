/** Opening an index: settings of the connection, creation, upgrades. */
import fs from 'node:fs';
import Database from 'better-sqlite3';
import { BackupError } from '../../platform/errors.ts';
import { indexError } from './index-error.ts';
import {
  completeTemporarily,
  createTables,
  FRESH_USER_VERSION,
  hasOwnTables,
  UPGRADED_USER_VERSION,
  upgradeTables,
} from './schema.ts';

export interface OpenOptions {
  /** Make it if it is missing or empty. */
  create?: boolean;
  /** Change nothing; missing tables look empty. */
  readonly?: boolean;
}

/**
 * Most indexes are small, and a page is what each of the 34 tables and indexes of an empty one takes. Measured:
 * an index without rows has 24, 41, 76 and 147 kB with pages of 512, 1024, 2048 and 4096 bytes; one of 100,000
 * records 50, 50, 46 and 46 MB; with 512 filling it is a fifth slower, above 1024 nothing is gained.
 */
const PAGE_BYTES = 1024;
/** Many indexes are open at a time. */
export const CACHE_KIBIBYTES = 512;
const BUSY_TIMEOUT_MS = 1000;

/** A connection to the index at `path`. @throws BackupError INDEX_STALE and others, see index-error.ts. */
export function openDatabase(path: string, options: OpenOptions): Database.Database {
  const readonly = options.readonly ?? false;
  let db: Database.Database | undefined;
  try {
    if (options.create) createEmptyFile(path);
    db = new Database(path, { readonly, fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
    db.pragma('synchronous = OFF');
    db.pragma('foreign_keys = ON');
    db.pragma(`cache_size = -${CACHE_KIBIBYTES}`);
    prepareTables(db, path, options);
    return db;
  } catch (error) {
    db?.close();
    throw indexError(error, 'open the index', path);
  }
}

function prepareTables(db: Database.Database, path: string, options: OpenOptions): void {
  const userVersion = db.pragma('user_version', { simple: true }) as number;
  if (userVersion === 0 && options.create && isEmpty(db)) {
    db.pragma(`page_size = ${PAGE_BYTES}`);
    db.pragma('journal_mode = DELETE');
    db.transaction(() => createTables(db))();
    return;
  }
  if (userVersion < 1 || userVersion > UPGRADED_USER_VERSION) {
    throw new BackupError({
      code: 'INDEX_STALE',
      tried: 'open the index',
      subject: path,
      reason: `its user_version is ${userVersion}, known are 1 to ${UPGRADED_USER_VERSION}`,
      remedy: 'It is rebuilt from the data file when the backup is opened for writing.',
    });
  }
  if (options.readonly) {
    completeTemporarily(db);
    return;
  }
  db.pragma('journal_mode = DELETE');
  if (userVersion < FRESH_USER_VERSION || !hasOwnTables(db)) {
    db.transaction(() => upgradeTables(db, userVersion))();
  }
}

/** SQLite would create it readable for everybody. */
function createEmptyFile(path: string): void {
  fs.closeSync(fs.openSync(path, 'a', 0o600));
}

function isEmpty(db: Database.Database): boolean {
  return db.prepare('SELECT 1 FROM sqlite_master').get() === undefined;
}
