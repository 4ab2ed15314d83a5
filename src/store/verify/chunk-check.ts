/** All that can be said of one chunk by itself. Chunks are independent of each other, so that threads can share them. */
import { createHash } from 'node:crypto';
import { LineParser } from '../../csync/line-parser.ts';
import type { SegmentStart } from '../chunk/writer.ts';
import type { BackupIndex, ChunkRow } from '../index/backup-index.ts';
import { placesAreCurrent } from '../stored-message.ts';
import { type Finding, FindingList } from './finding.ts';
import { LineChecker, type MessageCopy, type RenameLine } from './line-checker.ts';
import type { RenamedState } from './mailbox-checker.ts';
import { type MarkMemory, Marks, TentativeMarks } from './marks.ts';
import { type MemberResult, readMember, readSoundMember } from './member-content.ts';

export interface ChunkReport {
  findings: Finding[];
  /** Findings that were too many to keep. */
  omitted: number;
  /** File offset behind the member, or of the next if that cannot be told. */
  end: number;
  /** Seconds; 0 if the chunk has no lines. */
  firstTime: number;
  lastTime: number;
  contentBytes: number;
  messages: number;
  renames: RenameLine[];
  renamed: RenamedState[];
  /** GUIDs of messages that the index has in this chunk and that it may be unable to give back. */
  lost: string[];
  /** Sound messages in it that the index reads from another place. */
  copies: MessageCopy[];
}

/** For the connection to the index: each message and record is looked up, in no order that the index has. */
export const INDEX_CACHE_KIBIBYTES: number = 16 * 1024;

/** Values of scalars that the checks look at are short; a script or annotation of any size is passed over. */
const MAX_VALUE_BYTES = 128 * 1024;

export interface ChunkSource {
  fd: number;
  /** Of the member in the file. */
  offset: number;
  /** Where the next chunk begins, or the end of the file. */
  end: number;
  /** What the index says; absent for a chunk that it does not know. */
  indexed?: {
    index: BackupIndex;
    chunk: ChunkRow;
    marks: Marks;
    /** It was found damaged before: what is wrong with it is a notice, unless the index counts on it. */
    isKnown: boolean;
  };
}

/** A chunk of an index. */
export interface ChunkPlaceOfTask {
  chunkId: number;
  offset: number;
  end: number;
  isKnown: boolean;
}

/** Chunks that follow each other, for a thread that has the files open. */
export interface ChunkTask {
  dataPath: string;
  indexPath: string;
  chunks: ChunkPlaceOfTask[];
  marks: MarkMemory;
}

/** Expects that the index is in a transaction. */
export function checkIndexedChunks(fd: number, index: BackupIndex, task: ChunkTask): ChunkReport[] {
  const marks = new Marks(task.marks);
  return task.chunks.map(({ chunkId, offset, end, isKnown }) => {
    const chunk = index.chunk(chunkId)!;
    return checkChunk({ fd, offset, end, indexed: { index, chunk, marks, isKnown } });
  });
}

export function checkChunk(source: ChunkSource): ChunkReport {
  const { fd, offset, end, indexed } = source;
  const starts = indexed ? segmentStarts(indexed.index, indexed.chunk.id) : [];
  const inside = starts.filter((start) => start.fileOffset > offset && start.fileOffset < end);
  const extent = { offset, end, starts: inside };
  if (inside.length === starts.length) {
    const check = new ContentCheck(source);
    const result = readSoundMember(fd, extent, (bytes) => check.push(bytes));
    if (result !== undefined) return check.finish(result);
  }
  const check = new ContentCheck(source);
  const { findings } = check;
  const result = readMember(fd, extent, {
    content: (bytes) => check.push(bytes),
    damage: ({ fileOffset, from, to }) => {
      const text = `its stream is damaged at or before byte ${fileOffset} of the file: content from ${from} to ${to ?? 'its end'} is lost or wrong`;
      findings.add('CHUNK_CORRUPT', text, { fileOffset });
      if (to !== undefined) check.gap(to);
    },
  });
  check.endContent();
  if (result === undefined) findings.add('CHUNK_MISSING', 'no chunk begins there');
  if (result?.trailer === 'missing') findings.add('CHUNK_UNFINISHED', 'its trailer is missing');
  if (result?.trailer === 'wrong') {
    findings.add('CHUNK_CRC_WRONG', 'the checksum or the length in its trailer is not that of its content');
  }
  const wrongStarts = [...starts.filter((start) => !inside.includes(start)), ...(result?.wrongStarts ?? [])];
  for (const start of wrongStarts) {
    const text = `no segment begins at byte ${start.fileOffset} of the file with its content at ${start.contentOffset}`;
    findings.add('SEGMENT_START_WRONG', text, { fileOffset: start.fileOffset });
  }
  return check.finish(result);
}

