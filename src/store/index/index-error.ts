/** Errors of SQLite and of the file system around an index, as errors that say what to do. */
import fs from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import { BackupError, type ErrorCode, hasErrno } from '../../platform/errors.ts';

/**
 * INDEX_STALE for a damaged or missing index (rebuild it), NO_SPACE, LOCKED, PERMISSION_DENIED, LIMIT_EXCEEDED or
 * IO_ERROR for what the machine refuses, INTERNAL for the rest. A BackupError is returned as it is.
 */
export function indexError(error: unknown, tried: string, subject: string): BackupError {
  if (error instanceof BackupError) return error;
  if (isCutOff(error)) return cutOff(error, tried, subject);
  const cause = isUnexplained(error) ? (refusalOf(subject) ?? error) : error;
  const code = codeOf(cause);
  const isMissing = cause === error && isUnexplained(error) && !fs.existsSync(subject);
  const reason = isMissing ? 'it does not exist' : cause instanceof Error ? cause.message : String(cause);
  return new BackupError({ code, tried, subject, reason, remedy: REMEDIES[code] ?? '', cause: error });
}

/** What SQLite says of a missing file, of a journal that it cannot make, and of a process without descriptors. */
function isUnexplained(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code.startsWith('SQLITE_CANTOPEN');
}

/**
 * Asks the system why an SQLite file cannot be used, so that a whole index is not taken for damaged and made anew.
 *
 * @returns undefined when it is the index itself: it is missing, or is no file
 */
export function refusalOf(file: string): Error | undefined {
  const folder = path.dirname(file);
  try {
    fs.closeSync(fs.openSync(file, 'r'));
    fs.accessSync(folder, fs.constants.W_OK);
    const { files, ffree } = fs.statfsSync(folder);
    if (files > 0 && ffree === 0)
      return Object.assign(new Error('no inode is left for its journal (df -i)'), {
        code: 'ENOSPC',
        errno: -28,
      });
  } catch (error) {
    return hasErrno(error, 'ENOENT') || hasErrno(error, 'EISDIR') ? undefined : (error as Error);
  }
  return Object.assign(new Error('it is there, but it or its journal cannot be opened'), { errno: 0 });
}

/** Whether SQLite says it: then indexError() knows what to do about it. */
export function isSqliteError(error: unknown): boolean {
  return error instanceof Database.SqliteError;
}

/** A journal is there whose change has to be undone first, and the connection may not. */
export function isCutOff(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code === 'SQLITE_READONLY_ROLLBACK';
}

function cutOff(error: unknown, tried: string, path: string): BackupError {
  return new BackupError({
    code: 'PERMISSION_DENIED',
    tried,
    subject: path,
    reason: 'a crash has cut off a change of it, which can be undone only by who may write it',
    remedy:
      'Run this as the user that runs the server, or copy data file, .index and .index-journal to a folder of your own',
    cause: error,
  });
}

/** Of an index that is missing or of no use. */
export const INDEX_REMEDY =
  'csync-backup reindex makes it anew from the data file, as the next sync of its user does. restore, search, history and diff need none.';

const REMEDIES: Partial<Record<ErrorCode, string>> = {
  INDEX_STALE: INDEX_REMEDY,
  NO_SPACE: 'Free space on the partition; clients try again by themselves.',
  LOCKED: 'Another program is using the index; clients try again by themselves.',
  PERMISSION_DENIED: 'Give the file and its folder to the user that runs the server.',
  LIMIT_EXCEEDED: 'Raise the number of open files (LimitNOFILE in the unit, ulimit -n).',
  IO_ERROR: 'Look for errors of the disk in the kernel log.',
  INTERNAL: 'Please report this with the log around it.',
};

function codeOf(error: unknown): ErrorCode {
  if (error instanceof Database.SqliteError) {
    if (/^SQLITE_(CORRUPT|NOTADB|FORMAT|SCHEMA|ERROR|CANTOPEN)/.test(error.code)) return 'INDEX_STALE';
    if (error.code === 'SQLITE_FULL') return 'NO_SPACE';
    if (/^SQLITE_(BUSY|LOCKED)/.test(error.code)) return 'LOCKED';
    if (/^SQLITE_(READONLY|PERM|AUTH)/.test(error.code)) return 'PERMISSION_DENIED';
    return error.code.startsWith('SQLITE_IOERR') ? 'IO_ERROR' : 'INTERNAL';
  }
  if (hasErrno(error, 'ENOSPC') || hasErrno(error, 'EDQUOT')) return 'NO_SPACE';
  if (hasErrno(error, 'EACCES') || hasErrno(error, 'EPERM') || hasErrno(error, 'EROFS'))
    return 'PERMISSION_DENIED';
  if (hasErrno(error, 'EMFILE') || hasErrno(error, 'ENFILE')) return 'LIMIT_EXCEEDED';
  return error instanceof Error && 'errno' in error ? 'IO_ERROR' : 'INTERNAL';
}
