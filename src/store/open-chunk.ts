/**
 * The chunk that a session is adding to, together with the index transaction that goes with it: this file is
 * the write order on which recovery rests (docs/crash-safety.md).
 *
 *     commit():  text -> data file; rows -> open transaction; fdatasync(data); [publish a new backup]
 *     finish():  COMMIT of the index; fdatasync(index); trailer -> data file
 *
 * So bytes in the data file are always ahead of the index, and a member that has its trailer has its index.
 */
import { ftruncateSync } from 'node:fs';
import { crashPoint } from '../platform/crash-points.ts';
import type { DeflateEngine } from '../platform/deflate.ts';
import { BackupError } from '../platform/errors.ts';
import { ResumableSha1 } from '../platform/sha1.ts';
import { readContent } from './chunk/reader.ts';
import { type ChunkMark, ChunkWriter, type SegmentStart } from './chunk/writer.ts';
import type { DiskSync } from './disk-sync.ts';
import type { BackupIndex } from './index/backup-index.ts';
import { PendingMessages } from './pending.ts';
import type { ShardFigures } from './shard-figures.ts';

/** Rows of a text as short as this dirty fewer pages than the smallest cache has. */
const NEVER_SPILLS_BYTES = 4096;

/** Command word of every line. */
const LINE_WORD = 'APPLY';

export type Durability = 'ack' | 'restart' | 'none';

export interface OpenChunkOptions {
  fd: number;
  /** Of the data file, for error messages. */
  path: string;
  /** Descriptor of the index file, only to sync it. */
  indexFd: number;
  index: BackupIndex;
  /** Of all bytes of the data file; goes on with what the chunk adds. */
  fileSha1: ResumableSha1;
  fileEnd: number;
  /** Seconds since the epoch of the last line in the file, or 0: times never go back. */
  lastTime: number;
  engine: DeflateEngine;
  bootTag: Uint8Array;
  durability: Durability;
  disk: DiskSync;
  figures: ShardFigures;
}

/** The end of a data file that has no open chunk. */
export interface FileTail {
  fileEnd: number;
  /** Of the last line, in seconds. */
  lastTime: number;
  /** Of all bytes of the file. */
  fileSha1: ResumableSha1;
  /** Length of the chunk uncompressed. */
  contentBytes: number;
}

/** Where a stored line begins. All offsets are in the chunk's content. */
export interface LineStart {
  time: number;
  lineOffset: number;
  /** Of the verb, behind `UNIXTIME APPLY `. */
  textOffset: number;
}

export class OpenChunk {
  readonly id: number;
  readonly pending = new PendingMessages();
  readonly #o: OpenChunkOptions;
  readonly #writer: ChunkWriter;
  #lastTime: number;
  /** Everything up to here is acknowledged or about to be. */
  #committed: { mark: ChunkMark; time: number };
  #hasCommits = false;
  readonly #begunMs = performance.now();
  #starts: SegmentStart[] = [];
  #unsynced = false;
  /** Of the data file: what lies before is on disk. */
  #durableEnd: number;
  #isStartSynced = false;
  #holdsSpill = false;

  constructor(options: OpenChunkOptions) {
    this.#o = options;
    this.#lastTime = options.lastTime;
    const { fd, path, fileEnd, fileSha1, engine, bootTag } = options;
    this.#durableEnd = fileEnd;
    this.#writer = new ChunkWriter({ fd, path, fileEnd, fileSha1, engine, bootTag, forgetsPages: true });
    options.index.begin();
    this.id = options.index.startChunk({
      offset: this.#writer.memberOffset,
      tsStart: this.#now(),
      fileSha1: this.#writer.fileSha1Hex,
    });
    this.#committed = { mark: this.#writer.mark(), time: options.lastTime };
  }

  get contentLength(): number {
    return this.#writer.contentLength;
  }

  /** Time of the last committed line, in seconds. */
  get committedTime(): number {
    return this.#committed.time;
  }

