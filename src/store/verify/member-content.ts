/**
 * Reads the whole content of one member and says everything that is wrong with its stream. Behind damage it
 * goes on at the next known segment start, so that damage costs what it hit and no more.
 *
 * Where two segment starts are known the piece between them is inflated as a whole, by the fastest engine;
 * what such an engine refuses, and everything else, goes through the inflater that says where it is.
 */
import { readSync } from 'node:fs';
import { crc32 } from '../../platform/crc32.ts';
import { BackupError } from '../../platform/errors.ts';
import { inflateInto } from '../../platform/inflate.ts';
import { FastTools, readFastMember } from '../chunk/fast-member.ts';
import { Inflater } from '../chunk/inflater.ts';
import { decodeFooter, decodeMemberHeader, GZIP_FOOTER_BYTES, MAX_HEADER_BYTES } from '../chunk/member.ts';
import { FileWindow, WINDOW_BYTES } from '../chunk/window.ts';
import type { SegmentStart } from '../chunk/writer.ts';

/** Longer pieces are streamed. Ours have at most the spacing of segment starts and one slab. */
const MAX_PIECE_BYTES = 2 << 20;

export interface MemberExtent {
  /** Of the member in the file. */
  offset: number;
  /** End of the bytes that may be its. */
  end: number;
  /** Known segment starts by offset, all inside the member. */
  starts: readonly SegmentStart[];
}

export interface MemberEvents {
  /** The next bytes of the content, valid during the call. */
  content(bytes: Uint8Array): void;
  /** Content is lost from `from` up to `to` (undefined: up to the end). */
  damage(at: { fileOffset: number; from: number; to: number | undefined }): void;
}

export interface MemberResult {
  /** `right`, `wrong` (CRC-32 or length), `missing`; `unknown` if the stream was damaged before it. */
  trailer: 'right' | 'wrong' | 'missing' | 'unknown';
  /** Something was lost. */
  damaged: boolean;
  /** Content up to the end of what could be read, lost parts included. */
  contentLength: number;
  /** File offset behind the member, as far as it is known. */
  end: number;
  /** Segment starts of the index that are none. */
  wrongStarts: SegmentStart[];
}

/**
 * The same as readMember() for a member of which all is right, several times as fast.
 *
 * @returns undefined where something is wrong, also with a known segment start: what was handed over by then does
 *   not count, and readMember() has to say what it is.
 */
export function readSoundMember(
  fd: number,
  member: MemberExtent,
  content: (bytes: Uint8Array) => void,
): MemberResult | undefined {
  // The file may be another one than that of the last call.
  fastTools ??= new FastTools();
  fastTools.forget();
  const { starts } = member;
  let next = 0;
  const found = readFastMember(
    fd,
    member.offset,
    member.end,
    {
      content,
      segmentStart: ({ contentOffset, fileOffset }) => {
        const start = starts[next];
        if (start?.fileOffset === fileOffset && start.contentOffset === contentOffset) next++;
      },
    },
    fastTools,
  );
  if (found === undefined || next < starts.length) return undefined;
  const { contentLength, end } = found;
  return { trailer: 'right', damaged: false, contentLength, end, wrongStarts: [] };
}

let fastTools: FastTools | undefined;

/** @returns undefined if no member begins at `member.offset`. */
export function readMember(fd: number, member: MemberExtent, events: MemberEvents): MemberResult | undefined {
  const reader = new MemberReader(fd, member, events);
  return reader.run() ? reader.result : undefined;
}

// One member is read after the other in a thread, so that its buffers can be used again.
let compressed = new Uint8Array(0);
let inflated = new Uint8Array(0);
const windowBuffer = new Uint8Array(WINDOW_BYTES);
const streamInflater = new Inflater({ content: () => {}, flushPoint: () => {} });

class MemberReader {
  readonly result: MemberResult;
  readonly #fd: number;
  readonly #member: MemberExtent;
  readonly #events: MemberEvents;
  #crc32 = 0;
  /** The first of `starts` that was not reached. */
  #nextStart = 0;

  constructor(fd: number, member: MemberExtent, events: MemberEvents) {
    this.#fd = fd;
    this.#member = member;
    this.#events = events;
    const end = member.end;
    this.result = { trailer: 'missing', damaged: false, contentLength: 0, end, wrongStarts: [] };
  }

