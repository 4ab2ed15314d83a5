/**
 * Reads a sound member at the speed of native code. What is good of a member that is not sound, and where, the
 * decoders say that use the inflater of this project: whoever gets `undefined` here decodes the member again with
 * one of those. So the fast way is believed only if length and checksum at the end of the member prove it right,
 * and damage is described in the same words whichever engine a machine has.
 *
 * Our members consist of segments that each end with a full flush. Each is inflated as a whole; that this
 * succeeds is the proof that it is one, since `00 00 FF FF` may stand inside one too. Everything else, as members
 * that Cyrus wrote, is inflated as a stream.
 */
import { readSync } from 'node:fs';
import { crc32 } from '../../platform/crc32.ts';
import { type InflateEngine, inflateEngine } from '../../platform/inflate.ts';
import { type InflateStream, newInflateStream } from '../../platform/inflate-stream.ts';
import {
  decodeFooter,
  decodeMemberHeader,
  GZIP_FOOTER_BYTES,
  MAX_HEADER_BYTES,
  type MemberHeader,
} from './member.ts';
import { FileWindow } from './window.ts';
import type { SegmentStart } from './writer.ts';

/** Content of a segment at most: a slab. */
const MAX_SEGMENT_BYTES = 1 << 20;
/** What a segment may be longer deflated than inflated: stored blocks, flushes. */
const MAX_OVERHEAD_BYTES = 16 * 1024;
const WINDOW_BYTES = 2 * MAX_SEGMENT_BYTES;
const FLUSH_END = Buffer.from([0x00, 0x00, 0xff, 0xff]);
/**
 * Put in place of what may be the lengths of the empty stored block at the end of a segment: those of one with two
 * bytes, these, and the empty final block. Only if such a block stands there they come out at the end.
 */
const PROOF = [0x02, 0x00, 0xfd, 0xff, 0xc5, 0x3a, 0x03, 0x00] as const;
const PROOF_CONTENT = [0xc5, 0x3a] as const;
/** Ends that are tried for one segment. A hostile message may hold any number of bytes that look like one. */
const MAX_TRIES = 4;

export interface FastMemberEvents {
  header?(header: MemberHeader): void;
  /** The next bytes of the content, valid during the call. */
  content(bytes: Uint8Array): void;
  /** A segment begins here, behind the content so far. */
  segmentStart?(start: SegmentStart): void;
}

export interface FastMember {
  /** File offset behind the member. */
  end: number;
  contentLength: number;
}

/** Where the bytes run out in a member that consists of segments, and no further one is complete. */
export interface FastStart {
  /** File offset behind the last complete segment. */
  segmentEnd: number;
  /** Of the complete segments. */
  contentLength: number;
  crc32: number;
}

/** Buffers and engines for one member after the other, best of one file: what was read ahead is not read again. */
export class FastTools {
  readonly engine: InflateEngine = inflateEngine();
  readonly stream: InflateStream | undefined = newInflateStream();
  /** What the window holds, and room behind it for PROOF. */
  readonly memory: Uint8Array = new Uint8Array(WINDOW_BYTES + PROOF.length);
  readonly output: Uint8Array = new Uint8Array(MAX_SEGMENT_BYTES + PROOF_CONTENT.length);
  readonly #bytes = new Uint8Array(this.memory.buffer as ArrayBuffer, 0, WINDOW_BYTES);
  #window: FileWindow | undefined;
  #fd = -1;

  /** The file from `offset` up to `limit`. */
  windowAt(fd: number, offset: number, limit: number): FileWindow {
    if (this.#window === undefined || this.#fd !== fd) {
      this.#window = new FileWindow(fd, offset, limit, this.#bytes);
      this.#fd = fd;
    } else this.#window.moveTo(offset, limit);
    return this.#window;
  }

  /** The file is another one, or has changed. */
  forget(): void {
    this.#window = undefined;
  }
}

/**
 * The member at `offset`, if all of it is right; nothing behind `limit` belongs to it.
 *
 * @returns undefined if it is torn or damaged, or if no engine of this machine reads it: some of its content, and
 *   wrong content, may have been handed over then.
 */
export function readFastMember(
  fd: number,
  offset: number,
  limit: number,
  events: FastMemberEvents,
  tools: FastTools,
): FastMember | undefined {
  const read = readFastStart(fd, offset, limit, events, tools);
  return read !== undefined && 'end' in read ? read : undefined;
}

/**
 * The same, and of a member of ours that was never finished its complete segments: exactly their content was handed
 * over then, and what follows up to `limit` is less than a segment.
 */
export function readFastStart(
  fd: number,
  offset: number,
  limit: number,
  events: FastMemberEvents,
  tools: FastTools,
): FastMember | FastStart | undefined {
  return new FastReader(fd, offset, limit, tools, events).run();
}

class FastReader {
  readonly #fd: number;
  readonly #tools: FastTools;
  readonly #window: FileWindow;
  readonly #events: FastMemberEvents;
  #contentLength = 0;
  #crc32 = 0;
  /** No segment ends between here and the limit. */
  #isLast = false;