  /** Begins a line; its text follows by appendText and appendSegment. */
  beginLine(): LineStart {
    const time = this.#now();
    const lineOffset = this.#writer.contentLength;
    this.#lastTime = time;
    this.#writer.appendRaw(Buffer.from(`${time} ${LINE_WORD} `, 'latin1'));
    return { time, lineOffset, textOffset: this.#writer.contentLength };
  }

  /** Time that a line begun now would carry. */
  #now(): number {
    return Math.max(Math.floor(Date.now() / 1000), this.#lastTime);
  }

  /** What the next beginLine would give, without writing anything. */
  peekLine(): LineStart {
    const time = this.#now();
    const lineOffset = this.#writer.contentLength;
    return { time, lineOffset, textOffset: lineOffset + String(time).length + LINE_WORD.length + 2 };
  }

  appendText(bytes: Uint8Array): void {
    this.#writer.appendRaw(bytes);
  }

  appendSegment(deflated: Uint8Array, raw: Uint8Array, crc32: number): void {
    this.#writer.appendSegment(deflated, raw, crc32);
    crashPoint('segment-written');
  }

  mark(): { mark: ChunkMark; time: number } {
    return { mark: this.#writer.mark(), time: this.#lastTime };
  }

  /** Forgets what was appended since the mark. */
  rollback(to: { mark: ChunkMark; time: number }): void {
    this.#writer.rollback(to.mark);
    this.#lastTime = to.time;
    this.#starts = this.#starts.filter((start) => start.contentOffset < to.mark.contentLength);
  }

  /** Forgets everything since the last commit, pending messages included. */
  rollbackToCommitted(): void {
    this.rollback(this.#committed);
    this.pending.clear();
  }

  /** Content from `from` on, `length` bytes or all; each block is valid until the next is asked for. */
  read(from: number, length?: number): Iterable<Uint8Array> {
    this.#writer.flush();
    this.#starts.push(...this.#writer.segmentStarts());
    const start = this.#starts.findLast((known) => known.contentOffset <= from);
    const place = { offset: this.#writer.memberOffset, end: this.#writer.fileEnd, start };
    return readContent(this.#o.fd, place, from, length);
  }

  /**
   * Makes all that was appended part of the history and, with durability `ack`, durable. The caller has
   * applied the rows. Pending messages that stay are entered into the index.
   */
  async commit(): Promise<void> {
    this.#writer.flush();
    crashPoint('segment-written');
    this.#unsynced = true;
    if (this.#o.durability === 'ack') await this.#syncData();
    else await this.syncStart();
    for (const message of this.pending.kept()) this.#o.index.addMessage(message);
    this.pending.clear();
    this.#committed = this.mark();
    this.#hasCommits = true;
    this.#o.figures.count('appends_total');
  }

  /** What is stored and not yet in a committed index; undefined if nothing is. */
  get lag(): { bytes: number; seconds: number } | undefined {
    if (!this.#hasCommits) return undefined;
    const bytes = this.#committed.mark.contentLength;
    return { bytes, seconds: (performance.now() - this.#begunMs) / 1000 };
  }

  /**
   * Before the index may be written to: the beginning of the chunk is on disk, so that a power failure leaves a
   * sign that the index may be torn. SQLite writes before COMMIT when a transaction outgrows its cache; a
   * command of any length must therefore begin with this, and a shorter one with holdSpill().
   */
  async syncStart(): Promise<void> {
    if (this.#isStartSynced || this.#o.durability === 'none') return;
    this.#writer.flush();
    await this.#syncData();
  }

  /** The same for a command of `textBytes`, without a sync of its own: SQLite must keep it in memory. */
  holdSpill(textBytes: number): void {
    if (this.#isStartSynced || this.#holdsSpill || textBytes <= NEVER_SPILLS_BYTES) return;
    this.#o.index.allowSpill(false);
    this.#holdsSpill = true;
  }

  /** Bytes up to the last commit are on disk when this resolves. */
  async #syncData(): Promise<void> {
    const { fileEnd } = this.#writer;
    try {
      this.#o.figures.observe('sync_seconds', await this.#o.disk.sync(this.#o.fd));
    } catch (error) {
      this.#cutUnsynced();
      throw error;
    }
    this.#durableEnd = fileEnd;
    this.#o.figures.count('syncs_total');
    this.#unsynced = false;
    if (this.#holdsSpill) this.#o.index.allowSpill(true);
    this.#holdsSpill = false;
    this.#isStartSynced = true;
    crashPoint('data-synced');
  }

  /**
   * A sync that failed has forgotten what it could not write: the next one succeeds without it, and in memory it still
   * looks as if it were there (https://lwn.net/Articles/752063/). So nobody must find it there and count on it.
   */
  #cutUnsynced(): void {
    try {
      ftruncateSync(this.#o.fd, this.#durableEnd);
    } catch {
      // What the disk refuses altogether, the next opening cannot mend either. The error of the sync is the one to tell.
    }
  }

  /** For the same reason an index of which not all may be on disk is not trusted any more. */
  async #syncIndex(): Promise<void> {
    try {
      await this.#o.disk.sync(this.#o.indexFd);
    } catch (cause) {
      throw new BackupError({
        code: 'INDEX_STALE',
        tried: 'sync the index of',
        subject: this.#o.path,
        reason: cause instanceof Error ? cause.message : String(cause),
        remedy: 'Check the disk and the kernel log. It is made anew when the backup is opened next',
        cause,
      });
    }
  }

  /**
   * Ends the chunk: drops what is not committed and closes the gzip member. Nothing committed means that no
   * chunk remains.
   *
   * @returns what the file is now.
   */
  async finish(): Promise<FileTail> {
    const { index, durability, figures } = this.#o;
    crashPoint('chunk-finish');
    await this.#dropStrangers();
    if (!this.#hasCommits) {
      this.#writer.discard();
      index.rollback();
      if (this.#holdsSpill) index.allowSpill(true);
      const { lastTime, fileSha1 } = this.#o;
      return { fileEnd: this.#writer.memberOffset, lastTime, fileSha1, contentBytes: 0 };
    }
    const lastTime = this.#committed.time;
    const chunk = this.#writer.finish();
    index.endChunk(this.id, { tsEnd: lastTime, length: chunk.length, dataSha1: chunk.dataSha1 });
    for (const start of [...this.#starts, ...this.#writer.segmentStarts()]) {
      index.addSegmentStart(this.id, start.contentOffset, start.fileOffset);
    }
    index.setState({
      committedEnd: chunk.fileEndAfterTrailer,
      trailer: chunk.trailer,
      fileSha1State: chunk.fileSha1StateAfterTrailer,
      lastTime,
    });
    if (durability !== 'none' && this.#unsynced) await this.#syncData();
    const start = performance.now();
    index.commit();
    crashPoint('index-committed');
    if (durability !== 'none') await this.#syncIndex();
    figures.observe('index_commit_seconds', (performance.now() - start) / 1000);
    crashPoint('index-synced');
    this.#writer.writeTrailer();
    crashPoint('trailer-written');
    figures.count('chunks_total');
    figures.count('written_bytes_total', chunk.fileEndAfterTrailer - this.#writer.memberOffset);
    figures.count('content_bytes_total', chunk.length);
    const fileSha1 = ResumableSha1.load(chunk.fileSha1StateAfterTrailer);
    return { fileEnd: chunk.fileEndAfterTrailer, lastTime, fileSha1, contentBytes: chunk.length };
  }

  /**
   * Before the end: messages that this user reserved stay even if the session ended before their MAILBOX came,
   * so that the client need not send them again. Strangers go; if they lie before reserved ones, all go.
   */
  async #dropStrangers(): Promise<void> {
    if (this.pending.size > 0 && this.pending.strangers().length === 0) {
      this.pending.unclaimAll();
      await this.commit();
    } else {
      this.rollbackToCommitted();
    }
  }
}
