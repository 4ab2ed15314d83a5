/**
 * The SQLite index of one backup. It belongs to one thread and, with the data file's lock held, to nobody
 * else. Nothing is synced here: with `synchronous = OFF` the caller syncs the file after `commit()`, and what
 * a crash destroys is made anew from the data file.
 *
 * All text that clients sent is passed as byte strings (one character per byte, latin1).
 */

import { IndexConnection } from './index-connection.ts';
import { type ApplierOptions, LineApplier } from './line-applier.ts';
import { type OpenedDatabase, type OpenOptions, openDatabase } from './open-database.ts';
import type { MailboxRow } from './queries.ts';
import { settleNewMessage } from './record-places.ts';
import { fromBlob, sqlText } from './sql-text.ts';

const GUID_BYTES = 20;

/** What the index knows of the data file as a whole. Rebuilt by a scan when it is missing or does not fit. */
export interface IndexState {
  /** Length of the data file, last trailer included, up to which the index describes it. */
  committedEnd: number;
  /** The trailer of the last member: written after the index was synced, so it may have to be written again. */
  trailer: Uint8Array;
  /** Saved state of the SHA-1 of the file's first `committedEnd` bytes (ResumableSha1.save). */
  fileSha1State: Uint8Array;
  /** Time of the last line, in seconds since the epoch. */
  lastTime: number;
}

/** A row of the chunk table. `length`, `tsEnd` and `dataSha1` are null while the chunk is under construction. */
export interface ChunkRow {
  id: number;
  tsStart: number;
  tsEnd: number | null;
  /** Of the gzip member in the data file. */
  offset: number;
  /** Of the content, uncompressed. */
  length: number | null;
  /** SHA-1, in hex, of all bytes of the data file before `offset`. */
  fileSha1: string;
  /** SHA-1, in hex, of the content. */
  dataSha1: string | null;
}

/** A message to be entered: where its bytes lie. */
export interface NewMessage {
  /** 40 lower-case hex digits. */
  guid: string;
  partition: string;
  chunkId: number;
  /** Of its MESSAGE line in the chunk's content. */
  lineOffset: number;
  /** Of its first byte in the chunk's content. */
  contentOffset: number;
  /** Bytes. */
  size: number;
}

/** Where a message of the backup lies. */
export interface MessageLocation {
  id: number;
  guid: string;
  partition: string;
  size: number;
  chunk: ChunkRow;
  lineOffset: number;
  /** Of the first byte in the chunk's content; unknown where Cyrus made the row: read the line then. */
  contentOffset: number | undefined;
}

/** Where a Sieve script's SIEVE line lies. */
export interface SieveLocation {
  filename: string;
  lastUpdate: number;
  guid: string;
  chunk: ChunkRow;
  lineOffset: number;
}

export class BackupIndex extends IndexConnection {
  /** What queries.ts found last, while nothing has been written since: a client asks for what it then changes. */
  lastMailbox: MailboxRow | undefined;
  /** All of the data file is entered by whoever has it open: a message that is here was read and is right, whatever notes say. */
  isMadeAnew = false;
  /** UNIQUEIDs of mailboxes that are to come as a whole and of which the client was told: what it sends of one is not all (left-out.ts). */
  told: ReadonlySet<string> | undefined;
  /** All of `cb_state`; undefined until it is asked for, and after a rollback. */
  #state: Map<string, unknown> | undefined;
  /** See takeHealed(). */
  readonly #healed: string[] = [];

  private constructor(path: string, { db, state }: OpenedDatabase) {
    super(path, db);
    this.#state = state && new Map(state);
  }

  /**
   * Opens the index at `path`. `create` makes it if it is missing or empty. Without `readonly` an older
   * version is upgraded and our own tables are added where they are missing (they are empty then:
   * `state()` is undefined).
   *
   * @throws BackupError INDEX_STALE if it is missing, damaged or of a version unknown to us: rebuild it.
   */
  static open(path: string, options: OpenOptions = {}): BackupIndex {
    return new BackupIndex(path, openDatabase(path, options));
  }

  override forgetCached(): void {
    super.forgetCached();
    this.lastMailbox = undefined;
    this.#state = undefined;
  }

