/** The RECORDs of one mailbox, put into the index one by one; record-places.ts says which table each is in. */
import type { BackupIndex, NewMessage } from './backup-index.ts';
import { MAX_MISSING } from './outcome.ts';
import {
  demoteRecord,
  type MainRow,
  mainRow,
  type Row,
  type SideRow,
  settleRecords,
  sideRow,
} from './record-places.ts';
import { COUNTED_COLUMNS, sumOfFields, sumOfRow } from './record-sum.ts';
import { type SqlText, toSigned64 } from './sql-text.ts';

/** Messages that are stored but not in the index yet. */
export interface PendingMessageSource {
  /** The message of this GUID, from now on known to belong here; undefined if there is none. */
  claim(guid: string): NewMessage | undefined;
}

/** One RECORD; times in seconds. */
export interface RecordFields {
  uid: number;
  modseq: number | bigint;
  lastUpdated: number;
  /** Dlist text without `\Expunged`; empty if the RECORD has no FLAGS. */
  flags: SqlText;
  expunged: boolean;
  internaldate: number;
  size: number | null;
  /** 40 lower-case hex digits. */
  guid: string;
  /** Dlist text; empty if there are none. */
  annotations: SqlText;
  /** `KEY value ...` of fields that have no column. */
  extra: SqlText | undefined;
}

export class RecordStore {
  readonly #index: BackupIndex;
  readonly #pending: PendingMessageSource | undefined;
  readonly #chunkId: number;
  #mailboxId = 0;
  #time = 0;
  /** No UID above this one is in the mailbox. */
  #maxUid = 0;
  #lastUidBefore = 0;
  #isHealing = false;
  #hasSide = false;
  #hasExtra = false;
  #missing = new Set<string>();
  #missingCount = 0;
  #stillMissing = new Set<string>();
  #sumChange = 0;

  constructor(index: BackupIndex, chunkId: number, pending: PendingMessageSource | undefined) {
    this.#index = index;
    this.#chunkId = chunkId;
    this.#pending = pending;
  }

