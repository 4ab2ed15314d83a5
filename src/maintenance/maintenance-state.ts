/**
 * What the scheduler remembers: a small SQLite file in the configuration directory, with one row for each backup in
 * backups.db. It is nothing but convenience: without it every backup counts as never verified, and all goes on.
 */
import fs from 'node:fs';
import Database from 'better-sqlite3';
import { HealthState } from './health-state.ts';
import type { Job, JobKind } from './job.ts';

const VERSION = 1;

/** In the configuration directory. */
export const MAINTENANCE_FILE = 'csync-backup.maintenance';

const SCHEMA = `
  CREATE TABLE backup (
    userid TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    verified INTEGER NOT NULL DEFAULT 0,   -- last time that a verification was carried through; 0 for never
    faults INTEGER NOT NULL DEFAULT 0,     -- that it found
    tries INTEGER NOT NULL DEFAULT 0,      -- since then that somebody was in the way
    retry INTEGER NOT NULL DEFAULT 0,      -- not before
    done INTEGER NOT NULL DEFAULT 0,       -- last time that other work was done on it; 0 for never
    seen INTEGER NOT NULL                  -- sweep of backups.db that met it last
  ) WITHOUT ROWID;
  CREATE INDEX backup_verified ON backup(verified, first_seen);
  CREATE INDEX backup_faults ON backup(userid) WHERE faults > 0;
  CREATE TABLE note (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
  PRAGMA user_version = ${VERSION};
`;

/** Since when a run over all backups is going on, and how far it is. */
export interface RunPlace {
  kind: JobKind;
  startedMs: number;
  /** The last userid that was looked at; '' at the beginning. */
  after: string;
  /** The administrator wants all backups, not a sample. */
  isWhole?: boolean;
  /** What came of it so far. */
  tally?: RunTally;
}

export interface RunTally {
  /** Backups in which faults were found, and those that could not be dealt with. */
  faulty: number;
  failed: number;
  /** Messages that drills have compared. */
  compared: number;
  /** Backups in whose way nobody was; undefined if an earlier version began the run. */
  done?: number;
}

export interface VerifyCounts {
  backups: number;
  neverVerified: number;
  /** Longer ago than the period, or never although seen for so long. */
  overdue: number;
  /** In which the last verification found faults. */
  faulty: number;
}

/** What a verification has found. */
export interface VerifyResult {
  faults: number;
  /** All of it was put right at once. */
  isMended?: boolean;
}

/** Of one that was due before its turn it is kept when it was. */
const RECHECKED = 'CASE WHEN @faults = 0 THEN 0 WHEN recheck BETWEEN 1 AND @now THEN -@now ELSE recheck END';
/** A backup that verification puts right again and again, and finds as it was, is verified before its turn so often at most. */
const MENDED_AGAIN_MS = 86_400_000;

export interface VerifyCandidate extends Job {
  /** When it was verified, or first seen if it never was. */
  sinceMs: number;
  tries: number;
}

export class MaintenanceState {
  readonly file: string;
  /** The file was not usable and was put aside under this name. */
  readonly replaced: string | undefined;
  readonly health: HealthState;
  readonly #db: Database.Database;
  readonly #statements = new Map<string, Database.Statement>();
  #sweep = 0;

  /** Of another program: one that is there and can be used. */
  static openExisting(file: string): MaintenanceState | undefined {
    if (!fs.existsSync(file)) return undefined;
    const db = openStateFile(file);
    return db && new MaintenanceState(file, db);
  }

  constructor(file: string, opened?: Database.Database) {
    this.file = file;
    let db = opened ?? openStateFile(file);
    if (db === undefined) {
      this.replaced = `${file}.unusable.${Math.floor(Date.now() / 1000)}`;
      fs.renameSync(file, this.replaced);
      for (const suffix of ['-wal', '-shm', '-journal']) fs.rmSync(file + suffix, { force: true });
      db = openStateFile(file);
    }
    if (db === undefined) throw new Error(`cannot make ${file}`);
    this.#db = db;
    this.health = new HealthState(db);
    this.#sweep = Number(this.#note('sweep') ?? 0);
  }

  /** Begins to compare with backups.db: see() all its entries, then endSweep(). */
  beginSweep(): void {
    this.#sweep++;
    // Known to whoever adds somebody new meanwhile.
    this.#setNote('sweep', this.#sweep);
  }

