/**
 * `compact`: drops what is past the retention from a backup and nothing else, makes chunks of a wanted size, and
 * compresses as well as is worth the time. The server goes on taking syncs meanwhile: the backup is locked at the
 * beginning, to see how long it is, and at the end, to take over what was appended and to swap the files.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Logger } from 'pino';
import type { Config } from '../../config/config.ts';
import { loadDeflateEngine } from '../../platform/deflate.ts';
import { fdatasync } from '../../platform/durable.ts';
import { BackupError } from '../../platform/errors.ts';
import { lockAsync, lockHolder } from '../../platform/file-lock.ts';
import type { RecoveryEnvironment } from '../../store/apply-members.ts';
import type { DataFile } from '../../store/data-file.ts';
import { BackupIndex } from '../../store/index/backup-index.ts';
import { carryChecksums } from '../../store/index/checksum.ts';
import { carryLacking } from '../../store/index/lacking.ts';
import { fromBlob } from '../../store/index/sql-text.ts';
import type { MemberReaders } from '../../store/member-source.ts';
import { useridOfDataFile } from '../../store/partition.ts';
import { giveTo, hasLost, syncPath } from '../../store/rebuild.ts';
import { openTrusted } from '../../store/recovery.ts';
import { swapIn } from '../../store/swap.ts';
import { lockedError, openLockedData } from '../locked-data.ts';
import { environment, lossesOf } from '../reindex.ts';
import { type CarryOverOptions, carryOver } from './carry-over.ts';
import { LocalCompressor } from './compressors.ts';
import { type ChunkSizes, copyChunks } from './copy.ts';
import { keepDamaged } from './damaged.ts';
import { differences } from './differences.ts';
import { sayKnown } from './known.ts';
import { Output, type PieceCompressor } from './output.ts';
import type { CompactReport } from './report.ts';
import { workOf } from './required.ts';
import { healLines } from './snapshot.ts';
import { type Survey, survey } from './survey.ts';
import { Retention } from './window.ts';
import { WorkFiles } from './work-files.ts';

export type CompactConfig = Pick<
  Config,
  | 'backupRetentionMs'
  | 'backupKeepPrevious'
  | 'backupCompactMinSizeBytes'
  | 'backupCompactMaxSizeBytes'
  | 'backupCompactWorkThreshold'
  | 'chunkMaxBytes'
  | 'deflateEngine'
>;

export interface CompactOptions {
  dataPath: string;
  /** By default what the name of the data file says. */
  userid?: string | undefined;
  config: CompactConfig;
  /** Compact even if it is not worth it. */
  force?: boolean;
  /** Only say what would be done. */
  dryRun?: boolean;
  /** Wait for the lock, however long. */
  wait?: boolean;
  /** Without `wait`: how long the backup may be locked by others at the end; for tests. */
  patienceMs?: number;
  /** Threads for large backups; without them this thread does all. */
  readers?: MemberReaders;
  compressor?: PieceCompressor;
  log?: Logger;
  /** Ends it before the swap; the backup is as it was then, and the signal's reason is thrown. */
  signal?: AbortSignal;
  /** Milliseconds since 1970, to which the retention is compared; for tests. */
  now?: number;
  /** Gets how many more bytes of the data file are done. */
  onProgress?(bytes: number): void;
}

/** Of a compaction that only lacks the lock, and would have worked for nothing. */
const PATIENCE_MS = 10_000;
/** Without looking whether there is more to take over. */
const LOCK_TURN_MS = 100;
/** Not worth taking over before the lock is there. */
const SMALL_CARRY_BYTES = 64 << 10;
/** An index with fewer rows gets small pages: a page is what each of its many tables takes at least. */
const SMALL_INDEX_ROWS = 2000;
const SMALL_PAGE_BYTES = 512;

/**
 * @throws BackupError LOCKED, NOT_FOUND, PERMISSION_DENIED, NO_SPACE or IO_ERROR; the backup is as it was then.
 */
export async function compactBackup(options: CompactOptions): Promise<CompactReport> {
  const file = await openLockedData(options.dataPath, options.wait ?? false);
  try {
    return await new Compaction(options, file).run();
  } finally {
    file.close();
  }
}

