import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, readlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { bootTag } from './boot.ts';
import { hasErrno } from './errors.ts';
import type { LockBackend } from './file-lock.ts';

/** Clock tick at which a process started: a pid that was given to another process has another one. proc(5), field 22. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the name in parentheses, which may hold spaces and parentheses itself.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
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

/**
 * The fallback without koffi: a file PATH.lock that names the process. A process that died (or a machine that
 * restarted) leaves one behind, which the next one recognises and removes.
 */
export function lockFiles(): LockBackend {
  const held = new Map<number, { file: string; owner: string }>();
  const lockFileOf = (fd: number): string => `${readlinkSync(`/proc/self/fd/${fd}`)}.lock`;
  return {
    kind: 'lockfile',
    tryLock(fd) {
      const file = lockFileOf(fd);
      const mine = held.get(fd);
      // A descriptor that was closed without unlock() and whose number was used again must not seem locked.
      if (mine && mine.file === file && readOwner(file) === mine.owner) return true;
      const boot = Buffer.from(bootTag()).toString('hex');
      const owner = `${process.pid} ${startTime(process.pid)} ${boot} ${randomBytes(8).toString('hex')}`;
      for (let attempt = 0; attempt < 2; attempt++) {
        if (createWhole(file, owner)) {
          held.set(fd, { file, owner });
          return true;
        }
        const other = readOwner(file);
        if (other === undefined) continue;
        if (isAlive(other)) return false;
        removeStale(file, other, owner);
      }
      return false;
    },
    unlock(fd) {
      const mine = held.get(fd);
      held.delete(fd);
      if (mine && readOwner(mine.file) === mine.owner) unlinkIfThere(mine.file);
    },
    holder(fd) {
      const other = readOwner(lockFileOf(fd));
      const mine = held.get(fd);
      if (other === undefined || other === mine?.owner || !isAlive(other)) return undefined;
      return Number(other.split(' ')[0]);
    },
  };
}