  see(entries: readonly (readonly [userid: string, path: string])[], nowMs: number): void {
    // Nearly always nothing has changed: then no index is touched.
    const same = this.#statement('UPDATE backup SET seen = ? WHERE userid = ? AND path = ?');
    // A backup that was moved or renamed is as faulty as it was, and is looked at where it is now.
    const other = this.#statement(
      `INSERT INTO backup (userid, path, first_seen, seen, faults, recheck)
       SELECT @userid, @path, @now, @sweep, faults, iif(faults > 0, @now, 0)
         FROM (SELECT coalesce(max(faults), 0) AS faults FROM backup WHERE faults > 0 AND path = @path) WHERE true
       ON CONFLICT (userid) DO UPDATE SET seen = excluded.seen, path = excluded.path, verified = 0, size = -1,
         recheck = iif(faults > 0, @now, 0)`,
    );
    this.#transaction(() => {
      for (const [userid, path] of entries) {
        if (same.run(this.#sweep, userid, path).changes === 0)
          other.run({ userid, path, now: nowMs, sweep: this.#sweep });
      }
    });
  }

  /** Forgets what backups.db no longer has. */
  endSweep(): void {
    this.#statement('DELETE FROM backup WHERE seen <> ?').run(this.#sweep);
  }

  get backups(): number {
    return this.#statement('SELECT count(*) FROM backup', true).get() as number;
  }

  /** The least recently verified backup that may be tried now. */
  nextToVerify(nowMs: number): VerifyCandidate | undefined {
    const row = this.#statement(
      `SELECT userid, path, tries, iif(verified = 0, first_seen, verified) AS sinceMs FROM backup
       WHERE retry <= ? ORDER BY verified, first_seen LIMIT 1`,
    ).get(nowMs) as Omit<VerifyCandidate, 'kind'> | undefined;
    return row && { kind: 'verify', ...row };
  }

