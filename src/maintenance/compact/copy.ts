/**
 * The second pass of a compaction: reads the old chunks once more and writes what stays of them. Lines inside the
 * retention stay as they are. Of older lines those stay that bring what is still needed, messages and scripts, each
 * from the place that counts; for all others stands a snapshot of the state where the retention begins.
 */
import { printFileHeader } from '../../csync/encoder.ts';
import type { FileHeader } from '../../csync/file-header.ts';
import { type LineEvents, LineParser, type LineStart } from '../../csync/line-parser.ts';
import { BackupError } from '../../platform/errors.ts';
import { readContent } from '../../store/chunk/reader.ts';
import type { BackupIndex } from '../../store/index/backup-index.ts';
import type { Output } from './output.ts';
import { goneLines, liveLines, openingLines, type SnapshotLine } from './snapshot.ts';
import type { SourceChunk, Survey } from './survey.ts';
import type { Retention } from './window.ts';

/** Sizes of content, in bytes; 0: no such limit. */
export interface ChunkSizes {
  /** Smaller chunks are combined with their neighbours. */
  min: number;
  /** Larger ones are split. */
  max: number;
  /** No chunk becomes longer than this and one line. */
  limit: number;
}

export interface CopyOptions {
  fd: number;
  survey: Survey;
  retention: Retention;
  userid: string;
  sizes: ChunkSizes;
  output: Output;
  onProgress: (bytes: number) => void;
}

export async function copyChunks(options: CopyOptions): Promise<void> {
  const { fd, survey, output, sizes, onProgress } = options;
  const copier = new Copier(options);
  copier.open();
  for (const [i, chunk] of survey.chunks.entries()) {
    copier.beginChunk(chunk);
    const { offset, end, tail } = chunk;
    for (const start of [undefined, tail?.start]) {
      if (start !== undefined) copier.gap(start.contentOffset);
      else if (chunk.contentLength === 0) continue;
      try {
        for (const block of readContent(fd, { offset, end, ...(start && { start }) }, start?.contentOffset)) {
          if (!(await copier.push(block))) break;
        }
      } catch (error) {
        // The survey knows how far a damaged chunk can be read.
        if (!(chunk.isDamaged && error instanceof BackupError && error.code === 'CHUNK_CORRUPT')) throw error;
      }
      if (tail === undefined) break;
    }
    copier.endChunk();
    const next = survey.chunks[i + 1];
    if (next === undefined || !wantsCombine(output.chunkLength, next.contentLength, sizes)) output.endChunk();
    onProgress(chunk.end - chunk.offset);
  }
  await copier.close();
}

/** Whether two chunks are to become one, as Cyrus decides it (backup/lcb_compact.c, want_combine). */
export function wantsCombine(length: number, nextLength: number, { min, max, limit }: ChunkSizes): boolean {
  if (length >= min && nextLength >= min) return false;
  const most = max === 0 ? limit : Math.min(max, limit);
  return most === 0 || length + nextLength <= most;
}

/** Whether a chunk of this length is to be split, as Cyrus decides it (want_split). */
export function wantsSplit(length: number, { min, max }: ChunkSizes): boolean {
  return max > 0 && length >= max + min;
}

class Copier implements LineEvents {
  readonly #o: CopyOptions;
  readonly #output: Output;
  /** Where the retention begins; undefined if all lines are inside it. */
  readonly #window: BackupIndex | undefined;
  readonly #gone: SnapshotLine[];
  #nextGone = 0;
  #isInside: boolean;
  #chunk: SourceChunk | undefined;
  /** Content up to here is to be believed. */
  #end = 0;
  #parser = new LineParser(this);
  #line: LineStart | undefined;
  /** Content from here on is to be copied; undefined: it is not. */
  #copyFrom: number | undefined;
  /** Of the MESSAGE line under way: something of it has been written. */
  #hasHead = false;
  #block: Uint8Array = new Uint8Array(0);
  #blockOffset = 0;

