/**
 * Opens a backup for reading, as it is or as it was at a moment. The index beside the data file is used where it fits
 * it. Where it is missing, damaged or behind, and for moments in the past, a temporary one is made from the data
 * file, which is only read. No lock is needed: what is complete in a data file never changes.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import type { Config } from '../config/config.ts';
import type { LineStart } from '../csync/line-parser.ts';
import { MemberPool } from '../maintenance/member-pool.ts';
import { bootTag } from '../platform/boot.ts';
import { BackupError } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import { ResumableSha1 } from '../platform/sha1.ts';
import { isTorn } from '../store/apply-members.ts';
import { scanMembers } from '../store/chunk/scan.ts';
import { indexPathOf } from '../store/data-file.ts';
import type { ApplyObserver } from '../store/index/apply-observer.ts';
import { BackupIndex } from '../store/index/backup-index.ts';
import { type OpenBackup, withBackup } from '../store/open-backup.ts';
import {
  type DamagedChunk,
  fillCopies,
  fillPastIndex,
  type Moment,
  type PastIndex,
  type PastIndexOptions,
} from '../store/past-index.ts';
import { isCorruptIndex } from '../store/recovery.ts';
import { historyLost, isoSeconds, NotYetThere } from './moments.ts';
import { BackupSource } from './source.ts';
import { removeFile, temporaryFile } from './temporary-index.ts';

export interface SourceOptions {
  /** By default the latest state. */
  moment?: Moment;
  config: Pick<Config, 'backupStagingPath'>;
  /** Gets what a person should know: which index is used instead of the backup's own, and what is damaged. */
  remark: (text: string) => void;
  /** Gets how many more of how many bytes of the data file are read, where a temporary index is made. */
  onProgress?: (bytes: number, totalBytes: number) => void;
}

/**
 * `use` is called once more, with a temporary index, if the backup's own one proves to be damaged.
 *
 * @throws BackupError NOT_FOUND for a moment before the first state that is kept, or a file that is not there;
 *   PERMISSION_DENIED, IO_ERROR, NO_SPACE; what `use` throws
 */
export async function withSource<T>(
  dataPath: string,
  options: SourceOptions,
  use: (source: BackupSource) => Promise<T> | T,
): Promise<T> {
  const { moment = { kind: 'latest' } } = options;
  const opener = new Opener(dataPath, options);
  try {
    const own = await opener.ownIndex(moment);
    if (own !== undefined) {
      try {
        return await use(opener.source(own, moment, true));
      } catch (error) {
        if (!isCorruptIndex(error)) throw error;
        options.remark(`the index of ${dataPath} is damaged; reading the data file instead`);
      }
    }
    return await use(opener.source(await opener.pastIndex(moment), moment));
  } finally {
    await opener.close();
  }
}

/**
 * The backup as its index describes it. Where that is missing or no index at all, a temporary one is made from the data
 * file: nobody can look into what has come from a tape otherwise.
 *
 * @param use gets whether a damaged chunk was met, what of it nobody knows
 * @throws BackupError as withSource(); what `use` throws
 */
export async function withAnyIndex<T>(
  dataPath: string,
  options: Omit<SourceOptions, 'moment'>,
  use: (backup: OpenBackup, isPartLost: boolean) => Promise<T> | T,
): Promise<T> {
  let isOpen = false;
  try {
    return await withBackup(dataPath, (backup) => {
      isOpen = true;
      return use(backup, false);
    });
  } catch (error) {
    if (isOpen || !isCorruptIndex(error)) throw error;
    const { reason, message } = error as BackupError;
    options.remark(
      `the index of ${dataPath} cannot be used (${reason ?? message}); reading the data file instead. ` +
        'csync-backup reindex makes one anew',
    );
  }
  const opener = new Opener(dataPath, options);
  try {
    return await opener.useMadeIndex(use);
  } finally {
    await opener.close();
  }
}

/** What is told of the lines of a backup while they are replayed. */
export interface ReplayWatcher {
  observer: ApplyObserver;
  /** Gets the head of each line before it is applied, with where its chunk lies in the file. */
  onLine(line: LineStart, chunkOffset: number): void;
}

/**
 * Replays all lines up to the moment, in one pass over the data file.
 *
 * @param watch gets the index, which at each line says what was before it; undefined for none of the lines
 * @throws BackupError NOT_FOUND for a file that is not there; PERMISSION_DENIED, IO_ERROR, NO_SPACE
 */
