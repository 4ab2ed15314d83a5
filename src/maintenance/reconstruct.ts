/**
 * `reconstruct`: makes backups.db anew from what lies on the partitions. What is found, and what the present catalog
 * says, goes through a temporary SQLite database, so that memory stays bounded for any number of backups. Rules:
 *
 * - An entry whose file is there stays, whoever its content belongs to; a difference is reported. But one on no partition
 *   of the configuration gives way to a copy of the same name, size and last line on one.
 * - A file without an entry is entered for the user whom its content names.
 * - Of several files for one user the one with the latest line is entered (of equal ones that which is entered now);
 *   the others are reported, or entered under the key by which a note in the newer one names them.
 * - An entry whose file is gone gives way to a file of that user; else it stays, unless it is to be pruned.
 *
 * No backup is changed and nothing is deleted; the old catalog is kept under another name.
 */
import fs from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import type { Config } from '../config/config.ts';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import { Catalog } from '../store/catalog.ts';
import { stagedPathOf } from '../store/data-file.ts';
import { ownerOf } from '../store/former-users.ts';
import { useridOfDataFile } from '../store/partition.ts';
import { dataFoldersOn } from '../store/partition-folders.ts';
import { parseDeletedKey } from './delete.ts';
import { identify } from './reconstruct-identify.ts';
import { catalogVersion, replaceCatalog } from './reconstruct-write.ts';

/** What is done about one entry or file. Userids are bytes as characters. */
export interface ReconstructItem {
  /**
   * `kept`, `added`: entries of the new catalog. `replaced`: an entry that leads to another file now. `missing`: kept
   * although its file is gone; `pruned`: left out. `duplicate`: a file that gets no entry, `other` has it. `mismatch`:
   * kept, but the content is that of `other`. `unreadable`: a file that was passed over.
   */
  what: 'kept' | 'added' | 'replaced' | 'missing' | 'pruned' | 'duplicate' | 'mismatch' | 'unreadable';
  /** Key of the catalog; null for an unreadable file that is not in it. */
  key: string | null;
  path: string;
  /** The path, or the userid, that is meant. */
  other?: string;
  /** What told whose it is. */
  by?: 'index' | 'lines' | 'name';
}

export interface ReconstructOptions {
  config: Config;
  /** Leave out entries whose files are gone. */
  prune?: boolean;
  /** Write the new catalog; without it all is only looked at. */
  apply?: boolean;
  onItem(item: ReconstructItem): void;
  /** Gets the number of files that were looked at so far. */
  onProgress?(files: number): void;
}

export interface ReconstructReport {
  /** Of the catalog that was there. `damaged`: only entries before the damage could be read. */
  catalog: 'sound' | 'damaged' | 'missing';
  /** Data files on the partitions. */
  files: number;
  /** Of the new catalog. */
  entries: number;
  counts: Record<ReconstructItem['what'], number>;
  /** Where the old catalog is kept; null if none was replaced. */
  keptAs: string | null;
  applied: boolean;
}

interface FileRow {
  path: Buffer;
  userid: Buffer;
  by: 'index' | 'lines' | 'name';
  lastTime: number;
  unuserAt: number | null;
  formerKeys: string;
  /** Key of the entry that names it, or null. */
  key: Buffer | null;
}

const PAGE = 1000;
const CACHE_KIB = 32 * 1024;
/** Keys of former users count on from the time of UNUSER while they are taken. */
const LATEST_FORMER_KEY = 10;

const SCHEMA = `
  CREATE TABLE file(path BLOB PRIMARY KEY, userid BLOB NOT NULL, by TEXT, last_time INTEGER, size INTEGER,
    unuser_at INTEGER, former TEXT, inode TEXT, name BLOB) WITHOUT ROWID;
  CREATE INDEX file_inode ON file(inode);
  CREATE INDEX file_name ON file(name);
  CREATE INDEX file_userid ON file(userid);
  CREATE TABLE entry(key BLOB PRIMARY KEY, path BLOB NOT NULL) WITHOUT ROWID;
  CREATE INDEX entry_path ON entry(path);
  CREATE TABLE plan(key BLOB PRIMARY KEY, path BLOB NOT NULL) WITHOUT ROWID`;

/** @throws BackupError LOCKED when the catalog was changed meanwhile; PERMISSION_DENIED, NO_SPACE, IO_ERROR */
export async function reconstructCatalog(options: ReconstructOptions): Promise<ReconstructReport> {
  return new Reconstruction(options).run();
}

