/**
 * Tools that change backups, and a freeze, keep out of each other's way: a server makes `PARTITION/.freeze`, a tool
 * has a shared lock on it while it works on a backup of that partition, a freeze an exclusive one. It says nothing by
 * its being there, and locks end with their process.
 */
import fs from 'node:fs';
import path from 'node:path';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { type LockMode, lockAsync, lockHolder, lockKind, tryLock, unlock } from '../platform/file-lock.ts';
import { ioError } from '../platform/io-error.ts';
import { commandOf, type LockingProcess, lockingProcesses } from '../platform/lock-holders.ts';

const NAME = '.freeze';
const FILE_MODE = 0o600;

/** Makes the file where it is missing, so that tools have something to lock. @throws BackupError IO_ERROR, ... */
export function prepareFreezeLocks(partitions: readonly string[]): void {
  for (const partition of partitions) fs.closeSync(open(path.join(partition, NAME), 'a+'));
}

/**
 * Waits until no tool changes a backup of these partitions, and keeps them from it.
 *
 * @returns what lets them go on
 * @throws BackupError TIMED_OUT
 */
export async function lockPartitions(partitions: readonly string[], withinMs: number): Promise<() => void> {
  const held: number[] = [];
  const release = () => {
    for (const fd of held.splice(0)) close(fd);
  };
  const signal = AbortSignal.timeout(withinMs);
  for (const partition of partitions) {
    const fd = open(path.join(partition, NAME), 'a+');
    held.push(fd);
    try {
      await lockAsync(fd, 'exclusive', signal);
    } catch (error) {
      release();
      if (!signal.aborted) throw error;
      throw stillWorking(partition, withinMs);
    }
  }
  return release;
}

function whoHas(marker: string): LockingProcess[] {
  const found = lockingProcesses(fs.statSync(marker));
  if (found.length > 0 || lockKind() === 'ofd') return found;
  const fd = open(marker, 'r');
  try {
    const pid = lockHolder(fd, 'exclusive');
    return pid ? [{ pid, command: commandOf(pid), files: [] }] : [];
  } finally {
    fs.closeSync(fd);
  }
}

/** Says who, and on what: a forgotten csync-backup lock may last for ever. */
function stillWorking(partition: string, withinMs: number): BackupError {
  const marker = path.join(partition, NAME);
  const holders = whoHas(marker);
  const who = holders.map(({ pid, command, files }) => {
    const backups = files.filter((file) => file !== marker && file.startsWith(`${partition}/`));
    return `process ${pid} (${command}) has ${backups.join(' and ') || 'a backup in it'} locked`;
  });
  return new BackupError({
    code: 'TIMED_OUT',
    tried: 'bring to rest',
    subject: partition,
    reason: `a tool was still changing a backup in it after ${withinMs / 1000} seconds: ${who.join(', ') || 'a process that the server may not look at'}`,
    remedy:
      holders.length > 0
        ? `Try again when it has ended, or end it: kill ${holders.map(({ pid }) => pid).join(' ')}`
        : 'Try again when it has ended; csync-backup doctor -u USERID, run by root, says who has a backup locked',
  });
}

/**
 * For a tool that is going to change this backup: not during a freeze.
 *
 * @returns to be called when it is done
 * @throws BackupError LOCKED when the backups are frozen and `wait` is false
 */
export async function enterPartition(dataPath: string, wait: boolean): Promise<() => void> {
  const file = path.join(path.dirname(path.dirname(dataPath)), NAME);
  const mode: LockMode = 'shared';
  let fd: number;
  try {
    fd = fs.openSync(file, 'r');
  } catch (error) {
    // No server was ever here, or it is a copy somewhere.
    if (hasErrno(error, 'ENOENT')) return () => {};
    throw ioError(error, 'open', file);
  }
  try {
    if (wait) await lockAsync(fd, mode);
    else if (!tryLock(fd, mode)) throw frozen(dataPath);
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
  return () => close(fd);
}

function open(file: string, flags: string): number {
  try {
    return fs.openSync(file, flags, FILE_MODE);
  } catch (error) {
    throw ioError(error, 'open', file);
  }
}

function close(fd: number): void {
  unlock(fd);
  fs.closeSync(fd);
}

function frozen(dataPath: string): BackupError {
  return new BackupError({
    code: 'LOCKED',
    tried: 'change the backup',
    subject: dataPath,
    reason:
      lockKind() === 'ofd'
        ? 'the backups are frozen for a snapshot'
        : // A lock file cannot be shared.
          'the backups are frozen for a snapshot, or another program works on one of that partition',
    remedy: 'Try again when that has ended (csync-backup status), or give --wait',
  });
}
