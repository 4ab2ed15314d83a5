/**
 * The backups that a shard has open: those that a session has locked, and a bounded number of released ones,
 * kept because the next update of the same user is likely and opening costs more than looking twice.
 */

import fs from 'node:fs';
import { Backup } from './backup.ts';
import { chooseDataFile } from './create-data-file.ts';
import { DataFile } from './data-file.ts';
import { openTrusted } from './recovery.ts';
import type { StoreEnvironment } from './store-environment.ts';

/** Released backups that stay open; each costs two descriptors and up to 300 kB of SQLite cache. */
const MAX_RELEASED = 64;

export class BackupShelf {
  readonly #env: StoreEnvironment;
  /** In order of last use, the least recently used first. */
  readonly #open = new Map<string, Backup>();

  constructor(env: StoreEnvironment) {
    this.#env = env;
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * The user's backup, locked for the session.
   *
   * @returns undefined if the user has none (and `create` is false); `busy` if another session or program has
   *   it locked.
   * @throws BackupError when the files cannot be opened or recovered.
   */
  async lock(userid: string, session: number, create: boolean): Promise<Backup | 'busy' | undefined> {
    const open = this.#open.get(userid);
    if (open?.session === session) return this.#use(open);
    if (open?.session !== undefined) return 'busy';
    const dataPath = this.#env.catalog.get(userid);
    if (open !== undefined) {
      const result = open.file.path === dataPath ? open.relock(session) : 'stale';
      if (result === 'busy') return 'busy';
      if (result === 'locked') return this.#use(open);
      this.#env.figures.count('stale_backups_total');
      this.forget(open);
    }
    if (dataPath === undefined && !create) return undefined;
    const file = dataPath === undefined ? chooseDataFile(userid, this.#env.config) : lockCurrent(dataPath);
    if (file === undefined) return 'busy';
    let backup: Backup;
    try {
      backup = new Backup(userid, await openTrusted(file, userid, this.#env), this.#env);
    } catch (error) {
      file.close();
      throw error;
    }
    backup.session = session;
    return this.#use(backup);
  }

  /** The backup under this catalog key if its files are open. */
  find(userid: string): Backup | undefined {
    return this.#open.get(userid);
  }

  /** Catalog keys of all backups whose files are open. */
  keys(): string[] {
    return [...this.#open.keys()];
  }

  #use(backup: Backup): Backup {
    this.#open.delete(backup.userid);
    this.#open.set(backup.userid, backup);
    return backup;
  }

  /** Finishes what the session committed and gives up its lock on this user's backup. */
  async release(userid: string, session: number): Promise<void> {
    const backup = this.#open.get(userid);
    if (backup === undefined || backup.session !== session) return;
    await backup.release();
    if (backup.file.staged) this.forget(backup);
    this.#trim();
  }

  #trim(): void {
    let released = 0;
    for (const backup of this.#open.values()) if (backup.session === undefined) released++;
    for (const backup of this.#open.values()) {
      if (released <= MAX_RELEASED) return;
      if (backup.session !== undefined) continue;
      this.forget(backup);
      released--;
    }
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