  override rollback(): void {
    this.#forgetUndone();
    super.rollback();
  }

  override release(name: string): void {
    this.lastMailbox = undefined;
    super.release(name);
  }

  override rollbackTo(name: string): void {
    this.#forgetUndone();
    super.rollbackTo(name);
  }

  #forgetUndone(): void {
    this.lastMailbox = undefined;
    this.#healed.length = 0;
    this.#state = undefined;
  }

  // State

  /** Undefined in an index that we have not written yet. */
  state(): IndexState | undefined {
    const committedEnd = this.#get('committed_end');
    const lastTime = this.#get('last_time');
    const trailer = this.#get('trailer');
    const fileSha1State = this.#get('file_sha1_state');
    if (typeof committedEnd !== 'number' || typeof lastTime !== 'number') return undefined;
    if (!Buffer.isBuffer(trailer) || !Buffer.isBuffer(fileSha1State)) return undefined;
    return { committedEnd, lastTime, trailer, fileSha1State };
  }

  setState(state: IndexState): void {
    const rows = [
      ['committed_end', state.committedEnd],
      ['last_time', state.lastTime],
      ['trailer', Buffer.from(state.trailer)],
      ['file_sha1_state', Buffer.from(state.fileSha1State)],
    ] as const;
    for (const [name, value] of rows) this.#state?.set(name, value);
    this.statement(SET_STATE).run(...rows.flat());
  }

  /** When UNUSER said that the user is gone, in seconds; undefined if it did not or the user came back. */
  unuserAt(): number | undefined {
    const time = this.#get('unuser_at');
    return typeof time === 'number' ? time : undefined;
  }

  setUnuserAt(time: number | undefined): void {
    this.#set('unuser_at', time);
  }

  /** Catalog keys of the backups of people who had this userid before (see former-users.ts). */
  formerKeys(): string[] {
    const keys = this.#get('former');
    return Buffer.isBuffer(keys) ? fromBlob(keys).split('\n') : [];
  }

  addFormerKey(key: string): void {
    const keys = this.formerKeys();
    if (!keys.includes(key)) this.#set('former', Buffer.from([...keys, key].join('\n'), 'latin1'));
  }

  /**
   * Since when states of the past can be had, in seconds: what is older was compacted. Undefined: since the first line.
   * Compaction by Cyrus leaves no note of it.
   */
  historySince(): number | undefined {
    const time = this.#get('history_since');
    return typeof time === 'number' ? time : undefined;
  }

  setHistorySince(time: number): void {
    this.#set('history_since', time);
  }

  /** FILENAME of the last ACTIVATE_SIEVE that neither UNACTIVATE_SIEVE nor UNSIEVE of that name followed. */
  activeSieve(): string | undefined {
    const name = this.#get('active_sieve');
    return Buffer.isBuffer(name) ? fromBlob(name) : undefined;
  }

  setActiveSieve(filename: string | undefined): void {
    this.#set('active_sieve', filename === undefined ? undefined : Buffer.from(filename, 'latin1'));
  }

  /** Text of a row of `cb_state`; undefined if it has none. */
  stateText(name: string): string | undefined {
    const value = this.#get(name);
    return typeof value === 'string' ? value : undefined;
  }

  setStateText(name: string, text: string | undefined): void {
    this.#set(name, text);
  }

  #get(name: string): unknown {
    this.#state ??= new Map(
      this.statement('SELECT name, value FROM cb_state', 'raw').all() as [string, unknown][],
    );
    return this.#state.get(name);
  }

  #set(name: string, value: number | string | Buffer | undefined): void {
    this.#state?.set(name, value);
    if (value === undefined) this.statement('DELETE FROM cb_state WHERE name = ?').run(name);
    else this.statement('INSERT OR REPLACE INTO cb_state(name, value) VALUES (?, ?)').run(name, value);
  }

  // Chunks

  /** Enters a chunk under construction. */
  startChunk(chunk: { offset: number; tsStart: number; fileSha1: string }): number {
    const sql = 'INSERT INTO chunk(ts_start, offset, file_sha1) VALUES (?, ?, ?)';
    return Number(this.statement(sql).run(chunk.tsStart, chunk.offset, chunk.fileSha1).lastInsertRowid);
  }

  endChunk(id: number, chunk: { tsEnd: number; length: number; dataSha1: string }): void {
    const sql = 'UPDATE chunk SET ts_end = ?, length = ?, data_sha1 = ? WHERE id = ?';
    this.statement(sql).run(chunk.tsEnd, chunk.length, chunk.dataSha1, id);
  }

  /** All chunks in the order of the data file. */
  chunks(): ChunkRow[] {
    return this.statement(`${SELECT_CHUNK} ORDER BY offset`).all() as ChunkRow[];
  }

  /** The last `count` of them, in the order of the data file. */
  lastChunks(count: number): ChunkRow[] {
    const sql = `${SELECT_CHUNK} ORDER BY offset DESC LIMIT ?`;
    return (this.statement(sql).all(count) as ChunkRow[]).reverse();
  }

  chunk(id: number): ChunkRow | undefined {
    return this.statement(`${SELECT_CHUNK} WHERE id = ?`).get(id) as ChunkRow | undefined;
  }

  /** Notes that the segment at `fileOffset` of the data file begins with the chunk's content at `contentOffset`. */
  addSegmentStart(chunkId: number, contentOffset: number, fileOffset: number): void {
    const sql = 'INSERT OR REPLACE INTO cb_segment(chunk_id, content_offset, file_offset) VALUES (?, ?, ?)';
    this.statement(sql).run(chunkId, contentOffset, fileOffset);
  }

  /** The last known segment start at or before `contentOffset`. */
  segmentBefore(
    chunkId: number,
    contentOffset: number,
  ): { contentOffset: number; fileOffset: number } | undefined {
    const sql = `SELECT content_offset AS contentOffset, file_offset AS fileOffset FROM cb_segment
      WHERE chunk_id = ? AND content_offset <= ? ORDER BY content_offset DESC LIMIT 1`;
    return this.statement(sql).get(chunkId, contentOffset) as
      | { contentOffset: number; fileOffset: number }
      | undefined;
  }

  // Messages

  /** Those of these GUIDs whose message the backup lacks, in the order given. */
  missing(guids: readonly string[]): string[] {
    return guids.filter((guid) => this.messageId(guid) === undefined);
  }

  messageId(guid: string): number | undefined {
    return this.statement('SELECT id FROM message WHERE guid = ?', 'pluck').get(guid) as number | undefined;
  }

  /** @param chunkOf finds the chunk, for who has it already */
  findMessage(guid: string, chunkOf = (id: number) => this.chunk(id)): MessageLocation | undefined {
    const sql = `SELECT m.id, m.guid, CAST(m.partition AS BLOB) AS partition, m.size, m.chunk_id AS chunkId,
        m.offset AS lineOffset, c.content_offset AS contentOffset
      FROM message m LEFT JOIN cb_message c ON c.message_id = m.id WHERE m.guid = ?`;
    const row = this.statement(sql).get(guid) as MessageRow | undefined;
    const chunk = row && chunkOf(row.chunkId);
    if (row === undefined || chunk === undefined) return undefined;
    const { id, size, lineOffset } = row;
    const partition = fromBlob(row.partition);
    return { id, guid, partition, size, chunk, lineOffset, contentOffset: row.contentOffset ?? undefined };
  }

  /** Enters a message; one that was stored again is from now on read from its newer place. */
  addMessage(message: NewMessage): number {
    const { guid, chunkId, lineOffset, contentOffset, size } = message;
    const partition = sqlText(message.partition);
    const inserted = this.statement(INSERT_MESSAGE).run(guid, partition, chunkId, lineOffset, size);
    let id = Number(inserted.lastInsertRowid);
    if (inserted.changes === 0) {
      this.statement(UPDATE_MESSAGE).run(partition, chunkId, lineOffset, size, guid);
      id = this.messageId(guid)!;
    }
    this.statement(PLACE_MESSAGE).run(id, contentOffset);
    if (inserted.changes > 0) settleNewMessage(this, guid, id);
    return id;
  }

  /** The live script of this name. */
  findSieve(filename: string): SieveLocation | undefined {
    const sql = `SELECT chunk_id AS chunkId, last_update AS lastUpdate, guid, offset AS lineOffset FROM sieve
      WHERE filename = CAST(? AS TEXT) AND deleted IS NULL ORDER BY id DESC LIMIT 1`;
    const row = this.statement(sql).get(sqlText(filename)) as
      | { chunkId: number; lastUpdate: number; guid: string; lineOffset: number }
      | undefined;
    const chunk = row && this.chunk(row.chunkId);
    if (row === undefined || chunk === undefined) return undefined;
    return { filename, lastUpdate: row.lastUpdate, guid: row.guid, chunk, lineOffset: row.lineOffset };
  }

  // Heal marks

  /**
   * Leaves this mailbox out of all answers until a complete MAILBOX comes, so that the client sends it again
   * as a whole. `guids`: what was missing, to know it again.
   */
  markForHeal(uniqueid: string, guids: readonly string[]): void {
    this.lastMailbox = undefined;
    const sorted = [...guids].sort();
    const sql = 'INSERT OR REPLACE INTO cb_heal(uniqueid, guids) VALUES (CAST(? AS TEXT), ?)';
    this.statement(sql).run(sqlText(uniqueid), Buffer.from(sorted.join(''), 'hex'));
  }

  /** The GUIDs that the mark was set for; undefined without a mark. */
  healMark(uniqueid: string): Set<string> | undefined {
    const sql = 'SELECT guids FROM cb_heal WHERE uniqueid = CAST(? AS TEXT)';
    const guids = this.statement(sql, 'pluck').get(sqlText(uniqueid)) as Buffer | undefined;
    if (guids === undefined) return undefined;
    const set = new Set<string>();
    for (let at = 0; at < guids.length; at += GUID_BYTES) set.add(guids.toString('hex', at, at + GUID_BYTES));
    return set;
  }

  /** Whether parts of it have come since it was marked (parts.ts); to mark it again begins anew. */
  isComingInParts(uniqueid: string): boolean {
    const sql = 'SELECT part_uid IS NOT NULL FROM cb_heal WHERE uniqueid = CAST(? AS TEXT)';
    return this.statement(sql, 'pluck').get(sqlText(uniqueid)) === 1;
  }

  /** Whether the client was asked for this mailbox as a whole because of these GUIDs (or more) already. */
  isUnderHeal(uniqueid: string, guids: readonly string[]): boolean {
    const marked = this.healMark(uniqueid);
    return marked !== undefined && (marked.size === 0 || guids.every((guid) => marked.has(guid)));
  }

  /** @returns whether there was a mark. */
  clearHealMark(uniqueid: string): boolean {
    if (!this.mayHaveRows('cb_heal')) return false;
    const sql = 'DELETE FROM cb_heal WHERE uniqueid = CAST(? AS TEXT)';
    if (this.statement(sql).run(sqlText(uniqueid)).changes === 0) return false;
    this.#healed.push(uniqueid);
    return true;
  }

  /** UNIQUEIDs of the mailboxes whose marks were cleared since the last call, and not put back by a rollback. */
  takeHealed(): string[] {
    return this.#healed.splice(0);
  }

  /** Applies stored lines to this index, inside the caller's transaction. */
  applier(options: ApplierOptions): LineApplier {
    return new LineApplier(this, options);
  }
}

interface MessageRow {
  id: number;
  size: number;
  partition: Buffer;
  chunkId: number;
  lineOffset: number;
  contentOffset: number | null;
}

const INSERT_MESSAGE = `INSERT OR IGNORE INTO message(guid, partition, chunk_id, offset, size)
  VALUES (?, CAST(? AS TEXT), ?, ?, ?)`;
const UPDATE_MESSAGE = `UPDATE message SET partition = CAST(? AS TEXT), chunk_id = ?, offset = ?, size = ?
  WHERE guid = ?`;
const PLACE_MESSAGE = 'INSERT OR REPLACE INTO cb_message(message_id, content_offset) VALUES (?, ?)';

const SET_STATE = `INSERT OR REPLACE INTO cb_state(name, value) VALUES (?, ?), (?, ?), (?, ?), (?, ?)`;

const SELECT_CHUNK = `SELECT id, ts_start AS tsStart, ts_end AS tsEnd, offset, length, file_sha1 AS fileSha1,
  data_sha1 AS dataSha1 FROM chunk`;
