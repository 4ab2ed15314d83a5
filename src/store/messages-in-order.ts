/**
 * Many messages of a backup in the order in which they lie in its data file, so that its chunks are inflated once and
 * not once for each message.
 */
import { createHash } from 'node:crypto';
import { LineParser } from '../csync/line-parser.ts';
import { BackupError } from '../platform/errors.ts';
import { readContent } from './chunk/reader.ts';
import type { BackupIndex, MessageLocation } from './index/backup-index.ts';
import { placesAreCurrent, readMessage } from './stored-message.ts';

export interface ReadMessage {
  location: MessageLocation;
  /** The whole message, checked against its GUID; undefined for one above the limit. */
  bytes?: Buffer;
  /** Why there are none. */
  damage?: BackupError;
}

export interface ReadOptions {
  fd: number;
  index: BackupIndex;
  /** Of the data file, for error messages. */
  path: string;
  /** Longer messages are only named; read them with readMessage(). */
  maxBytes: number;
}

/** @param locations in any order; each comes once, in that of the file */
export function* messagesInOrder(
  locations: readonly MessageLocation[],
  options: ReadOptions,
): Generator<ReadMessage, void> {
  const sorted = [...locations].sort(
    (a, b) => a.chunk.offset - b.chunk.offset || placeOf(a) - placeOf(b) || (a.guid < b.guid ? -1 : 1),
  );
  for (let from = 0; from < sorted.length; ) {
    const { chunk } = sorted[from]!;
    let to = from + 1;
    while (to < sorted.length && sorted[to]!.chunk.offset === chunk.offset) to++;
    yield* ofChunk(sorted.slice(from, to), options);
    from = to;
  }
}

function placeOf({ contentOffset, lineOffset }: MessageLocation): number {
  return contentOffset ?? lineOffset;
}

function* ofChunk(locations: MessageLocation[], options: ReadOptions): Generator<ReadMessage, void> {
  const { index, maxBytes } = options;
  const isCurrent = placesAreCurrent(index, locations[0]!.chunk.offset);
  const cursor = new ContentCursor(options, locations[0]!.chunk);
  const inLines: MessageLocation[] = [];
  for (const location of locations) {
    if (location.size > maxBytes) yield { location };
    else if (!isCurrent || location.contentOffset === undefined) inLines.push(location);
    else {
      const bytes = cursor.read(location.contentOffset, location.size);
      if (bytes !== undefined && isWhole(bytes, location)) {
        yield { location, bytes };
        continue;
      }
      // Behind damage it counts wrongly; from the next segment start on it is right again.
      cursor.close();
      yield again(location, options);
    }
  }
  cursor.close();
  if (inLines.length > 0) yield* fromLines(inLines, options);
}

/** By itself, which says what is wrong, and has a second way of reading. */
function again(location: MessageLocation, { fd, index, path }: ReadOptions): ReadMessage {
  const bytes = Buffer.allocUnsafe(location.size);
  try {
    let at = 0;
    for (const piece of readMessage(fd, index, location, path)) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return { location, bytes: bytes.subarray(0, at) };
  } catch (error) {
    if (!(error instanceof BackupError) || error.code !== 'CHUNK_CORRUPT') throw error;
    return { location, damage: error };
  }
}

function isWhole(bytes: Buffer, { guid }: MessageLocation): boolean {
  return createHash('sha1').update(bytes).digest('hex') === guid;
}

/** So far reading on is cheaper than looking for a segment start. */
const NEAR_BYTES = 64 * 1024;

/** Content of one chunk, read forward; goes back to a segment start only where that is nearer. */
class ContentCursor {
  readonly #options: ReadOptions;
  readonly #chunk: MessageLocation['chunk'];
  #pieces: Generator<Uint8Array, void> | undefined;
  #piece: Uint8Array = Buffer.alloc(0);
  /** Offset in the content of the first byte of `#piece`. */
  #at = 0;

