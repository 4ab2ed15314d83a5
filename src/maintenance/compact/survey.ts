/**
 * The first pass of a compaction: replays the whole data file into a scratch index, of which a copy is taken where
 * the retention begins, and notes what the second pass has to know of lines. The index beside the data file is not
 * believed: what the compacted backup must say is what its lines say.
 */
import fs from 'node:fs';
import { LineParser, type LineStart, NO_LINE_EVENTS } from '../../csync/line-parser.ts';
import { ResumableSha1 } from '../../platform/sha1.ts';
import { enterChunk } from '../../store/apply-members.ts';
import { contentEnd, type ScannedMember } from '../../store/chunk/scan.ts';
import type { MemberTail } from '../../store/chunk/tail.ts';
import { BackupIndex } from '../../store/index/backup-index.ts';
import { type MemberReaders, type ReadMember, readMembers } from '../../store/member-source.ts';
import { feedMember, replayMember } from '../../store/replay.ts';
import type { WorkPaths } from '../../store/swap.ts';
import { type Retention, WindowReader } from './window.ts';

/** A member of the old data file, as the second pass reads it. */
export interface SourceChunk {
  offset: number;
  end: number;
  /** Content that is to be believed. */
  contentLength: number;
  /** What is to be believed of it behind damage. */
  tail: MemberTail | undefined;
  isDamaged: boolean;
  /** Content offsets of lines that cannot be parsed. */
  malformed: ReadonlySet<number>;
  /** Content offsets of messages that are not what their GUIDs say. */
  damagedMessages: ReadonlySet<number>;
  /** Content offsets of DAMAGE notes. They speak of chunks as they lie in the old file. */
  damageNotes: ReadonlySet<number>;
  /** Seconds, by content offsets of lines: times that are to be believed instead of those that stand there. */
  times: ReadonlyMap<number, number>;
}

/** A line of the old data file. */
export interface LinePlace {
  /** Of its chunk in the file. */
  chunkOffset: number;
  /** In the content. */
  lineOffset: number;
}

export interface Survey {
  chunks: SourceChunk[];
  /** State at the end. */
  before: BackupIndex;
  /** State where the retention begins; undefined if no line is older. */
  window: BackupIndex | undefined;
  /** The first line inside the retention; undefined if all are, or none. */
  boundary: LinePlace | undefined;
  /** The line that says since when the user is gone, if it is older than the retention. */
  unuser: LinePlace | undefined;
  /** Seconds: of the first line, of the last one before the retention, and of the last one. */
  firstTime: number;
  lastTimeBefore: number;
  lastTime: number;
  damagedChunks: number;
  damagedMessages: number;
  close(): void;
}

export interface SurveyOptions {
  fd: number;
  /** What of the file is compacted: whole members. */
  sizeBytes: number;
  work: WorkPaths;
  retention: Retention;
  /** Seconds, by offsets of chunks: no line of the chunk was written later, whatever damage makes of its time. */
  latestTimes: ReadonlyMap<number, number>;
  readers: MemberReaders | undefined;
  onProgress: (bytes: number) => void;
}

const SECONDS_OF_DAY = 86_400;

export async function survey(options: SurveyOptions): Promise<Survey> {
  const { fd, sizeBytes, work, readers, onProgress } = options;
  const surveyor = new Surveyor(options);
  try {
    for await (const read of readMembers(fd, 0, sizeBytes, ResumableSha1.create(), readers)) {
      surveyor.take(read);
      onProgress(read.member.end - read.member.offset);
    }
    return surveyor.finish();
  } catch (error) {
    surveyor.close();
    for (const file of [work.before, work.window]) fs.rmSync(file, { force: true });
    throw error;
  }
}

class Surveyor {
  readonly #o: SurveyOptions;
  readonly #index: BackupIndex;
  readonly #chunks: SourceChunk[] = [];
  #window: BackupIndex | undefined;
  #windowReader: WindowReader | undefined;
  #isInside: boolean;
  /** The latest line that is older than the retention. */
  #latest: LinePlace | undefined;
  #boundary: LinePlace | undefined;
  #unuserAt: number | undefined;
  #unuser: LinePlace | undefined;
  /** Of the line before, as it is believed. */
  #timeBefore = 0;
  #firstTime = 0;
  #lastTimeBefore = 0;
  #lastTime = 0;
  #damagedMessages = 0;

  constructor(options: SurveyOptions) {
    this.#o = options;
    this.#isInside = options.retention.since === Number.NEGATIVE_INFINITY;
    fs.rmSync(options.work.before, { force: true });
    this.#index = BackupIndex.open(options.work.before, { create: true });
    this.#index.isMadeAnew = true;
    this.#index.allowSpill(false);
    this.#index.begin();
  }

