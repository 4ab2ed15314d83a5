/**
 * The quick check that goes with `list` and `stat`: whether the last whole chunk is what the index says. What lies
 * before it is left to verify, so the cost is that of the last chunk, not of the file.
 */
import { createHash, hash } from 'node:crypto';
import fs from 'node:fs';
import zlib from 'node:zlib';
import { BackupError } from '../platform/errors.ts';
import { decodeMemberHeader } from '../store/chunk/member.ts';
import { readContent } from '../store/chunk/reader.ts';

export interface LastChunk {
  id: number;
  /** Of the gzip member in the data file. */
  offset: number;
  /** Of the content. */
  length: number;
  /** SHA-1 of the content, in hex. */
  dataSha1: string;
}

/** Chunks of at most this size are inflated in one piece. */
const AT_ONCE_BYTES = 1 << 20;

/**
 * What is wrong with the chunk; undefined if it is as it should be.
 *
 * @param sizeBytes of the data file
 */
export function checkLastChunk(fd: number, sizeBytes: number, chunk: LastChunk): string | undefined {
  if (chunk.offset >= sizeBytes)
    return `chunk ${chunk.id} should begin at ${chunk.offset}, but the file ends at ${sizeBytes}`;
  const found =
    chunk.length <= AT_ONCE_BYTES && sizeBytes - chunk.offset <= AT_ONCE_BYTES
      ? digestAtOnce(fd, sizeBytes, chunk)
      : digestInPieces(fd, chunk);
  if (typeof found === 'string') return `chunk ${chunk.id}: ${found}`;
  if (found.length !== chunk.length)
    return `chunk ${chunk.id} has ${found.length} bytes of content, the index says ${chunk.length}`;
  if (found.sha1 !== chunk.dataSha1)
    return `chunk ${chunk.id} has content with the SHA-1 ${found.sha1}, the index says ${chunk.dataSha1}`;
  return undefined;
}

type Digest = { length: number; sha1: string };

function digestAtOnce(fd: number, sizeBytes: number, chunk: LastChunk): Digest | string {
  const bytes = Buffer.allocUnsafe(sizeBytes - chunk.offset);
  const read = fs.readSync(fd, bytes, 0, bytes.length, chunk.offset);
  const member = bytes.subarray(0, read);
  const header = decodeMemberHeader(member);
  if (typeof header === 'string') return `its header is ${header}`;
  try {
    // One byte more than there should be shows a chunk that is too long without inflating all of it.
    const content = zlib.inflateRawSync(member.subarray(header.length), {
      maxOutputLength: AT_ONCE_BYTES + 1,
    });
    return { length: content.length, sha1: hash('sha1', content) };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function digestInPieces(fd: number, chunk: LastChunk): Digest | string {
  const sha1 = createHash('sha1');
  let length = 0;
  try {
    for (const piece of readContent(fd, chunk)) {
      sha1.update(piece);
      length += piece.length;
      if (length > chunk.length) return `it has more content than the ${chunk.length} bytes of the index`;
    }
  } catch (error) {
    if (error instanceof BackupError) return error.reason;
    throw error;
  }
  return { length, sha1: sha1.digest('hex') };
}
