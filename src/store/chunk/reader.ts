/** Reading the content of chunks, from their start or from a segment start, in pieces of at most about 256 KiB. */
import { BackupError } from '../../platform/errors.ts';
import { type InflateStream, newInflateStream } from '../../platform/inflate-stream.ts';
import { Inflater } from './inflater.ts';
import { decodeMemberHeader, MAX_HEADER_BYTES } from './member.ts';
import { FileWindow } from './window.ts';
import type { SegmentStart } from './writer.ts';

/** Less is read ahead when one message is wanted than when a whole chunk is. */
const WINDOW_BYTES = 64 * 1024;
const OUTPUT_BYTES = 256 * 1024;

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
  const tools = free.pop() ?? newTools();
  if (tools === undefined) {
    yield* readExactly(fd, chunk, from, length);
    return;
  }
  const end = from + length;
  let at = from;
  try {
    for (const piece of readFast(fd, chunk, from, end, tools)) {
      yield piece;
      at += piece.length;
    }
  } finally {
    if (free.length < MAX_FREE) free.push(tools);
  }
  // It ends too early: because it is damaged, torn, or because it is no longer. The other way can tell.
  if (at < end && !tools.isAtEnd) yield* readExactly(fd, chunk, at, end - at);
  else if (at < end && length !== Number.POSITIVE_INFINITY) throw tooShort(chunk, at, end);
}

/** Native code, and its buffers. Several readings can be under way in a thread. */
interface Tools {
  stream: InflateStream;
  window: Uint8Array<ArrayBuffer>;
  output: Uint8Array;
  /** The last reading came to the end of the chunk's stream. */
  isAtEnd: boolean;
}

const free: Tools[] = [];
const MAX_FREE = 4;

function newTools(): Tools | undefined {
  const stream = newInflateStream();
  if (stream === undefined) return undefined;
  const [window, output] = [new Uint8Array(WINDOW_BYTES), new Uint8Array(OUTPUT_BYTES)];
  return { stream, window, output, isAtEnd: false };
}

/** Content from `from` to `end`, or less if the stream ends (see `isAtEnd`) or is damaged. */
function* readFast(
  fd: number,
  chunk: ChunkPlace,
  from: number,
  end: number,
  tools: Tools,
): Generator<Uint8Array, void> {
  const { stream, output } = tools;
  tools.isAtEnd = false;
  const { window, contentOffset } = openWindow(fd, chunk, from, tools.window);
  let at = contentOffset;
  stream.reset();
  while (at < end) {
    if (window.start === window.end && window.fill() === 0) {
      tools.isAtEnd = stream.isAtEnd();
      return;
    }
    const room = output.subarray(0, Math.min(end - at, output.length));
    const { state, consumed, produced } = stream.run(window.bytes.subarray(window.start, window.end), room);
    window.start += consumed;
    if (state === 'error') return;
    tools.isAtEnd = state === 'end';
    const first = Math.max(from - at, 0);
    at += produced;
    if (first < produced) yield output.subarray(first, produced);
    if (tools.isAtEnd) return;
  }
}

/** The place from which to inflate, and the offset in the content to which it belongs. */
function openWindow(
  fd: number,
  chunk: ChunkPlace,
  from: number,
  buffer: Uint8Array<ArrayBuffer>,
): { window: FileWindow; contentOffset: number } {
  const window = new FileWindow(fd, chunk.offset, chunk.end ?? Number.POSITIVE_INFINITY, buffer);
  if (chunk.start !== undefined && chunk.start.contentOffset <= from) {
    window.seek(chunk.start.fileOffset);
    return { window, contentOffset: chunk.start.contentOffset };
  }
  window.fill(MAX_HEADER_BYTES);
  const header = decodeMemberHeader(window.bytes.subarray(window.start, window.end));
  if (typeof header === 'string') throw corrupt(chunk, `no chunk begins there: its header is ${header}`);
  window.start += header.length;
  return { window, contentOffset: 0 };
}

/** By the inflater that says where it is: all that is good of a damaged chunk, and then what is wrong with it. */
function* readExactly(
  fd: number,
  chunk: ChunkPlace,
  from: number,
  length: number,
): Generator<Uint8Array, void> {
  const { window, contentOffset } = openWindow(fd, chunk, from, new Uint8Array(WINDOW_BYTES));
  let at = contentOffset;
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
    // Damage behind what is wanted does no harm.
    if (at < end && inflater.status === 'error') {
      throw corrupt(
        chunk,
        `its stream is damaged at byte ${window.offset} of the file, ${at} of the content`,
      );
    }
    if (inflater.status === 'end' || (!progress && window.atEnd)) break;
  }
  if (at < end && length !== Number.POSITIVE_INFINITY) throw tooShort(chunk, at, end);
}

function tooShort(chunk: ChunkPlace, at: number, end: number): BackupError {
  return corrupt(chunk, `its content ends at ${at}, but ${end} bytes of it are needed`);
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