  take({ member, condensed }: ReadMember): void {
    const length = contentEnd(member);
    const id = enterChunk(this.#index, member, new Map(), length);
    const times = new Map<number, number>();
    const damageNotes = new Set<number>();
    const damaged = replayMember(this.#o.fd, member, member.contentLength, this.#index, id, {
      condensed,
      timeOf: (line) => this.#timeOf(line, member, times),
      onLine: (line) => this.#line(line, member),
      onNote: (verb, { offset }) => {
        if (verb === 'DAMAGE') damageNotes.add(offset);
      },
    });
    this.#index.endChunk(id, {
      tsEnd: member.lastTime,
      length,
      dataSha1: member.contentSha1,
    });
    if (this.#isInside && this.#windowReader !== undefined) {
      feedMember(this.#o.fd, member, member.contentLength, condensed, this.#windowReader.newParser());
    }
    this.#damagedMessages += damaged.length;
    const malformed = this.#malformed({ member, condensed });
    this.#chunks.push({
      offset: member.offset,
      end: member.end,
      contentLength: member.contentLength,
      tail: member.tail,
      isDamaged: member.state !== 'complete' || malformed.size > 0 || damaged.length > 0,
      malformed,
      damagedMessages: new Set(damaged.map(({ contentOffset }) => contentOffset)),
      damageNotes,
      times,
    });
  }

  /**
   * Times do not go back in our files. Damage to one is not to make all that follow it wrong. In Cyrus's they go back with the
   * clock; but where that had been ahead by more than a day, what follows is right and stays as it is.
   */
  #timeOf({ time, offset }: LineStart, member: ScannedMember, times: Map<number, number>): number {
    const before = this.#timeBefore;
    let believed = time;
    if (member.state !== 'complete') {
      believed = Math.max(before, Math.min(time, this.#o.latestTimes.get(member.offset) ?? time));
    } else if (time < before && before - time <= SECONDS_OF_DAY) {
      believed = before;
    }
    if (believed !== time) times.set(offset, believed);
    this.#timeBefore = believed;
    return believed;
  }

  /** Before the line is applied. */
  #line({ time, offset: lineOffset }: LineStart, { offset: chunkOffset }: ScannedMember): void {
    if (this.#firstTime === 0) this.#firstTime = time;
    this.#lastTime = Math.max(this.#lastTime, time);
    if (this.#isInside) return;
    this.#noteUnuser();
    if (time > this.#o.retention.since) {
      this.#isInside = true;
      if (this.#takeCopy()) this.#boundary = { chunkOffset, lineOffset };
      return;
    }
    this.#lastTimeBefore = Math.max(this.#lastTimeBefore, time);
    this.#latest = { chunkOffset, lineOffset };
  }

  /** Whether the line before said that the user is gone, or is back. */
  #noteUnuser(): void {
    const at = this.#index.unuserAt();
    if (at === this.#unuserAt) return;
    this.#unuserAt = at;
    this.#unuser = at === undefined ? undefined : this.#latest;
  }

  /** What was applied so far is the state where the retention begins. False if that is nothing. */
  #takeCopy(): boolean {
    const { window } = this.#o.work;
    if (this.#lastTimeBefore === 0) return false;
    this.#index.commit();
    fs.copyFileSync(this.#o.work.before, window);
    this.#index.begin();
    this.#window = BackupIndex.open(window);
    this.#windowReader = new WindowReader(this.#o.retention, this.#window);
    return true;
  }

  #malformed({ member, condensed }: ReadMember): Set<number> {
    const offsets = new Set<number>();
    const { malformedLines, lineEnd, contentLength, tail } = member;
    if (malformedLines === 0 && lineEnd === contentLength && tail === undefined) return offsets;
    const parser = new LineParser({
      ...NO_LINE_EVENTS,
      malformed: ({ offset }) => offsets.add(offset),
    });
    feedMember(this.#o.fd, member, member.contentLength, condensed, parser);
    return offsets;
  }

  finish(): Survey {
    if (!this.#isInside) {
      this.#noteUnuser();
      this.#takeCopy();
    }
    this.#index.commit();
    const chunks = this.#chunks;
    return {
      chunks,
      before: this.#index,
      window: this.#window,
      boundary: this.#boundary,
      unuser: this.#unuser,
      firstTime: this.#firstTime,
      lastTimeBefore: this.#lastTimeBefore,
      lastTime: this.#lastTime,
      damagedChunks: chunks.filter(({ isDamaged }) => isDamaged).length,
      damagedMessages: this.#damagedMessages,
      close: () => this.close(),
    };
  }

  close(): void {
    this.#window?.close();
    if (this.#index.inTransaction) this.#index.rollback();
    this.#index.close();
  }
}
