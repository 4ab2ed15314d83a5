/**
 * Tables of the index. The first seven are those of Cyrus Backups (`backup/lcb_sqlconsts.c`,
 * user_version 1 to 4), so that Cyrus's programs read and go on with our indexes and we with theirs. What they
 * cannot hold stands in tables of our own, all named `cb_`, which Cyrus ignores; all but `cb_heal`, what was asked for by
 * checksum, and the file positions in `cb_state` follow from the data file's content.
 *
 * | table | holds |
 * | --- | --- |
 * | `cb_state` | committed end of the data file, SHA-1 state, ..., by name |
 * | `cb_segment` | places in a chunk from which its content can be inflated |
 * | `cb_message` | where in the chunk's content a message's first byte lies |
 * | `cb_mailbox` | header fields of MAILBOX that have no column, as dlist text; what its records add up to |
 * | `cb_record` | RECORDs that `mailbox_message` cannot hold |
 * | `cb_record_extra` | fields of RECORDs that have no column, as dlist text |
 * | `cb_intermediate` | mailbox names that exist only to have children |
 * | `cb_quota`, `cb_annotation` | as sent, as dlist text |
 * | `cb_heal` | mailboxes that the client shall send again as a whole |
 */
import type Database from 'better-sqlite3';

/** What a fresh index gets, as in Cyrus 3.0 to 3.10. */
export const FRESH_USER_VERSION = 3;
/** What Cyrus calls an index that it upgraded from version 1 or 2. */
export const UPGRADED_USER_VERSION = 4;

/** Whether this is an index that we can read: Cyrus's versions 1 to 4. */
export function isKnownVersion(userVersion: number): boolean {
  return userVersion >= 1 && userVersion <= UPGRADED_USER_VERSION;
}

/**
 * Tables by the user_version since which Cyrus creates them, without those of its indexes that another one stands for, a
 * seventh of an index of many messages: idx_msg_guid, idx_bmb_uid, idx_sub_mbx and idx_seen_unq are on columns that are UNIQUE and
 * so have one, and what looks by UID names a mailbox too, for which there is our own. Cyrus's programs ask for none by name.
 */
const CYRUS_TABLES: readonly { since: number; sql: string }[] = [
  {
    since: 1,
    sql: `
      CREATE TABLE chunk(id INTEGER PRIMARY KEY ASC, ts_start INTEGER, ts_end INTEGER, offset INTEGER UNIQUE,
        length INTEGER, file_sha1 TEXT, data_sha1 TEXT);
      CREATE TABLE message(id INTEGER PRIMARY KEY ASC, guid CHAR UNIQUE NOT NULL, partition CHAR,
        chunk_id INTEGER REFERENCES chunk(id), offset INTEGER, size INTEGER);
      CREATE TABLE mailbox(id INTEGER PRIMARY KEY ASC, last_chunk_id INTEGER NOT NULL REFERENCES chunk(id),
        uniqueid CHAR UNIQUE NOT NULL, mboxname CHAR NOT NULL, mboxtype CHAR, last_uid INTEGER,
        highestmodseq INTEGER, recentuid INTEGER, recenttime INTEGER, last_appenddate INTEGER,
        pop3_last_login INTEGER, pop3_show_after INTEGER, uidvalidity INTEGER, partition CHAR, acl CHAR,
        options CHAR, sync_crc INTEGER, sync_crc_annot INTEGER, quotaroot CHAR, xconvmodseq INTEGER,
        annotations CHAR, deleted INTEGER);
      CREATE TABLE mailbox_message(id INTEGER PRIMARY KEY ASC,
        mailbox_id INTEGER NOT NULL REFERENCES mailbox(id), message_id INTEGER NOT NULL REFERENCES message(id),
        last_chunk_id INTEGER NOT NULL REFERENCES chunk(id), uid INTEGER NOT NULL, modseq INTEGER,
        last_updated INTEGER, flags CHAR, internaldate INTEGER, annotations CHAR, expunged INTEGER,
        UNIQUE (mailbox_id, message_id));`,
  },
  {
    since: 2,
    sql: `
      CREATE TABLE IF NOT EXISTS subscription(id INTEGER PRIMARY KEY ASC,
        last_chunk_id INTEGER NOT NULL REFERENCES chunk(id), mboxname CHAR UNIQUE NOT NULL,
        unsubscribed INTEGER);`,
  },
  {
    since: 3,
    sql: `
      CREATE TABLE IF NOT EXISTS seen(id INTEGER PRIMARY KEY ASC,
        last_chunk_id INTEGER NOT NULL REFERENCES chunk(id), uniqueid CHAR UNIQUE NOT NULL, lastread INTEGER,
        lastuid INTEGER, lastchange INTEGER, seenuids CHAR);`,
  },
  {
    // Cyrus creates this one in a fresh index of version 3 and in one that it upgrades to 4.
    since: 4,
    sql: `
      CREATE TABLE IF NOT EXISTS sieve(id INTEGER PRIMARY KEY ASC,
        chunk_id INTEGER NOT NULL REFERENCES chunk(id), last_update INTEGER, filename CHAR NOT NULL,
        guid CHAR NOT NULL, offset INTEGER, deleted INTEGER);
      CREATE INDEX IF NOT EXISTS idx_siv_fn ON sieve(filename);`,
  },
];

