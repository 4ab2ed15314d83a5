/**
 * Deep verification of one backup, as Cyrus's guide lists it: checksums of each chunk, messages in the chunk
 * and line that the index says and with the bytes that their GUIDs say, states of mailboxes and of messages in
 * them in the chunk that the index says; besides, that the times never go back, that each byte of the file
 * belongs to a chunk, and that the index's own figures are right. It never stops at a fault.
 *
 * Each byte is read once for the checksums of the file, and once for the chunks, which are independent of each
 * other. Memory is a few buffers for each thread and one bit for each row of the index.
 */
import { existsSync } from 'node:fs';
import { BackupError } from '../platform/errors.ts';
import { ResumableSha1 } from '../platform/sha1.ts';
import { scanMembers } from '../store/chunk/scan.ts';
import { indexPathOf } from '../store/data-file.ts';
import { BackupIndex, type ChunkRow, type IndexState } from '../store/index/backup-index.ts';
import { damagedChunks } from '../store/index/damage.ts';
import {
  type ChunkReport,
  type ChunkTask,
  checkChunk,
  checkIndexedChunks,
  INDEX_CACHE_KIBIBYTES,
} from '../store/verify/chunk-check.ts';
import type { Finding, FindingCode } from '../store/verify/finding.ts';
import { Marks } from '../store/verify/marks.ts';
import { checkOwner, type Ownership } from '../store/verify/owner-check.ts';
import { type LockedFile, openLocked } from './locked-file.ts';
import { FileHashes } from './verify-hashes.ts';
import { type FoundLosses, LossCollector } from './verify-losses.ts';
import type { VerifyPool } from './verify-pool.ts';
import { type CheckedChunk, missingRows, pendingHeals } from './verify-rows.ts';

export interface VerifyOptions {
  dataPath: string;
  /** By default beside the data file. */
  indexPath?: string;
  /** Wait for the lock. */
  wait?: boolean;
  /**
   * Only what can be told at once, whatever the size: index and file fit each other, and the last chunk is whole.
   */
  quick?: boolean;
  /** Threads for large backups; without them this thread does all. */
  pool?: VerifyPool;
  /** Whose it should be; by default nobody looks. */
  owner?: Ownership | undefined;
  /** Gets every finding as it is made. */
  onFinding?(finding: Finding): void;
  /** Gets how many more bytes of the data file were checked. */
  onProgress?(bytes: number): void;
}

export interface VerifyReport {
  path: string;
  /** No faults; there may be notices. */
  ok: boolean;
  faults: number;
  notices: number;
  /** How many findings of each code. */
  codes: Partial<Record<FindingCode, number>>;
  /** The first MAX_FINDINGS of them. */
  findings: Finding[];
  sizeBytes: number;
  contentBytes: number;
  chunks: number;
  /** Messages in the data file, each time that they are stored. */
  messages: number;
  /** What is lost by damage that was not known: for healBackup(). */
  losses: FoundLosses;
  /** The index cannot be read: the next opening for writing makes it anew. */
  isIndexLost: boolean;
}

/** Findings that a report holds; onFinding gets all. */
export const MAX_FINDINGS = 1000;
/** What is hashed and checked at a time: bytes of the file, and chunks at most where these are small. */
const TASK_BYTES = 8 << 20;
const MAX_CHUNKS_OF_TASK = 256;
/** Chunks at the end of the index of which a quick look takes the last that is in the file. */
const QUICK_CHUNKS = 100;

/**
 * @throws BackupError LOCKED, NOT_FOUND, PERMISSION_DENIED or IO_ERROR when the data file cannot be read; whatever
 *   is wrong in it or in the index is a finding.
 */
export async function verifyBackup(options: VerifyOptions): Promise<VerifyReport> {
  const file = await openLocked(options.dataPath, options.wait ?? false);
  let index: BackupIndex | undefined;
  try {
    const verification = new Verification(options, file);
    // A new backup has nothing yet; one that has lost all has an index that knows of it.
    if (file.sizeBytes === 0 && !existsSync(verification.indexPath)) return verification.report;
    try {
      index = BackupIndex.open(verification.indexPath, {
        readonly: true,
        asItIs: true,
        cacheKibibytes: INDEX_CACHE_KIBIBYTES,
      });
    } catch (error) {
      if (!(error instanceof BackupError)) throw error;
      verification.withoutIndex(error.reason);
      return verification.report;
    }
    index.beginRead();
    verification.owner(index);
    if (options.quick) verification.quickly(index);
    else await verification.withIndex(index);
    return verification.report;
  } finally {
    index?.close();
    file.close();
  }
}

