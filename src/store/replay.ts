/** Brings an index up to date with members of the data file: what recovery and rebuilding have in common. */
import { createHash, type Hash } from 'node:crypto';
import type { ScalarView } from '../csync/dlist-sax.ts';
import type { FileHeader } from '../csync/file-header.ts';
import { type LineEvents, LineParser, type LineStart, type MalformedLine } from '../csync/line-parser.ts';
import { BackupError } from '../platform/errors.ts';
import { LineReplay, type LineReplayOptions } from './apply-line.ts';
import { type ChunkPlace, readContent } from './chunk/reader.ts';
import type { ScannedMember } from './chunk/scan.ts';
import { type CondensedContent, pushCondensed } from './condensed.ts';
import type { BackupIndex } from './index/backup-index.ts';

/** Result of replaying one member. */
export interface ReplayedMember {
  /** Offset in the content behind the last line that changes state: what follows are unclaimed messages. */
  stateEnd: number;
  /** Offset behind the last complete line. */
  lineEnd: number;
  lastTime: number;
  /** Whole messages behind `stateEnd`. */
  unclaimed: number;
}

/**
 * Parses the content of a member up to `limit` bytes, without touching the index.
 *
 * @returns where its good lines end: those before the first message whose bytes are not what its GUID says.
 */
export function measureMember(
  fd: number,
  member: ScannedMember,
  limit: number,
  condensed?: CondensedContent,
): ReplayedMember {
  const result: ReplayedMember = { stateEnd: 0, lineEnd: 0, lastTime: 0, unclaimed: 0 };
  let verb = '';
  let time = 0;
  let isGood = true;
  let guid = '';
  let sha1: Hash | undefined;
  let messages = 0;
  const nothing = () => {};
  const parser = new LineParser({
    beginList: nothing,
    beginKvlist: nothing,
    end: nothing,
    key: nothing,
    scalar: nothing,
    file: (file) => {
      guid = file.guid;
      sha1 = condensed === undefined ? createHash('sha1') : undefined;
    },
    fileBytes: (bytes, start, end) => sha1?.update(bytes.subarray(start, end)),
    fileEnd: () => {
      const isRight =
        sha1 === undefined ? condensed?.verdicts[messages++] === 1 : sha1.digest('hex') === guid;
      if (isRight) result.unclaimed++;
      else isGood = false;
    },
    malformed: () => {
      isGood = false;
    },
    lineStart: (line) => {
      verb = line.verb;
      time = line.time;
    },
    lineEnd: (offset) => {
      if (!isGood) return;
      result.lineEnd = offset;
      result.lastTime = Math.max(result.lastTime, time);
      if (verb === 'MESSAGE') return;
      result.stateEnd = offset;
      result.unclaimed = 0;
    },
  });
  feedMember(fd, member, limit, condensed, parser);
  return result;
}

/** A message whose bytes are not what its GUID says. */
export interface DamagedMessage {
  guid: string;
  /** Of its first byte in the chunk's content. */
  contentOffset: number;
}

export interface ReplayOptions extends LineReplayOptions {
  /** All of the content, if it was read already. */
  condensed?: CondensedContent | undefined;
  /** Gets the head of each line before it is applied. */
  onLine?: (line: LineStart) => void;
  /** Seconds: the time at which a line counts; by default what it says. */
  timeOf?: (line: LineStart) => number;
  /** Whether a line is applied; by default all are. */
  wants?: (line: LineStart) => boolean;
  /** Whether a message is entered; by default all are whose bytes are right. */
  takesMessage?: (guid: string) => boolean;
}

/**
 * Applies the lines of a member, up to `limit` bytes of its content, to the index. A message whose bytes are not
 * what its GUID says is not entered: the backup does not have it.
 *
 * @returns the messages that were left out
 */
export function replayMember(
  fd: number,
  member: ScannedMember,
  limit: number,
  index: BackupIndex,
  chunkId: number,
  options: ReplayOptions = {},
): DamagedMessage[] {
  const replay = new CheckedReplay(index, chunkId, options);
  const events = options.wants === undefined ? replay : new WantedLines(replay, options.wants);
  feedMember(fd, member, limit, options.condensed, new LineParser(events));
  return replay.damaged;
}

/** Gives a parser the lines of a member, from what was read already or from the file. */
export function feedMember(
  fd: number,
  member: ScannedMember,
  limit: number,
  condensed: CondensedContent | undefined,
  parser: LineParser,
): void {
  if (condensed === undefined) {
    feed(fd, member, limit, parser);
    return;
  }
  parser.reset(0);
  pushCondensed(parser, condensed, limit);
  parser.end();
}

/** Enters a message when its bytes have proved right. */
class CheckedReplay extends LineReplay {
  readonly damaged: DamagedMessage[] = [];
  readonly #verdicts: Uint8Array | undefined;
  readonly #onLine: ((line: LineStart) => void) | undefined;
  readonly #timeOf: ((line: LineStart) => number) | undefined;
  readonly #takesMessage: ((guid: string) => boolean) | undefined;
  readonly #index: BackupIndex;
  readonly #chunkId: number;
  #messages = 0;
  #line: LineStart | undefined;
  /** Messages of the MESSAGE line under way that are right. */
  #whole: { file: FileHeader; contentOffset: number }[] = [];
  #held: { file: FileHeader; contentOffset: number } | undefined;
  #sha1: Hash | undefined;