/** Version of our own tables; another one means that they are to be made anew from the data file. */
export const OWN_TABLES_VERSION = 4;
/** Those that upgradeOwnTables() brings up to date: without `crc` and what follows it in `cb_mailbox`, */
const BEFORE_CHECKSUMS = 1;
/** and without `part_uid` and `unsaid` in `cb_heal`. */
const BEFORE_PARTS = 2;
/** and without what `cb_state` says of mailboxes that lack messages. */
const BEFORE_LACKING = 3;

const OWN_TABLES: readonly string[] = [
  'cb_state(name TEXT PRIMARY KEY, value) WITHOUT ROWID',
  `cb_segment(chunk_id INTEGER NOT NULL, content_offset INTEGER NOT NULL, file_offset INTEGER NOT NULL,
    PRIMARY KEY (chunk_id, content_offset)) WITHOUT ROWID`,
  'cb_message(message_id INTEGER PRIMARY KEY, content_offset INTEGER NOT NULL)',
  `cb_mailbox(mailbox_id INTEGER PRIMARY KEY, fields TEXT NOT NULL DEFAULT '',
    crc_stale INTEGER NOT NULL DEFAULT 0, crc INTEGER, crc_asked INTEGER, crc_state INTEGER)`,
  `cb_record(id INTEGER PRIMARY KEY, mailbox_id INTEGER NOT NULL, guid TEXT NOT NULL, size INTEGER,
    last_chunk_id INTEGER NOT NULL, uid INTEGER NOT NULL, modseq INTEGER, last_updated INTEGER, flags TEXT,
    internaldate INTEGER, annotations TEXT, expunged INTEGER, replaced INTEGER NOT NULL DEFAULT 0,
    UNIQUE (guid, mailbox_id, uid))`,
  `cb_record_extra(mailbox_id INTEGER NOT NULL, uid INTEGER NOT NULL, fields TEXT NOT NULL,
    PRIMARY KEY (mailbox_id, uid)) WITHOUT ROWID`,
  `cb_intermediate(uniqueid TEXT PRIMARY KEY, mboxname TEXT NOT NULL, mboxtype TEXT, highestmodseq INTEGER,
    fields TEXT NOT NULL) WITHOUT ROWID`,
  'cb_quota(root TEXT PRIMARY KEY, fields TEXT NOT NULL) WITHOUT ROWID',
  `cb_annotation(mboxname TEXT NOT NULL, entry TEXT NOT NULL, userid TEXT NOT NULL, fields TEXT NOT NULL,
    PRIMARY KEY (mboxname, entry, userid)) WITHOUT ROWID`,
  'cb_heal(uniqueid TEXT PRIMARY KEY, guids BLOB NOT NULL, part_uid INTEGER, unsaid BLOB) WITHOUT ROWID',
];

/** For who must not write to tables of an older version. */
const HEAL_BEFORE_PARTS = `CREATE TEMP VIEW cb_heal AS
  SELECT uniqueid, guids, NULL AS part_uid, NULL AS unsaid FROM main.cb_heal`;

const OWN_INDEXES = `
  CREATE INDEX IF NOT EXISTS cb_record_uid ON cb_record(mailbox_id, uid);
  CREATE INDEX IF NOT EXISTS cb_record_best
    ON cb_record(guid, mailbox_id, replaced, expunged IS NOT NULL, uid DESC);
  CREATE INDEX IF NOT EXISTS cb_mailbox_name ON mailbox(mboxname);
  CREATE INDEX IF NOT EXISTS cb_mailbox_message_uid ON mailbox_message(mailbox_id, uid);`;

/** SQLite keeps the text of each statement, which is a fifth of a small index: without what only readers need. */
function short(sql: string): string {
  return sql.replaceAll(/\s+/g, ' ').replaceAll(/ ?([(),;]) ?/g, '$1');
}

/** Creates everything in an empty database. */
export function createTables(db: Database.Database): void {
  for (const { sql } of CYRUS_TABLES) db.exec(short(sql));
  createOwnTables(db);
  db.pragma(`user_version = ${FRESH_USER_VERSION}`);
}

/** Brings an index that Cyrus made at `userVersion` up to date: what Cyrus itself would do, then our tables. */
export function upgradeTables(db: Database.Database, userVersion: number): void {
  if (userVersion < FRESH_USER_VERSION) {
    for (const { since, sql } of CYRUS_TABLES) if (since > userVersion) db.exec(sql);
    db.pragma(`user_version = ${UPGRADED_USER_VERSION}`);
  }
  createOwnTables(db);
}

