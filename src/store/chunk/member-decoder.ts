/** Decodes one member as far as it goes, and notes where another one could begin inside it. */
import { createHash, type Hash } from 'node:crypto';
import { readSync } from 'node:fs';
import { LineParser, type LineStart, NO_LINE_EVENTS } from '../../csync/line-parser.ts';
import { crc32 } from '../../platform/crc32.ts';
import { type FastMember, type FastStart, FastTools, readFastStart } from './fast-member.ts';
import { Inflater } from './inflater.ts';
import {
  CHUNK_START,
  decodeFooter,
  decodeMemberHeader,
  endsAsFinished,
  GZIP_FOOTER_BYTES,
  MAX_HEADER_BYTES,
  type MemberHeader,
} from './member.ts';
import { FileWindow, WINDOW_BYTES } from './window.ts';
import { SEGMENT_START_SPACING_BYTES, type SegmentStart } from './writer.ts';

const MAGIC = Buffer.from([0x1f, 0x8b, 8]);
/** Window of the search for the next header. */
const SEARCH_BYTES = 64 * 1024;
/** Enough for a header and for a first deflate block with its code tables. */
const PROBE_BYTES = MAX_HEADER_BYTES + 3072;
/** Places noted between two flush points: more than a killed program can leave; a hostile message may hold any number. */
const MAX_CANDIDATES = 64;
/** Cuts that are kept, the last ones. */
const MAX_CUTS = 65536;

/** How far a member was decoded at some moment. */
export interface Extent {
  /** All bytes before this file offset were used. */
  fileOffset: number;
  contentLength: number;
  /** Content offset behind the last complete line. */
  lineEnd: number;
  lines: number;
  /** Seconds, of the last complete line; 0 before the first. */
  lastTime: number;
  contentSha1: Hash;
  /** It was inside a stored block: what stands here is content, byte for byte. */
  isCopied: boolean;
}

/**
 * - `complete`: stream, checksum and length are right.
 * - `mismatch`: the stream ends, but checksum or length are not those in its footer.
 * - `out`: the file ends inside the member; all is good so far.
 * - `error`: what follows is no deflate stream.
 * - `torn-header`, `no-header`: the file ends inside the header, or there is none.
 */
export type Outcome = 'complete' | 'mismatch' | 'out' | 'error' | 'torn-header' | 'no-header';

/** Buffers of a decoder, to be used for one member after the other. */
export class DecoderBuffers {
  /** Absent: everything is decoded by the inflater that says where it is, at a fifth of the speed. */
  readonly fast: FastTools | undefined;
  readonly window: Uint8Array<ArrayBuffer> = new Uint8Array(WINDOW_BYTES);
  readonly inflater: Inflater = new Inflater({ content: () => {}, flushPoint: () => {} });

  constructor(fast: boolean) {
    this.fast = fast ? new FastTools() : undefined;
  }
}

/** Gets the content of a member while it is decoded, so that it need not be inflated again. */
export interface ContentSink {
  /** The next bytes, valid during the call. Of a member that is not complete it may be more than what is good. */
  content?(bytes: Uint8Array): void;
  /** Something is wrong with the member: its content comes again from the start, and what came is to be forgotten. */
  restart?(): void;
}

export class MemberDecoder {
  readonly offset: number;
  outcome: Outcome = 'out';
  header: MemberHeader = { length: 0 };
  /** Behind the footer, if the stream ends. */
  end = 0;
  /** Behind the final block, if the stream ends. */
  streamEnd: number | undefined;
  firstTime = 0;
  malformedLines = 0;
  flushPoint: SegmentStart = { contentOffset: 0, fileOffset: 0 };
  /** Flush points at which the content stands at the end of a line. */
  readonly cuts: SegmentStart[] = [];
  readonly starts: SegmentStart[] = [];
  /** Places behind the last flush point where the header of another chunk stands, in order. */
  readonly candidates: Extent[] = [];
  /**
   * Those before it. They are proven to lie inside the member, but for one chance: torn inside a stored block,
   * it swallowed part of the next member and went on decoding in there.
   */
  readonly earlier: Extent[] = [];
  /** The extent before anything was decoded. */
  readonly nothing: Extent;
  readonly #fd: number;
  readonly #size: number;
  readonly #known: ReadonlySet<number>;
  readonly #tracked: boolean;
  readonly #sink: ContentSink | undefined;
  readonly #window: FileWindow;
  /** Once it is at work. */
  #inflater: Inflater | undefined;
  #lines: LineParser;
  #lineCount = 0;
  #openLineTime = 0;
  #lastTime = 0;
  #contentSha1 = createHash('sha1');
  #contentLength = 0;
  #crc32 = 0;

