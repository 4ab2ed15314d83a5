/**
 * The backups that a shard has open: those that a session has locked, and a bounded number of released ones,
 * kept because the next update of the same user is likely and opening costs more than looking twice.
 */

import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Backup } from './backup.ts';
import { chooseDataFile } from './create-data-file.ts';
import { DataFile } from './data-file.ts';
import { openTrusted } from './recovery.ts';
import type { StoreEnvironment } from './store-environment.ts';
import { workPathsOf } from './swap.ts';

/** A compaction has the lock for a moment only, for which no client is to be refused. */
const COMPACTION_WAIT_MS = 5000;
const COMPACTION_POLL_MS = 10;
/** It gives the lock back a moment after the last trace of it has gone, and has it a moment before the first. */
const SWAP_GRACE_MS = 50;

export class BackupShelf {
  readonly #env: StoreEnvironment;
  /** In the order in which they were opened. */
  readonly #open = new Map<string, Backup>();
  readonly #maxReleased: number;
  /** Where the search for one to close goes on: behind this backup. */
  #hand: string | undefined;

  constructor(env: StoreEnvironment) {
    this.#env = env;
    this.#maxReleased = Math.floor(env.config.keepOpen / env.config.shards);
  }

  /**
   * Brings the figures up to date that say what is open now. Files that other programs have removed are closed: their
   * space is free only then, and nobody may come for them any more.
   */
  count(): void {
    for (const backup of [...this.#open.values()])
      if (backup.session === undefined && backup.file.isRemoved()) this.forget(backup);
    const lags = [...this.#open.values()].map(({ chunk }) => chunk?.lag).filter((lag) => lag !== undefined);
    const { figures } = this.#env;
    figures.set('open_backups', this.#open.size);
    figures.set('open_chunks', lags.length);
    figures.set(
      'index_lag_bytes',
      lags.reduce((sum, { bytes }) => sum + bytes, 0),
    );
    figures.set(
      'index_lag_seconds',
      lags.reduce((longest, { seconds }) => Math.max(longest, seconds), 0),
    );
  }

  /**
   * The user's backup, locked for the session. Waits for a compaction that puts its files in place.
   *
   * @returns undefined if the user has none (and `create` is false); `busy` if another session or program has
   *   it locked.
   * @throws BackupError when the files cannot be opened or recovered.
   */
  async lock(userid: string, session: number, create: boolean): Promise<Backup | 'busy' | undefined> {
    let result = await this.#tryLock(userid, session, create);
    if (result !== 'busy') return result;
    let startedMs: number | undefined;
    let graceLeftMs = SWAP_GRACE_MS;
    for (let waitedMs = 0; waitedMs < COMPACTION_WAIT_MS; waitedMs += COMPACTION_POLL_MS) {
      if (result !== 'busy' || this.#open.get(userid)?.session !== undefined) break;
      if (!this.#isCompacted(userid)) graceLeftMs -= COMPACTION_POLL_MS;
      if (graceLeftMs < 0) break;
      startedMs ??= performance.now();
      await sleep(COMPACTION_POLL_MS);
      result = await this.#tryLock(userid, session, create);
    }
    if (startedMs !== undefined)
      this.#env.figures.observe('lock_wait_seconds', (performance.now() - startedMs) / 1000);
    return result;
  }

  #isCompacted(userid: string): boolean {
    const dataPath = this.#env.catalog.get(userid);
    if (dataPath === undefined) return false;
    const { data, index, aside } = workPathsOf(dataPath);
    return [data, index, aside].some((file) => fs.existsSync(file));
  }

  async #tryLock(userid: string, session: number, create: boolean): Promise<Backup | 'busy' | undefined> {
    const open = this.#open.get(userid);
    if (open?.session === session) return open;
    if (open?.session !== undefined) return 'busy';
    const dataPath = this.#env.catalog.get(userid);
    if (open !== undefined) {
      let result = open.file.path === dataPath ? open.relock(session) : 'stale';
      if (result === 'locked' && this.#env.catalog.get(userid) !== dataPath) result = 'stale';
      if (result === 'busy') return 'busy';
      if (result === 'locked') {
        open.wasUsedAgain = true;
        this.#env.figures.count('cache_hits_total');
        return open;
      }
      this.#env.figures.count('stale_backups_total');
      this.forget(open);
    }
    if (dataPath === undefined && !create) return undefined;
    const file =
      dataPath === undefined ? chooseDataFile(userid, this.#env.config) : this.#lockNamed(userid, dataPath);
    if (file === 'moved') return await this.#tryLock(userid, session, create);
    if (file === undefined) return 'busy';
    let backup: Backup | undefined;
    try {
      backup = new Backup(userid, await openTrusted(file, userid, this.#env), this.#env);
      backup.begin(session);
    } catch (error) {
      // Nobody else knows of it, and it would stay locked.
      if (backup === undefined) file.close();
      else backup.close();
      throw error;
    }
    this.#open.set(userid, backup);
    this.#env.figures.count('cache_misses_total');
    return backup;
  }

  /** Undefined if it is locked; `moved` if the catalog has come to name another file meanwhile, or none. */
  #lockNamed(userid: string, dataPath: string): DataFile | 'moved' | undefined {
    let file: DataFile | undefined;
    try {
      file = lockCurrent(dataPath);
    } catch (error) {
      if (this.#env.catalog.get(userid) !== dataPath) return 'moved';
      throw error;
    }
    if (file === undefined || this.#env.catalog.get(userid) === dataPath) return file;
    file.close();
    return 'moved';
  }

  /** The backup under this catalog key if its files are open. */
  find(userid: string): Backup | undefined {
    return this.#open.get(userid);
  }

  /** Catalog keys of all backups whose files are open. */
  keys(): string[] {
    return [...this.#open.keys()];
  }

  /** Finishes what the session committed and gives up its lock on this user's backup. */
  async release(userid: string, session: number): Promise<void> {
    const backup = this.#open.get(userid);
    if (backup === undefined || backup.session !== session) return;
    await backup.release();
    if (backup.file.staged) this.forget(backup);
    this.#trim();
  }

  /**
   * Closes released backups that are too many. Which ones is chosen as by SIEVE (Zhang et al., NSDI 2024): the
   * hand goes from the oldest to the newest and takes the first that was not used again since it passed. The
   * least recently used one would be the worst choice for clients that go through all users in turn. For the same
   * reason the hand goes back to the one before, and from the oldest to the newest: of so many users in turn those that
   * came first stay, where a hand that goes on from the oldest would take each of them before it comes again.
   */
  #trim(): void {
    let released = 0;
    for (const backup of this.#open.values()) if (backup.session === undefined) released++;
    while (released > this.#maxReleased) {
      const victim = this.#nextUnused();
      if (victim === undefined) return;
      this.forget(victim);
      released--;
    }
  }

  #nextUnused(): Backup | undefined {
    const all = [...this.#open.values()];
    const start = all.findIndex(({ userid }) => userid === this.#hand) + 1;
    // Twice round: the first time may only find backups that were used again.
    for (let step = 0; step < 2 * all.length; step++) {
      const backup = all[(start + step) % all.length]!;
      if (backup.session !== undefined) continue;
      if (!backup.wasUsedAgain) {
        this.#hand = all[(start + step - 1 + all.length) % all.length]!.userid;
        return backup;
      }
      backup.wasUsedAgain = false;
    }
    return undefined;
  }

  /** Closes a backup whatever state it is in; the next lock opens it anew and recovers what is needed. */
  forget(backup: Backup): void {
    if (this.#open.get(backup.userid) === backup) this.#open.delete(backup.userid);
    backup.close();
  }

  /** forget() by name. An index that is known to be damaged is put aside, so that the next lock rebuilds it. */
  drop(userid: string, isIndexCorrupt: boolean): void {
    const backup = this.#open.get(userid);
    if (backup === undefined) return;
    const { indexPath, staged } = backup.file;
    this.forget(backup);
    if (!isIndexCorrupt || staged) return;
    fs.rmSync(`${indexPath}-journal`, { force: true });
    fs.renameSync(indexPath, `${indexPath}.corrupt.${Math.floor(Date.now() / 1000)}`);
  }

  /** Closes everything; whatever is still locked is left for recovery. */
  close(): void {
    for (const backup of [...this.#open.values()]) this.forget(backup);
  }
}

/** Opens and locks the file that the path names, even if another program replaces it meanwhile. */
function lockCurrent(dataPath: string): DataFile | undefined {
  for (;;) {
    const file = DataFile.open(dataPath);
    if (!file.lock()) {
      file.close();
      return undefined;
    }
    if (file.isCurrent()) return file;
    file.close();
  }
}