export async function replayLines(
  dataPath: string,
  options: SourceOptions,
  watch: (index: BackupIndex) => ReplayWatcher,
): Promise<PastIndex> {
  const opener = new Opener(dataPath, options);
  try {
    return await opener.replay(options.moment ?? { kind: 'latest' }, watch);
  } finally {
    await opener.close();
  }
}

/** Whether what the index describes is what was so at the moment. */
function isLatest(index: BackupIndex, moment: Moment): boolean {
  const last = index.state()?.lastTime ?? index.lastChunks(1).at(-1)?.tsEnd;
  const since = index.historySince() ?? 0;
  return moment.kind === 'time' && last != null && last > 0 && last <= moment.time && since <= moment.time;
}

/** It has no room for a message that is twice in a mailbox. */
/** Messages are looked up by their GUIDs, all over the index; it takes no more than the index has. */
const CACHE = { cacheKibibytes: 16_384 };
const CYRUS = 'Cyrus made it';
const LONGER = 'it describes a longer data file';
const MESSAGES_TO_TRY = 20;
const LONGEST_TO_TRY = 8 << 20;

/** What is open of one backup. */
class Opener {
  readonly #path: string;
  readonly #o: SourceOptions;
  readonly #fd: number;
  #sizeBytes: number;
  readonly #indexes: BackupIndex[] = [];
  /** Temporary ones. */
  readonly #files: string[] = [];
  readonly #readers = new MemberPool();
  #isPartLost = false;

  constructor(dataPath: string, options: SourceOptions) {
    this.#path = dataPath;
    this.#o = options;
    try {
      this.#fd = fs.openSync(dataPath, 'r');
    } catch (error) {
      throw ioError(error, 'open', dataPath);
    }
    this.#sizeBytes = fs.fstatSync(this.#fd).size;
  }