  /**
   * @param size end of the file
   * @param known offsets at which chunks begin according to the index
   * @param tracked false: only outcome and end are wanted
   * @param sink gets the content, if tracked
   */
  constructor(
    fd: number,
    offset: number,
    size: number,
    known: ReadonlySet<number>,
    tracked: boolean,
    buffers: DecoderBuffers,
    sink?: ContentSink,
  ) {
    this.offset = offset;
    this.#fd = fd;
    this.#size = size;
    this.#known = known;
    this.#tracked = tracked;
    this.#sink = sink;
    this.#window = new FileWindow(fd, offset, size, buffers.window);
    this.#lines = this.#lineCounter();
    this.nothing = this.extent(offset);
    if (buffers.fast !== undefined) {
      const fast = this.#decodeFast(buffers.fast);
      if (fast !== undefined && this.#isDone(fast, buffers.inflater)) return;
      this.#forget();
      sink?.restart?.();
    }
    this.#decode(buffers.inflater);
  }

  /**
   * Decodes the rest of what was not finished, if there is any. Only where the file just ends, and nothing says that another
   * member begins inside, what stands before it is not looked at any closer.
   */
  #isDone(fast: FastMember | FastStart, inflater: Inflater): boolean {
    if ('end' in fast) {
      this.outcome = 'complete';
      this.end = fast.end;
      return true;
    }
    for (const place of this.#known) if (place > this.offset && place < this.#size) return false;
    this.#crc32 = fast.crc32;
    this.flushPoint = { contentOffset: fast.contentLength, fileOffset: fast.segmentEnd };
    this.#window.seek(fast.segmentEnd);
    this.#run(inflater);
    return this.outcome === 'complete' || (this.outcome === 'out' && !this.#mayHideOthers());
  }

  /** Whether the file ends as a finished member does, or what may be another member begins inside. */
  #mayHideOthers(): boolean {
    if (endsAsFinished(this.#fd, this.#size)) return true;
    return this.#tracked && findMemberHeader(this.#fd, this.offset + 1, this.#size) !== undefined;
  }

  #decodeFast(tools: FastTools): FastMember | FastStart | undefined {
    return readFastStart(
      this.#fd,
      this.offset,
      this.#size,
      {
        header: (header) => {
          this.header = header;
        },
        content: (bytes) => this.#content(bytes),
        segmentStart: (start) => this.#noteFlushPoint(start),
      },
      tools,
    );
  }

  /** As if nothing had been decoded yet. */
  #forget(): void {
    this.outcome = 'out';
    this.header = { length: 0 };
    this.end = 0;
    this.streamEnd = undefined;
    this.flushPoint = { contentOffset: 0, fileOffset: 0 };
    this.#window.seek(this.offset);
    this.#lines = this.#lineCounter();
    this.#lineCount = this.#openLineTime = this.#lastTime = this.firstTime = this.malformedLines = 0;
    this.#contentSha1 = createHash('sha1');
    this.#contentLength = this.#crc32 = 0;
    for (const list of [this.starts, this.cuts, this.earlier, this.candidates]) list.length = 0;
  }

  /** How far the decoder has come. */
  extent(fileOffset = this.#window.offset): Extent {
    return {
      fileOffset,
      contentLength: this.#contentLength,
      lineEnd: this.#lines.completeEnd,
      lines: this.#lineCount,
      lastTime: this.#lastTime,
      contentSha1: this.#contentSha1.copy(),
      isCopied: this.#inflater?.isCopying ?? false,
    };
  }

  #lineCounter(): LineParser {
    return new LineParser(
      {
        ...NO_LINE_EVENTS,
        lineStart: (line: LineStart) => {
          this.#openLineTime = line.time;
        },
        lineEnd: () => {
          this.#lineCount++;
          this.#lastTime = this.#openLineTime;
          if (this.#lineCount === 1) this.firstTime = this.#openLineTime;
        },
        malformed: () => {
          this.malformedLines++;
        },
      },
      { maxValueBytes: 1024 },
    );
  }

  #decode(inflater: Inflater): void {
    const window = this.#window;
    window.fill(MAX_HEADER_BYTES + GZIP_FOOTER_BYTES);
    const header = decodeMemberHeader(window.bytes.subarray(window.start, window.end));
    if (typeof header === 'string') {
      this.outcome = header === 'torn' ? 'torn-header' : 'no-header';
      return;
    }
    this.header = header;
    window.start += header.length;
    this.flushPoint = { contentOffset: 0, fileOffset: window.offset };
    this.#run(inflater);
  }

