/** Damaged chunks of a backup that is compacted: what can be read of them stays in the backup, all their bytes beside it. */
import fs from 'node:fs';
import path from 'node:path';
import { fdatasync, syncDirectory } from '../../platform/durable.ts';
import type { SourceChunk } from './survey.ts';

/** @returns the file with the bytes of the damaged chunks, one behind the other; null if there are none. */
export async function keepDamaged(
  fd: number,
  dataPath: string,
  chunks: readonly SourceChunk[],
): Promise<string | null> {
  const damaged = chunks.filter(({ isDamaged }) => isDamaged);
  if (damaged.length === 0) return null;
  const target = `${dataPath}.damaged.${Math.floor(Date.now() / 1000)}`;
  const out = fs.openSync(target, 'a', 0o600);
  try {
    const owner = fs.fstatSync(fd);
    const own = fs.fstatSync(out);
    if (own.uid !== owner.uid || own.gid !== owner.gid) fs.fchownSync(out, owner.uid, owner.gid);
    const buffer = Buffer.allocUnsafe(1 << 20);
    for (const { offset, end } of damaged) {
      for (let at = offset; at < end; ) {
        const length = fs.readSync(fd, buffer, 0, Math.min(buffer.length, end - at), at);
        if (length === 0) break;
        fs.writeSync(out, buffer, 0, length);
        at += length;
      }
    }
    await fdatasync(out);
  } finally {
    fs.closeSync(out);
  }
  await syncDirectory(path.dirname(target));
  return target;
}
