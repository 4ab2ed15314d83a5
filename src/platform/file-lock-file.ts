import { randomBytes } from 'node:crypto';
import {
  existsSync,
  fstatSync,
  linkSync,
  readFileSync,
  readlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { bootTag } from './boot.ts';
import { hasErrno } from './errors.ts';
import type { LockBackend } from './file-lock.ts';

/** PATH.lock, and beside it for a moment one that is written (12 digits) or that takes over (the owner's nonce). */
const LOCK_FILE = /\.lock(?:\.(?:[0-9a-f]{12}|[0-9a-f]{16}|unknown)(?:\.[0-9a-f]+)*)?$/;

/**
 * Clock tick at which a process started: a pid that was given to another process has another one. proc(5), fields 3
 * and 22. One that has ended and that nobody has waited for yet holds nothing any more.
 */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the name in parentheses, which may hold spaces and parentheses itself.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** `PID STARTTIME BOOT NONCE`: who holds the lock file. */
function isAlive(owner: string): boolean {
  const [pid, start, boot] = owner.split(' ');
  return boot === Buffer.from(bootTag()).toString('hex') && startTime(Number(pid)) === start;
}

function readOwner(file: string): string | undefined {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

function unlinkIfThere(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
}

/** Creates `file` with these bytes in one step, so that nobody reads it half written. False if it exists. */
function createWhole(file: string, owner: string): boolean {
  const temporary = `${file}.${randomBytes(6).toString('hex')}`;
  writeFileSync(temporary, owner, { flag: 'wx', mode: 0o600 });
  try {
    linkSync(temporary, file);
    return true;
  } catch (error) {
    if (hasErrno(error, 'EEXIST')) return false;
    throw error;
  } finally {
    unlinkSync(temporary);
  }
}

/**
 * Removes the lock file of a dead owner. Two that find it dead at the same time must not remove each other's new
 * lock, so removing this very owner's lock needs a lock of its own, named by the owner's nonce; whoever has it
 * looks again.
 */
function removeStale(file: string, owner: string, self: string): void {
  const takeover = `${file}.${owner.split(' ')[3] ?? 'unknown'}`;
  if (!createWhole(takeover, self)) {
    const other = readOwner(takeover);
    if (other !== undefined && !isAlive(other)) removeStale(takeover, other, self);
    return;
  }
  try {
    if (readOwner(file) === owner) unlinkSync(file);
  } finally {
    unlinkSync(takeover);
  }
}

/** What a descriptor holds: one lock file for each name under which the file is locked. */
interface Held {
  inode: bigint;
  device: bigint;
  owner: string;
  files: Set<string>;
}

/** Where the file open as `fd` was put, even if another one has taken that place meanwhile. */
function nameOf(fd: number): string {
  const link = readlinkSync(`/proc/self/fd/${fd}`);
  const gone = / \(deleted\)$/;
  return gone.test(link) && !existsSync(link) ? link.replace(gone, '') : link;
}

/** Whether a name in a folder is that of a lock file, or of one that is being made or taken over. */
export function isLockFile(name: string): boolean {
  return LOCK_FILE.test(name);
}

/** Whether a living process has this lock file. */
export function isHeldLockFile(file: string): boolean {
  const owner = readOwner(file);
  return owner !== undefined && isAlive(owner);
}

/** Removes a lock file whose process is no more, if nobody takes it over meanwhile. */
export function removeDeadLockFile(file: string): void {
  const owner = readOwner(file);
  if (owner !== undefined && !isAlive(owner)) removeStale(file, owner, newOwner());
}

function newOwner(): string {
  const boot = Buffer.from(bootTag()).toString('hex');
  return `${process.pid} ${startTime(process.pid)} ${boot} ${randomBytes(8).toString('hex')}`;
}

/**
 * The fallback without koffi: a file PATH.lock that names the process. A process that died (or a machine that
 * restarted) leaves one behind, which the next one recognises and removes.
 */
export function lockFiles(): LockBackend {
  const held = new Map<number, Held>();

  /** Forgets, and gives back, what was held by a file that was closed without unlock() and had the same number. */
  const heldBy = (fd: number): Held | undefined => {
    const mine = held.get(fd);
    if (mine === undefined) return undefined;
    const { ino, dev } = fstatSync(fd, { bigint: true });
    if (mine.inode === ino && mine.device === dev) return mine;
    release(fd);
    return undefined;
  };

  const release = (fd: number): void => {
    const mine = held.get(fd);
    held.delete(fd);
    for (const file of mine?.files ?? []) if (readOwner(file) === mine?.owner) unlinkIfThere(file);
  };

  const lock = (fd: number, file: string): boolean => {
    const mine = heldBy(fd);
    if (mine?.files.has(file) && readOwner(file) === mine.owner) return true;
    const owner = mine?.owner ?? newOwner();
    for (let attempt = 0; attempt < 2; attempt++) {
      if (createWhole(file, owner)) {
        const { ino, dev } = fstatSync(fd, { bigint: true });
        if (mine) mine.files.add(file);
        else held.set(fd, { inode: ino, device: dev, owner, files: new Set([file]) });
        return true;
      }
      const other = readOwner(file);
      if (other === undefined) continue;
      if (isAlive(other)) return false;
      removeStale(file, other, owner);
    }
    return false;
  };

  return {
    kind: 'lockfile',
    tryLock: (fd) => lock(fd, `${nameOf(fd)}.lock`),
    lockName: (fd, path) => lock(fd, `${path}.lock`),
    unlock: release,
    holder(fd) {
      const other = readOwner(`${nameOf(fd)}.lock`);
      if (other === undefined || other === heldBy(fd)?.owner || !isAlive(other)) return undefined;
      return Number(other.split(' ')[0]);
    },
  };
}