  /** Inflates from the window on. */
  #run(inflater: Inflater): void {
    const window = this.#window;
    this.#inflater = inflater;
    inflater.reset({
      content: (bytes) => {
        this.#crc32 = crc32(bytes, this.#crc32);
        this.#content(bytes);
      },
      flushPoint: (position) => this.#atFlushPoint(window.fileOffsetOf(position)),
    });
    let searched = window.offset;
    while (inflater.status === 'input' || inflater.status === 'full') {
      window.fill();
      // The inflater stops at each place that could be another member, to note how far this one has come.
      const candidate = this.#tracked ? this.#findMagic(searched) : undefined;
      const stop = candidate ?? (window.atEnd ? window.end : window.end - MAGIC.length + 1);
      const next = inflater.run(window.bytes, window.start, Math.max(stop, window.start));
      const progress = next > window.start || inflater.status === 'full';
      window.start = next;
      if (inflater.status !== 'input') continue;
      if (candidate !== undefined) {
        searched = window.fileOffsetOf(candidate) + 1;
        this.#note(window.fileOffsetOf(candidate));
      } else {
        searched = Math.max(searched, window.fileOffsetOf(stop));
        if (!progress && window.atEnd) return;
      }
    }
    if (inflater.status === 'error') this.outcome = 'error';
    else this.#footer();
  }

  #content(bytes: Uint8Array): void {
    this.#contentLength += bytes.length;
    if (!this.#tracked) return;
    this.#contentSha1.update(bytes);
    this.#lines.push(bytes);
    this.#sink?.content?.(bytes);
  }

  #noteStart(start: SegmentStart): void {
    if (!this.#tracked) return;
    const next = (this.starts.at(-1)?.contentOffset ?? 0) + SEGMENT_START_SPACING_BYTES;
    if (start.contentOffset >= next) this.starts.push(start);
  }

  #atFlushPoint(fileOffset: number): void {
    this.flushPoint = { contentOffset: this.#contentLength, fileOffset };
    const room = MAX_CANDIDATES - this.earlier.length;
    this.earlier.push(...this.candidates.splice(0).slice(0, room));
    this.#noteFlushPoint(this.flushPoint);
  }

  /** All content before it was handed over. */
  #noteFlushPoint(point: SegmentStart): void {
    this.#noteStart(point);
    if (!this.#tracked) return;
    if (this.#lines.completeEnd !== this.#contentLength || this.#contentLength <= CHUNK_START.length) return;
    if (this.cuts.length === MAX_CUTS) this.cuts.splice(0, MAX_CUTS / 2);
    this.cuts.push(point);
  }

  /** Position in the window of the next gzip magic at or behind the file offset. */
  #findMagic(from: number): number | undefined {
    const window = this.#window;
    const bytes = Buffer.from(window.bytes.buffer, 0, window.end);
    const at = bytes.indexOf(MAGIC, Math.max(window.positionOf(from), window.start));
    return at === -1 ? undefined : at;
  }

  #note(fileOffset: number): void {
    if (!this.#known.has(fileOffset)) {
      if (this.candidates.length >= MAX_CANDIDATES || !isMemberHeader(this.#fd, fileOffset, this.#size))
        return;
    }
    this.candidates.push(this.extent(fileOffset));
  }

  #footer(): void {
    const window = this.#window;
    this.streamEnd = window.offset;
    if (window.fill(GZIP_FOOTER_BYTES) < GZIP_FOOTER_BYTES) return;
    const footer = decodeFooter(window.bytes, window.start);
    window.start += GZIP_FOOTER_BYTES;
    this.end = window.offset;
    const right = footer.crc32 === this.#crc32 && footer.length === this.#contentLength % 2 ** 32;
    this.outcome = right ? 'complete' : 'mismatch';
    if (!right && this.#tracked) this.#noteInFooter(this.streamEnd);
  }

  /** What was taken for a footer may be a torn one and the header of the next member. */
  #noteInFooter(from: number): void {
    for (let at = from; at < this.end; at++) {
      if (isMemberHeader(this.#fd, at, this.#size)) this.candidates.push(this.extent(at));
    }
  }
}

let probedBytes = 0;
let probeMatches = true;
const probe = new Inflater({
  content: (bytes) => {
    for (let i = 0; i < bytes.length && probedBytes < CHUNK_START.length; i++) {
      if (bytes[i] !== CHUNK_START[probedBytes++]) probeMatches = false;
    }
  },
  flushPoint: () => {},
});
const probeBuffer = Buffer.alloc(PROBE_BYTES);

/**
 * Whether the header of a chunk's member stands at the offset: a gzip header, and content that begins with the
 * first line of every chunk (as much of it as the file holds; behind a header of ours that may be nothing).
 */
export function isMemberHeader(fd: number, offset: number, size: number): boolean {
  const length = readSync(fd, probeBuffer, 0, Math.min(PROBE_BYTES, Math.max(size - offset, 0)), offset);
  const header = decodeMemberHeader(probeBuffer.subarray(0, length));
  if (typeof header === 'string') return false;
  probe.reset();
  probedBytes = 0;
  probeMatches = true;
  probe.run(probeBuffer, header.length, length);
  if (probedBytes > 0) return probeMatches;
  return header.bootTag !== undefined && offset + length === size && probe.status === 'input';
}

/** First offset at or behind `from` where isMemberHeader() holds, or undefined. */
export function findMemberHeader(fd: number, from: number, size: number): number | undefined {
  const window = new FileWindow(fd, from, size, new Uint8Array(SEARCH_BYTES));
  while (window.fill() >= MAGIC.length) {
    const at = Buffer.from(window.bytes.buffer, 0, window.end).indexOf(MAGIC, window.start);
    if (at === -1) {
      window.start = window.end - MAGIC.length + 1;
      if (window.atEnd) return undefined;
      continue;
    }
    const offset = window.fileOffsetOf(at);
    if (isMemberHeader(fd, offset, size)) return offset;
    window.start = at + 1;
  }
  return undefined;
}
