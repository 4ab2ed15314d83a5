import { randomBytes } from 'node:crypto';
import {
  close,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fdatasync as fdatasyncCallback,
  fsync as fsyncCallback,
  fsyncSync,
  mkdirSync,
  open,
  openSync,
  renameSync,
  unlinkSync,
  writevSync,
} from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

const openAsync = promisify(open);
const closeAsync = promisify(close);
const fsync = promisify(fsyncCallback);

/** What writev(2) takes at once on Linux (IOV_MAX). */
const MAX_BUFFERS = 1024;

/** Resolves when the file's bytes and its length are on disk. */
export const fdatasync: (fd: number) => Promise<void> = promisify(fdatasyncCallback);

/** Resolves when the names in this directory are on disk: needed after each create, rename and unlink. */
export async function syncDirectory(directory: string): Promise<void> {
  const fd = await openAsync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await fsync(fd);
  } finally {
    await closeAsync(fd);
  }
}

/** syncDirectory() for callers that cannot wait, such as work under a short lock. */
export function syncDirectorySync(directory: string): void {
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Makes a directory and what is missing above it; the names of all that were made are on disk on return. */
export function makeDirectorySync(directory: string, mode: number): void {
  const first = mkdirSync(directory, { recursive: true, mode });
  if (first === undefined) return;
  for (let made = directory; ; made = path.dirname(made)) {
    syncDirectorySync(path.dirname(made));
    if (made === first) return;
  }
}

/** pwritev(2) of everything, going on after short writes. Returns the position behind the last byte. */
export function writeAllSync(fd: number, buffers: readonly Uint8Array[], position: number): number {
  let pending = buffers.filter((buffer) => buffer.byteLength > 0);
  while (pending.length > 0) {
    const batch = pending.slice(0, MAX_BUFFERS);
    let written = writevSync(fd, batch, position);
    position += written;
    let whole = 0;
    while (whole < batch.length && written >= batch[whole]!.byteLength) written -= batch[whole++]!.byteLength;
    pending = pending.slice(whole);
    if (written > 0) pending[0] = pending[0]!.subarray(written);
  }
  return position;
}

/**
 * Replaces the file as a whole: after a crash it has either the old bytes or the new ones. On return the new
 * ones are on disk. With `owner` the new file belongs to that user (only root may give files away).
 */
export function writeFileDurably(
  file: string,
  bytes: Uint8Array,
  mode: number,
  owner?: { uid: number; gid: number },
): void {
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  const fd = openSync(temporary, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, mode);
  try {
    try {
      fchmodSync(fd, mode); // the umask must not decide who may read credentials
      if (owner) fchownSync(fd, owner.uid, owner.gid);
      writeAllSync(fd, [bytes], 0);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
  } catch (error) {
    unlinkSync(temporary);
    throw error;
  }
  syncDirectorySync(path.dirname(file));
}
