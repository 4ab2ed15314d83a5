/** The bytes of one message of a backup, as a stream. */
import { createHash } from 'node:crypto';
import { LineParser } from '../csync/line-parser.ts';
import { BackupError } from '../platform/errors.ts';
import type { ContentReader } from './chunk/content-reader.ts';
import { type ChunkPlace, readContent } from './chunk/reader.ts';
import type { BackupIndex, MessageLocation } from './index/backup-index.ts';

/** Reads many messages of one backup; cheapest in about the order in which they were stored. */
export interface MessageReader {
  content: ContentReader;
  lines: LinePlaces;
}

/**
 * Reads the message and compares its SHA-1 with its GUID. A piece is valid until the next is asked for.
 *
 * @param reader what reads other messages of the backup too
 * @throws BackupError CHUNK_CORRUPT where the chunk is damaged, or behind the last piece if the bytes are not
 *   what the GUID says.
 */
export function* readMessage(
  fd: number,
  index: BackupIndex,
  location: MessageLocation,
  path?: string,
  reader?: MessageReader,
): Generator<Uint8Array, void> {
  const hash = createHash('sha1');
  for (const piece of pieces(fd, index, location, path, reader)) {
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
  reader: MessageReader | undefined,
): Generator<Uint8Array, void> {
  const { chunk, lineOffset, contentOffset, size } = location;
  const placeAt = (offset: number): ChunkPlace => {
    return { offset: chunk.offset, start: index.segmentBefore(chunk.id, offset), path };
  };
  if (contentOffset !== undefined && placesAreCurrent(index, chunk.offset)) {
    const place = placeAt(contentOffset);
    return reader?.content.read(place, contentOffset, size) ?? readContent(fd, place, contentOffset, size);
  }
  const place = placeAt(lineOffset);
  const at = reader?.lines.find(fd, place, location);
  // The whole line was inflated to find it, so the message is best read from there on.
  if (at !== undefined) return reader!.content.read(placeAt(at), at, size);
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

/** More than sync_client sends in a line; a hostile one costs no more memory than this. */
const MAX_PLACES = 100_000;

/** Lines that are remembered. */
const MAX_LINES = 8;

/** Where the messages of the lines that were looked at lately begin, so that many of one line cost one pass over it. */
export class LinePlaces {
  readonly #lines = new Map<string, Map<string, number>>();

  /** Content offset of the message; undefined if the line is damaged before it, or does not have it. */
  find(fd: number, place: ChunkPlace, { chunk, lineOffset, guid }: MessageLocation): number | undefined {
    const line = `${chunk.offset}:${lineOffset}`;
    let places = this.#lines.get(line);
    if (places === undefined) {
      places = placesInLine(fd, place, lineOffset);
      for (const oldest of this.#lines.keys()) {
        if (this.#lines.size < MAX_LINES) break;
        this.#lines.delete(oldest);
      }
      this.#lines.set(line, places);
    }
    return places.get(guid);
  }
}

function placesInLine(fd: number, place: ChunkPlace, lineOffset: number): Map<string, number> {
  const places = new Map<string, number>();
  let isOver = false;
  const nothing = (): void => {};
  const parser = new LineParser({
    lineStart: nothing,
    beginList: nothing,
    beginKvlist: nothing,
    end: nothing,
    key: nothing,
    scalar: nothing,
    // A message that is twice in the line is the same both times.
    file: ({ guid }, contentOffset) => {
      if (!isOver) places.set(guid, contentOffset);
    },
    lineEnd: () => {
      isOver = true;
    },
    malformed: () => {
      isOver = true;
    },
  });
  parser.reset(lineOffset);
  try {
    for (const piece of readContent(fd, place, lineOffset)) {
      parser.push(piece);
      if (isOver || places.size >= MAX_PLACES) break;
    }
  } catch (error) {
    // What was found before the damage is good; of what was not found searchLine() tells.
    if (!(error instanceof BackupError) || error.code !== 'CHUNK_CORRUPT') throw error;
  }
  return places;
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