  /** With condensed content its verdicts hold, else the bytes are hashed. */
  constructor(index: BackupIndex, chunkId: number, options: ReplayOptions) {
    super(index, chunkId, options);
    this.#verdicts = options.condensed?.verdicts;
    this.#onLine = options.onLine;
    this.#timeOf = options.timeOf;
    this.#takesMessage = options.takesMessage;
    this.#index = index;
    this.#chunkId = chunkId;
  }

  override lineStart(said: LineStart): void {
    const time = this.#timeOf?.(said) ?? said.time;
    const line = time === said.time ? said : { ...said, time };
    this.#onLine?.(line);
    this.#line = line;
    this.#whole.length = 0;
    super.lineStart(line);
  }

  /** Messages of a line that is damaged behind them are there all the same: each says itself whether it is whole. */
  override malformed(line: MalformedLine): void {
    super.malformed(line);
    if (!line.started) return;
    const { offset: lineOffset } = this.#line!;
    for (const { file, contentOffset } of this.#whole.splice(0)) {
      this.#index.addMessage({ ...file, chunkId: this.#chunkId, lineOffset, contentOffset });
    }
  }

  override file(file: FileHeader, contentOffset: number): void {
    this.#held = { file, contentOffset };
    if (this.#verdicts === undefined) this.#sha1 = createHash('sha1');
  }

  fileBytes(bytes: Uint8Array, start: number, end: number): void {
    this.#sha1?.update(bytes.subarray(start, end));
  }

  fileEnd(): void {
    const { file, contentOffset } = this.#held!;
    const isGood = this.#verdicts?.[this.#messages++] === 1 || this.#sha1?.digest('hex') === file.guid;
    if (!isGood) this.damaged.push({ guid: file.guid, contentOffset });
    else if (this.#takesMessage?.(file.guid) ?? true) {
      super.file(file, contentOffset);
      if (this.#line?.verb === 'MESSAGE') this.#whole.push({ file, contentOffset });
    }
  }

  /** A message was passed over. */
  passMessage(): void {
    this.#messages++;
  }
}

/** Hands on only some of the lines. */
class WantedLines implements LineEvents {
  readonly #replay: CheckedReplay;
  readonly #wants: (line: LineStart) => boolean;
  #isWanted = false;

  constructor(replay: CheckedReplay, wants: (line: LineStart) => boolean) {
    this.#replay = replay;
    this.#wants = wants;
  }

  lineStart(line: LineStart): void {
    this.#isWanted = this.#wants(line);
    if (this.#isWanted) this.#replay.lineStart(line);
  }

  lineEnd(): void {
    if (this.#isWanted) this.#replay.lineEnd();
  }

  malformed(line: MalformedLine): void {
    if (this.#isWanted) this.#replay.malformed(line);
  }

  beginList(offset: number): void {
    if (this.#isWanted) this.#replay.beginList(offset);
  }

  beginKvlist(offset: number): void {
    if (this.#isWanted) this.#replay.beginKvlist(offset);
  }

  end(offset: number): void {
    if (this.#isWanted) this.#replay.end(offset);
  }

  key(key: string, offset: number): void {
    if (this.#isWanted) this.#replay.key(key, offset);
  }

  scalar(value: ScalarView, offset: number): void {
    if (this.#isWanted) this.#replay.scalar(value, offset);
  }

  file(file: FileHeader, contentOffset: number): void {
    if (this.#isWanted) this.#replay.file(file, contentOffset);
  }

  fileBytes(bytes: Uint8Array, start: number, end: number): void {
    if (this.#isWanted) this.#replay.fileBytes(bytes, start, end);
  }

  fileEnd(): void {
    if (this.#isWanted) this.#replay.fileEnd();
    else this.#replay.passMessage();
  }
}

function feed(fd: number, member: ScannedMember, limit: number, parser: LineParser): void {
  const { offset, end, contentLength, tail } = member;
  parser.reset(0);
  pushUpTo(fd, { offset, end }, limit, parser);
  if (tail !== undefined && limit === contentLength) {
    parser.gap(tail.start.contentOffset);
    pushUpTo(fd, { offset, end, start: tail.start }, tail.contentEnd, parser);
  }
  parser.end();
}

/** Content from where the parser stands up to `limit`. */
function pushUpTo(fd: number, place: ChunkPlace, limit: number, parser: LineParser): void {
  let left = limit - parser.offset;
  if (left <= 0) return;
  try {
    for (const block of readContent(fd, place, parser.offset)) {
      parser.push(block, 0, Math.min(block.length, left));
      left -= block.length;
      if (left <= 0) break;
    }
  } catch (error) {
    // Damage behind the good part: the scan has said so already, and what came before it was taken.
    if (!(error instanceof BackupError && error.code === 'CHUNK_CORRUPT')) throw error;
  }
}
