/**
 * The end of a damaged member, behind what is damaged: each segment can be inflated by itself, and where the trailer is
 * there it says how long the content is, so that what is inflated up to there has its place in it.
 */
import { readSync } from 'node:fs';
import { LineParser, NO_LINE_EVENTS } from '../../csync/line-parser.ts';
import { Inflater } from './inflater.ts';
import { decodeFooter, endsAsFinished, GZIP_FOOTER_BYTES, MEMBER_HEADER_BYTES } from './member.ts';
import { FileWindow } from './window.ts';
import { SEGMENT_START_SPACING_BYTES, type SegmentStart } from './writer.ts';

export interface MemberTail {
  /** Where it begins. */
  start: SegmentStart;
  /** Content offset behind it: the length of the content, what is lost included. */
  contentEnd: number;
  /** Its segment starts, sparse, `start` the first. */
  starts: SegmentStart[];
  /** Complete lines, and the time of the last in seconds; 0 if there is none. */
  lines: number;
  lastTime: number;
}

/** What a full flush leaves before each segment. */
const FLUSH = Buffer.from([0x00, 0x00, 0xff, 0xff]);
const WINDOW_BYTES = 256 * 1024;
/** Bytes that may be inflated in vain, in lengths of what is searched. */
const MAX_PASSES = 4;

/**
 * @param member where it begins and ends, and what is damaged there: behind `from`, with the content up to
 *   `contentLength` known; its header, too, if `headless`
 * @returns undefined if its trailer is not there, or nothing before that can be read
 */
export function findTail(
  fd: number,
  member: { offset: number; end: number; from: number; contentLength: number; headless: boolean },
): MemberTail | undefined {
  const { offset, end, from, contentLength, headless } = member;
  if (!endsAsFinished(fd, end)) return undefined;
  const footer = Buffer.alloc(GZIP_FOOTER_BYTES);
  readSync(fd, footer, 0, footer.length, end - footer.length);
  const { length } = decodeFooter(footer);
  let left = MAX_PASSES * (end - from);
  const first = offset + MEMBER_HEADER_BYTES;
  for (let at = headless && first < end ? first : nextSegment(fd, from, end); at !== undefined; ) {
    const attempt = inflate(fd, at, end);
    // Behind the last flush nothing is left.
    if (attempt.isWhole && attempt.contentLength === 0) return undefined;
    if (attempt.isWhole && attempt.contentLength <= length - contentLength) {
      return tailOf(fd, at, end, length, attempt);
    }
    left -= attempt.end - at;
    at = nextSegment(fd, left > 0 ? at : Math.max(at, attempt.end), end);
  }
  return undefined;
}

interface Attempt {
  /** It comes to its end where the footer stands. */
  isWhole: boolean;
  contentLength: number;
  /** File offset behind what could be inflated. */
  end: number;
  /** With content offsets from its own beginning. */
  flushPoints: SegmentStart[];
}

function inflate(
  fd: number,
  from: number,
  end: number,
  content: (bytes: Uint8Array) => void = () => {},
): Attempt {
  const window = new FileWindow(fd, from, end, new Uint8Array(WINDOW_BYTES));
  const flushPoints: SegmentStart[] = [{ contentOffset: 0, fileOffset: from }];
  let contentLength = 0;
  const inflater = new Inflater({
    content: (bytes) => {
      contentLength += bytes.length;
      content(bytes);
    },
    flushPoint: (position) => {
      if (contentLength < flushPoints.at(-1)!.contentOffset + SEGMENT_START_SPACING_BYTES) return;
      flushPoints.push({ contentOffset: contentLength, fileOffset: window.fileOffsetOf(position) });
    },
  });
  while (inflater.status === 'input' || inflater.status === 'full') {
    window.fill();
    const next = inflater.run(window.bytes, window.start, window.end);
    const progress = next > window.start || inflater.status === 'full';
    window.start = next;
    if (!progress && inflater.status === 'input' && window.atEnd) break;
  }
  const isWhole = inflater.status === 'end' && window.offset === end - GZIP_FOOTER_BYTES;
  return { isWhole, contentLength, end: window.offset, flushPoints };
}

function tailOf(fd: number, from: number, end: number, contentEnd: number, attempt: Attempt): MemberTail {
  const contentOffset = contentEnd - attempt.contentLength;
  let [lines, time, lastTime] = [0, 0, 0];
  const parser = new LineParser(
    {
      ...NO_LINE_EVENTS,
      lineStart: (line) => {
        time = line.time;
      },
      lineEnd: () => {
        lines++;
        lastTime = time;
      },
    },
    { maxValueBytes: 1024 },
  );
  parser.reset(0);
  parser.gap(contentOffset);
  inflate(fd, from, end, (bytes) => parser.push(bytes));
  const starts = attempt.flushPoints.map((point) => ({
    ...point,
    contentOffset: point.contentOffset + contentOffset,
  }));
  return { start: starts[0]!, contentEnd, starts, lines, lastTime };
}

/** File offset behind the next flush that ends behind `from`, or undefined. */
function nextSegment(fd: number, from: number, end: number): number | undefined {
  const window = new FileWindow(fd, Math.max(0, from - FLUSH.length + 1), end, new Uint8Array(WINDOW_BYTES));
  while (window.fill() >= FLUSH.length) {
    const at = Buffer.from(window.bytes.buffer, 0, window.end).indexOf(FLUSH, window.start);
    if (at !== -1) return window.fileOffsetOf(at + FLUSH.length);
    window.start = window.end - FLUSH.length + 1;
    if (window.atEnd) return undefined;
  }
  return undefined;
}
