/** Where temporary indexes of backups are made, and what is left of those whose makers were killed. */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { BackupError, hasErrno } from '../platform/errors.ts';

/** A name for one. @throws BackupError PERMISSION_DENIED where there is no place for it */
export function temporaryFile(stagingPath: string): string {
  const folder = writableFolder([stagingPath, os.tmpdir()]);
  removeAbandoned(folder);
  // The start of the server removes what a killed process leaves under such a name, too.
  return path.join(folder, `session-${process.pid}-restore-${randomBytes(6).toString('hex')}.index`);
}

/** Of processes that were killed while they made one. In /tmp those of other users stay. */
function removeAbandoned(folder: string): void {
  for (const name of fs.readdirSync(folder)) {
    const pid = /^session-(\d+)-restore-/.exec(name)?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    try {
      fs.rmSync(path.join(folder, name), { force: true });
    } catch (error) {
      if (!hasErrno(error, 'EPERM') && !hasErrno(error, 'EACCES')) throw error;
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !hasErrno(error, 'ESRCH');
  }
}

/** The same file, with its journal. */
export function removeFile(file: string): void {
  for (const left of [file, `${file}-journal`]) fs.rmSync(left, { force: true });
}

function writableFolder(folders: readonly string[]): string {
  for (const folder of folders) {
    try {
      fs.accessSync(folder, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
      return folder;
    } catch (error) {
      if (!['ENOENT', 'EACCES', 'EROFS'].some((code) => hasErrno(error, code))) throw error;
    }
  }
  throw new BackupError({
    code: 'PERMISSION_DENIED',
    tried: 'make a temporary index in',
    subject: folders.join(' or '),
    reason: 'neither can be written to',
    remedy: 'Set backup_staging_path, or the environment variable TMPDIR, to a folder that can be written to',
  });
}
