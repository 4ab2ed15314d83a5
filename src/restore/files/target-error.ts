/** What goes wrong with the files that are restored to, with what to do about it. */
import fs from 'node:fs';
import path from 'node:path';
import { BackupError, hasErrno } from '../../platform/errors.ts';
import { ioError } from '../../platform/io-error.ts';
import type { PlannedMailbox } from '../plan.ts';
import type { RestoreReport } from '../report.ts';
import type { StoredRecord } from '../source.ts';

const AGAIN =
  'run the same again, with --yes, and with the same --into FOLDER unless it was --in-place: files that are complete stay';

/** A failed system call on a file of the target. */
export function targetError(cause: unknown, tried: string, file: string): BackupError {
  const error = ioError(cause, tried, file);
  if (error.code === 'NO_SPACE')
    return withRemedy(error, `Free space there, or name another place, and ${AGAIN}`);
  if (error.code === 'PERMISSION_DENIED') {
    return withRemedy(error, 'Name a place where this user may write, or run the command as one who may');
  }
  if (hasErrno(cause, 'ENOTDIR') || hasErrno(cause, 'EEXIST') || hasErrno(cause, 'EISDIR')) {
    return withRemedy(error, 'Something else has this name: move it away, or name another place', 'EXISTS');
  }
  if (hasErrno(cause, 'ENAMETOOLONG')) {
    return withRemedy(error, 'Name a place with a shorter path: mailbox names add to it', 'BAD_PARAMETERS');
  }
  if (hasErrno(cause, 'EPIPE')) return withRemedy(error, 'See why the program that reads it ended');
  return error;
}

function withRemedy(
  { code, tried, subject, reason, cause }: BackupError,
  remedy: string,
  as = code,
): BackupError {
  return new BackupError({ code: as, tried, subject, reason, remedy, cause });
}

/** @throws BackupError EXISTS where a folder is wanted and something else is there or on the way, PERMISSION_DENIED */
export function checkFolder(dir: string): void {
  let at = dir;
  let stats: fs.Stats | undefined;
  try {
    while ((stats = fs.statSync(at, { throwIfNoEntry: false })) === undefined) at = path.dirname(at);
    if (stats.isDirectory()) {
      fs.accessSync(at, fs.constants.W_OK | fs.constants.X_OK);
      return;
    }
  } catch (error) {
    throw targetError(error, 'restore to', dir);
  }
  throw new BackupError({
    code: 'EXISTS',
    tried: 'restore to',
    subject: at,
    reason: 'it is a file, and a folder is needed',
    remedy: 'Name a folder that is there or that is to be made',
  });
}

/**
 * Enters a message into the report that the backup has lost.
 *
 * @throws the error if it is about anything else
 */
export function noteLoss(
  report: RestoreReport,
  { mailbox: { mboxname: mailbox } }: PlannedMailbox,
  { uid, guid }: StoredRecord,
  error: unknown,
): BackupError {
  const isLoss =
    error instanceof BackupError && (error.code === 'CHUNK_CORRUPT' || error.code === 'NOT_FOUND');
  if (!isLoss) throw error;
  const what = `message ${uid} of ${mailbox}`;
  report.shortfall({ kind: 'damaged', what, mailbox, uid, guid, reason: error.reason });
  return error;
}