  constructor(options: ReadOptions, chunk: MessageLocation['chunk']) {
    this.#options = options;
    this.#chunk = chunk;
  }

  /** A copy; undefined where the content ends before, or is damaged. */
  read(offset: number, size: number): Buffer | undefined {
    const bytes = Buffer.allocUnsafe(size);
    try {
      this.#goTo(offset);
      for (let filled = 0; filled < size; ) {
        if (this.#piece.length === 0 && !this.#next()) return undefined;
        const part = this.#piece.subarray(0, size - filled);
        bytes.set(part, filled);
        filled += part.length;
        this.#pass(part.length);
      }
      return bytes;
    } catch (error) {
      if (!(error instanceof BackupError)) throw error;
      this.close();
      return undefined;
    }
  }

  close(): void {
    this.#pieces?.return();
    this.#pieces = undefined;
    this.#piece = Buffer.alloc(0);
  }

  #goTo(offset: number): void {
    const isNear = this.#pieces !== undefined && this.#at <= offset && offset - this.#at <= NEAR_BYTES;
    if (!isNear) this.#open(offset);
    while (this.#at < offset) {
      if (this.#piece.length === 0 && !this.#next()) return;
      this.#pass(Math.min(this.#piece.length, offset - this.#at));
    }
  }

  #open(offset: number): void {
    const { fd, index, path } = this.#options;
    const start = index.segmentBefore(this.#chunk.id, offset);
    if (this.#pieces !== undefined && this.#at <= offset && (start?.contentOffset ?? 0) <= this.#at) return;
    this.close();
    this.#pieces = readContent(fd, { offset: this.#chunk.offset, start, path }, offset);
    this.#at = offset;
  }

  #pass(count: number): void {
    this.#piece = this.#piece.subarray(count);
    this.#at += count;
  }

  #next(): boolean {
    const { value, done } = this.#pieces!.next();
    if (done === true || value === undefined) return false;
    this.#piece = value;
    return true;
  }
}

/** Where Cyrus made the rows, which name only the MESSAGE line: one pass from the first line to the last. */
function* fromLines(locations: MessageLocation[], options: ReadOptions): Generator<ReadMessage, void> {
  const { fd, index, path } = options;
  const wanted = new Map(locations.map((location) => [location.guid, location]));
  const { chunk, lineOffset } = locations.reduce((a, b) => (a.lineOffset <= b.lineOffset ? a : b));
  let found: ReadMessage[] = [];
  let open: { location: MessageLocation; bytes: Buffer; filled: number } | undefined;
  let isLost = false;
  const nothing = (): void => {};
  const parser = new LineParser({
    lineStart: nothing,
    lineEnd: nothing,
    beginList: nothing,
    beginKvlist: nothing,
    end: nothing,
    key: nothing,
    scalar: nothing,
    file: ({ guid, size }) => {
      const location = wanted.get(guid);
      open = location && { location, bytes: Buffer.allocUnsafe(size), filled: 0 };
    },
    fileBytes: (bytes, start, end) => {
      if (open === undefined) return;
      open.bytes.set(bytes.subarray(start, end), open.filled);
      open.filled += end - start;
    },
    fileEnd: () => {
      if (open === undefined) return;
      const { location, bytes } = open;
      open = undefined;
      // An older copy may be damaged where a newer one is not.
      if (!isWhole(bytes, location)) return;
      wanted.delete(location.guid);
      found.push({ location, bytes });
    },
    malformed: () => {
      isLost = true;
    },
  });
  parser.reset(lineOffset);
  const place = { offset: chunk.offset, start: index.segmentBefore(chunk.id, lineOffset), path };
  const pieces = readContent(fd, place, lineOffset);
  try {
    for (const piece of pieces) {
      parser.push(piece);
      yield* found;
      found = [];
      if (wanted.size === 0 || isLost) break;
    }
  } catch (error) {
    if (!(error instanceof BackupError) || error.code !== 'CHUNK_CORRUPT') throw error;
  }
  for (const location of wanted.values()) yield again(location, options);
}
