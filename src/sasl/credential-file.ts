/**
 * The file of client credentials. Text:
 *
 *     csync-backup credentials 1 BASE64
 *     NAME SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY SCRAM-SHA-1$...
 *
 * The first line carries 32 random bytes from which the salts of users that do not exist are made (see
 * decoyKeys()). Then a line for each user. Empty lines and lines that begin with `#` are left out.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  openSync,
  readFileSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs';
import path from 'node:path';
import { writeFileDurably } from '../platform/durable.ts';
import { BackupError } from '../platform/errors.ts';
import { lockSync, unlock } from '../platform/file-lock.ts';
import { ioError } from '../platform/io-error.ts';
import { saslprep } from './saslprep.ts';
import { deriveKeys, fromBase64, parseKeys, printKeys, type ScramKeys, toBase64 } from './scram-keys.ts';

export interface Credentials {
  /** Never empty. */
  secret: Uint8Array;
  users: Map<string, ScramKeys[]>;
}

const HEADER = 'csync-backup credentials 1';
const SECRET_BYTES = 32;
const LOCK_TIMEOUT_MS = 10_000;

/**
 * Reads the text of a credential file; an empty one has no users.
 *
 * @throws BackupError CREDENTIALS_INVALID that names file and line
 */
export function parseCredentials(text: string, file: string): Credentials {
  const users = new Map<string, ScramKeys[]>();
  let secret: Uint8Array | undefined;
  for (const [index, line] of text.split('\n').entries()) {
    if (line === '' || line.startsWith('#')) continue;
    const where = `${file}:${index + 1}`;
    if (secret === undefined) {
      secret = line.startsWith(`${HEADER} `) ? fromBase64(line.slice(HEADER.length + 1)) : undefined;
      if (secret?.length !== SECRET_BYTES) throw malformed(where, `the first line is not "${HEADER} ..."`);
      continue;
    }
    const [name = '', ...texts] = line.split(' ');
    const keys = texts.map(parseKeys);
    const hashes = new Set(keys.map((one) => one?.hash));
    if (saslprep(name) !== name) throw malformed(where, 'the line does not begin with a user name');
    if (keys.includes(undefined) || keys.length === 0 || hashes.size < keys.length) {
      throw malformed(where, `the keys of ${name} cannot be read`);
    }
    if (users.has(name)) throw malformed(where, `${name} has a line already`);
    users.set(name, keys as ScramKeys[]);
  }
  return { secret: secret ?? randomBytes(SECRET_BYTES), users };
}

/**
 * The credentials in a file; none if it is not there.
 *
 * @throws BackupError CREDENTIALS_INVALID, or for a failed system call
 */
export function readCredentials(file: string): Credentials {
  try {
    const stats = statSync(file, { throwIfNoEntry: false });
    if (stats === undefined) return parseCredentials('', file);
    checkMode(stats, file);
    return parseCredentials(readFileSync(file, 'utf8'), file);
  } catch (error) {
    throw ioError(error, 'read the credential file', file);
  }
}

/** Text that parseCredentials() reads back. */
export function printCredentials(credentials: Credentials): string {
  const lines = [...credentials.users].map(([name, keys]) => [name, ...keys.map(printKeys)].join(' '));
  return [`${HEADER} ${toBase64(credentials.secret)}`, ...lines, ''].join('\n');
}

/**
 * A name that can stand in the file, in `admins` and on a connection.
 *
 * @throws BackupError BAD_PARAMETERS
 */
