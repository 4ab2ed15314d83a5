/**
 * The chunk under construction at the end of a data file: header, deflate segments each ended by a full flush,
 * and at last the trailer (member.ts). Writes go to known offsets and are not synced here; syncing, and its
 * order against the index, is the caller's.
 */
import { createHash, type Hash } from 'node:crypto';
import { fstatSync, ftruncateSync } from 'node:fs';
import { crc32, crc32Combine } from '../../platform/crc32.ts';
import { type DeflateEngine, maxDeflatedLength } from '../../platform/deflate.ts';
import { writeAllSync } from '../../platform/durable.ts';
import { BackupError } from '../../platform/errors.ts';
import { ioError } from '../../platform/io-error.ts';
import { forgetPages } from '../../platform/page-cache.ts';
import type { ResumableSha1 } from '../../platform/sha1.ts';
import { FastTools, readFastStart } from './fast-member.ts';
import { hashRange } from './hash-range.ts';
import { Inflater } from './inflater.ts';
import {
  CHUNK_START,
  decodeMemberHeader,
  encodeMemberHeader,
  encodeTrailer,
  MAX_HEADER_BYTES,
} from './member.ts';
import { FileWindow } from './window.ts';

/** Text given by appendRaw() is compressed in segments of at most this many bytes. */
export const GATHER_BYTES = 256 * 1024;

/** segmentStarts() names the first segment that begins at or after every so many bytes of content. */
export const SEGMENT_START_SPACING_BYTES = 256 * 1024;

/**
 * A chunk that grows long has its pages forgotten each time it is so much longer: writing to memory that has just been given back
 * takes a quarter of the time that writing to other memory takes, and nothing else loses its place in the page cache.
 */
const FORGET_EVERY_BYTES = 8 * 1024 * 1024;
/** How far back: so much the disk may be behind. */
const FORGET_BYTES = 64 * 1024 * 1024;
const PAGE_BYTES = 4096;

/** A place where a segment begins: offset in the chunk's content, offset in the file. */
export interface SegmentStart {
  contentOffset: number;
  fileOffset: number;
}

export interface ChunkWriterOptions {
  /** Open for writing, locked by the caller. */
  fd: number;
  /** Where the member begins; what lies behind it in the file is overwritten. */
  fileEnd: number;
  /** SHA-1 of the file's bytes before `fileEnd`. The writer clones it. */
  fileSha1: ResumableSha1;
  engine: DeflateEngine;
  /** bootTag() of src/platform/boot.ts. */
  bootTag: Uint8Array;
  /** Path for error messages. */
  path?: string;
  /** What is written will not be read soon: long chunks are not to fill the page cache. */
  forgetsPages?: boolean;
}

/** A state to which rollback() returns. It stays valid until the chunk is finished. */
export interface ChunkMark {
  readonly contentLength: number;
  readonly state: ChunkState;
  /** Gathered text that was not in the file yet. */
  readonly gathered: Uint8Array;
}

/** What is known about the part of the member that is in the file. */
interface ChunkState {
  fileEnd: number;
  written: number;
  crc32: number;
  contentSha1: Hash;
  fileSha1: ResumableSha1;
  nextStartAt: number;
  finished: boolean;
}

export interface FinishedChunk {
  /** Of the member in the file. */
  offset: number;
  /** Length of the content. */
  length: number;
  /** SHA-1 of the content, hex. */
  dataSha1: string;
  crc32: number;
  /** File offset at which the trailer goes. */
  trailerOffset: number;
  trailer: Uint8Array;
  fileEndAfterTrailer: number;
  /** ResumableSha1 state of all bytes of the file, trailer included. */
  fileSha1StateAfterTrailer: Uint8Array;
}

const scratch = new Uint8Array(maxDeflatedLength(GATHER_BYTES));

export class ChunkWriter {
  /** File offset of the member. */
  readonly memberOffset: number;
  /** SHA-1 of all bytes of the file before the member, hex. */
  readonly fileSha1Hex: string;
  readonly #fd: number;
  readonly #path: string;
  readonly #engine: DeflateEngine;
  readonly #forgetsPages: boolean;
  readonly #header: Uint8Array;
  #state: ChunkState;
  #gathered: Uint8Array[] = [];
  #gatheredBytes = 0;
  #starts: SegmentStart[] = [];
  /** End of what was forgotten. */
  #forgotten: number;