/**
 * For a connection that must not write: gives it the missing tables as empty temporary ones, so that the same
 * queries work.
 */
export function completeTemporarily(db: Database.Database): void {
  for (const { sql } of CYRUS_TABLES) {
    for (const [, table] of sql.matchAll(/CREATE TABLE (?:IF NOT EXISTS )?(\w+)/g)) {
      if (hasTable(db, table!)) continue;
      const [definition] = new RegExp(`\\b${table}\\([^;]*`).exec(sql)!;
      db.exec(`CREATE TEMP TABLE ${definition.replaceAll(/REFERENCES \w+\(\w+\)/g, '')}`);
    }
  }
  const state = readState(db);
  if (state !== undefined) {
    if (lacksParts(state)) db.exec(HEAL_BEFORE_PARTS);
    return;
  }
  for (const table of OWN_TABLES) db.exec(`CREATE TEMP TABLE ${table}`);
}

/** Whether our own tables are those of the last version. */
export function areTablesCurrent(state: readonly [name: string, value: unknown][]): boolean {
  return versionOf(state) === OWN_TABLES_VERSION;
}

function lacksParts(state: readonly [name: string, value: unknown][]): boolean {
  return [BEFORE_CHECKSUMS, BEFORE_PARTS].includes(versionOf(state) as number);
}

/** Brings tables of an older version up to date: what the records of each mailbox add up to is to be counted yet. */
export function upgradeOwnTables(
  db: Database.Database,
  state: readonly [name: string, value: unknown][],
): void {
  if (versionOf(state) === BEFORE_CHECKSUMS) {
    db.exec(`ALTER TABLE cb_mailbox ADD COLUMN crc INTEGER;
      ALTER TABLE cb_mailbox ADD COLUMN crc_asked INTEGER;
      ALTER TABLE cb_mailbox ADD COLUMN crc_state INTEGER;
      INSERT INTO cb_mailbox(mailbox_id, crc) SELECT id, -1 FROM mailbox WHERE true
        ON CONFLICT(mailbox_id) DO UPDATE SET crc = -1;`);
  }
  if (lacksParts(state)) {
    db.exec('ALTER TABLE cb_heal ADD COLUMN part_uid INTEGER; ALTER TABLE cb_heal ADD COLUMN unsaid BLOB;');
  }
  db.exec(`INSERT OR REPLACE INTO cb_state(name, value) ${WHO_LACKS}`);
  db.prepare("UPDATE cb_state SET value = ? WHERE name = 'version'").run(OWN_TABLES_VERSION);
}

/** The rows of `cb_state`; undefined unless our own tables exist in a form that this program knows. */
export function readState(db: Database.Database): [name: string, value: unknown][] | undefined {
  let rows: [string, unknown][];
  try {
    rows = db.prepare('SELECT name, value FROM main.cb_state').raw().all() as [string, unknown][];
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('no such ')) return undefined;
    throw error;
  }
  return KNOWN_VERSIONS.includes(versionOf(rows)) ? rows : undefined;
}

const KNOWN_VERSIONS: readonly unknown[] = [
  BEFORE_CHECKSUMS,
  BEFORE_PARTS,
  BEFORE_LACKING,
  OWN_TABLES_VERSION,
];

/** Row `lacking` (lacking.ts), as if the clients had been asked for them with the last line; none if nothing lacks anything. */
const WHO_LACKS = `SELECT 'lacking', group_concat(id || ':' || time || ':' || time) FROM (
    SELECT DISTINCT r.mailbox_id AS id, (SELECT value FROM cb_state WHERE name = 'last_time') AS time
    FROM cb_record r WHERE r.expunged IS NULL AND r.replaced = 0
      AND NOT EXISTS (SELECT 1 FROM message m WHERE m.guid = r.guid))
  WHERE time IS NOT NULL HAVING count(*) > 0`;

function versionOf(state: readonly [name: string, value: unknown][]): unknown {
  return state.find(([name]) => name === 'version')?.[1];
}

function hasTable(db: Database.Database, name: string): boolean {
  const sql = "SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND name = ?";
  return db.prepare(sql).get(name) !== undefined;
}

function createOwnTables(db: Database.Database): void {
  if (readState(db) !== undefined) return;
  const sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'cb_*'";
  for (const name of db.prepare(sql).pluck().all()) db.exec(`DROP TABLE ${name}`);
  for (const table of OWN_TABLES) db.exec(short(`CREATE TABLE ${table}`));
  db.exec(short(OWN_INDEXES));
  db.prepare('INSERT INTO cb_state(name, value) VALUES (?, ?)').run('version', OWN_TABLES_VERSION);
}