export function checkUserName(name: string): string {
  const prepared = saslprep(name);
  if (prepared !== undefined && !/[\s#]/.test(prepared)) return prepared;
  throw new BackupError({
    code: 'BAD_PARAMETERS',
    tried: 'use the user name',
    subject: JSON.stringify(name),
    reason: 'it is empty or has white space, control characters or "#" in it',
    remedy: 'Choose a name without them',
  });
}

/**
 * Keys for both mechanisms.
 *
 * @throws BackupError BAD_PARAMETERS for a password that SASLprep prohibits
 */
export async function makeKeys(password: string): Promise<ScramKeys[]> {
  const prepared = saslprep(password);
  if (prepared === undefined) {
    throw new BackupError({
      code: 'BAD_PARAMETERS',
      tried: 'use',
      subject: 'the password',
      reason: 'it is empty or has control characters in it',
      remedy: 'Choose one of letters, digits, signs and spaces',
    });
  }
  return Promise.all([deriveKeys('sha256', prepared), deriveKeys('sha1', prepared)]);
}

/**
 * Changes the file as a whole, durably, under a lock that excludes other changes. What `change` returns is
 * returned; undefined leaves the file as it is. `isNew`: there was none, or an empty one. A new file belongs to the owner of its directory, so that
 * root can make it for a server that runs as somebody else.
 *
 * @throws BackupError LOCKED, CREDENTIALS_INVALID, or for a failed system call
 */
export function updateCredentials<T>(
  file: string,
  change: (credentials: Credentials, isNew: boolean) => T | undefined,
): T | undefined {
  const tried = 'change the credential file';
  try {
    // A symbolic link stays one: what it points to is replaced.
    const target = existsSync(file) ? realpathSync(file) : file;
    const fd = openLocked(target);
    try {
      const before = fstatSync(fd);
      checkMode(before, target);
      const credentials = parseCredentials(readFileSync(fd, 'utf8'), target);
      const result = change(credentials, before.size === 0);
      if (result !== undefined) {
        writeFileDurably(
          target,
          Buffer.from(printCredentials(credentials)),
          before.mode & 0o777,
          ownerOf(target, before),
        );
      }
      return result;
    } finally {
      unlock(fd);
      closeSync(fd);
    }
  } catch (error) {
    throw ioError(error, tried, file);
  }
}

/**
 * Keys in this file let their reader guess passwords and pose as the server.
 *
 * @throws BackupError CREDENTIALS_INVALID if more people than its owner and group can read it, or than its owner write
 */
export function checkMode(stats: Stats, file: string): void {
  if ((stats.mode & 0o027) === 0) return;
  throw new BackupError({
    code: 'CREDENTIALS_INVALID',
    tried: 'use the credential file',
    subject: file,
    reason: `its mode is ${(stats.mode & 0o777).toString(8)}, which lets others at the keys`,
    remedy: `Run "chmod 600 ${file}"`,
  });
}

function openLocked(file: string): number {
  for (;;) {
    const fd = openSync(file, constants.O_RDWR | constants.O_CREAT, 0o600);
    let locked = false;
    try {
      locked = lockSync(fd, 'exclusive', LOCK_TIMEOUT_MS);
      // Whoever had the lock before has replaced the file: the lock is on the old one.
      if (locked && sameFile(fd, file)) return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    if (locked) unlock(fd);
    closeSync(fd);
    if (locked) continue;
    throw new BackupError({
      code: 'LOCKED',
      tried: 'change the credential file',
      subject: file,
      reason: `another program has held its lock for ${LOCK_TIMEOUT_MS / 1000} s`,
      remedy: 'Try again when that program has ended',
    });
  }
}

function sameFile(fd: number, file: string): boolean {
  const [open, named] = [fstatSync(fd), statSync(file, { throwIfNoEntry: false })];
  return open.ino === named?.ino && open.dev === named.dev;
}

function ownerOf(file: string, before: Stats): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  return before.size === 0 ? statSync(path.dirname(file)) : before;
}

function malformed(subject: string, reason: string): BackupError {
  return new BackupError({
    code: 'CREDENTIALS_INVALID',
    tried: 'read the credentials at',
    subject,
    reason,
    remedy:
      'Put the file back from a copy, or remove the line and add the user again with "csync-backup passwd add"',
  });
}