/** What is checked of the content while it streams by. */
class ContentCheck {
  readonly findings: FindingList;
  readonly #source: ChunkSource;
  readonly #checker: LineChecker;
  readonly #parser: LineParser;
  readonly #hash = createHash('sha1');
  readonly #marks: TentativeMarks | undefined;
  #isEnded = false;

  constructor(source: ChunkSource) {
    const { offset, indexed } = source;
    this.#source = source;
    this.#marks = indexed && new TentativeMarks(indexed.marks);
    this.findings = new FindingList({
      chunk: indexed?.chunk.id,
      fileOffset: offset,
      ...(indexed?.isKnown && { severity: 'notice' as const }),
    });
    this.#checker = new LineChecker(
      indexed && {
        index: indexed.index,
        chunkId: indexed.chunk.id,
        marks: this.#marks!,
        placesAreCurrent: placesAreCurrent(indexed.index, offset),
      },
      this.findings,
    );
    this.#parser = new LineParser(this.#checker, { maxValueBytes: MAX_VALUE_BYTES });
    this.#parser.reset(0);
  }

  push(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#parser.push(bytes);
  }

  /** Content up to `to` is lost. */
  gap(to: number): void {
    this.#parser.gap(to);
  }

  endContent(): void {
    if (!this.#isEnded) this.#parser.end();
    this.#isEnded = true;
  }

  /** `result`: undefined if no chunk begins there. */
  finish(result: MemberResult | undefined): ChunkReport {
    this.endContent();
    this.#marks?.keep();
    const { indexed, end } = this.#source;
    if (result !== undefined && !result.damaged && indexed !== undefined) {
      compareChunk(indexed.chunk, result.contentLength, this.#hash.digest('hex'), this.findings);
    }
    return {
      findings: this.findings.found,
      omitted: this.findings.omitted,
      end: result?.end ?? end,
      firstTime: this.#checker.firstTime,
      lastTime: this.#checker.lastTime,
      contentBytes: result?.contentLength ?? 0,
      messages: this.#checker.messages,
      renames: this.#checker.renames,
      renamed: this.#checker.renamed,
      lost: this.#checker.lost,
      copies: this.#checker.copies,
    };
  }
}

function compareChunk(chunk: ChunkRow, length: number, sha1: string, findings: FindingList): void {
  if (chunk.length !== length) {
    findings.add('CHUNK_LENGTH_WRONG', `its content has ${length} bytes, the index says ${chunk.length}`);
  }
  if (chunk.dataSha1 !== sha1) {
    findings.add('CHUNK_SHA1_WRONG', `the SHA-1 of its content is ${sha1}, the index says ${chunk.dataSha1}`);
  }
}

function segmentStarts(index: BackupIndex, chunkId: number): SegmentStart[] {
  const sql = `SELECT content_offset AS contentOffset, file_offset AS fileOffset FROM cb_segment
    WHERE chunk_id = ? ORDER BY content_offset`;
  return index.statement(sql).all(chunkId) as SegmentStart[];
}
