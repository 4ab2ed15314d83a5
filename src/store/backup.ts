/**
 * One user's backup in its shard: data file, index, lock and the chunk under construction. Between locks the
 * descriptors and SHA-1 state stay cached; they are trusted again only if the files are still the same ones
 * and end where we left them.
 */
import fs from 'node:fs';
import { crashPoint } from '../platform/crash-points.ts';
import { BackupError, hasErrno } from '../platform/errors.ts';
import type { ResumableSha1 } from '../platform/sha1.ts';
import { readContent } from './chunk/reader.ts';
import type { DataFile } from './data-file.ts';
import { ownerOf } from './former-users.ts';
import { noteLosses } from './heal.ts';
import type { BackupIndex } from './index/backup-index.ts';
import { changeCounter } from './index/change-counter.ts';
import { awaitsHeals } from './index/damage.ts';
import type { ToldInSync } from './left-out.ts';
import { OpenChunk } from './open-chunk.ts';
import type { FoundByRebuild } from './rebuild.ts';
import type { StoreEnvironment } from './store-environment.ts';
import { readMessage } from './stored-message.ts';

/** Pages of an index that stay in memory between locks. Of a large one every update would add some, up to all of the cache. */
const MOST_CACHED_BYTES = 128 * 1024;

/** What recovery hands over: both files open, the data file locked and ending with a complete chunk. */
export interface TrustedFiles {
  file: DataFile;
  index: BackupIndex;
  /** Of all bytes of the data file. */
  fileSha1: ResumableSha1;
  /** Length of the data file in bytes. */
  fileEnd: number;
  /** Seconds; 0 when there is no line yet. */
  lastTime: number;
  /** The index was made anew just now. */
  rebuilt?: FoundByRebuild;
}

export class Backup {
  readonly userid: string;
  readonly file: DataFile;
  readonly index: BackupIndex;
  /** The session that has it locked; undefined when it is only cached. */
  session: number | undefined;
  /** GUIDs that this session's RESERVE reported missing. */
  readonly reserved = new Set<string>();
  /** What this session was told of mailboxes that are to come as a whole; undefined: it has not asked yet (left-out.ts). */
  toldInSync: ToldInSync | undefined;
  /** It was locked again since the shelf last thought of closing it. */
  wasUsedAgain = false;
  readonly #env: StoreEnvironment;
  #fileSha1: ResumableSha1;
  readonly #indexFd: number;
  readonly #indexInode: number;
  /** Of the index when the backup was released. */
  #indexChanges: number | undefined;
  #fileEnd: number;
  #lastTime: number;
  #chunk: OpenChunk | undefined;
  /** When the chunk was begun something was still asked for that is lost. */
  #wasAwaiting = false;
  /** What the index that was made anew asks for, or does not, nobody has been told yet. */
  #isMadeAnew: boolean;
  #isClosed = false;
  readonly #unreadable = new Set<string>();

  constructor(userid: string, files: TrustedFiles, env: StoreEnvironment) {
    this.userid = userid;
    this.file = files.file;
    this.index = files.index;
    this.#env = env;
    this.#fileSha1 = files.fileSha1;
    this.#fileEnd = files.fileEnd;
    this.#lastTime = files.lastTime;
    this.#isMadeAnew = files.rebuilt !== undefined;
    try {
      this.#indexFd = fs.openSync(this.file.indexPath, 'r+');
    } catch (error) {
      this.index.close(); // too many open files, say
      throw error;
    }
    this.#indexInode = fs.fstatSync(this.#indexFd).ino;
  }

  /** The open chunk, or undefined while nothing is being added. */
  get chunk(): OpenChunk | undefined {
    return this.#chunk;
  }