class Compaction {
  readonly #o: CompactOptions;
  readonly #file: DataFile;
  readonly #env: RecoveryEnvironment;
  readonly #userid: string;
  /** Seconds. */
  readonly #now: number;
  readonly #since: number;
  readonly #sizes: ChunkSizes;

  constructor(options: CompactOptions, file: DataFile) {
    const { config } = options;
    this.#o = options;
    this.#file = file;
    this.#userid = options.userid ?? useridOfDataFile(path.basename(file.path)) ?? '';
    this.#env = environment({
      engine: loadDeflateEngine(config.deflateEngine),
      keepPrevious: config.backupKeepPrevious,
      ...(options.log && { log: options.log }),
    });
    const retention = Math.floor(config.backupRetentionMs / 1000);
    this.#now = Math.floor((options.now ?? Date.now()) / 1000);
    this.#since = retention > 0 ? this.#now - retention : Number.NEGATIVE_INFINITY;
    this.#sizes = {
      min: config.backupCompactMinSizeBytes,
      max: config.backupCompactMaxSizeBytes,
      limit: config.chunkMaxBytes,
    };
  }

  async run(): Promise<CompactReport> {
    const { index, fileEnd, rebuilt } = await openTrusted(this.#file, this.#userid, this.#env);
    let report: CompactReport;
    let latestTimes: Map<number, number>;
    try {
      report = this.#newReport(index, fileEnd);
      latestTimes = this.#latestTimes(index);
      if (rebuilt !== undefined && hasLost(rebuilt)) report.lost = lossesOf(rebuilt);
    } finally {
      index.close();
    }
    const { discard, combine, split } = report.work;
    const isWorth = discard + combine + split >= this.#o.config.backupCompactWorkThreshold;
    if (fileEnd === 0 || this.#o.dryRun || !(this.#o.force || isWorth)) return report;
    const work = WorkFiles.open(this.#file.path, fs.fstatSync(this.#file.fd));
    try {
      this.#file.unlock();
      await this.#compact(work, fileEnd, report, latestTimes, this.#since);
      return report;
    } finally {
      work.close();
    }
  }

  #newReport(index: BackupIndex, sizeBytes: number): CompactReport {
    return {
      path: this.#file.path,
      compacted: false,
      work: workOf(index, this.#since, this.#sizes),
      sizeBytes,
      newSizeBytes: null,
      indexBytes: fs.statSync(index.path).size,
      newIndexBytes: null,
      chunks: count(index, 'chunk'),
      newChunks: null,
      messages: count(index, 'message'),
      newMessages: null,
      carriedOverBytes: 0,
      damagedChunks: 0,
      damagedMessages: 0,
      damagedPath: null,
      keptAll: null,
      lost: null,
    };
  }

  /** By offsets of chunks: when a later one was begun, or now. */
  #latestTimes(index: BackupIndex): Map<number, number> {
    const times = new Map<number, number>();
    let latest = this.#now;
    for (const { offset, tsStart } of index.chunks().reverse()) {
      times.set(offset, latest);
      latest = Math.min(latest, tsStart);
    }
    return times;
  }

  async #compact(
    work: WorkFiles,
    sizeBytes: number,
    report: CompactReport,
    latestTimes: ReadonlyMap<number, number>,
    since: number,
  ): Promise<void> {
    const retention = new Retention(since);
    const found = await survey({
      fd: this.#file.fd,
      sizeBytes,
      work: work.paths,
      retention,
      latestTimes,
      readers: this.#o.readers,
      onProgress: (bytes) => this.#progress(bytes / 2),
    });
    let index: BackupIndex | undefined;
    try {
      // Until what was hit has come again nobody knows what it said.
      const isHit = found.damagedChunks > 0 || count(found.before, 'cb_heal') > 0;
      retention.findNeeded(found.before, isHit);
      index = this.#newIndex(work, found);
      index.begin();
      const output = this.#newOutput(work, index, sizeBytes);
      await copyChunks({
        fd: this.#file.fd,
        survey: found,
        retention,
        userid: this.#userid,
        sizes: this.#sizes,
        output,
        onProgress: (bytes) => this.#progress(bytes / 2),
      });
      const different = differences(found.before, index, retention);
      if (different.length === 0) {
        await this.#finish(work, { found, retention, index, output }, sizeBytes, report);
        return;
      }
      const [first] = different;
      if (since === Number.NEGATIVE_INFINITY) throw failed(this.#file.path, first!);
      report.keptAll = first!;
    } finally {
      index?.close();
      found.close();
    }
    // It would have lost something: then better drop nothing.
    this.#env.log.error(
      { path: this.#file.path, difference: report.keptAll },
      'compaction would have changed what the backup says; it is compacted without dropping anything',
    );
    fs.ftruncateSync(work.fd, 0);
    await this.#compact(work, sizeBytes, report, latestTimes, Number.NEGATIVE_INFINITY);
  }

  #progress(bytes: number): void {
    this.#o.signal?.throwIfAborted();
    this.#o.onProgress?.(bytes);
  }

  #newIndex({ paths }: WorkFiles, { before }: Survey): BackupIndex {
    fs.rmSync(paths.index, { force: true });
    fs.rmSync(`${paths.index}-journal`, { force: true });
    const rows = count(before, 'mailbox_message') + count(before, 'cb_record') + count(before, 'message');
    const isSmall = rows < SMALL_INDEX_ROWS;
    const index = BackupIndex.open(paths.index, {
      create: true,
      ...(isSmall && { pageBytes: SMALL_PAGE_BYTES }),
    });
    index.allowSpill(false);
    return index;
  }

  #newOutput({ fd, paths }: WorkFiles, index: BackupIndex, sizeBytes: number): Output {
    const { compressor, config } = this.#o;
    const isLarge = compressor !== undefined && sizeBytes > 1 << 20;
    return new Output({
      fd,
      path: paths.data,
      index,
      compressor: isLarge ? compressor : new LocalCompressor(config.deflateEngine),
      engine: this.#env.engine,
      bootTag: this.#env.bootTag,
    });
  }

  /** Takes over what was appended, makes everything durable and swaps the files. */
  async #finish(
    work: WorkFiles,
    of: { found: Survey; retention: Retention; index: BackupIndex; output: Output },
    sizeBytes: number,
    report: CompactReport,
  ): Promise<void> {
    const { found, retention, index, output } = of;
    const { fd, path: dataPath } = this.#file;
    const from: CarryOverOptions = {
      fd,
      path: dataPath,
      before: found.before,
      newFd: work.fd,
      newIndex: index,
      output,
    };
    let done = await this.#carryComplete(from, sizeBytes);
    // Most of it is written to disk before anybody has to wait.
    index.commit();
    await Promise.all([syncPath(index.path), fdatasync(work.fd)]);
    index.begin();
    done = await this.#lock(from, done);
    const now = await openTrusted(this.#file, this.#userid, this.#env);
    const heal = now.index
      .statement('SELECT CAST(uniqueid AS BLOB) FROM cb_heal', 'pluck')
      .all()
      .map((name) => fromBlob(name as Buffer));
    try {
      if ((await carryOver(from, done, now.fileEnd)) !== now.fileEnd) {
        throw failed(dataPath, 'what was appended meanwhile is damaged');
      }
      if (found.damagedChunks > 0) {
        const known = { fd, path: dataPath, old: now.index, survey: found, retention, userid: this.#userid };
        heal.push(...(await sayKnown({ ...known, newIndex: index, output })));
      }
      carryChecksums(now.index, index);
      carryLacking(now.index, index);
    } finally {
      now.index.close();
    }
    report.carriedOverBytes = now.fileEnd - sizeBytes;
    await this.#writeHealMarks(index, found, output, heal);
    index.setState({
      committedEnd: output.fileEnd,
      trailer: output.trailer,
      fileSha1State: output.fileSha1.save(),
      lastTime: Math.max(output.lastTime, found.lastTime),
    });
    index.commit();
    report.newChunks = count(index, 'chunk');
    report.newMessages = count(index, 'message');
    report.newIndexBytes = fs.statSync(index.path).size;
    report.newSizeBytes = output.fileEnd;
    index.close();
    giveTo(work.paths.index, fs.fstatSync(fd));
    report.damagedChunks = found.damagedChunks;
    report.damagedMessages = found.damagedMessages;
    report.damagedPath = await keepDamaged(fd, dataPath, found.chunks);
    await Promise.all([syncPath(work.paths.index), fdatasync(work.fd)]);
    work.removeScratch(); // nobody would look for it behind the swap
    const suffix = Math.floor(Date.now() / 1000);
    swapIn(dataPath, this.#o.config.backupKeepPrevious ? (name) => `${name}.${suffix}` : undefined);
    work.swapped();
    report.compacted = true;
  }

  /** Takes over what is complete, until there is little left. @returns up to where */
  async #carryComplete(from: CarryOverOptions, start: number): Promise<number> {
    let done = start;
    for (let last = -1; done !== last && fs.fstatSync(from.fd).size - done > SMALL_CARRY_BYTES; ) {
      last = done;
      done = await carryOver(from, done, fs.fstatSync(from.fd).size);
      this.#progress(0);
    }
    return done;
  }

  /**
   * Waits for the lock. What is appended meanwhile is taken over meanwhile, so that those who want the lock back
   * never wait for more than about a chunk.
   *
   * @returns up to where it was taken over
   */
  async #lock(from: CarryOverOptions, start: number): Promise<number> {
    const { path: dataPath, fd } = this.#file;
    const untilMs = this.#o.wait
      ? Number.POSITIVE_INFINITY
      : Date.now() + (this.#o.patienceMs ?? PATIENCE_MS);
    let done = start;
    for (let nextBytes = SMALL_CARRY_BYTES; !(await this.#tryLockFor(LOCK_TURN_MS)); ) {
      if (Date.now() > untilMs) throw lockedError(dataPath, lockHolder(fd, 'exclusive'));
      this.#progress(0);
      const behindBytes = fs.fstatSync(fd).size - done;
      if (behindBytes < nextBytes) continue;
      done = await this.#carryComplete(from, done);
      // A chunk that is still open is read again when it has doubled, not each time that it has grown.
      nextBytes = 2 * Math.max(SMALL_CARRY_BYTES, fs.fstatSync(fd).size - done);
    }
    if (!this.#file.isCurrent())
      throw failed(dataPath, 'another program has replaced the data file meanwhile');
    return done;
  }

  async #tryLockFor(ms: number): Promise<boolean> {
    const turn = AbortSignal.timeout(ms);
    try {
      await lockAsync(this.#file.fd, 'exclusive', turn);
      return true;
    } catch (error) {
      if (turn.aborted) return false;
      throw error;
    }
  }

  /** Mailboxes that are to be sent again, because of what was found before or now. */
  async #writeHealMarks(
    index: BackupIndex,
    { damagedChunks, before }: Survey,
    output: Output,
    heal: string[],
  ): Promise<void> {
    const wanted = new Set(heal);
    if (damagedChunks > 0) for (const name of liveMailboxes(before)) wanted.add(name);
    const isMissing = (name: string): boolean =>
      index.healMark(name) === undefined || (damagedChunks > 0 && index.isComingInParts(name));
    const missing = [...wanted].filter(isMissing);
    for (const { time, text } of healLines(missing, output.lastTime)) {
      output.beginLine(time);
      for (const piece of text) output.write(piece);
    }
    await output.finish();
  }
}

function liveMailboxes(state: BackupIndex): string[] {
  const sql = 'SELECT CAST(uniqueid AS BLOB) FROM mailbox WHERE deleted IS NULL';
  return (state.statement(sql, 'pluck').all() as Buffer[]).map((name) => fromBlob(name));
}

type CountedTable = 'chunk' | 'message' | 'mailbox_message' | 'cb_record' | 'cb_heal';

function count(index: BackupIndex, table: CountedTable): number {
  return index.statement(`SELECT count(*) FROM ${table}`, 'pluck').get() as number;
}

function failed(dataPath: string, reason: string): BackupError {
  return new BackupError({
    code: 'INTERNAL',
    tried: 'compact',
    subject: dataPath,
    reason,
    remedy: 'The backup is as it was. Run csync-backup verify on it, and report this if that finds nothing',
  });
}
