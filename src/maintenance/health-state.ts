/**
 * What is known of the health of each backup: size, content, and when it last changed and was last asked about by a
 * client. Columns of the scheduler's file of state; without it they are found anew, except for the contacts.
 */
import type Database from 'better-sqlite3';
import { type PackedChanges, unpackChanges } from '../pipeline/backup-changes.ts';
import type { BackupStat } from './stat.ts';

/** Columns that came after the first version of the file. */
const COLUMNS = {
  size: 'INTEGER NOT NULL DEFAULT -1', // of the data file in bytes when it was last read; -1: look at it
  content: 'INTEGER NOT NULL DEFAULT 0', // its chunks uncompressed, in bytes
  updated: 'INTEGER NOT NULL DEFAULT 0', // last stored line, Unix ms; 0: none
  contacted: 'INTEGER NOT NULL DEFAULT 0', // when a client was last here that was refused nothing; 0: never
  // When it is to be verified before its turn, since what was found may be over, Unix ms; 0: it is not; negative: it was, then
  recheck: 'INTEGER NOT NULL DEFAULT 0',
};

/** Others would make each change dearer than the rare questions that they help. */
const INDEXES = `CREATE INDEX IF NOT EXISTS backup_unsurveyed ON backup(userid) WHERE size = -1;
  CREATE INDEX IF NOT EXISTS backup_recheck ON backup(recheck) WHERE recheck > 0`;

/** One that was verified before its turn, and in vain, is not so again before. */
const RECHECK_AGAIN_MS = 3600_000;

/** Changes written at a time: the scheduler, which uses the same file, waits no longer than for so many. */
const BATCH = 128;

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
  stale: `${LIVE} ORDER BY max(updated, contacted), userid`,
  faulty: 'faults > 0 ORDER BY faults DESC, userid',
  unverified: 'true ORDER BY verified, first_seen, userid',
  largest: 'true ORDER BY size DESC, userid',
} as const;

export type Worst = Record<keyof typeof WORST, WorstRow[]>;

/** Contacts by userid: when, in Unix ms. */
export interface Contacts {
  userids: string[];
  times: Float64Array;
}

