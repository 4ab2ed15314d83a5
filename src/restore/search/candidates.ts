/**
 * Messages that fit all that the index can tell, sorted by where they lie in the data file, and so in the order in which
 * they came into the backup. They are put into a database that is nobody else's and goes with the process: a few are
 * sorted in memory, a million on disk.
 */
import Database from 'better-sqlite3';
import type { BackupIndex } from '../../store/index/backup-index.ts';
import { placesAreCurrent } from '../../store/stored-message.ts';
import type { StoredRecord } from '../source.ts';

/** A message in a mailbox. */
export interface Candidate {
  /** Number of the mailbox among those that were looked at. */
  mailbox: number;
  uid: number;
  guid: string;
  size: number | undefined;
  internaldate: number;
  flags: string[];
  expunged: number | undefined;
  /** Where it lies; undefined if the backup does not have it. */
  place: CandidatePlace | undefined;
}

export interface CandidatePlace {
  chunkId: number;
  chunkOffset: number;
  /** Of its first byte in the chunk's content; undefined where Cyrus made the row. */
  contentOffset: number | undefined;
}

const PAGE_ROWS = 1000;
const CACHE_KIBIBYTES = 32 * 1024;

export class Candidates {
  readonly #db = new Database('');
  readonly #index: BackupIndex;
  readonly #insert: Database.Statement;
  readonly #chunks: Map<number, number>;
  readonly #areCurrent: Map<number, boolean>;
  count = 0;

  constructor(index: BackupIndex) {
    this.#index = index;
    const chunks = index.chunks();
    this.#chunks = new Map(chunks.map(({ id, offset }) => [id, offset]));
    this.#areCurrent = new Map(chunks.map(({ id, offset }) => [id, placesAreCurrent(index, offset)]));
    const db = this.#db;
    db.pragma(`cache_size = -${CACHE_KIBIBYTES}`);
    db.pragma('journal_mode = OFF');
    db.exec(`CREATE TABLE candidate (chunk_offset INTEGER, content_offset INTEGER, number INTEGER, chunk_id INTEGER,
      is_placed INTEGER, mailbox INTEGER, uid INTEGER, guid TEXT, size INTEGER, internaldate INTEGER, flags TEXT,
      expunged INTEGER, PRIMARY KEY (chunk_offset, content_offset, number)) WITHOUT ROWID`);
    this.#insert = db.prepare(`INSERT INTO candidate VALUES (${Array(12).fill('?').join(', ')})`);
    db.exec('BEGIN');
  }

  /** Kept until there are enough of them for a transaction, without which each look into the index would be dear. */
  #waiting: [mailbox: number, record: StoredRecord][] = [];

  add(mailbox: number, record: StoredRecord): void {
    this.#waiting.push([mailbox, record]);
    if (this.#waiting.length >= PAGE_ROWS) this.#enter();
  }

  #enter(): void {
    if (this.#waiting.length === 0) return;
    const isOurs = !this.#index.inTransaction;
    if (isOurs) this.#index.beginRead();
    try {
      for (const [mailbox, record] of this.#waiting) this.#enterOne(mailbox, record);
    } finally {
      if (isOurs) this.#index.commit();
    }
    this.#waiting = [];
  }

  #enterOne(mailbox: number, record: StoredRecord): void {
    const { uid, guid, size, internaldate, flags, expunged } = record;
    const found = this.#find(guid);
    const chunkOffset = found && this.#chunks.get(found[0]);
    const isHere = found !== undefined && chunkOffset !== undefined;
    const [chunkId, lineOffset, contentOffset] = isHere ? found : [0, 0, null];
    const isPlaced = isHere && contentOffset !== null && this.#areCurrent.get(chunkId) === true;
    this.#insert.run(
      isHere ? chunkOffset : -1,
      isPlaced ? contentOffset : lineOffset,
      this.count++,
      chunkId,
      isPlaced ? 1 : 0,
      mailbox,
      uid,
      guid,
      size ?? null,
      internaldate,
      flags.join(' '),
      expunged ?? null,
    );
  }

  /** Those that the backup does not have first. All copies of a message follow each other. */
  *inFileOrder(): Generator<Candidate, void> {
    this.#enter();
    const page = this.#db
      .prepare(
        `SELECT * FROM candidate WHERE (chunk_offset, content_offset, number) > (?, ?, ?)
         ORDER BY chunk_offset, content_offset, number LIMIT ${PAGE_ROWS}`,
      )
      .raw();
    for (let last: number[] = [-2, 0, 0]; ; ) {
      const rows = page.all(...last) as Row[];
      for (const row of rows) yield candidateOf(row);
      if (rows.length < PAGE_ROWS) return;
      last = rows.at(-1)!.slice(0, 3) as number[];
    }
  }

  close(): void {
    this.#db.close();
  }

  #find(guid: string): [chunkId: number, lineOffset: number, contentOffset: number | null] | undefined {
    return this.#index.statement(SELECT_PLACE, 'raw').get(guid) as
      | [number, number, number | null]
      | undefined;
  }
}

const SELECT_PLACE = `SELECT m.chunk_id, m.offset, c.content_offset
  FROM message m LEFT JOIN cb_message c ON c.message_id = m.id WHERE m.guid = ?`;

type Row = [
  chunkOffset: number,
  contentOffset: number,
  number: number,
  chunkId: number,
  isPlaced: number,
  mailbox: number,
  uid: number,
  guid: string,
  size: number | null,
  internaldate: number,
  flags: string,
  expunged: number | null,
];

function candidateOf(row: Row): Candidate {
  const [chunkOffset, contentOffset, , chunkId, isPlaced, mailbox, uid, guid, size, internaldate] = row;
  const place = { chunkId, chunkOffset, contentOffset: isPlaced === 1 ? contentOffset : undefined };
  return {
    mailbox,
    uid,
    guid,
    size: size ?? undefined,
    internaldate,
    flags: row[10] === '' ? [] : row[10].split(' '),
    expunged: row[11] ?? undefined,
    place: chunkOffset < 0 ? undefined : place,
  };
}
