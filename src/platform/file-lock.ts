import { BackupError } from './errors.ts';
import { lockFiles } from './file-lock-file.ts';
import { koffiLocks } from './file-lock-ofd.ts';

export type LockMode = 'exclusive' | 'shared';

/**
 * `ofd`: open-file-description record locks over the whole file (fcntl(2), F_OFD_SETLK). They exclude the POSIX
 * record locks that Cyrus's programs take, and are excluded by them, and end when the descriptor is closed.
 *
 * `lockfile`: PATH.lock beside the file, for machines where koffi does not load. Both modes are exclusive.
 * **It does not exclude Cyrus's programs**, only our own.
 */
export type LockKind = 'ofd' | 'lockfile';

/** One way of locking; all its calls are about the file open as `fd`, which must be open for writing to lock it exclusively. */
export interface LockBackend {
  readonly kind: LockKind;
  /** False when somebody else holds a lock that excludes this one. Converts a lock that `fd` holds already. */
  tryLock(fd: number, mode: LockMode): boolean;
  /** See lockName(). */
  lockName(fd: number, path: string): boolean;
  /** Does nothing when `fd` holds no lock. Call it before closing `fd`. */
  unlock(fd: number): void;
  /** Process id of a holder that excludes a lock of this mode; 0 if that cannot be told; undefined if nobody does. */
  holder(fd: number, mode: LockMode): number | undefined;
}

const FIRST_WAIT_MS = 1;
const LONGEST_WAIT_MS = 50;
/** Locks that are held for a moment only are asked for more often, so that busy holders do not keep others out. */
const LONGEST_SYNC_WAIT_MS = 4;

let backend: LockBackend | undefined;

function current(): LockBackend {
  backend ??= koffiLocks() ?? lockFiles();
  return backend;
}

/** Which kind is in use in this thread. Reported by `doctor`, at start and by a metric. */
export function lockKind(): LockKind {
  return current().kind;
}

/**
 * Chooses the kind for this thread, before the first lock is taken; `auto` undoes that.
 *
 * @throws BackupError UNAVAILABLE when `ofd` is asked for where koffi does not load
 */
export function useLockKind(kind: LockKind | 'auto'): void {
  if (kind === 'auto') backend = undefined;
  else if (kind === 'lockfile') backend = lockFiles();
  else {
    backend = koffiLocks();
    if (!backend) {
      throw new BackupError({
        code: 'UNAVAILABLE',
        tried: 'use file locks of kind',
        subject: kind,
        reason: 'koffi cannot call fcntl of the C library here',
        remedy: 'Install the dependencies of this platform with npm ci',
      });
    }
  }
}

/** Takes a lock of the whole file, or says false at once when another holder excludes it. */
export function tryLock(fd: number, mode: LockMode): boolean {
  return current().tryLock(fd, mode);
}

/**
 * Has the lock that `fd` holds hold under `path` too, a name that the file is about to get: a lock file goes by the
 * name. False if somebody else has that name locked. unlock() gives all of them back.
 */
export function lockName(fd: number, path: string): boolean {
  return current().lockName(fd, path);
}

/** Gives the lock back. Call it before closing `fd`. */
export function unlock(fd: number): void {
  current().unlock(fd);
}

/** Process id of who excludes such a lock; 0 when unknown (one of our own threads, say); undefined when free. */
export function lockHolder(fd: number, mode: LockMode): number | undefined {
  return current().holder(fd, mode);
}

/**
 * Waits for the lock without stopping the thread. It asks again and again, since a wait inside the kernel can
 * neither be aborted nor be kept from occupying one of the few threads that fdatasync needs.
 *
 * @throws the signal's reason when it aborts first
 */
export async function lockAsync(fd: number, mode: LockMode, signal?: AbortSignal): Promise<void> {
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS)) {
    signal?.throwIfAborted();
    if (tryLock(fd, mode)) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, waitMs);
      function done(): void {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      }
      signal?.addEventListener('abort', done, { once: true });
    });
  }
}

/** Waits for the lock while the thread stands still: for locks that everybody holds only for a moment. False on time-out. */
export function lockSync(fd: number, mode: LockMode, timeoutMs: number): boolean {
  const until = performance.now() + timeoutMs;
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(waitMs * 2, LONGEST_SYNC_WAIT_MS)) {
    if (tryLock(fd, mode)) return true;
    const leftMs = until - performance.now();
    if (leftMs <= 0) return false;
    Atomics.wait(sleeper, 0, 0, Math.min(waitMs, leftMs));
  }
}
