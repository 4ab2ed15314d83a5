/**
 * What is known of the health of each backup: size, content, and when it last changed and was last asked about by a
 * client. Columns of the scheduler's file of state; without it they are found anew, except for the contacts.
 */
import type Database from 'better-sqlite3';
import type { BackupChange } from '../pipeline/messages.ts';
import type { BackupStat } from './stat.ts';

/** Columns that came after the first version of the file. */
const COLUMNS = {
  size: 'INTEGER NOT NULL DEFAULT -1', // of the data file in bytes when it was last read; -1: look at it
  content: 'INTEGER NOT NULL DEFAULT 0', // its chunks uncompressed, in bytes
  updated: 'INTEGER NOT NULL DEFAULT 0', // last stored line, Unix ms; 0: none
  contacted: 'INTEGER NOT NULL DEFAULT 0', // last request of a client that was answered with OK; 0: none
};

const INDEXES = `
  CREATE INDEX IF NOT EXISTS backup_size ON backup(size);
  CREATE INDEX IF NOT EXISTS backup_alive ON backup(max(updated, contacted));
  CREATE INDEX IF NOT EXISTS backup_path ON backup(path);
`;

/** One row, for the summary. Times are Unix ms. */
export type HealthRow = [
  userid: string,
  path: string,
  firstSeenMs: number,
  sizeBytes: number,
  contentBytes: number,
  updatedMs: number,
  contactedMs: number,
];

/** As `/worst` shows it; times are Unix ms, 0 for never. */
export interface WorstRow {
  userid: string;
  path: string;
  sizeBytes: number;
  contentBytes: number;
  updatedMs: number;
  contactedMs: number;
  verifiedMs: number;
  faults: number;
}

const WORST_COLUMNS = `userid, path, max(size, 0) AS sizeBytes, content AS contentBytes, updated AS updatedMs,
  contacted AS contactedMs, verified AS verifiedMs, faults`;
/** Not what is kept for the retention only. */
const LIVE = `substr(userid, 1, 1) <> '%'`;

/** Each in the order of what is worst first. */
const WORST = {
  stale: `${LIVE} ORDER BY max(updated, contacted)`,
  faulty: 'faults > 0 ORDER BY faults DESC, userid',
  unverified: 'true ORDER BY verified, first_seen',
  largest: 'true ORDER BY size DESC',
} as const;

export type Worst = Record<keyof typeof WORST, WorstRow[]>;

export class HealthState {
  readonly #db: Database.Database;
  readonly #statements = new Map<string, Database.Statement>();

  constructor(db: Database.Database) {
    this.#db = db;
    const present = db.prepare("SELECT name FROM pragma_table_info('backup')").pluck().all();
    for (const [name, type] of Object.entries(COLUMNS))
      if (!present.includes(name)) db.exec(`ALTER TABLE backup ADD COLUMN ${name} ${type}`);
    db.exec(INDEXES);
  }

  /** Rows in the order of their userids, from behind one. */
  rows(after: string, limit: number): HealthRow[] {
    return this.#statement(
      `SELECT userid, path, first_seen, size, content, updated, contacted FROM backup
       WHERE userid > ? ORDER BY userid LIMIT ?`,
    )
      .raw()
      .all(after, limit) as HealthRow[];
  }

  /** Some that were never looked at, or were changed by other work than that of clients. */
  unsurveyed(limit: number): { userid: string; path: string; sizeBytes: number }[] {
    return this.#statement('SELECT userid, path, size AS sizeBytes FROM backup WHERE size = -1 LIMIT ?').all(
      limit,
    ) as { userid: string; path: string; sizeBytes: number }[];
  }

  /** Notes what stands in the files. One that could not be read keeps what was known, and is looked at again with all. */
  surveyed(found: readonly { path: string; stat: BackupStat }[]): void {
    const read = this.#statement('UPDATE backup SET size = ?, content = ?, updated = ? WHERE path = ?');
    const unreadable = this.#statement('UPDATE backup SET size = ? WHERE path = ?');
    this.#transaction(() => {
      for (const { path, stat } of found) {
        const size = stat.sizeBytes ?? 0;
        if (stat.problem !== undefined) unreadable.run(size, path);
        else read.run(size, stat.contentBytes, (stat.lastEnd ?? 0) * 1000, path);
      }
    });
  }

  /** The files of this backup were rewritten. */
  resurvey(userid: string): void {
    this.#statement('UPDATE backup SET size = -1 WHERE userid = ?').run(userid);
  }

  /** What clients have stored, by path of the data file. A size that does not fit what was known is left to a survey. */
  changed(changes: Iterable<readonly [path: string, change: BackupChange]>): void {
    const statement = this.#statement(
      `UPDATE backup SET updated = max(updated, @updated), content = iif(size = @from, content + @content, content),
         size = iif(size = @from, @to, -1) WHERE path = @path`,
    );
    this.#transaction(() => {
      for (const [path, { fromBytes, toBytes, contentBytes, lastTime }] of changes) {
        const values = { from: fromBytes, to: toBytes, content: contentBytes };
        statement.run({ ...values, path, updated: lastTime * 1000 });
      }
    });
  }

  contacted(contacts: Iterable<readonly [userid: string, ms: number]>): void {
    const statement = this.#statement('UPDATE backup SET contacted = max(contacted, ?) WHERE userid = ?');
    this.#transaction(() => {
      for (const [userid, ms] of contacts) statement.run(ms, userid);
    });
  }

  worst(limit: number): Worst {
    const entries = Object.entries(WORST).map(([kind, which]) => [
      kind,
      this.#statement(`SELECT ${WORST_COLUMNS} FROM backup WHERE ${which} LIMIT ?`).all(limit),
    ]);
    return Object.fromEntries(entries) as Worst;
  }

  #statement(sql: string): Database.Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }

  #transaction(work: () => void): void {
    this.#db.transaction(work)();
  }
}