  /** Of those that may be tried now the first that is to be verified before its turn; `sinceMs`: when that is due. */
  nextToRecheck(nowMs: number): VerifyCandidate | undefined {
    const row = this.#statement(
      `SELECT userid, path, tries, recheck AS sinceMs FROM backup
       WHERE recheck > 0 AND retry <= ? ORDER BY recheck LIMIT 1`,
    ).get(nowMs) as Omit<VerifyCandidate, 'kind'> | undefined;
    return row && { kind: 'verify', ...row };
  }

  verified({ userid, path }: Job, result: VerifyResult, nowMs: number): void {
    const { faults } = result;
    this.#statement(
      `UPDATE backup SET verified = @now, faults = @faults, tries = 0, retry = 0, recheck = ${RECHECKED}
       WHERE userid = @userid AND path = @path`,
    ).run({ userid, path, faults, now: nowMs });
    if (result.isMended) this.#mended(path, nowMs);
  }

  /** Nobody has to bring anything for what was found. What is found again for all that waits for its turn. */
  #mended(path: string, nowMs: number): void {
    this.#statement(
      `UPDATE backup SET recheck = @now
       WHERE path = @path AND faults > 0 AND (recheck = 0 OR (recheck < 0 AND @now + recheck > ${MENDED_AGAIN_MS}))`,
    ).run({ path, now: nowMs });
  }

  /**
   * The same of a verification that somebody has run by hand. One that did not look at everything (`isWhole` false)
   * counts for what it found, not for what it did not find.
   *
   * @param userid key of backups.db; undefined if only the file is known
   */
  verifiedByHand(
    backup: { userid: string | undefined; path: string },
    result: VerifyResult & { isWhole: boolean },
    nowMs: number,
  ): void {
    const { userid, path } = backup;
    const { faults, isWhole, isMended } = result;
    if (!isWhole && faults === 0) return;
    if (userid !== undefined) this.see([[userid, path]], nowMs);
    const whole = `verified = @now, tries = 0, retry = 0, recheck = ${RECHECKED},`;
    this.#statement(`UPDATE backup SET ${isWhole ? whole : ''} faults = @faults WHERE path = @path`).run({
      path,
      faults,
      now: nowMs,
    });
    if (isMended) this.#mended(path, nowMs);
  }

  /** A number that is another one when somebody else has written to the file. */
  get changes(): number {
    return this.#statement('PRAGMA data_version', true).get() as number;
  }

  /** Somebody was in the way, or it failed: not before `retryMs`. */
  postpone(userid: string, retryMs: number): void {
    this.#statement('UPDATE backup SET tries = tries + 1, retry = ? WHERE userid = ?').run(retryMs, userid);
  }

  triesOf(userid: string): number {
    return (this.#statement('SELECT tries FROM backup WHERE userid = ?', true).get(userid) as number) ?? 0;
  }

  forget(userid: string): void {
    this.#statement('DELETE FROM backup WHERE userid = ?').run(userid);
  }

  /** Work of another kind than verification was done on it. */
  done(userid: string, nowMs: number): void {
    this.#statement('UPDATE backup SET tries = 0, retry = 0, done = ? WHERE userid = ?').run(nowMs, userid);
  }

  /** When done() was last said of it; 0 if never. */
  doneMs(userid: string): number {
    return (this.#statement('SELECT done FROM backup WHERE userid = ?', true).get(userid) as number) ?? 0;
  }

  /** Backups in the order of their userids, from behind one. */
  after(userid: string, kind: JobKind): Job | undefined {
    const row = this.#statement(
      'SELECT userid, path FROM backup WHERE userid > ? ORDER BY userid LIMIT 1',
    ).get(userid) as Omit<Job, 'kind'> | undefined;
    return row && { kind, ...row };
  }

  find(userid: string, kind: JobKind): Job | undefined {
    const row = this.#statement('SELECT userid, path FROM backup WHERE userid = ?').get(userid) as
      | Omit<Job, 'kind'>
      | undefined;
    return row && { kind, ...row };
  }

  counts(everyMs: number, nowMs: number): VerifyCounts {
    return this.#statement(
      `SELECT count(*) AS backups, count(*) FILTER (WHERE verified = 0) AS neverVerified,
         count(*) FILTER (WHERE iif(verified = 0, first_seen, verified) + ? < ?) AS overdue,
         count(*) FILTER (WHERE faults > 0) AS faulty FROM backup`,
    ).get(everyMs === 0 ? Number.MAX_SAFE_INTEGER / 2 : everyMs, nowMs) as VerifyCounts;
  }

  /** Userids whose last verification found faults, in order. */
  faulty(limit: number): string[] {
    return this.#statement('SELECT userid FROM backup WHERE faults > 0 ORDER BY userid LIMIT ?', true).all(
      limit,
    ) as string[];
  }

  /** The youngest time that anything is known of; 0 if nothing is. */
  latestMs(): number {
    const backups = 'SELECT max(max(verified, done, updated, contacted)) FROM backup';
    const notes =
      "SELECT max(value) FROM note WHERE name = 'last-verify' OR name LIKE 'run-%' OR name LIKE 'success-%'";
    return Math.max(
      (this.#statement(backups, true).get() as number | null) ?? 0,
      (this.#statement(notes, true).get() as number | null) ?? 0,
    );
  }

  /**
   * The clock has gone back, perhaps while no server ran: what is said to be later than now was before now. Otherwise
   * nothing would be due, and nobody stale, until the wrong time has come.
   */
  clampTimes(nowMs: number, longestRetryMs: number): void {
    this.#transaction(() => {
      this.#statement(
        `UPDATE backup SET first_seen = min(first_seen, @now), verified = min(verified, @now), done = min(done, @now),
           retry = min(retry, @retry) WHERE first_seen > @now OR verified > @now OR done > @now OR retry > @retry`,
      ).run({ now: nowMs, retry: nowMs + longestRetryMs });
      this.#statement(
        `UPDATE note SET value = @now
         WHERE (name = 'last-verify' OR name LIKE 'run-%' OR name LIKE 'success-%') AND value > @now`,
      ).run({ now: nowMs });
      this.health.clampTimes(nowMs);
    });
  }

  /** When a verification was last begun; undefined if never. */
  get lastVerifyMs(): number | undefined {
    return this.#number('last-verify');
  }

  set lastVerifyMs(ms: number) {
    this.#setNote('last-verify', ms);
  }

  /** When a run of this kind was last begun; undefined if never. */
  lastRunMs(kind: JobKind): number | undefined {
    return this.#number(`run-${kind}`);
  }

  runBegun(kind: JobKind, ms: number): void {
    this.#setNote(`run-${kind}`, ms);
  }

  /** When work of this kind last came to its end without an error. */
  lastSuccessMs(kind: JobKind): number | undefined {
    return this.#number(`success-${kind}`);
  }

  succeeded(kind: JobKind, ms: number): void {
    this.#setNote(`success-${kind}`, ms);
  }

  /** The run over all backups that is going on, also through restarts. */
  get run(): RunPlace | undefined {
    const text = this.#note('run');
    return text === undefined ? undefined : (JSON.parse(String(text)) as RunPlace);
  }

  set run(place: RunPlace | undefined) {
    if (place === undefined) this.#statement('DELETE FROM note WHERE name = ?').run('run');
    else this.#setNote('run', JSON.stringify(place));
  }

  close(): void {
    this.#db.close();
  }

  #number(name: string): number | undefined {
    const value = this.#note(name);
    return value === undefined ? undefined : Number(value);
  }

  #note(name: string): unknown {
    return this.#statement('SELECT value FROM note WHERE name = ?', true).get(name);
  }

  #setNote(name: string, value: string | number): void {
    this.#statement('INSERT OR REPLACE INTO note (name, value) VALUES (?, ?)').run(name, value);
  }

  #statement(sql: string, pluck = false): Database.Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      if (pluck) statement.pluck();
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #transaction(work: () => void): void {
    this.#db.transaction(work)();
  }
}

/** Opens it, or makes it; undefined if the file is no database of ours. */
export function openStateFile(file: string): Database.Database | undefined {
  const isNew = !fs.existsSync(file);
  let db: Database.Database | undefined;
  try {
    db = new Database(file);
    if (isNew) fs.chmodSync(file, 0o600);
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = NORMAL');
    db.pragma('cache_size = -1024');
    // Also of one whose program was killed as it made it.
    const tables = db.prepare('SELECT count(*) FROM sqlite_schema').pluck().get();
    if (tables === 0) db.exec(`BEGIN; ${SCHEMA} COMMIT;`);
    if (db.pragma('user_version', { simple: true }) === VERSION) return db;
  } catch (error) {
    // Anything but a damaged file is the caller's to know.
    if (!/^SQLITE_(?:CORRUPT|NOTADB|ERROR)/.test(String((error as { code?: unknown }).code))) throw error;
  }
  db?.close();
  return undefined;
}
