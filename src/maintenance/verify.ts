/**
 * Deep verification of one backup, as Cyrus's guide lists it: checksums of each chunk, messages in the chunk
 * and line that the index says and with the bytes that their GUIDs say, states of mailboxes and of messages in
 * them in the chunk that the index says; besides, that the times never go back, that each byte of the file
 * belongs to a chunk, and that the index's own figures are right. It never stops at a fault.
 *
 * Each byte is read once for the checksums of the file, and once for the chunks, which are independent of each
 * other. Memory is a few buffers for each thread and one bit for each row of the index.
 */
import { existsSync, read } from 'node:fs';
import { promisify } from 'node:util';
import { BackupError } from '../platform/errors.ts';
import { ResumableSha1 } from '../platform/sha1.ts';
import { scanMembers } from '../store/chunk/scan.ts';
import { indexPathOf } from '../store/data-file.ts';
import { BackupIndex, type ChunkRow, type IndexState } from '../store/index/backup-index.ts';
import { type ChunkReport, checkChunk, checkIndexedChunk } from '../store/verify/chunk-check.ts';
import type { Finding, FindingCode } from '../store/verify/finding.ts';
import { Marks } from '../store/verify/marks.ts';
import { type LockedFile, openLocked } from './locked-file.ts';
import type { VerifyPool } from './verify-pool.ts';
import { type CheckedChunk, missingRows } from './verify-rows.ts';

export interface VerifyOptions {
  dataPath: string;
  /** By default beside the data file. */
  indexPath?: string;
  /** Wait for the lock. */
  wait?: boolean;
  /** Threads for large backups; without them this thread does all. */
  pool?: VerifyPool;
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
}

/** Findings that a report holds; onFinding gets all. */
export const MAX_FINDINGS = 1000;
const READ_BYTES = 1 << 20;
const readAsync = promisify(read);

/**
 * @throws BackupError LOCKED, NOT_FOUND, PERMISSION_DENIED or IO_ERROR when the data file cannot be read; whatever
 *   is wrong in it or in the index is a finding.
 */
