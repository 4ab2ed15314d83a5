/**
 * A connection to an index: its prepared statements, its transactions and its memory. What is in the tables is backup-index.ts's.
 */
import { rmSync } from 'node:fs';
import type Database from 'better-sqlite3';
import { CACHE_KIBIBYTES } from './open-database.ts';

/** More than the rows of any command that comes in one piece can dirty. */
const UNSPILT_CACHE_KIBIBYTES = 65_536;
/** Copied at a time, with the file locked for reading. */
const COPY_PAGES = 4000;

/** Tables of ours that are empty in most backups. */
const SELDOM_FILLED = ['cb_record', 'cb_record_extra', 'cb_mailbox', 'cb_intermediate', 'cb_heal'] as const;
const WHICH_ARE_FILLED = `SELECT ${SELDOM_FILLED.map((table) => `EXISTS (SELECT 1 FROM ${table})`).join(', ')}`;
const INSERT_INTO_OWN = /\bINTO (cb_(?:record|record_extra|mailbox|intermediate|heal))\b/;

export class IndexConnection {
  readonly path: string;
  readonly #db: Database.Database;
  /** Which of SELDOM_FILLED may have rows; undefined until it is asked for. */
  #filled: Set<string> | undefined;
  /** The transaction that is open was begun by hold(), and nothing has been written in it. */
  #isHeld = false;
  readonly #statements = {
    objects: new Map<string, Database.Statement>(),
    raw: new Map<string, Database.Statement>(),
    pluck: new Map<string, Database.Statement>(),
  };

  protected constructor(path: string, db: Database.Database) {
    this.path = path;
    this.#db = db;
  }

  close(): void {
    this.#db.close();
  }

  /**
   * A prepared statement of this connection; prepared at its first use and kept. Making an object of a row
   * costs ten times what finding it does, so frequent queries take `raw` rows (arrays) or `pluck` (the first
   * column).
   */
  statement(sql: string, rows: 'objects' | 'raw' | 'pluck' = 'objects'): Database.Statement {
    let statement = this.#statements[rows].get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      const table = INSERT_INTO_OWN.exec(sql)?.[1];
      if (table !== undefined) this.#filled?.add(table);
      if (rows === 'raw') statement.raw();
      if (rows === 'pluck') statement.pluck();
      this.#statements[rows].set(sql, statement);
    }
    return statement;
  }

  /**
   * False if this table of ours is empty, as it is in most backups. To prepare a statement costs more than to
   * carry it out, so what would find nothing is better not asked.
   */
  mayHaveRows(table: (typeof SELDOM_FILLED)[number]): boolean {
    if (this.#filled === undefined) {
      const found = this.statement(WHICH_ARE_FILLED, 'raw').get() as number[];
      this.#filled = new Set(SELDOM_FILLED.filter((_, i) => found[i] === 1));
      for (const rows of Object.values(this.#statements)) {
        for (const sql of rows.keys()) {
          const prepared = INSERT_INTO_OWN.exec(sql)?.[1];
          if (prepared !== undefined) this.#filled.add(prepared);
        }
      }
    }
    return this.#filled.has(table);
  }

  /** For when the file has been changed by somebody else since it was last used. */
  forgetCached(): void {
    this.#filled = undefined;
  }

  // Transactions

  /**
   * Whether SQLite itself syncs journal and database at each commit, as recovery needs it where no unfinished
   * member of the data file would tell of a torn index.
   */
  setFullSync(on: boolean): void {
    this.#db.pragma(`synchronous = ${on ? 'FULL' : 'OFF'}`);
  }

  /**
   * Whether a transaction that outgrows the page cache may write to the file before its COMMIT. The caller
   * forbids it until the data file bears a synced sign that the index is being changed.
   */
  allowSpill(on: boolean): void {
    // PRAGMA cache_spill has no effect inside a transaction, the size of the cache has.
    this.#db.pragma(`cache_size = -${on ? CACHE_KIBIBYTES : UNSPILT_CACHE_KIBIBYTES}`);
  }

  /** Gives back the memory of the pages that are cached. To read again what a small update needs costs 30 µs. */
  shrink(): void {
    this.statement('PRAGMA shrink_memory').run();
  }

  /** Nothing more is written to it: it goes when it is closed, or when the process ends however. */
  forgetName(): void {
    rmSync(this.path, { force: true });
  }

  /** A copy of it as it is, with the last of what others commit meanwhile. They never wait for long. */
  async copyTo(path: string): Promise<void> {
    await this.#db.backup(path, { progress: () => COPY_PAGES });
    this.forgetCached();
  }

  get inTransaction(): boolean {
    return this.#db.inTransaction;
  }

  /** Begins a transaction that writes, or makes the one of hold() such a one. */
  begin(): void {
    if (this.#isHeld && this.inTransaction) this.#isHeld = false;
    else this.statement('BEGIN IMMEDIATE').run();
  }

  /**
   * Until letGo() or the end of a transaction that begin() makes of it: one transaction that reads, for whoever has
   * the data file locked, so that nobody else writes. Each statement by itself would cost eight system calls to lock
   * the index and to look whether it has changed.
   */
  hold(): void {
    if (this.inTransaction) return;
    this.beginRead();
    this.#isHeld = true;
  }

  /** Ends what hold() began, if nothing has been written in it. */
  letGo(): void {
    if (this.#isHeld && this.inTransaction) this.commit();
    this.#isHeld = false;
  }

  /**
   * Begins a transaction that only reads. Without one SQLite locks the file and looks for changes at every statement,
   * which costs more than to find a row.
   */
  beginRead(): void {
    this.statement('BEGIN').run();
  }

  commit(): void {
    this.statement('COMMIT').run();
  }

  /** No error where SQLite has done so by itself, as it may when the disk is full. */
  rollback(): void {
    this.#isHeld = false;
    if (this.inTransaction) this.statement('ROLLBACK').run();
  }

  /** `name`: letters and digits. */
  savepoint(name: string): void {
    this.statement(`SAVEPOINT ${name}`).run();
  }

  release(name: string): void {
    this.statement(`RELEASE ${name}`).run();
  }

  /** Undoes what was done since the savepoint, which goes too. */
  rollbackTo(name: string): void {
    this.statement(`ROLLBACK TO ${name}`).run();
    this.release(name);
  }
}
