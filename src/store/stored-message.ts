/** The bytes of one message of a backup, as a stream. */
import { createHash } from 'node:crypto';
import { LineParser } from '../csync/line-parser.ts';
import { BackupError } from '../platform/errors.ts';
import { type ChunkPlace, readContent } from './chunk/reader.ts';
import type { BackupIndex, MessageLocation } from './index/backup-index.ts';

/**
 * Reads the message and compares its SHA-1 with its GUID. A piece is valid until the next is asked for.
 *
 * @throws BackupError CHUNK_CORRUPT where the chunk is damaged, or behind the last piece if the bytes are not
 *   what the GUID says.
 */
export function* readMessage(
  fd: number,
  index: BackupIndex,
  location: MessageLocation,
  path?: string,
): Generator<Uint8Array, void> {
  const hash = createHash('sha1');
  for (const piece of pieces(fd, index, location, path)) {
    hash.update(piece);
    yield piece;
  }
  const actual = hash.digest('hex');
  if (actual !== location.guid) throw damaged(location, path, `the SHA-1 of its bytes is ${actual}`);
}

function pieces(
  fd: number,
  index: BackupIndex,
  location: MessageLocation,
  path: string | undefined,
): Generator<Uint8Array, void> {
  const { chunk, lineOffset, contentOffset, size } = location;
  if (contentOffset !== undefined && placesAreCurrent(index, chunk.offset)) {
    const place = { offset: chunk.offset, start: index.segmentBefore(chunk.id, contentOffset), path };
    return readContent(fd, place, contentOffset, size);
  }
  const place = { offset: chunk.offset, start: index.segmentBefore(chunk.id, lineOffset), path };
  return searchLine(fd, place, location, path);
}

/**
 * Whether what our own tables say of places in this chunk holds: Cyrus does not know these tables, so it does
 * not change them when it stores a message again in a chunk that it appends.
 */
export function placesAreCurrent(index: BackupIndex, chunkOffset: number): boolean {
  const state = index.state();
  return state !== undefined && chunkOffset < state.committedEnd;
}

/** Where Cyrus made the row it names only the MESSAGE line, which may hold many messages. */
function* searchLine(
  fd: number,
  place: ChunkPlace,
  location: MessageLocation,
  path: string | undefined,
): Generator<Uint8Array, void> {
  const search: { state: 'before' | 'inside' | 'behind' | 'lost' } = { state: 'before' };
  let found: Uint8Array[] = [];
  const nothing = (): void => {};
  const parser = new LineParser({
    lineStart: nothing,
    beginList: nothing,
    beginKvlist: nothing,
    end: nothing,
    key: nothing,
    scalar: nothing,
    file: ({ guid }) => {
      if (search.state === 'before' && guid === location.guid) search.state = 'inside';
    },
    fileBytes: (bytes, start, end) => {
      if (search.state === 'inside') found.push(bytes.subarray(start, end));
    },
    fileEnd: () => {
      if (search.state === 'inside') search.state = 'behind';
    },
    lineEnd: () => {
      if (search.state === 'before') search.state = 'lost';
    },
    malformed: () => {
      if (search.state !== 'behind') search.state = 'lost';
    },
  });
  parser.reset(location.lineOffset);
  for (const piece of readContent(fd, place, location.lineOffset)) {
    parser.push(piece);
    yield* found;
    found = [];
    if (search.state === 'behind' || search.state === 'lost') break;
  }
  if (search.state !== 'behind') {
    throw damaged(location, path, `it is not in the line at ${location.lineOffset} of the chunk's content`);
  }
}

function damaged(location: MessageLocation, path: string | undefined, reason: string): BackupError {
  return new BackupError({
    code: 'CHUNK_CORRUPT',
    tried: 'read',
    subject: `message ${location.guid}${path === undefined ? '' : ` of ${path}`}`,
    reason,
    remedy: 'Run csync-backup verify on this backup',
  });
}