  /** @param isOwn of an index that was made from the data file it is known that its messages are sound */
  source(index: BackupIndex, moment: Moment, isOwn = false): BackupSource {
    const backup: OpenBackup = { path: this.#path, fd: this.#fd, index, sizeBytes: this.#sizeBytes };
    const at = moment.kind === 'latest' ? undefined : moment.time;
    const findCopies = isOwn ? () => this.#copies() : undefined;
    const findNow = isOwn || at === undefined ? undefined : () => this.#indexNow();
    return new BackupSource(backup, at, findCopies, this.#isPartLost, findNow);
  }

  async useMadeIndex<T>(use: (backup: OpenBackup, isPartLost: boolean) => Promise<T> | T): Promise<T> {
    const index = await this.pastIndex({ kind: 'latest' });
    return await use({ path: this.#path, fd: this.#fd, index, sizeBytes: this.#sizeBytes }, this.#isPartLost);
  }

  /** The index beside the data file, for places of messages that no line leads to; undefined if it does not fit the file. */
  #indexNow(): BackupIndex | undefined {
    try {
      const index = this.#keep(BackupIndex.open(indexPathOf(this.#path), { readonly: true, ...CACHE }));
      return this.#isCurrent() && typeof this.#describedEnd(index) === 'number' ? index : undefined;
    } catch (error) {
      if (error instanceof BackupError) return undefined; // missing or damaged: then nobody knows
      throw error;
    }
  }

  #copies(): BackupIndex {
    this.#o.remark(`a message in ${this.#path} is damaged; looking through the data file for sound copies`);
    const copies = this.#temporary();
    fillCopies(this.#fd, this.#sizeBytes, copies);
    copies.forgetName();
    return copies;
  }

  async close(): Promise<void> {
    for (const index of this.#indexes) index.close();
    for (const file of this.#files) removeFile(file);
    fs.closeSync(this.#fd);
    await this.#readers.stop();
  }

  /**
   * The index beside the data file, or a copy of it that was brought up to date; undefined if it does not fit the file,
   * or says what was so later than at the moment.
   */
  async ownIndex(moment: Moment): Promise<BackupIndex | undefined> {
    const indexPath = indexPathOf(this.#path);
    if (moment.kind !== 'latest') return this.#ownIfLatest(indexPath, moment);
    try {
      const index = this.#openOwn(indexPath);
      if (!this.#isCurrent()) return this.#instead('the backup was compacted or replaced just now');
      const described = this.#describedEnd(index);
      if (described === CYRUS) return undefined; // nothing is wrong with it
      if (described === LONGER) {
        this.#isPartLost = true;
        if (!this.#knowsBeginning(index)) return this.#instead(described);
        this.#o.remark(
          `the end of ${this.#path} is lost, which its index describes; what was stored there is named one by one`,
        );
        return index;
      }
      if (typeof described === 'string') return this.#instead(described);
      if (described >= this.#sizeBytes) return index;
      return await this.#extend(index, described);
    } catch (error) {
      if (isCorruptIndex(error)) return this.#instead((error as Error).message);
      throw error;
    }
  }

  /** Moments behind the last line are common: yesterday evening, if nothing has come since. */
  #ownIfLatest(indexPath: string, moment: Moment): BackupIndex | undefined {
    try {
      const index = this.#openOwn(indexPath);
      if (!this.#isCurrent()) return undefined;
      const described = this.#describedEnd(index);
      if (described === LONGER) {
        this.#o.remark(`the index of ${this.#path} describes a longer data file, of which the end is lost`);
      }
      return described === this.#sizeBytes && isLatest(index, moment) ? index : undefined;
    } catch (error) {
      if (isCorruptIndex(error)) return undefined;
      throw error;
    }
  }

  /** What it describes is in the data file by then. */
  #openOwn(indexPath: string): BackupIndex {
    const index = this.#keep(BackupIndex.open(indexPath, { readonly: true, ...CACHE }));
    index.state(); // from here on it is that of one moment
    this.#sizeBytes = fs.fstatSync(this.#fd).size;
    return index;
  }

  /** Up to where in the data file the index describes it, or why it does not. */
  #describedEnd(index: BackupIndex): number | string {
    const state = index.state();
    if (state !== undefined) {
      const missing = state.committedEnd - this.#sizeBytes;
      if (missing > state.trailer.length) return LONGER;
      return state.committedEnd;
    }
    return CYRUS;
  }

  /** Whether a data file that was cut off is the one that the index describes: a message of it is where it should be. */
  #knowsBeginning(index: BackupIndex): boolean {
    const source = new BackupSource({ path: this.#path, fd: this.#fd, index, sizeBytes: this.#sizeBytes });
    const sql = 'SELECT guid FROM message WHERE size <= ? ORDER BY id LIMIT ?';
    const guids = index.statement(sql, 'pluck').all(LONGEST_TO_TRY, MESSAGES_TO_TRY) as string[];
    return guids.some((guid) => {
      try {
        return createHash('sha1').update(source.message(guid)).digest('hex') === guid;
      } catch (error) {
        if (error instanceof BackupError) return false;
        throw error;
      }
    });
  }

  /** A sync is under way, was cut short, or another program has appended something. */
  async #extend(index: BackupIndex, from: number): Promise<BackupIndex | undefined> {
    const { size } = fs.fstatSync(this.#fd);
    const sha1 = ResumableSha1.create();
    for (const member of scanMembers(this.#fd, from, size, { fileSha1: sha1 })) {
      if (member.state === 'complete') continue;
      const isOurs = member.bootTag !== undefined && Buffer.compare(member.bootTag, bootTag()) === 0;
      if (isTorn(this.#fd, member) && isOurs) continue;
      return this.#instead('the machine went down while it was written, or what follows is damaged');
    }
    this.#o.remark(
      `the last ${size - from} bytes of ${this.#path} are not in its index yet (a sync is under way or was cut short); ` +
        'what is complete of them is taken into account',
    );
    const copy = await this.#temporaryCopy(index);
    // The server may have committed more before the copy was complete; that is in the file by now.
    const described = copy.state()?.committedEnd ?? from;
    this.#sizeBytes = fs.fstatSync(this.#fd).size;
    if (described < this.#sizeBytes) {
      await fillPastIndex({
        fd: this.#fd,
        sizeBytes: this.#sizeBytes,
        moment: { kind: 'latest' },
        index: copy,
        from: described,
      });
    }
    copy.forgetName();
    return copy;
  }

  #instead(reason: string): undefined {
    this.#o.remark(`the index of ${this.#path} cannot be used (${reason}); reading the data file instead`);
    return undefined;
  }

  #isCurrent(): boolean {
    const own = fs.fstatSync(this.#fd);
    const named = fs.statSync(this.#path, { throwIfNoEntry: false });
    return named !== undefined && named.ino === own.ino && named.dev === own.dev;
  }

  /** @throws BackupError NOT_FOUND for a moment before the first state that is kept */
  async pastIndex(moment: Moment): Promise<BackupIndex> {
    const index = this.#temporary();
    const past = await this.#fill(index, moment);
    const { firstTime, damagedChunks } = past;
    if (moment.kind !== 'latest' && (firstTime === 0 || moment.time < firstTime)) {
      const since = await this.#firstMoment(firstTime);
      // Compaction keeps the time of the first line. Where that cannot be read it is not known who was there when.
      const isFirstLost = damagedChunks.some(({ timeBefore }) => timeBefore === 0);
      if (!isFirstLost) throw new NotYetThere(this.#path, moment.time, firstTime, since);
      throw historyLost(this.#path, moment.time, since);
    }
    if (moment.kind !== 'latest' && moment.time < (past.historySince ?? 0)) {
      throw historyLost(this.#path, moment.time, past.historySince!);
    }
    if (!past.isMomentFound) throw movedMeanwhile(this.#path);
    for (const chunk of past.damagedChunks) this.#o.remark(damageText(this.#path, chunk));
    if (damagedChunks.length > 0) {
      this.#isPartLost = true; // and nobody knows what was in it
      if (moment.kind !== 'latest') this.#o.remark('the latest state, without a moment, may have more of it');
    }
    if (past.isUnfinished) {
      this.#o.remark(
        `the last chunk of ${this.#path} has no end; what is complete of it is taken into account`,
      );
    }
    return index;
  }

  async replay(moment: Moment, watch: (index: BackupIndex) => ReplayWatcher): Promise<PastIndex> {
    const index = this.#temporary();
    const watcher = watch(index);
    const past = await this.#fill(index, moment, {
      observer: watcher.observer,
      onLine: (line, chunkOffset) => watcher.onLine(line, chunkOffset),
      withoutLookAhead: true,
    });
    for (const chunk of past.damagedChunks) this.#o.remark(damageText(this.#path, chunk));
    return past;
  }

  async #fill(index: BackupIndex, moment: Moment, more: Partial<PastIndexOptions> = {}): Promise<PastIndex> {
    const past = await fillPastIndex({
      ...more,
      fd: this.#fd,
      sizeBytes: this.#sizeBytes,
      moment,
      index,
      readers: this.#readers,
      onProgress: (bytes) => this.#o.onProgress?.(bytes, this.#sizeBytes),
    });
    index.forgetName();
    return past;
  }

  /** The line that says since when there is history is the first one, which may be behind the moment. */
  async #firstMoment(firstTime: number): Promise<number> {
    const index = this.#temporary();
    const past = await this.#fill(index, { kind: 'time', time: firstTime });
    return Math.max(past.historySince ?? 0, firstTime);
  }

  #keep(index: BackupIndex): BackupIndex {
    this.#indexes.push(index);
    return index;
  }

  /** An index that nobody else opens. It has a name as long as it is written, for its journal. */
  #temporary(): BackupIndex {
    const file = this.#newFile();
    return this.#keep(BackupIndex.open(file, { create: true, ...CACHE }));
  }

  async #temporaryCopy(of: BackupIndex): Promise<BackupIndex> {
    const file = this.#newFile();
    await of.copyTo(file);
    return this.#keep(BackupIndex.open(file, CACHE));
  }

  #newFile(): string {
    const file = temporaryFile(this.#o.config.backupStagingPath);
    this.#files.push(file);
    return file;
  }
}

function damageText(dataPath: string, { offset, end, reason, timeBefore, timeBehind }: DamagedChunk): string {
  const from = timeBefore === 0 ? 'its beginning' : isoSeconds(timeBefore);
  const to = timeBehind === 0 ? 'its end' : isoSeconds(timeBehind);
  return (
    `the chunk at bytes ${offset} to ${end} of ${dataPath} is damaged (${reason}); what it says of the time from ${from} ` +
    `to ${to} is taken as far as it can be read, the rest of it is lost`
  );
}

function movedMeanwhile(dataPath: string): BackupError {
  return new BackupError({
    code: 'LOCKED',
    tried: 'look into',
    subject: dataPath,
    reason: 'it was compacted between the search for the moment and now',
    remedy: 'Run the same command again',
  });
}
