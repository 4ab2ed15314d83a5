/** Copying a file with its hash, its owner and its mode, synced. */
import fs from 'node:fs';
import path from 'node:path';
import { fdatasync, writeAllSync } from '../platform/durable.ts';
import { ResumableSha1 } from '../platform/sha1.ts';

const BLOCK_BYTES = 1 << 20;

/**
 * Copies the first `size` bytes.
 *
 * @returns SHA-1, hex, of the bytes that were read
 */
export async function copyBytes(
  from: number,
  to: number,
  size: number,
  onProgress: (bytes: number) => void = () => {},
): Promise<string> {
  const block = Buffer.allocUnsafe(BLOCK_BYTES);
  const sha1 = ResumableSha1.create();
  for (let at = 0; at < size; ) {
    const count = fs.readSync(from, block, 0, Math.min(block.length, size - at), at);
    if (count === 0) break;
    const bytes = block.subarray(0, count);
    sha1.update(bytes);
    writeAllSync(to, [bytes], at);
    at += count;
    onProgress(count);
  }
  copyOwner(from, to);
  await fdatasync(to);
  return sha1.digestHex();
}

/** Copies a whole file to a name that must be free. */
export async function copyFile(from: string, to: string): Promise<void> {
  const source = fs.openSync(from, 'r');
  try {
    const target = fs.openSync(to, 'wx', 0o600);
    try {
      await copyBytes(source, target, fs.fstatSync(source).size);
    } finally {
      fs.closeSync(target);
    }
  } finally {
    fs.closeSync(source);
  }
}

/** Only root may give files away; what others copy is theirs. */
function copyOwner(from: number, to: number): void {
  const { uid, gid, mode } = fs.fstatSync(from);
  fs.fchmodSync(to, mode & 0o777);
  if (process.geteuid?.() === 0) fs.fchownSync(to, uid, gid);
}

/** Gives a folder that root has made to the owner of the folder around it, whose server has to get into it. */
export function giveToOwner(folder: string): void {
  if (process.geteuid?.() !== 0) return;
  const around = fs.statSync(path.dirname(folder));
  const own = fs.statSync(folder);
  if (own.uid === 0 && around.uid !== 0) fs.chownSync(folder, around.uid, around.gid);
}
