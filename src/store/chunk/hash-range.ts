import { readSync } from 'node:fs';
import type { ResumableSha1 } from '../../platform/sha1.ts';

/** Adds the bytes of the file from `from` to `to` to the hash, and returns it. */
export function hashRange(fd: number, from: number, to: number, hash: ResumableSha1): ResumableSha1 {
  const buffer = Buffer.allocUnsafe(Math.max(Math.min(to - from, 1 << 20), 0));
  for (let at = from; at < to; ) {
    const count = readSync(fd, buffer, 0, Math.min(buffer.length, to - at), at);
    if (count === 0) break;
    hash.update(buffer.subarray(0, count));
    at += count;
  }
  return hash;
}