  run(): boolean {
    const head = new FileWindow(
      this.#fd,
      this.#member.offset,
      this.#member.end,
      new Uint8Array(MAX_HEADER_BYTES),
    );
    head.fill(MAX_HEADER_BYTES);
    const header = decodeMemberHeader(head.bytes.subarray(head.start, head.end));
    const [first] = this.#member.starts;
    let at: SegmentStart | undefined;
    // What the index knows of it can be read without a header; where its stream begins is noted where the header is wrong.
    if (first !== undefined && (typeof header === 'string' || first.contentOffset === 0)) {
      at = this.#skipDamage(this.#member.offset, 0, first);
    } else if (header === 'invalid') return false;
    else if (header === 'torn') return true;
    else at = { contentOffset: 0, fileOffset: this.#member.offset + header.length };
    while (at !== undefined) at = this.#piece(at) ?? this.#stream(at);
    return true;
  }

  /** Inflates up to the next segment start as a whole; undefined if that cannot be done. */
  #piece(from: SegmentStart): SegmentStart | undefined {
    const to = this.#member.starts[this.#nextStart];
    if (to === undefined) return undefined;
    const length = to.contentOffset - from.contentOffset;
    const deflatedLength = to.fileOffset - from.fileOffset;
    if (length <= 0 || deflatedLength <= 0 || Math.max(length, deflatedLength) > MAX_PIECE_BYTES)
      return undefined;
    if (compressed.length < deflatedLength) compressed = new Uint8Array(MAX_PIECE_BYTES);
    if (inflated.length < length) inflated = new Uint8Array(MAX_PIECE_BYTES);
    if (!readFully(this.#fd, compressed.subarray(0, deflatedLength), from.fileOffset)) return undefined;
    try {
      const { produced, ended } = inflateInto(
        compressed.subarray(0, deflatedLength),
        inflated.subarray(0, length),
      );
      if (ended || produced !== length) return undefined;
    } catch (error) {
      if (error instanceof BackupError && error.code === 'CHUNK_CORRUPT') return undefined;
      throw error;
    }
    this.#take(inflated.subarray(0, length));
    this.#nextStart++;
    return to;
  }

  /** Inflates from here to the end. Where the stream is damaged: the segment start to go on from. */
  #stream(from: SegmentStart): SegmentStart | undefined {
    const { starts, end } = this.#member;
    const window = new FileWindow(this.#fd, from.fileOffset, end, windowBuffer);
    let flushPoint = from.fileOffset;
    /** Where no segment begins: the index is wrong there, or what was inflated is not the stream. */
    const passed: SegmentStart[] = [];
    const inflater = streamInflater;
    inflater.reset({
      content: (bytes) => this.#take(bytes),
      flushPoint: (position) => {
        flushPoint = window.fileOffsetOf(position);
      },
    });
    while (inflater.status === 'input' || inflater.status === 'full') {
      window.fill();
      const start = starts[this.#nextStart];
      // The inflater stops at each segment start, to compare how far it has come.
      const stop = Math.min(window.end, start ? window.positionOf(start.fileOffset) : window.end);
      const next = inflater.run(window.bytes, window.start, Math.max(stop, window.start));
      const progress = next > window.start || inflater.status === 'full';
      window.start = next;
      if (start !== undefined && stop < window.end && inflater.status === 'input') {
        if (flushPoint === start.fileOffset && this.result.contentLength !== start.contentOffset) {
          return this.#skipDamage(window.offset, from.contentOffset, passed[0] ?? start);
        }
        if (flushPoint === start.fileOffset) this.result.wrongStarts.push(...passed.splice(0));
        else passed.push(start);
        this.#nextStart++;
      } else if (!progress && inflater.status === 'input' && window.atEnd) break;
    }
    const { contentLength } = this.result;
    const resumed = passed[0] ?? starts[this.#nextStart];
    if (inflater.status === 'error') return this.#skipDamage(window.offset, contentLength, resumed);
    const isEnd = inflater.status === 'end' && this.#footer(window);
    // A changed bit can end a stream too early, or let it go on through what follows.
    if (!isEnd && resumed !== undefined) return this.#skipDamage(window.offset, contentLength, resumed);
    if (inflater.status === 'end' && window.fill(GZIP_FOOTER_BYTES) >= GZIP_FOOTER_BYTES) {
      this.result.end = window.offset + GZIP_FOOTER_BYTES;
      if (!this.result.damaged) this.result.trailer = isEnd ? 'right' : 'wrong';
    }
    this.result.wrongStarts.push(...passed, ...starts.slice(this.#nextStart));
    return undefined;
  }

  /** Content from `lostFrom` on is lost, or not what it was. @returns where to go on: `resumed` */
  #skipDamage(
    fileOffset: number,
    lostFrom: number,
    resumed: SegmentStart | undefined,
  ): SegmentStart | undefined {
    const { starts } = this.#member;
    this.result.damaged = true;
    this.result.trailer = 'unknown';
    this.#nextStart = resumed === undefined ? starts.length : starts.indexOf(resumed) + 1;
    const from = Math.min(lostFrom, resumed?.contentOffset ?? lostFrom);
    this.#events.damage({ fileOffset, from, to: resumed?.contentOffset });
    if (resumed !== undefined) this.result.contentLength = resumed.contentOffset;
    return resumed;
  }

  #take(bytes: Uint8Array): void {
    this.#crc32 = crc32(bytes, this.#crc32);
    this.result.contentLength += bytes.length;
    this.#events.content(bytes);
  }

  /** Whether a footer is there and right; the checksum is unknown where content was lost before it. */
  #footer(window: FileWindow): boolean {
    if (window.fill(GZIP_FOOTER_BYTES) < GZIP_FOOTER_BYTES) return false;
    const { crc32, length } = decodeFooter(window.bytes, window.start);
    const { damaged, contentLength } = this.result;
    return length === contentLength % 2 ** 32 && (damaged || crc32 === this.#crc32);
  }
}

function readFully(fd: number, buffer: Uint8Array, position: number): boolean {
  for (let at = 0; at < buffer.length; ) {
    const count = readSync(fd, buffer, at, buffer.length - at, position + at);
    if (count === 0) return false;
    at += count;
  }
  return true;
}
