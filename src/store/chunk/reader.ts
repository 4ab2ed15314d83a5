/** Reading the content of chunks, from their start or from a segment start, in pieces of at most about 256 KiB. */
import { BackupError } from '../../platform/errors.ts';
import { Inflater } from './inflater.ts';
import { decodeMemberHeader, MAX_HEADER_BYTES } from './member.ts';
import { FileWindow } from './window.ts';
import type { SegmentStart } from './writer.ts';

/** Less is read ahead when one message is wanted than when a whole chunk is. */
const WINDOW_BYTES = 64 * 1024;

export interface ChunkPlace {
  /** Of the member in the file. */
  offset: number;
  /** End of the bytes that may belong to it: the next member, or the end of the file (the default). */
  end?: number;
  /** A segment start at or before what is to be read; without it the member is inflated from its start. */
  start?: SegmentStart;
  /** Of the data file, for error messages. */
  path?: string;
}

/**
 * Content of the chunk from `from` on: `length` bytes, or all up to its end. An unfinished chunk has all its
 * complete segments.
 *
 * Each piece is valid until the next is asked for.
 *
 * @throws BackupError CHUNK_CORRUPT where the stream is damaged, or ends before `length` bytes.
 */
export function* readContent(
  fd: number,
  chunk: ChunkPlace,
  from = 0,
  length = Number.POSITIVE_INFINITY,
): Generator<Uint8Array, void> {
  const window = new FileWindow(
    fd,
    chunk.offset,
    chunk.end ?? Number.POSITIVE_INFINITY,
    new Uint8Array(WINDOW_BYTES),
  );
  let at = 0;
  if (chunk.start !== undefined && chunk.start.contentOffset <= from) {
    at = chunk.start.contentOffset;
    window.seek(chunk.start.fileOffset);
  } else {
    window.fill(MAX_HEADER_BYTES);
    const header = decodeMemberHeader(window.bytes.subarray(window.start, window.end));
    if (typeof header === 'string') throw corrupt(chunk, `no chunk begins there: its header is ${header}`);
    window.start += header.length;
  }
  const end = from + length;
  let pieces: Uint8Array[] = [];
  const inflater = new Inflater({ content: (bytes) => pieces.push(bytes), flushPoint: () => {} });
  while (at < end) {
    window.fill();
    const next = inflater.run(window.bytes, window.start, window.end);
    const progress = next > window.start || pieces.length > 0;
    window.start = next;
    for (const piece of pieces) {
      const first = Math.max(from - at, 0);
      const last = Math.min(piece.length, end - at);
      if (first < last) yield piece.subarray(first, last);
      at += piece.length;
    }
    pieces = [];
    if (inflater.status === 'error') {
      throw corrupt(
        chunk,
        `its stream is damaged at byte ${window.offset} of the file, ${at} of the content`,
      );
    }
    if (inflater.status === 'end' || (!progress && window.atEnd)) break;
  }
  if (at < end && length !== Number.POSITIVE_INFINITY) {
    throw corrupt(chunk, `its content ends at ${at}, but ${end} bytes of it are needed`);
  }
}

function corrupt(chunk: ChunkPlace, reason: string): BackupError {
  return new BackupError({
    code: 'CHUNK_CORRUPT',
    tried: 'read',
    subject: `the chunk at ${chunk.offset}${chunk.path === undefined ? '' : ` of ${chunk.path}`}`,
    reason,
    remedy: 'Run csync-backup verify on this backup',
  });
}