  constructor(options: CopyOptions) {
    const { survey, retention, userid } = options;
    this.#o = options;
    this.#output = options.output;
    this.#window = survey.window;
    this.#isInside = survey.window === undefined;
    this.#gone = survey.window === undefined ? [] : goneLines(survey.window, retention, userid);
  }

  open(): void {
    if (this.#window === undefined) return;
    const { firstTime, lastTimeBefore } = this.#o.survey;
    for (const line of openingLines(this.#window, firstTime, lastTimeBefore)) this.#writeLine(line);
  }

  beginChunk(chunk: SourceChunk): void {
    this.#chunk = chunk;
    this.#end = chunk.contentLength;
    this.#parser = new LineParser(this);
    this.#parser.reset(0);
  }

  /** Content up to this offset is lost; what follows can be read again. */
  gap(offset: number): void {
    this.#end = this.#chunk!.tail!.contentEnd;
    this.#parser.gap(offset);
  }

  /** Takes the next content of the chunk; false if no more of it is to be believed. */
  async push(block: Uint8Array): Promise<boolean> {
    const { offset } = this.#chunk!;
    const { boundary } = this.#o.survey;
    const from = this.#parser.offset;
    const end = Math.min(from + block.length, this.#end);
    if (boundary?.chunkOffset === offset && boundary.lineOffset >= from && boundary.lineOffset < end) {
      this.#push(block.subarray(0, boundary.lineOffset - from));
      await this.#writeSnapshot();
      this.#push(block.subarray(boundary.lineOffset - from, end - from));
    } else {
      this.#push(block.subarray(0, end - from));
    }
    await this.#output.drain();
    return end < this.#end;
  }

  endChunk(): void {
    this.#parser.end();
  }

  async close(): Promise<void> {
    if (!this.#isInside) await this.#writeSnapshot();
    await this.#output.finish();
  }

  #push(block: Uint8Array): void {
    this.#block = block;
    this.#blockOffset = this.#parser.offset;
    this.#parser.push(block);
    this.#copyTo(this.#parser.offset);
  }

  lineStart(said: LineStart): void {
    const line = { ...said, time: this.#chunk!.times.get(said.offset) ?? said.time };
    this.#line = line;
    this.#hasHead = false;
    const { malformed, damageNotes } = this.#chunk!;
    if (line.verb === 'MESSAGE' || malformed.has(line.offset) || damageNotes.has(line.offset)) return;
    if (!this.#isInside) {
      const isUnuser = this.#isUnuser(line);
      if (!isUnuser && !this.#isLiveScript(line)) return;
      this.#writeGone(isUnuser ? line.time + 1 : line.time);
    }
    this.#output.beginLine(line.time);
    this.#output.write(Buffer.from(`${line.verb} `, 'latin1'));
    this.#copyFrom = line.valueOffset;
  }

  lineEnd(offset: number): void {
    this.#copyTo(offset);
    this.#copyFrom = undefined;
    if (this.#line?.verb === 'MESSAGE' && this.#hasHead) this.#output.write(MESSAGE_TAIL);
    this.#line = undefined;
    this.#splitChunk(this.#end - offset);
  }

  malformed(): void {
    this.#copyFrom = undefined;
    // Only messages that are whole were begun.
    if (this.#line?.verb === 'MESSAGE' && this.#hasHead) this.#output.write(MESSAGE_TAIL);
    this.#hasHead = false;
    this.#line = undefined;
  }

  file(file: FileHeader, contentOffset: number): void {
    const line = this.#line;
    if (line?.verb !== 'MESSAGE') return;
    if (this.#chunk!.malformed.has(line.offset) && !this.#isWhole(file.guid, contentOffset)) return;
    if (!this.#keepsMessage(file.guid, contentOffset)) return;
    if (this.#hasHead) {
      this.#output.write(SPACE);
    } else {
      if (!this.#isInside) this.#writeGone(line.time);
      this.#output.beginLine(line.time);
      this.#output.write(MESSAGE_HEAD);
      this.#hasHead = true;
    }
    this.#output.write(Buffer.from(printFileHeader(file.partition, file.guid, file.size), 'latin1'));
    this.#copyFrom = contentOffset;
  }

  fileBytes(_bytes: Uint8Array, _start: number, end: number): void {
    if (this.#line?.verb === 'MESSAGE') this.#copyTo(this.#blockOffset + end);
  }

  fileEnd(): void {
    if (this.#line?.verb === 'MESSAGE') this.#copyFrom = undefined;
  }

  beginList(): void {}
  beginKvlist(): void {}
  end(): void {}
  key(): void {}
  scalar(): void {}

  /** Copies content up to the offset. */
  #copyTo(offset: number): void {
    if (this.#copyFrom === undefined || offset <= this.#copyFrom) return;
    const from = Math.max(this.#copyFrom, this.#blockOffset); // what came before was copied with its block
    this.#output.write(this.#block, from - this.#blockOffset, offset - this.#blockOffset);
    this.#copyFrom = offset;
  }

  #keepsMessage(guid: string, contentOffset: number): boolean {
    if (this.#chunk!.damagedMessages.has(contentOffset)) return false;
    if (this.#isInside) return true;
    const at = this.#window!.findMessage(guid);
    const isThere = at?.chunk.offset === this.#chunk!.offset && at.contentOffset === contentOffset;
    return isThere && this.#o.retention.needs(guid, this.#o.survey.before);
  }

  /** Whether the survey has found the message here; its line may be damaged behind it. */
  #isWhole(guid: string, contentOffset: number): boolean {
    const at = this.#o.survey.before.findMessage(guid);
    return at?.chunk.offset === this.#chunk!.offset && at.contentOffset === contentOffset;
  }

  #isLiveScript({ verb, offset }: LineStart): boolean {
    if (verb !== 'SIEVE') return false;
    const sql = `SELECT 1 FROM sieve s JOIN chunk c ON c.id = s.chunk_id
      WHERE c.offset = ? AND s.offset = ? AND s.deleted IS NULL`;
    return this.#window!.statement(sql).get(this.#chunk!.offset, offset) !== undefined;
  }

  #isUnuser({ offset }: LineStart): boolean {
    const { unuser } = this.#o.survey;
    return unuser?.chunkOffset === this.#chunk!.offset && unuser.lineOffset === offset;
  }

  /** Lines of what has gone before this time; UNUSER and the lives of others come behind them. */
  #writeGone(before: number): void {
    for (let line = this.#gone[this.#nextGone]; line !== undefined && line.time < before; ) {
      this.#writeLine(line);
      line = this.#gone[++this.#nextGone];
    }
  }

  async #writeSnapshot(): Promise<void> {
    const { survey, retention, userid } = this.#o;
    this.#writeGone(Number.POSITIVE_INFINITY);
    for (const line of liveLines(this.#window!, retention, userid, survey.lastTimeBefore)) {
      this.#writeLine(line);
      await this.#output.drain();
    }
    this.#isInside = true;
  }

  #writeLine({ time, text }: SnapshotLine): void {
    this.#output.beginLine(time);
    for (const piece of text) this.#output.write(piece);
    this.#splitChunk(0);
  }

  /** `left`: content of the old chunk that is to come. */
  #splitChunk(left: number): void {
    const { max, min, limit } = this.#o.sizes;
    const { chunkLength } = this.#output;
    // As Cyrus does: what follows has to be worth a chunk of its own.
    const isLong = max > 0 && chunkLength >= max && left > min;
    if (isLong || (limit > 0 && chunkLength >= limit)) this.#output.endChunk();
  }
}

const SPACE = Buffer.from(' ');
const MESSAGE_HEAD = Buffer.from('MESSAGE (');
const MESSAGE_TAIL = Buffer.from(')\r\n');