  constructor(options: ChunkWriterOptions) {
    this.#fd = options.fd;
    this.#path = options.path ?? `the data file (descriptor ${options.fd})`;
    this.#engine = options.engine;
    this.#forgetsPages = options.forgetsPages ?? false;
    this.#header = encodeMemberHeader(options.bootTag);
    this.memberOffset = options.fileEnd;
    this.#forgotten = options.fileEnd;
    this.fileSha1Hex = options.fileSha1.digestHex();
    this.#state = {
      fileEnd: options.fileEnd,
      written: 0,
      crc32: 0,
      contentSha1: createHash('sha1'),
      fileSha1: options.fileSha1.clone(),
      nextStartAt: SEGMENT_START_SPACING_BYTES,
      finished: false,
    };
    this.#gather(CHUNK_START);
  }

  /**
   * Goes on in the unfinished member at `options.fileEnd`, which is good up to `cut`: a flush point behind a
   * complete line, as the scan reports them. The file is cut there; the states are computed from the content
   * again. segmentStarts() then names those of the whole member.
   *
   * @throws BackupError CHUNK_CORRUPT if `cut` is no flush point of that member.
   */
  static resume(options: ChunkWriterOptions, cut: SegmentStart): ChunkWriter {
    const writer = new ChunkWriter(options);
    writer.#readBack(cut);
    return writer;
  }

  /** Bytes of content so far, gathered text and the chunk's first line included. */
  get contentLength(): number {
    return this.#state.written + this.#gatheredBytes;
  }

  /** End of what is in the file. */
  get fileEnd(): number {
    return this.#state.fileEnd;
  }

  /** Nothing but the chunk's first line so far. */
  get empty(): boolean {
    return this.contentLength === CHUNK_START.length;
  }

  /**
   * SHA-1 state of all bytes of the file up to `fileEnd` (see ResumableSha1.save): with it the next open need
   * not read the unfinished member's compressed bytes again.
   */
  fileSha1State(): Uint8Array {
    return this.#state.fileSha1.save();
  }

  /** Adds text, which is copied. It is compressed with its neighbours at flush() or when there is enough of it. */
  appendRaw(bytes: Uint8Array): void {
    this.#assertOpen();
    for (let from = 0; from < bytes.length; ) {
      const length = Math.min(bytes.length - from, GATHER_BYTES - this.#gatheredBytes);
      this.#gather(bytes.subarray(from, from + length));
      from += length;
      if (this.#gatheredBytes === GATHER_BYTES) this.#writeGathered();
    }
  }

  /**
   * Adds a ready segment: raw deflate of `raw`, ended by a full flush; `crc32` is that of `raw`. It is written
   * at once, behind the text gathered before it; both arrays may be reused afterwards.
   */
  appendSegment(deflated: Uint8Array, raw: Uint8Array, crc32: number): void {
    this.#assertOpen();
    this.#writeGathered();
    this.#writeSegment(deflated, raw, crc32);
  }

  /** Everything appended is in the file as complete segments: written, not synced. An empty chunk stays unwritten. */
  flush(): void {
    if (!this.empty) this.#writeGathered();
  }

  mark(): ChunkMark {
    const { contentSha1, fileSha1 } = this.#state;
    return {
      contentLength: this.contentLength,
      state: { ...this.#state, contentSha1: contentSha1.copy(), fileSha1: fileSha1.clone() },
      gathered: Buffer.concat(this.#gathered, this.#gatheredBytes),
    };
  }

  /** Back to `mark`: the file is cut to what it held then. Segment starts behind it are forgotten if not drained. */
  rollback(mark: ChunkMark): void {
    const { contentSha1, fileSha1 } = mark.state;
    this.#truncate(mark.state.fileEnd);
    this.#forgotten = Math.min(this.#forgotten, mark.state.fileEnd);
    this.#state = { ...mark.state, contentSha1: contentSha1.copy(), fileSha1: fileSha1.clone() };
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#gather(mark.gathered);
    this.#starts = this.#starts.filter((start) => start.contentOffset < mark.contentLength);
  }

  /**
   * Segment starts since the last call: the first at or after every SEGMENT_START_SPACING_BYTES of content. Each
   * is a place from which the content can be inflated. Call it after flush(), for what will not be rolled back.
   */
  segmentStarts(): SegmentStart[] {
    const starts = this.#starts;
    this.#starts = [];
    return starts;
  }

  /** Flushes, and says what the chunk is. The trailer goes into the file by writeTrailer(), when the index is synced. */
  finish(): FinishedChunk {
    if (this.empty) throw this.#misuse('it has no lines');
    if (!this.#state.finished) this.#writeGathered();
    this.#state.finished = true;
    const { written, crc32, contentSha1, fileSha1, fileEnd } = this.#state;
    const trailer = encodeTrailer(crc32, written);
    return {
      offset: this.memberOffset,
      length: written,
      dataSha1: contentSha1.copy().digest('hex'),
      crc32,
      trailerOffset: fileEnd,
      trailer,
      fileEndAfterTrailer: fileEnd + trailer.length,
      fileSha1StateAfterTrailer: fileSha1.clone().update(trailer).save(),
    };
  }

  /** Writes the trailer behind the finished chunk and cuts the file behind it; not synced. */
  writeTrailer(): void {
    if (!this.#state.finished) throw this.#misuse('finish() was not called');
    const end = this.#write([encodeTrailer(this.#state.crc32, this.#state.written)], this.#state.fileEnd);
    this.#truncate(end);
  }

  /** Cuts the file to what it was before the chunk; the writer is of no use afterwards. */
  discard(): void {
    this.#truncate(this.memberOffset);
    this.#state.finished = true;
  }

  #gather(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    // A copy, and not a view of what may lie in a SharedArrayBuffer that is reused.
    this.#gathered.push(Uint8Array.from(bytes));
    this.#gatheredBytes += bytes.length;
  }

  #writeGathered(): void {
    if (this.#gatheredBytes === 0) return;
    const raw = this.#gathered.length === 1 ? this.#gathered[0]! : Buffer.concat(this.#gathered);
    const length = this.#engine.deflateSegment(raw, scratch);
    this.#writeSegment(scratch.subarray(0, length), raw, crc32(raw));
    this.#gathered = [];
    this.#gatheredBytes = 0;
  }

  #writeSegment(deflated: Uint8Array, raw: Uint8Array, crc: number): void {
    if (raw.length === 0) return;
    const state = this.#state;
    const first = state.written === 0;
    const start = state.fileEnd + (first ? this.#header.length : 0);
    const end = this.#write(first ? [this.#header, deflated] : [deflated], state.fileEnd);
    if (first) state.fileSha1.update(this.#header);
    state.fileSha1.update(deflated);
    this.#noteStart({ contentOffset: state.written, fileOffset: start });
    this.#account(raw, crc);
    state.fileEnd = end;
    if (this.#forgetsPages && end - this.#forgotten > FORGET_EVERY_BYTES) this.#forget(end);
  }

  /** Begins to write what is not on disk, and finds it written at a later call. The page at the end is still used. */
  #forget(end: number): void {
    const to = end - (end % PAGE_BYTES);
    forgetPages(this.#fd, Math.max(this.memberOffset, to - FORGET_BYTES), to);
    this.#forgotten = to;
  }

  #noteStart(start: SegmentStart): void {
    if (start.contentOffset < this.#state.nextStartAt) return;
    this.#starts.push(start);
    this.#state.nextStartAt = start.contentOffset + SEGMENT_START_SPACING_BYTES;
  }

  #account(raw: Uint8Array, crc: number): void {
    const state = this.#state;
    state.contentSha1.update(raw);
    state.crc32 = crc32Combine(state.crc32, crc, raw.length);
    state.written += raw.length;
  }

  /** After a failed write the file is as before: what the disk took of it is cut off. */
  #write(buffers: Uint8Array[], position: number): number {
    try {
      return writeAllSync(this.#fd, buffers, position);
    } catch (error) {
      this.#truncate(position);
      throw ioError(error, 'append to', this.#path);
    }
  }

  /** To cut a file to the length that it has costs ten times as much as to ask for its length. */
  #truncate(length: number): void {
    try {
      if (fstatSync(this.#fd).size !== length) ftruncateSync(this.#fd, length);
    } catch (error) {
      throw ioError(error, 'cut', this.#path);
    }
  }

  #readBack(cut: SegmentStart): void {
    if (!this.#readBackFast(cut)) this.#readBackExactly(cut);
    this.#gathered = [];
    this.#gatheredBytes = 0;
    // A start at the very end belongs to the segment that is written next, and is noted then.
    this.#starts = this.#starts.filter((known) => known.fileOffset < cut.fileOffset);
    this.#state.nextStartAt = (this.#starts.at(-1)?.contentOffset ?? 0) + SEGMENT_START_SPACING_BYTES;
    this.#truncate(cut.fileOffset);
    this.#state.fileEnd = cut.fileOffset;
  }

  /** By native code; false, and as if nothing had been read, if that does not come to the cut. */
  #readBackFast(cut: SegmentStart): boolean {
    const state = this.#state;
    const contentSha1 = createHash('sha1');
    const starts: SegmentStart[] = [];
    const events = {
      content: (bytes: Uint8Array) => void contentSha1.update(bytes),
      segmentStart: (start: SegmentStart) => void starts.push(start),
    };
    const read = readFastStart(this.#fd, this.memberOffset, cut.fileOffset, events, new FastTools());
    if (read === undefined || !('segmentEnd' in read)) return false;
    if (read.segmentEnd !== cut.fileOffset || read.contentLength !== cut.contentOffset) return false;
    hashRange(this.#fd, this.memberOffset, cut.fileOffset, state.fileSha1);
    state.contentSha1 = contentSha1;
    state.crc32 = read.crc32;
    state.written = read.contentLength;
    for (const start of starts) this.#noteStart(start);
    return true;
  }

  #readBackExactly(cut: SegmentStart): void {
    const state = this.#state;
    const window = new FileWindow(this.#fd, this.memberOffset, cut.fileOffset);
    window.fill(MAX_HEADER_BYTES);
    const header = decodeMemberHeader(window.bytes.subarray(window.start, window.end));
    if (typeof header === 'string') throw this.#badCut(cut, 'no member begins there');
    let start: SegmentStart = { contentOffset: 0, fileOffset: this.memberOffset + header.length };
    const inflater = new Inflater({
      content: (bytes) => this.#account(bytes, crc32(bytes)),
      flushPoint: (position) => {
        start = { contentOffset: state.written, fileOffset: window.fileOffsetOf(position) };
        this.#noteStart(start);
      },
    });
    state.fileSha1.update(window.bytes.subarray(window.start, window.start + header.length));
    window.start += header.length;
    while (inflater.status === 'input' || inflater.status === 'full') {
      window.fill();
      const next = inflater.run(window.bytes, window.start, window.end);
      if (next === window.start && inflater.status === 'input' && window.atEnd) break;
      state.fileSha1.update(window.bytes.subarray(window.start, next));
      window.start = next;
    }
    if (start.fileOffset !== cut.fileOffset || state.written !== cut.contentOffset) {
      throw this.#badCut(cut, `its last flush point before is at ${start.fileOffset}`);
    }
  }

  #badCut(cut: SegmentStart, reason: string): BackupError {
    return new BackupError({
      code: 'CHUNK_CORRUPT',
      tried: 'go on in',
      subject: `${this.#path}, the chunk at ${this.memberOffset} up to ${cut.fileOffset}`,
      reason,
      remedy: 'Run csync-backup verify on this backup',
    });
  }

  #assertOpen(): void {
    if (this.#state.finished) throw this.#misuse('it is finished');
  }

  #misuse(reason: string): BackupError {
    return new BackupError({
      code: 'INTERNAL',
      tried: 'write the chunk of',
      subject: this.#path,
      reason,
      remedy: 'Report this',
    });
  }
}