export async function verifyBackup(options: VerifyOptions): Promise<VerifyReport> {
  const file = await openLocked(options.dataPath, options.wait ?? false);
  let index: BackupIndex | undefined;
  try {
    const verification = new Verification(options, file);
    if (file.sizeBytes === 0) return verification.report;
    try {
      index = BackupIndex.open(verification.indexPath, { readonly: true });
    } catch (error) {
      if (!(error instanceof BackupError)) throw error;
      verification.withoutIndex(error.reason);
      return verification.report;
    }
    await verification.withIndex(index);
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

  /** What the data file says by itself. */
  withoutIndex(reason: string): void {
    // A journal stays behind when the program that was changing the index was killed. Only a writer may use it.
    const isCrashed = existsSync(`${this.indexPath}-journal`);
    if (isCrashed) {
      const text = `the index was being changed when its program was killed (${reason}); the next opening mends it`;
      this.#add({ code: 'RECOVERY_PENDING', severity: 'notice', text });
    } else this.fault('INDEX_STALE', `the index cannot be read: ${reason}`);
    this.#unindexed(0, this.#file.sizeBytes, isCrashed ? 'crashed' : 'alone');
  }

  async withIndex(index: BackupIndex): Promise<void> {
    const { sizeBytes } = this.#file;
    const marks = Marks.of(index);
    const rows = index.chunks();
    const chunks = rows.filter((chunk) => chunk.offset < sizeBytes);
    for (const { id, offset } of rows.slice(chunks.length)) {
      const text = `the index has a chunk at ${offset}, but the file ends at ${sizeBytes}`;
      this.fault('CHUNK_MISSING', text, { chunk: id, fileOffset: offset });
    }
    const state = index.state();
    const tasks = this.#startChunks(index, marks, chunks);
    const hashing = this.#compareHashes(chunks, state);
    hashing.catch(() => {}); // awaited below; a chunk may fail first
    const checked: CheckedChunk[] = [];
    let lastTime = 0;
    let end = 0;
    for (const [i, task] of tasks.entries()) {
      const chunk = chunks[i]!;
      const report = await task();
      if (end < chunk.offset) this.#unindexed(end, chunk.offset, 'between');
      this.#take(report, isMissingTrailer(state, sizeBytes) && i === tasks.length - 1);
      if (report.firstTime > 0 && report.firstTime < lastTime) {
        const text = `its first line is of ${report.firstTime}, older than one of ${lastTime} before it`;
        this.fault('TIME_BACKWARDS', text, { chunk: chunk.id, fileOffset: chunk.offset });
      }
      lastTime = Math.max(lastTime, report.lastTime);
      this.#options.onProgress?.((chunks[i + 1]?.offset ?? sizeBytes) - chunk.offset);
      end = Math.max(end, report.end);
      checked.push({ id: chunk.id, report });
    }
    if (end < sizeBytes) this.#unindexed(end, sizeBytes, state?.committedEnd === end ? 'pending' : 'between');
    await hashing;
    for (const finding of missingRows(index, marks, checked)) this.#add(finding);
  }

  /** Begins with all chunks where there are threads, else each when its turn comes. */
  #startChunks(
    index: BackupIndex,
    marks: Marks,
    chunks: readonly ChunkRow[],
  ): (() => Promise<ChunkReport>)[] {
    const { fd, sizeBytes } = this.#file;
    const tasks = chunks.map((chunk, i) => ({
      dataPath: this.#options.dataPath,
      indexPath: this.indexPath,
      chunkId: chunk.id,
      offset: chunk.offset,
      end: chunks[i + 1]?.offset ?? sizeBytes,
      marks: marks.memory,
    }));
    const { pool } = this.#options;
    if (!pool?.helps(sizeBytes, tasks.length)) {
      return tasks.map((task) => async () => checkIndexedChunk(fd, index, task));
    }
    return tasks.map((task) => {
      const running = pool.run(task);
      running.catch(() => {}); // awaited when its turn comes; another may fail first
      return () => running;
    });
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

  /** `file_sha1` of each chunk and the digest that our own state holds, in one pass over the file. */
  async #compareHashes(chunks: readonly ChunkRow[], state: IndexState | undefined): Promise<void> {
    const { fd, sizeBytes } = this.#file;
    const hash = ResumableSha1.create();
    const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, sizeBytes));
    let at = 0;
    let wrong: { chunk: ChunkRow; actual: string; count: number } | undefined;
    const advance = async (to: number): Promise<void> => {
      while (at < to) {
        const { bytesRead } = await readAsync(fd, buffer, 0, Math.min(READ_BYTES, to - at), at);
        if (bytesRead === 0) return;
        hash.update(buffer.subarray(0, bytesRead));
        at += bytesRead;
      }
    };
    // Another program may have added chunks behind the end that our state knows.
    const ours = state !== undefined && state.committedEnd <= sizeBytes ? state : undefined;
    let actualOfState: string | undefined;
    const reachState = async (before: number): Promise<void> => {
      if (ours === undefined || actualOfState !== undefined || ours.committedEnd > before) return;
      await advance(ours.committedEnd);
      actualOfState = hash.digestHex();
    };
    for (const chunk of chunks) {
      await reachState(chunk.offset);
      await advance(chunk.offset);
      const actual = hash.digestHex();
      if (actual === chunk.fileSha1) continue;
      wrong = wrong ? { ...wrong, count: wrong.count + 1 } : { chunk, actual, count: 1 };
    }
    if (wrong !== undefined) {
      const { chunk, actual, count } = wrong;
      const others = count === 1 ? '' : `; so with ${count - 1} chunks behind it`;
      const text = `the SHA-1 of the file before it is ${actual}, the index says ${chunk.fileSha1}${others}`;
      this.fault('FILE_SHA1_WRONG', text, { chunk: chunk.id, fileOffset: chunk.offset });
    }
    await reachState(sizeBytes);
    if (ours !== undefined && ResumableSha1.load(ours.fileSha1State).digestHex() !== actualOfState) {
      const text = `the stored SHA-1 state of the first ${ours.committedEnd} bytes is not theirs`;
      this.fault('INDEX_STALE', text, { fileOffset: ours.committedEnd });
    }
  }

  /**
   * Bytes that no chunk of the index covers. Their messages are checked all the same.
   *
   * @param where `alone`: there is no index. `crashed`: the same after a crash, which may have torn the last
   *   chunk. `pending`: at the end, as a crash leaves them. `between`: anywhere else.
   */
  #unindexed(from: number, to: number, where: 'alone' | 'crashed' | 'between' | 'pending'): void {
    const { fd } = this.#file;
    for (const { offset, end, state, reason } of scanMembers(fd, from, to, {
      fileSha1: ResumableSha1.create(),
    })) {
      const bytes = `bytes ${offset} to ${end}`;
      if (where === 'pending' && state !== 'corrupt') {
        const text = `${bytes} are not indexed yet; the next opening indexes what is whole in them`;
        this.#add({ code: 'RECOVERY_PENDING', severity: 'notice', text, fileOffset: offset });
      } else if (where === 'between' || where === 'pending') {
        const what =
          state === 'corrupt'
            ? `no whole chunk: ${reason}`
            : `${state === 'complete' ? 'a' : 'an unfinished'} chunk`;
        const text = `${bytes} belong to no chunk of the index; they are ${what}`;
        this.fault('DATA_NOT_INDEXED', text, { fileOffset: offset });
      } else if (state !== 'complete' && !(where === 'crashed' && state === 'unfinished' && end === to)) {
        this.fault(state === 'corrupt' ? 'CHUNK_CORRUPT' : 'CHUNK_UNFINISHED', reason, {
          fileOffset: offset,
        });
      }
      if (state === 'corrupt') continue;
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