class Verification {
  readonly report: VerifyReport;
  readonly indexPath: string;
  readonly #options: VerifyOptions;
  readonly #file: LockedFile;
  readonly #losses = new LossCollector();

  constructor(options: VerifyOptions, file: LockedFile) {
    this.#options = options;
    this.#file = file;
    this.indexPath = options.indexPath ?? indexPathOf(options.dataPath);
    this.report = {
      path: options.dataPath,
      ok: true,
      faults: 0,
      notices: 0,
      codes: {},
      findings: [],
      sizeBytes: file.sizeBytes,
      contentBytes: 0,
      chunks: 0,
      messages: 0,
      losses: { guids: [], uniqueids: [], chunkOffsets: [], copies: [] },
      isIndexLost: false,
    };
  }

  fault(code: FindingCode, text: string, where: Partial<Finding> = {}): void {
    this.#add({ code, severity: 'fault', text, ...where });
  }

  #add(finding: Finding): void {
    const { report } = this;
    report.codes[finding.code] = (report.codes[finding.code] ?? 0) + 1;
    if (finding.severity === 'notice') report.notices++;
    else {
      report.faults++;
      report.ok = false;
    }
    if (report.findings.length < MAX_FINDINGS) report.findings.push(finding);
    this.#options.onFinding?.(finding);
  }

  owner(index: BackupIndex): void {
    const { owner } = this.#options;
    const finding = owner && checkOwner(index, owner);
    if (finding !== undefined) this.#add(finding);
  }

  /** What the data file says by itself. */
  withoutIndex(reason: string): void {
    // A journal stays behind when the program that was changing the index was killed. Only a writer may use it.
    const isCrashed = existsSync(`${this.indexPath}-journal`);
    if (isCrashed) {
      const text = `the index was being changed when its program was killed; the next opening mends it`;
      this.#add({ code: 'RECOVERY_PENDING', severity: 'notice', text });
    } else this.fault('INDEX_STALE', `the index cannot be read: ${reason}`);
    this.report.isIndexLost = true;
    if (this.#options.quick) return;
    this.#unindexed(0, this.#file.sizeBytes, isCrashed ? 'crashed' : 'alone');
  }

  /** The end of the file: that is what a crash, a full disk or a copy that was cut short leaves wrong. */
  quickly(index: BackupIndex): void {
    const { fd, sizeBytes } = this.#file;
    const state = index.state();
    const last = this.#chunksInFile(index.lastChunks(QUICK_CHUNKS)).at(-1);
    if (last === undefined) {
      if (sizeBytes === 0) return;
      this.fault('INDEX_STALE', `the index knows no chunk of ${sizeBytes} bytes`);
      return;
    }
    const known = damagedChunks(index);
    const chunks = [{ chunkId: last.id, offset: last.offset, end: sizeBytes, isKnown: known.has(last.id) }];
    const { dataPath } = this.#options;
    const task = { dataPath, indexPath: this.indexPath, chunks, marks: Marks.of(index).memory };
    const [report] = checkIndexedChunks(fd, index, task) as [ChunkReport];
    this.#take(report, isMissingTrailer(state, sizeBytes));
    this.#losses.takeChunk(last, report);
    if (report.end < sizeBytes) {
      this.#unindexed(report.end, sizeBytes, state?.committedEnd === report.end ? 'pending' : 'between');
    }
    for (const finding of pendingHeals(index)) this.#add(finding);
    this.report.losses = this.#losses.found;
    this.#options.onProgress?.(sizeBytes);
  }

  /** Those that begin in the file; the others are reported. */
  #chunksInFile(rows: readonly ChunkRow[]): ChunkRow[] {
    const { sizeBytes } = this.#file;
    const chunks = rows.filter((chunk) => chunk.offset < sizeBytes);
    for (const row of rows.slice(chunks.length)) {
      const { id, offset } = row;
      const text = `the index has a chunk at ${offset}, but the file ends at ${sizeBytes}`;
      this.fault('CHUNK_MISSING', text, { chunk: id, fileOffset: offset });
      this.#losses.takeMissing(row);
    }
    return chunks;
  }

  async withIndex(index: BackupIndex): Promise<void> {
    const { sizeBytes } = this.#file;
    const marks = Marks.of(index);
    const rows = index.chunks();
    const chunks = this.#chunksInFile(rows);
    const state = index.state();
    const known = damagedChunks(index);
    const hashes = new FileHashes(this.#file.fd, sizeBytes, chunks, state);
    const checked: CheckedChunk[] = [];
    let lastTime = 0;
    let end = 0;
    let isKnown = false;
    for await (const { chunk, next, report } of this.#checkChunks(index, marks, chunks, known, hashes)) {
      if (end < chunk.offset) this.#unindexed(end, chunk.offset, isKnown ? 'known' : 'between');
      isKnown = known.has(chunk.id);
      this.#take(report, isMissingTrailer(state, sizeBytes) && next === sizeBytes);
      this.#losses.takeChunk(chunk, report);
      if (report.firstTime > 0 && report.firstTime < lastTime && !this.#losses.isDamaged(chunk.id)) {
        const text = `its first line is of ${report.firstTime}, older than one of ${lastTime} before it`;
        const where = { chunk: chunk.id, fileOffset: chunk.offset };
        this.#add({ code: 'TIME_BACKWARDS', severity: 'notice', text, ...where });
      }
      if (!this.#losses.isDamaged(chunk.id)) lastTime = Math.max(lastTime, report.lastTime);
      this.#options.onProgress?.(next - chunk.offset);
      end = Math.max(end, report.end);
      const { renames, renamed } = report;
      checked.push({ id: chunk.id, report: { renames, renamed } });
    }
    if (end < sizeBytes) {
      this.#unindexed(
        end,
        sizeBytes,
        isKnown ? 'known' : state?.committedEnd === end ? 'pending' : 'between',
      );
    }
    for (const finding of await hashes.finish()) {
      this.#add({ severity: 'fault', ...finding });
      this.#losses.takeChangedFile(chunks, known);
    }
    for (const finding of missingRows(index, marks, checked, known)) {
      this.#losses.takeMissingRow(finding, rows);
      this.#add(finding);
    }
    for (const finding of pendingHeals(index)) this.#add(finding);
    this.report.losses = this.#losses.found;
  }

  /** In the order of the file, by threads that are a few tasks ahead; the hashes of the file keep pace with them. */
  async *#checkChunks(
    index: BackupIndex,
    marks: Marks,
    chunks: readonly ChunkRow[],
    known: ReadonlyMap<number, number>,
    hashes: FileHashes,
  ): AsyncGenerator<{ chunk: ChunkRow; next: number; report: ChunkReport }, void> {
    const { fd, sizeBytes } = this.#file;
    const { pool } = this.#options;
    const tasks = this.#tasks(chunks, marks, known);
    const threads = pool?.helps(sizeBytes, tasks.length) ? pool : undefined;
    const byId = new Map(chunks.map((chunk) => [chunk.id, chunk]));
    const running: Promise<ChunkReport[]>[] = [];
    let begun = 0;
    try {
      for (const [at, task] of tasks.entries()) {
        while (threads !== undefined && begun < tasks.length && begun <= at + threads.threads) {
          const promise = threads.run(tasks[begun++]!);
          promise.catch(() => {}); // awaited when its turn comes; another may fail first
          running.push(promise);
        }
        const places = task.chunks;
        await hashes.advance(places.at(-1)!.end);
        const reports = threads === undefined ? checkIndexedChunks(fd, index, task) : await running.shift()!;
        for (const [i, report] of reports.entries()) {
          const { chunkId, end: next } = places[i]!;
          yield { chunk: byId.get(chunkId)!, next, report };
        }
      }
    } finally {
      await Promise.allSettled(running);
    }
  }

  #tasks(chunks: readonly ChunkRow[], marks: Marks, known: ReadonlyMap<number, number>): ChunkTask[] {
    const tasks: ChunkTask[] = [];
    const taskBytes = this.#options.pool?.taskBytes ?? TASK_BYTES;
    let bytes = taskBytes;
    for (const [i, { id, offset }] of chunks.entries()) {
      const end = chunks[i + 1]?.offset ?? this.#file.sizeBytes;
      if (bytes >= taskBytes || tasks.at(-1)!.chunks.length >= MAX_CHUNKS_OF_TASK) {
        const { dataPath } = this.#options;
        tasks.push({ dataPath, indexPath: this.indexPath, chunks: [], marks: marks.memory });
        bytes = 0;
      }
      tasks.at(-1)!.chunks.push({ chunkId: id, offset, end, isKnown: known.has(id) });
      bytes += end - offset;
    }
    return tasks;
  }

  #take(report: ChunkReport, trailerIsPending: boolean): void {
    this.report.chunks++;
    this.report.messages += report.messages;
    this.report.contentBytes += report.contentBytes;
    for (const finding of report.findings) {
      if (finding.code === 'CHUNK_UNFINISHED' && trailerIsPending) {
        const text = 'the trailer of the last chunk is missing; the next opening writes it';
        this.#add({ ...finding, code: 'RECOVERY_PENDING', severity: 'notice', text });
      } else this.#add(finding);
    }
    if (report.omitted > 0) {
      this.report.faults += report.omitted;
      this.report.ok = false;
    }
  }

  /**
   * Bytes that no chunk of the index covers. Their messages are checked all the same.
   *
   * @param where `alone`: there is no index. `crashed`: the same after a crash, which may have torn the last
   *   chunk. `pending`: at the end, as a crash leaves them. `known`: behind a chunk that is known to be damaged and
   *   may seem to end too early. `between`: anywhere else.
   */
  #unindexed(from: number, to: number, where: 'alone' | 'crashed' | 'between' | 'known' | 'pending'): void {
    const { fd } = this.#file;
    for (const { offset, end, state, reason } of scanMembers(fd, from, to, {
      fileSha1: ResumableSha1.create(),
    })) {
      const bytes = `bytes ${offset} to ${end}`;
      if (where === 'pending' && state !== 'corrupt') {
        const text = `${bytes} are not indexed yet; the next opening indexes what is whole in them`;
        this.#add({ code: 'RECOVERY_PENDING', severity: 'notice', text, fileOffset: offset });
      } else if (where === 'between' || where === 'known' || where === 'pending') {
        const what =
          state === 'corrupt'
            ? `no whole chunk: ${reason}`
            : `${state === 'complete' ? 'a' : 'an unfinished'} chunk`;
        const text = `${bytes} belong to no chunk of the index; they are ${what}`;
        const severity = where === 'known' ? 'notice' : 'fault';
        this.#add({ code: 'DATA_NOT_INDEXED', severity, text, fileOffset: offset });
      } else if (state !== 'complete' && !(where === 'crashed' && state === 'unfinished' && end === to)) {
        this.fault(state === 'corrupt' ? 'CHUNK_CORRUPT' : 'CHUNK_UNFINISHED', reason, {
          fileOffset: offset,
        });
      }
      if (state === 'corrupt' || where === 'known') continue;
      const report = checkChunk({ fd, offset, end });
      this.report.messages += report.messages;
      this.report.contentBytes += report.contentBytes;
      if (where === 'alone' || where === 'crashed') this.report.chunks++;
      const kept = (finding: Finding): boolean => finding.code === 'MESSAGE_DAMAGED' || state === 'complete';
      for (const finding of report.findings) if (kept(finding)) this.#add(finding);
    }
  }
}

/** As after a crash between the index's commit and the last write: nothing but (part of) the trailer is missing. */
function isMissingTrailer(state: IndexState | undefined, sizeBytes: number): boolean {
  if (state === undefined) return false;
  return sizeBytes < state.committedEnd && sizeBytes >= state.committedEnd - state.trailer.length;
}