class Reconstruction {
  readonly #o: ReconstructOptions;
  /** A private file that SQLite removes. */
  readonly #db = new Database('');
  readonly #report: ReconstructReport = {
    catalog: 'sound',
    files: 0,
    entries: 0,
    counts: {
      kept: 0,
      added: 0,
      replaced: 0,
      missing: 0,
      pruned: 0,
      duplicate: 0,
      mismatch: 0,
      unreadable: 0,
    },
    keptAs: null,
    applied: false,
  };

  /** Paths in the catalog that lead to the file of another path, by key. */
  readonly #aliases = new Map<string, string>();

  constructor(options: ReconstructOptions) {
    this.#o = options;
    this.#db.pragma(`cache_size = -${CACHE_KIB}`);
    this.#db.pragma('journal_mode = OFF');
    this.#db.pragma('synchronous = OFF');
    this.#db.exec(SCHEMA);
  }

  run(): ReconstructReport {
    try {
      const version = catalogVersion(this.#o.config.backupDbPath);
      this.#readCatalog(version !== undefined);
      for (const { path: partition } of this.#o.config.partitions) this.#readPartition(partition);
      this.#followAliases();
      this.#planUsers();
      this.#planEntries();
      this.#report.entries = this.#db.prepare('SELECT count(*) FROM plan').pluck().get() as number;
      if (this.#o.apply) {
        const page = this.#db.prepare('SELECT key, path FROM plan WHERE key > ? ORDER BY key LIMIT 1000');
        const rows = () => pages<{ key: Buffer; path: Buffer }>((after) => page.all(after), 'key');
        this.#report.keptAs = replaceCatalog(this.#o.config, version, this.#report.entries, rows);
        this.#report.applied = true;
      }
      return this.#report;
    } finally {
      this.#db.close();
    }
  }

  #readCatalog(exists: boolean): void {
    if (!exists) {
      this.#report.catalog = 'missing';
      return;
    }
    const catalog = new Catalog(this.#o.config.backupDbPath);
    const put = this.#db.prepare('INSERT OR REPLACE INTO entry(key, path) VALUES (?, ?)');
    try {
      for (const [key, dataPath] of catalog.entries())
        put.run(Buffer.from(key, 'latin1'), Buffer.from(dataPath));
      catalog.check();
    } catch (error) {
      if (!(error instanceof BackupError && error.code === 'CATALOG_CORRUPT')) throw error;
      this.#report.catalog = 'damaged';
    } finally {
      catalog.close();
    }
  }

  #readPartition(partition: string): void {
    const put = this.#db.prepare('INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)');
    for (const dataPath of dataFilesOn(partition)) {
      this.#report.files++;
      this.#o.onProgress?.(this.#report.files);
      try {
        const { userid, by, lastTime, sizeBytes, unuserAt, formerKeys } = identify(dataPath, this.#o.config);
        const of = Buffer.from(userid!, 'latin1');
        const former = JSON.stringify(formerKeys);
        const inode = inodeOf(dataPath) ?? null;
        const place = [Buffer.from(dataPath), of, by, lastTime, sizeBytes] as const;
        put.run(...place, unuserAt ?? null, former, inode, nameOf(dataPath));
      } catch (error) {
        if (hasErrno(error, 'ENOENT')) continue; // moved or removed meanwhile
        if (!(error instanceof BackupError) && (error as NodeJS.ErrnoException).code === undefined)
          throw error;
        this.#item({ what: 'unreadable', key: this.#keyOf(dataPath), path: dataPath });
      }
    }
  }

  /**
   * An entry may lead to a file of these partitions by another path: through a symbolic link, or because a filesystem is
   * mounted at two places. It is no second file, which somebody would remove. Or all is at another place now than
   * when the catalog was written, and still has its name, of which a part is random; what it was copied from may be
   * there yet.
   */
  #followAliases(): void {
    const outside = this.#db.prepare('SELECT key, path FROM entry WHERE path NOT IN (SELECT path FROM file)');
    const same = this.#db.prepare('SELECT path FROM file WHERE inode = ?').pluck();
    const alike = this.#db
      .prepare('SELECT path FROM file WHERE name = ? AND path NOT IN (SELECT path FROM entry)')
      .pluck();
    const follow = this.#db.prepare('UPDATE entry SET path = ? WHERE key = ?');
    for (const { key, path: known } of outside.all() as { key: Buffer; path: Buffer }[]) {
      const inode = inodeOf(known.toString());
      let places = (inode === undefined ? [] : same.all(inode)) as Buffer[];
      if (places.length === 0) {
        places = alike.all(nameOf(known.toString())) as Buffer[];
        if (inode !== undefined) places = places.filter((copy) => this.#isCopyOf(copy, known.toString()));
      }
      const [found] = places;
      if (found === undefined || places.length > 1) continue;
      follow.run(found, key);
      this.#aliases.set(text(key), known.toString());
    }
  }

  /** Only of what has not changed since: the one that clients have gone on in must not be left behind. */
  #isCopyOf(copy: Buffer, original: string): boolean {
    const row = this.#db
      .prepare('SELECT userid, last_time AS lastTime, size FROM file WHERE path = ?')
      .get(copy) as {
      userid: Buffer;
      lastTime: number;
      size: number;
    };
    try {
      const { userid, lastTime, sizeBytes } = identify(original, this.#o.config);
      return userid === text(row.userid) && lastTime === row.lastTime && sizeBytes === row.size;
    } catch (error) {
      // It is there and cannot be read: for people to look at.
      if (error instanceof BackupError || (error as NodeJS.ErrnoException).code !== undefined) return false;
      throw error;
    }
  }

  #keyOf(dataPath: string): string | null {
    const key = this.#db.prepare('SELECT key FROM entry WHERE path = ?').pluck().get(Buffer.from(dataPath));
    return key === undefined ? null : (key as Buffer).toString('latin1');
  }

  /** Files by user: which one gets the userid as its key. */
  #planUsers(): void {
    const users = this.#db.prepare(
      'SELECT DISTINCT userid FROM file WHERE userid > ? ORDER BY userid LIMIT 1000',
    );
    const files = this.#db.prepare(
      `SELECT f.path, f.userid, f.by, f.last_time AS lastTime, f.unuser_at AS unuserAt, f.former AS formerKeys,
         (SELECT key FROM entry e WHERE e.path = f.path) AS key
       FROM file f WHERE f.userid = ? ORDER BY f.last_time DESC, key IS f.userid DESC, f.size DESC, f.path`,
    );
    for (const { userid } of pages<{ userid: Buffer }>((after) => users.all(after), 'userid'))
      this.#planUser(userid, files.all(userid) as FileRow[]);
  }

  #planUser(userid: Buffer, files: FileRow[]): void {
    // Those that the catalog has under another key stay there.
    const candidates = files.filter(({ key }) => key === null || key.equals(userid));
    const winner = candidates.shift();
    if (winner === undefined) return;
    const present = this.#entry(userid);
    const isOthers = present !== undefined && this.#isAnothers(present, userid);
    if (isOthers) candidates.unshift(winner);
    else this.#enter(userid, winner, present);
    const formerKeys = new Set(files.flatMap((file) => JSON.parse(file.formerKeys) as string[]));
    for (const file of candidates) {
      const former = [...formerKeys].find((key) => isKeyOf(key, file) && this.#isFree(key));
      if (former !== undefined) this.#enter(Buffer.from(former, 'latin1'), file, undefined);
      else {
        const has = isOthers ? present : winner.path;
        this.#item({
          what: 'duplicate',
          key: text(userid),
          path: file.path.toString(),
          other: has.toString(),
        });
      }
    }
  }

  /** The entry leads to a file whose content is somebody else's: that is reported, and stays. */
  #isAnothers(present: Buffer, userid: Buffer): boolean {
    const of = this.#db.prepare('SELECT userid FROM file WHERE path = ?').pluck().get(present) as
      | Buffer
      | undefined;
    return of === undefined ? isThere(present.toString()) : !of.equals(userid);
  }

  #isFree(key: string): boolean {
    const bytes = Buffer.from(key, 'latin1');
    return this.#entry(bytes) === undefined && this.#planned(bytes) === undefined;
  }

  #entry(key: Buffer): Buffer | undefined {
    return this.#db.prepare('SELECT path FROM entry WHERE key = ?').pluck().get(key) as Buffer | undefined;
  }

  #planned(key: Buffer): Buffer | undefined {
    return this.#db.prepare('SELECT path FROM plan WHERE key = ?').pluck().get(key) as Buffer | undefined;
  }

  #enter(key: Buffer, file: FileRow, present: Buffer | undefined): void {
    this.#plan(key, file.path);
    const item = { key: text(key), path: file.path.toString(), by: file.by };
    if (present === undefined) this.#item({ ...item, what: 'added' });
    else if (!present.equals(file.path)) this.#item({ ...item, what: 'replaced', other: present.toString() });
    else if (this.#aliases.has(item.key)) this.#followed(item.key, item.path);
    else this.#item({ ...item, what: 'kept' });
  }

  /** Entries that no file has taken. */
  #planEntries(): void {
    const entries = this.#db.prepare('SELECT key, path FROM entry WHERE key > ? ORDER BY key LIMIT 1000');
    const owner = this.#db.prepare('SELECT userid FROM file WHERE path = ?').pluck();
    for (const { key, path: bytes } of pages<{ key: Buffer; path: Buffer }>(
      (after) => entries.all(after),
      'key',
    )) {
      if (this.#planned(key) !== undefined) continue;
      const [name, dataPath] = [text(key), bytes.toString()];
      const of = owner.get(bytes) as Buffer | undefined;
      if (of === undefined && !isThere(dataPath)) {
        if (!this.#o.prune) this.#plan(key, bytes);
        this.#item({ what: this.#o.prune ? 'pruned' : 'missing', key: name, path: dataPath });
        continue;
      }
      this.#plan(key, bytes);
      if (this.#aliases.has(name)) {
        this.#followed(name, dataPath);
        continue;
      }
      const isOthers = of !== undefined && text(of) !== ownerOf(name);
      this.#item({
        what: isOthers ? 'mismatch' : 'kept',
        key: name,
        path: dataPath,
        ...(isOthers && { other: text(of) }),
      });
    }
  }

  #followed(key: string, dataPath: string): void {
    this.#item({ what: 'replaced', key, path: dataPath, other: this.#aliases.get(key)! });
  }

  #plan(key: Buffer, dataPath: Buffer): void {
    this.#db.prepare('INSERT INTO plan(key, path) VALUES (?, ?)').run(key, dataPath);
  }

  #item(item: ReconstructItem): void {
    this.#report.counts[item.what]++;
    this.#o.onItem(item);
  }
}