  /**
   * Turns to a mailbox. `time`: of the line that is applied. `isHealing`: what is said again may stand in no other
   * line that can still be read, so that from now on this one is where it is said.
   */
  open(mailboxId: number, time: number, isHealing = false): void {
    this.#mailboxId = mailboxId;
    this.#isHealing = isHealing;
    this.#time = time;
    this.#missing.clear();
    this.#missingCount = 0;
    this.#stillMissing.clear();
    this.#sumChange = 0;
    const pluck = (sql: string): number =>
      (this.#index.statement(sql, 'pluck').get(mailboxId) as number | null) ?? 0;
    this.#maxUid = pluck('SELECT max(uid) FROM mailbox_message WHERE mailbox_id = ?');
    this.#hasSide = false;
    if (this.#index.mayHaveRows('cb_record')) {
      this.#maxUid = Math.max(this.#maxUid, pluck('SELECT max(uid) FROM cb_record WHERE mailbox_id = ?'));
      this.#hasSide = pluck('SELECT EXISTS (SELECT 1 FROM cb_record WHERE mailbox_id = ?)') === 1;
    }
    this.#lastUidBefore = this.#maxUid;
    this.#hasExtra =
      this.#index.mayHaveRows('cb_record_extra') &&
      pluck('SELECT EXISTS (SELECT 1 FROM cb_record_extra WHERE mailbox_id = ?)') === 1;
  }

  /** Live messages of the line whose content is not here: the first MAX_MISSING, and how many in all. */
  get missing(): { guids: string[]; count: number } {
    return { guids: [...this.#missing], count: this.#missingCount };
  }

  /** The same of a mailbox that is healing, as far as they were accepted without content before: the first MAX_MISSING. */
  get stillMissing(): string[] {
    return [...this.#stillMissing];
  }

  /** Highest UID that the mailbox had when it was opened, live or not. */
  get lastUidBefore(): number {
    return this.#lastUidBefore;
  }

  /** The exclusive or of what the live records of the mailbox add up to (record-sum.ts) now and when it was opened. */
  get sumChange(): number {
    return this.#sumChange >>> 0;
  }

  /** Looks again for what was missing; whatever has been entered since has given its records their place. */
  recheckMissing(): void {
    for (const guid of this.#missing) {
      if (this.#messageId(guid) === undefined) continue;
      this.#missing.delete(guid);
      this.#missingCount--;
    }
    for (const guid of this.#stillMissing) {
      if (this.#messageId(guid) !== undefined) this.#stillMissing.delete(guid);
    }
  }

  /** @returns whether anything is different now. */
  put(record: RecordFields): boolean {
    let changed = this.#putExtra(record);
    const messageId = this.#messageId(record.guid);
    if (record.uid > this.#maxUid) {
      this.#maxUid = record.uid;
      this.#insert(record, messageId);
      this.#countNew(record);
      return true;
    }
    const main = this.#mainByUid(record.uid);
    if (main !== undefined && main.messageId === messageId) return this.#updateMain(main, record) || changed;
    if (main !== undefined) this.#replaceMain(main);
    const side = this.#hasSide ? this.#sideByUid(record.uid) : undefined;
    if (side !== undefined && side.guid === record.guid) {
      changed = this.#update(UPDATE_SIDE, side, side.guid, record) || changed;
      if (messageId !== undefined) return this.#settle(record.guid, messageId) || changed;
      // One that was live and not here before was accepted so: the client had nothing to send.
      if (!record.expunged && side.expunged !== null) this.#noteMissing(record.guid);
      else if (!record.expunged && this.#isHealing) this.#noteStillMissing(record.guid);
      return changed;
    }
    if (side !== undefined) {
      this.#markReplaced(record.uid);
      this.#countOld(side, side.guid);
    }
    this.#insert(record, messageId);
    this.#countNew(record);
    return true;
  }

  /** @returns whether any of them was live until now. */
  expunge(uids: readonly number[]): boolean {
    let changed = false;
    for (const uid of uids) {
      const main = this.#mainByUid(uid);
      if (main !== undefined && main.expunged === null) {
        this.#index
          .statement('UPDATE mailbox_message SET expunged = ? WHERE id = ?')
          .run(this.#time, main.id);
        const guid = this.#guidOf(main.messageId);
        this.#countOld(main, guid);
        if (this.#hasSide) this.#settle(guid, main.messageId);
        changed = true;
      }
      const side = this.#hasSide ? this.#sideByUid(uid) : undefined;
      if (side !== undefined && side.expunged === null) {
        this.#index.statement('UPDATE cb_record SET expunged = ? WHERE id = ?').run(this.#time, side.id);
        this.#countOld(side, side.guid);
        changed = true;
      }
    }
    return changed;
  }

  #messageId(guid: string): number | undefined {
    const message = this.#pending?.claim(guid);
    return message === undefined ? this.#index.messageId(guid) : this.#index.addMessage(message);
  }

  #settle(guid: string, messageId: number): boolean {
    return settleRecords(this.#index, this.#mailboxId, guid, messageId);
  }

  #guidOf(messageId: number): string {
    return this.#index.statement('SELECT guid FROM message WHERE id = ?', 'pluck').get(messageId) as string;
  }

  #mainByUid(uid: number): MainRow | undefined {
    return mainRow(this.#index.statement(MAIN_BY_UID, 'raw').get(this.#mailboxId, uid));
  }

  #sideByUid(uid: number): SideRow | undefined {
    return sideRow(this.#index.statement(SIDE_BY_UID, 'raw').get(this.#mailboxId, uid));
  }

  #countNew(record: RecordFields): void {
    if (!record.expunged) this.#sumChange ^= sumOfFields(record);
  }

  /** What the row says counts no more. */
  #countOld(row: Row, guid: string): void {
    if (row.expunged === null) this.#sumChange ^= sumOfRow(row.uid, guid, row.values, FIRST_COUNTED);
  }

  #insert(record: RecordFields, messageId: number | undefined): void {
    const expunged = record.expunged ? this.#time : null;
    if (messageId === undefined) {
      if (!record.expunged) this.#noteMissing(record.guid);
      this.#insertSide(record, expunged);
      return;
    }
    const { uid, lastUpdated, flags, internaldate, annotations } = record;
    const inserted = this.#index
      .statement(INSERT_MAIN)
      .run(
        this.#mailboxId,
        messageId,
        this.#chunkId,
        uid,
        toSigned64(record.modseq),
        lastUpdated,
        flags,
        internaldate,
        annotations,
        expunged,
      );
    if (inserted.changes === 1) return;
    this.#insertSide(record, expunged);
    this.#settle(record.guid, messageId);
  }

  #noteMissing(guid: string): void {
    if (this.#missing.has(guid)) return;
    this.#missingCount++;
    if (this.#missing.size < MAX_MISSING) this.#missing.add(guid);
  }

  #noteStillMissing(guid: string): void {
    if (this.#stillMissing.size < MAX_MISSING) this.#stillMissing.add(guid);
  }

  #insertSide(record: RecordFields, expunged: number | null): void {
    const { guid, size, uid, lastUpdated, flags, internaldate, annotations } = record;
    const modseq = toSigned64(record.modseq);
    this.#hasSide = true;
    this.#index
      .statement(INSERT_SIDE)
      .run(
        this.#mailboxId,
        guid,
        size,
        this.#chunkId,
        uid,
        modseq,
        lastUpdated,
        flags,
        internaldate,
        annotations,
        expunged,
      );
  }

  #updateMain(main: MainRow, record: RecordFields): boolean {
    const changed = this.#update(UPDATE_MAIN, main, record.guid, record);
    if (changed && record.expunged && this.#hasSide) this.#settle(record.guid, main.messageId);
    return changed;
  }

  #update(sql: string, row: Row, guid: string, record: RecordFields): boolean {
    const { lastUpdated, flags, internaldate, annotations } = record;
    const expunged = record.expunged ? (row.expunged ?? this.#time) : null;
    const modseq = toSigned64(record.modseq);
    const values = [modseq, lastUpdated, flags, internaldate, annotations, expunged];
    if (this.#isHealing)
      this.#index.statement(sql === UPDATE_MAIN ? RESTATE_MAIN : RESTATE_SIDE).run(this.#chunkId, row.id);
    const { changes } = this.#index.statement(sql).run(this.#chunkId, ...values, row.id, ...values);
    if (changes === 0) return false;
    this.#countOld(row, guid);
    this.#countNew(record);
    return true;
  }

  /** The UID of this row names another message from now on. */
  #replaceMain(main: MainRow): void {
    const guid = this.#guidOf(main.messageId);
    this.#countOld(main, guid);
    demoteRecord(this.#index, main.id);
    this.#hasSide = true;
    this.#markReplaced(main.uid);
    this.#settle(guid, main.messageId);
  }

  #markReplaced(uid: number): void {
    this.#index.statement(MARK_REPLACED).run(this.#time, this.#mailboxId, uid);
  }

  #putExtra(record: RecordFields): boolean {
    if (record.extra !== undefined) {
      this.#hasExtra = true;
      return this.#index.statement(PUT_EXTRA).run(this.#mailboxId, record.uid, record.extra).changes > 0;
    }
    if (!this.#hasExtra) return false;
    const sql = 'DELETE FROM cb_record_extra WHERE mailbox_id = ? AND uid = ?';
    return this.#index.statement(sql).run(this.#mailboxId, record.uid).changes > 0;
  }
}

/** Of COUNTED_COLUMNS in these rows. */
const FIRST_COUNTED = 4;
const MAIN_BY_UID = `SELECT id, message_id, uid, expunged, ${COUNTED_COLUMNS} FROM mailbox_message
  WHERE mailbox_id = ? AND uid = ?`;
const SIDE_BY_UID = `SELECT id, guid, uid, expunged, ${COUNTED_COLUMNS} FROM cb_record
  WHERE mailbox_id = ? AND uid = ? AND replaced = 0`;
const INSERT_MAIN = `INSERT OR IGNORE INTO mailbox_message(mailbox_id, message_id, last_chunk_id, uid, modseq,
    last_updated, flags, internaldate, annotations, expunged)
  VALUES (?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?, CAST(? AS TEXT), ?)`;
const INSERT_SIDE = `INSERT INTO cb_record(mailbox_id, guid, size, last_chunk_id, uid, modseq, last_updated,
    flags, internaldate, annotations, expunged)
  VALUES (?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?, CAST(? AS TEXT), ?)
  ON CONFLICT(guid, mailbox_id, uid) DO UPDATE SET size = excluded.size, last_chunk_id = excluded.last_chunk_id,
    modseq = excluded.modseq, last_updated = excluded.last_updated, flags = excluded.flags,
    internaldate = excluded.internaldate, annotations = excluded.annotations, expunged = excluded.expunged,
    replaced = 0`;

const MARK_REPLACED = `UPDATE cb_record SET replaced = 1, expunged = coalesce(expunged, ?)
  WHERE mailbox_id = ? AND uid = ? AND replaced = 0`;

const updateOf = (
  table: string,
): string => `UPDATE ${table} SET last_chunk_id = ?, modseq = ?, last_updated = ?, flags = CAST(? AS TEXT),
    internaldate = ?, annotations = CAST(? AS TEXT), expunged = ?
  WHERE id = ? AND (modseq IS NOT ? OR last_updated IS NOT ? OR flags IS NOT CAST(? AS TEXT)
    OR internaldate IS NOT ? OR annotations IS NOT CAST(? AS TEXT) OR expunged IS NOT ?)`;
const RESTATE_MAIN = 'UPDATE mailbox_message SET last_chunk_id = ? WHERE id = ?';
const RESTATE_SIDE = 'UPDATE cb_record SET last_chunk_id = ? WHERE id = ?';
const UPDATE_MAIN = updateOf('mailbox_message');
const UPDATE_SIDE = updateOf('cb_record');

const PUT_EXTRA = `INSERT INTO cb_record_extra(mailbox_id, uid, fields) VALUES (?, ?, CAST(? AS TEXT))
  ON CONFLICT(mailbox_id, uid) DO UPDATE SET fields = excluded.fields WHERE fields IS NOT excluded.fields`;