  constructor(fd: number, offset: number, limit: number, tools: FastTools, events: FastMemberEvents) {
    this.#fd = fd;
    this.#tools = tools;
    this.#events = events;
    this.#window = tools.windowAt(fd, offset, limit);
  }

  run(): FastMember | FastStart | undefined {
    const window = this.#window;
    window.fill(MAX_HEADER_BYTES);
    const header = decodeMemberHeader(window.bytes.subarray(window.start, window.end));
    if (typeof header === 'string') return undefined;
    window.start += header.length;
    this.#events.header?.(header);
    while (this.#segment()) this.#events.segmentStart?.(this.#place());
    if (this.#isLast && header.bootTag !== undefined) return this.#start();
    const streamEnd = this.#finalBlock() ?? this.#streamed();
    return streamEnd === undefined ? undefined : this.#footer(streamEnd);
  }

  #start(): FastStart {
    return { segmentEnd: this.#window.offset, contentLength: this.#contentLength, crc32: this.#crc32 };
  }

  #place(): SegmentStart {
    return { contentOffset: this.#contentLength, fileOffset: this.#window.offset };
  }

  /** Inflates the segment that begins here; false if none does, or none that is like ours. */
  #segment(): boolean {
    const window = this.#window;
    window.fill(MAX_SEGMENT_BYTES + MAX_OVERHEAD_BYTES);
    if (this.#isFinalBlock()) return false;
    const bytes = Buffer.from(window.bytes.buffer, 0, window.end);
    const last = window.start + MAX_SEGMENT_BYTES + MAX_OVERHEAD_BYTES;
    let from = window.start;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const at = bytes.indexOf(FLUSH_END, from);
      if (at === -1 && window.atEnd) this.#isLast = true;
      if (at === -1 || at > last) return false;
      const inflated = this.#tryWhole(window.start, at + FLUSH_END.length);
      if (typeof inflated === 'number') {
        window.start = at + FLUSH_END.length;
        this.#take(this.#tools.output.subarray(0, inflated));
        return true;
      }
      if (inflated === 'no segment') return false;
      from = at + 1;
    }
    return false;
  }

  /**
   * @returns how many bytes of content were put into the output; `ends elsewhere` if the segment may be longer;
   *   `no segment` if what begins here is something else.
   */
  #tryWhole(from: number, to: number): number | 'ends elsewhere' | 'no segment' {
    const { memory, output, engine } = this.#tools;
    const at = to - FLUSH_END.length;
    const covered = memory.slice(at, at + PROOF.length);
    memory.set(PROOF, at);
    const result = engine.run(memory.subarray(from, at + PROOF.length), output);
    memory.set(covered, at);
    if ('reason' in result) return result.isTooLong ? 'no segment' : 'ends elsewhere';
    const { consumed, produced } = result;
    if (consumed !== at + PROOF.length - from) return 'no segment';
    const length = produced - PROOF_CONTENT.length;
    const isProven = PROOF_CONTENT.every((byte, i) => output[length + i] === byte);
    return isProven ? length : 'ends elsewhere';
  }

  /** The empty final block at a byte border, and nothing but the footer behind it in the member. */
  #isFinalBlock(): boolean {
    const { bytes, start, end } = this.#window;
    return end - start >= 2 && bytes[start] === 0x03 && bytes[start + 1] === 0x00;
  }

  #finalBlock(): number | undefined {
    return this.#isFinalBlock() ? this.#window.offset + 2 : undefined;
  }

  /** Inflates up to the final block; returns the file offset behind it. */
  #streamed(): number | undefined {
    const { stream, output } = this.#tools;
    if (stream === undefined) return undefined;
    const window = this.#window;
    stream.reset();
    for (;;) {
      if (window.start === window.end && window.fill() === 0) break;
      const step = stream.run(window.bytes.subarray(window.start, window.end), output);
      const { state, produced } = step;
      window.start += step.consumed;
      if (state === 'error') return undefined;
      if (produced > 0) this.#take(output.subarray(0, produced));
      if (state === 'end') return window.offset - stream.readAhead;
    }
    return stream.isAtEnd() ? window.offset - stream.readAhead : undefined;
  }

  #take(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#crc32 = crc32(bytes, this.#crc32);
    this.#contentLength += bytes.length;
    this.#events.content(bytes);
  }

  #footer(at: number): FastMember | undefined {
    const footer = Buffer.alloc(GZIP_FOOTER_BYTES);
    const end = at + GZIP_FOOTER_BYTES;
    if (end > this.#window.limit || readSync(this.#fd, footer, 0, footer.length, at) < footer.length) {
      return undefined;
    }
    const { crc32, length } = decodeFooter(footer);
    if (crc32 !== this.#crc32 || length !== this.#contentLength % 2 ** 32) return undefined;
    return { end, contentLength: this.#contentLength };
  }
}
