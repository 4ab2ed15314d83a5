/**
 * The quick check that goes with `list` and `stat`: whether the last whole chunk is what the index says. What lies
 * before it is left to verify, so the cost is that of the last chunk, not of the file.
 */
import { createHash } from 'node:crypto';
import { BackupError } from '../platform/errors.ts';
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

/**
 * What is wrong with the chunk; undefined if it is as it should be.
 *
 * @param sizeBytes of the data file
 */
export function checkLastChunk(fd: number, sizeBytes: number, chunk: LastChunk): string | undefined {
  if (chunk.offset >= sizeBytes)
    return `chunk ${chunk.id} should begin at ${chunk.offset}, but the file ends at ${sizeBytes}`;
  const found = digest(fd, chunk);
  if (typeof found === 'string') return `chunk ${chunk.id}: ${found}`;
  if (found.length !== chunk.length)
    return `chunk ${chunk.id} has ${found.length} bytes of content, the index says ${chunk.length}`;
  if (found.sha1 !== chunk.dataSha1)
    return `chunk ${chunk.id} has content with the SHA-1 ${found.sha1}, the index says ${chunk.dataSha1}`;
  return undefined;
}

/** Length and SHA-1 of the content, or why it cannot be read. */
function digest(fd: number, chunk: LastChunk): { length: number; sha1: string } | string {
  const sha1 = createHash('sha1');
  let length = 0;
  try {
    for (const piece of readContent(fd, { offset: chunk.offset })) {
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