export interface Surveyed {
  userid: string;
  path: string;
  sizeBytes: number;
}

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

  /** Some backups in the order of their userids, from behind one. */
  after(userid: string, limit: number): Surveyed[] {
    return this.#statement(
      'SELECT userid, path, size AS sizeBytes FROM backup WHERE userid > ? ORDER BY userid LIMIT ?',
    ).all(userid, limit) as Surveyed[];
  }

  /** Some that were never looked at, or were changed by other work than that of clients. */
  unsurveyed(limit: number): Surveyed[] {
    return this.#statement('SELECT userid, path, size AS sizeBytes FROM backup WHERE size = -1 LIMIT ?').all(
      limit,
    ) as Surveyed[];
  }

  /**
   * Notes what stands in the files. A time that lies ahead, since the clock was ahead once, counts as now: nobody is
   * up to date for a year for that. One that could not be read keeps what was known, and is looked at again with all.
   */
  surveyed(
    found: readonly { userid: string; path: string; stat: BackupStat }[],
    nowMs: number = Date.now(),
  ): void {
    const where = 'WHERE userid = ? AND path = ?';
    const read = this.#statement(`UPDATE backup SET size = ?, content = ?, updated = ? ${where}`);
    const unreadable = this.#statement(`UPDATE backup SET size = ? ${where}`);
    this.#transaction(() => {
      for (const { userid, path, stat } of found) {
        const size = stat.sizeBytes ?? 0;
        if (stat.problem !== undefined) unreadable.run(size, userid, path);
        else read.run(size, stat.contentBytes, Math.min((stat.lastEnd ?? 0) * 1000, nowMs), userid, path);
      }
    });
  }

  /** The clock has gone back: what is said to be later than now was before now. */
  clampTimes(nowMs: number): void {
    this.#statement(
      `UPDATE backup SET updated = min(updated, @now), contacted = min(contacted, @now),
         recheck = max(-@now, min(recheck, @now))
       WHERE updated > @now OR contacted > @now OR abs(recheck) > @now`,
    ).run({ now: nowMs });
  }

  /** The files of this backup were rewritten. */
  resurvey(userid: string): void {
    this.#statement('UPDATE backup SET size = -1 WHERE userid = ?').run(userid);
  }

  /**
   * What clients have stored. A size that does not fit what was known is left to a survey.
   *
   * @param isThere whether backups.db has this entry: somebody new may have gone again since
   */
  changed(changes: PackedChanges, isThere: (userid: string, path: string) => boolean, nowMs: number): void {
    const update = this.#statement(
      `UPDATE backup SET updated = max(updated, @updated), content = iif(size = @from, content + @content, content),
         size = iif(size = @from, @to, -1) WHERE userid = @userid AND path = @path`,
    );
    // Somebody new, whom no comparison with backups.db has met yet: as if the one that may be going on had.
    const insert = this.#statement(
      `INSERT OR IGNORE INTO backup (userid, path, first_seen, seen, size, content, updated)
       VALUES (@userid, @path, @now, coalesce((SELECT value FROM note WHERE name = 'sweep'), 0),
         iif(@from = 0, @to, -1), @content, @updated)`,
    );
    const healed: { userid: string; path: string }[] = [];
    const rows = [...unpackChanges(changes)].map(([userid, change]) => {
      const { path, fromBytes: from, toBytes: to, contentBytes: content, lastTime } = change;
      if (change.isHealed) healed.push({ userid, path });
      return { userid, path, from, to, content, updated: Math.min(lastTime * 1000, nowMs) };
    });
    const unknown: typeof rows = [];
    for (let at = 0; at < rows.length; at += BATCH) {
      this.#transaction(() => {
        for (const row of rows.slice(at, at + BATCH)) if (update.run(row).changes === 0) unknown.push(row);
      });
    }
    // Asked outside of a transaction: somebody else may have backups.db locked.
    for (const row of unknown) if (isThere(row.userid, row.path)) insert.run({ ...row, now: nowMs });
    for (const { userid, path } of healed) this.healed(userid, path, nowMs);
  }

  /** What verification found wrong with it may be so no more: it is to be verified again before its turn. */
  healed(userid: string, path: string, nowMs: number): void {
    this.#statement(
      `UPDATE backup SET recheck = iif(recheck < 0, max(@now, @again - recheck), @now)
       WHERE userid = @userid AND path = @path AND faults > 0 AND recheck <= 0`,
    ).run({ userid, path, now: nowMs, again: RECHECK_AGAIN_MS });
  }

  contacted({ userids, times }: Contacts): void {
    const statement = this.#statement('UPDATE backup SET contacted = max(contacted, ?) WHERE userid = ?');
    for (let at = 0; at < userids.length; at += BATCH) {
      this.#transaction(() => {
        for (const [i, userid] of userids.slice(at, at + BATCH).entries())
          statement.run(times[at + i], userid);
      });
    }
  }

  /** The n worst of each kind: one pass over all for each. */
  worst(limit: number): Worst {
    const entries = Object.entries(WORST).map(([kind, which]) => [
      kind,
      this.#statement(`SELECT ${WORST_COLUMNS} FROM backup WHERE ${which} LIMIT ?`).all(limit),
    ]);
    return Object.fromEntries(entries) as Worst;
  }

  /** One row of figures over all backups. */
  sums(expressions: Readonly<Record<string, string>>, values: object): Record<string, number> {
    const columns = Object.entries(expressions).map(([name, expression]) => `${expression} AS "${name}"`);
    return this.#statement(`SELECT ${columns.join(', ')} FROM backup`).get(values) as Record<string, number>;
  }

  /** Keeps the file that changes are written to first from growing, and the scheduler from having to do it. */
  tidy(): void {
    this.#db.pragma('wal_checkpoint(PASSIVE)');
  }

  #statement(sql: string): Database.Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }

  #transaction(work: () => void): void {
    this.#db.transaction(work).immediate();
  }
}