  /** The open chunk; begins one (in memory only) if there is none. */
  ensureChunk(): OpenChunk {
    if (this.#chunk === undefined) this.#wasAwaiting = this.#isMadeAnew || awaitsHeals(this.index);
    this.#chunk ??= new OpenChunk({
      fd: this.file.fd,
      path: this.file.path,
      indexFd: this.#indexFd,
      index: this.index,
      fileSha1: this.#fileSha1,
      fileEnd: this.#fileEnd,
      lastTime: this.#lastTime,
      engine: this.#env.engine,
      bootTag: this.#env.bootTag,
      durability: this.#env.config.durability,
      disk: this.#env.disk,
      figures: this.#env.figures,
    });
    return this.#chunk;
  }

  /**
   * A message of this backup, pending ones included; undefined if it is not here. A block of `blocks()` is
   * valid until the next is asked for.
   */
  findMessage(
    guid: string,
  ): { partition: string; size: number; blocks: () => Iterable<Uint8Array> } | undefined {
    const pending = this.#chunk?.pending.get(guid);
    if (this.#chunk !== undefined && pending !== undefined) {
      const { partition, size, contentOffset } = pending;
      const chunk = { id: this.#chunk.id, offset: 0 };
      return { partition, size, blocks: () => this.content(chunk, contentOffset, size) };
    }
    const at = this.index.findMessage(guid);
    if (at?.contentOffset === undefined) return undefined;
    const { partition, size, contentOffset, chunk } = at;
    if (chunk.id === this.#chunk?.id) {
      return { partition, size, blocks: () => this.content(chunk, contentOffset, size) };
    }
    return { partition, size, blocks: () => readMessage(this.file.fd, this.index, at, this.file.path) };
  }

  /** Reads the message through. One that cannot be read is remembered: see release(). */
  isReadable(guid: string): boolean {
    try {
      for (const _ of this.findMessage(guid)?.blocks() ?? []) {
        // Only whether it comes to its end matters.
      }
      return true;
    } catch (error) {
      if (!(error instanceof BackupError && error.code === 'CHUNK_CORRUPT')) throw error;
      this.#unreadable.add(guid);
      return false;
    }
  }

  /** Content of a chunk from `from` on: `length` bytes, or all of it. */
  content(chunk: { id: number; offset: number }, from: number, length?: number): Iterable<Uint8Array> {
    if (chunk.id === this.#chunk?.id) return this.#chunk.read(from, length);
    const start = this.index.segmentBefore(chunk.id, from);
    return readContent(this.file.fd, { offset: chunk.offset, start, path: this.file.path }, from, length);
  }

  /** Commits what was appended to the chunk; a new backup becomes visible now. */
  async commit(): Promise<void> {
    await this.#chunk?.commit();
    if (this.file.staged) {
      this.file.publish(this.userid, this.#env.catalog);
      this.#env.figures.count('backups_created_total');
    }
    if ((this.#chunk?.contentLength ?? 0) >= this.#env.config.chunkMaxBytes) await this.endChunk();
  }

  /** Finishes the chunk if there is one; the file then ends with a complete member. */
  async endChunk(): Promise<void> {
    if (this.#chunk === undefined) return;
    const { fileEnd, lastTime, fileSha1, contentBytes } = await this.#chunk.finish();
    this.#chunk = undefined;
    if (fileEnd > this.#fileEnd) {
      const change = {
        path: this.file.path,
        fromBytes: this.#fileEnd,
        toBytes: fileEnd,
        contentBytes,
        lastTime,
        ...(this.#wasAwaiting && !awaitsHeals(this.index) && { isHealed: true }),
      };
      this.#isMadeAnew = false;
      this.#env.figures.changed(this.userid, change);
    }
    this.#fileEnd = fileEnd;
    this.#lastTime = lastTime;
    this.#fileSha1 = fileSha1;
    if (this.file.staged && fileEnd > 0) this.file.publish(this.userid, this.#env.catalog);
  }

  /**
   * Finishes the chunk and gives up the lock; the descriptors stay open. Messages that could not be read are noted
   * before, so that clients are asked for them again.
   */
  async release(): Promise<void> {
    await this.endChunk();
    this.index.letGo();
    if (this.#unreadable.size > 0) await this.#noteUnreadable();
    this.reserved.clear();
    if (fs.fstatSync(this.#indexFd).size > MOST_CACHED_BYTES) this.index.shrink();
    this.#indexChanges = changeCounter(this.#indexFd);
    this.file.unlock();
    this.session = undefined;
    crashPoint('released');
  }

  async #noteUnreadable(): Promise<void> {
    const { fd, path } = this.file;
    const { guids, uniqueids } = await noteLosses(
      {
        fd,
        path,
        userid: ownerOf(this.userid),
        index: this.index,
        ensureChunk: () => this.ensureChunk(),
        commit: () => this.commit(),
      },
      { guids: [...this.#unreadable], uniqueids: [], chunkOffsets: [] },
    );
    this.#unreadable.clear();
    await this.endChunk();
    if (guids.length === 0) return;
    this.#env.figures.count('messages_lost_total', guids.length);
    this.#env.log.error(
      {
        userid: this.userid,
        path,
        guids: guids.slice(0, 20),
        count: guids.length,
        mailboxes: uniqueids.length,
      },
      'messages of the backup cannot be read; clients are asked for them again',
    );
  }

  /** The session has the lock. */
  begin(session: number): void {
    this.session = session;
    this.toldInSync = undefined;
    this.index.told = undefined;
    this.index.hold();
  }

  /**
   * Takes the lock of a cached backup again.
   *
   * @returns `stale` if another program has touched or replaced the files: close it and open anew.
   */
  relock(session: number): 'locked' | 'busy' | 'stale' {
    if (!this.file.lock()) return 'busy';
    if (!this.file.isCurrent() || this.file.size() !== this.#fileEnd || !this.#indexIsCurrent())
      return 'stale';
    if (this.#indexChanges === undefined || changeCounter(this.#indexFd) !== this.#indexChanges)
      this.index.forgetCached();
    this.begin(session);
    return 'locked';
  }

  #indexIsCurrent(): boolean {
    try {
      return fs.statSync(this.file.indexPath).ino === this.#indexInode;
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) return false;
      throw error;
    }
  }

  /**
   * Closes everything as it is: after a release, or when something failed and the state in memory is no longer
   * to be trusted. What was acknowledged is in the data file, and the next open recovers it.
   */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#chunk = undefined;
    this.session = undefined;
    this.index.close();
    // Only now: closing any descriptor of the index would drop SQLite's own POSIX locks on it.
    fs.closeSync(this.#indexFd);
    this.file.close();
  }
}