/** All rows of a statement that gives a page of those behind a key. */
function* pages<T>(read: (after: Buffer) => unknown[], column: keyof T): Generator<T, void> {
  let after = Buffer.alloc(0);
  for (;;) {
    const page = read(after) as T[];
    yield* page;
    if (page.length < PAGE) return;
    after = page.at(-1)![column] as Buffer<ArrayBuffer>;
  }
}

function isKeyOf(key: string, { unuserAt }: FileRow): boolean {
  const deleted = parseDeletedKey(key);
  if (deleted === undefined || unuserAt === null) return false;
  const later = deleted.deletedAt - unuserAt;
  return later >= 0 && later <= LATEST_FORMER_KEY;
}

function text(bytes: Buffer): string {
  return bytes.toString('latin1');
}

/** `H/USERID_XXXXXX` */
function nameOf(dataPath: string): Buffer {
  return Buffer.from(path.join(path.basename(path.dirname(dataPath)), path.basename(dataPath)));
}

function inodeOf(file: string): string | undefined {
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  return stat && `${stat.dev}:${stat.ino}`;
}

function isThere(dataPath: string): boolean {
  return fs.existsSync(dataPath) || fs.existsSync(stagedPathOf(dataPath));
}

/** `PARTITION/H/USERID_XXXXXX`, one after the other. */
function* dataFilesOn(partition: string): Generator<string, void> {
  for (const folder of dataFoldersOn(partition)) {
    const parent = path.join(partition, folder);
    for (const entry of list(parent)) {
      if (!entry.isFile() || entry.name.endsWith('.index')) continue;
      if (useridOfDataFile(entry.name) !== undefined) yield path.join(parent, entry.name);
    }
  }
}

function* list(folder: string): Generator<fs.Dirent, void> {
  let handle: fs.Dir;
  try {
    handle = fs.opendirSync(folder);
  } catch (error) {
    throw ioError(error, 'list', folder);
  }
  try {
    for (let entry = handle.readSync(); entry !== null; entry = handle.readSync()) yield entry;
  } finally {
    handle.closeSync();
  }
}
