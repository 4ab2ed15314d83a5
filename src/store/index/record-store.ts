/**
 * The RECORDs of one mailbox. Cyrus's table `mailbox_message` has one row for each message in a mailbox, but
 * the same message may stand there under several UIDs, and some RECORDs name messages that were never sent.
 * So:
 *
 * - `mailbox_message` holds, of a message's UIDs in the mailbox, a live one before an expunged one, and of
 *   these the highest;
 * - `cb_record` holds its other UIDs, and the RECORDs whose message is not in the backup;
 * - a UID that comes again with another message takes the place of the former one, which stays in `cb_record`
 *   as `replaced` and is answered no more.
 */
import type { BackupIndex, NewMessage } from './backup-index.ts';
import { MAX_MISSING } from './outcome.ts';
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

/** A row of `mailbox_message` or `cb_record`, as far as it decides where rows belong. */
interface Row {
  id: number;
  uid: number;
  expunged: number | null;
}

interface MainRow extends Row {
  messageId: number;
}

interface SideRow extends Row {
  guid: string;
}

export class RecordStore {
  readonly #index: BackupIndex;
  readonly #pending: PendingMessageSource | undefined;
  readonly #chunkId: number;
  #mailboxId = 0;
  #time = 0;
  /** No UID above this one is in the mailbox. */
  #maxUid = 0;
  #hasSide = false;
  #hasExtra = false;
  #missing = new Set<string>();
  #missingCount = 0;

  constructor(index: BackupIndex, chunkId: number, pending: PendingMessageSource | undefined) {
    this.#index = index;
    this.#chunkId = chunkId;
    this.#pending = pending;
  }

  /** Turns to a mailbox. `time`: of the line that is applied. */
  open(mailboxId: number, time: number): void {
    this.#mailboxId = mailboxId;
    this.#time = time;
    this.#missing.clear();
    this.#missingCount = 0;
    const pluck = (sql: string): number =>
      (this.#index.statement(sql, 'pluck').get(mailboxId) as number | null) ?? 0;
    const sideMax = pluck('SELECT max(uid) FROM cb_record WHERE mailbox_id = ?');
    this.#maxUid = Math.max(pluck('SELECT max(uid) FROM mailbox_message WHERE mailbox_id = ?'), sideMax);
    this.#hasSide = pluck('SELECT EXISTS (SELECT 1 FROM cb_record WHERE mailbox_id = ?)') === 1;
    this.#hasExtra = pluck('SELECT EXISTS (SELECT 1 FROM cb_record_extra WHERE mailbox_id = ?)') === 1;
  }

  /** Live messages of the line whose content is not here: the first MAX_MISSING, and how many in all. */
  get missing(): { guids: string[]; count: number } {
    return { guids: [...this.#missing], count: this.#missingCount };
  }

  /** Looks again for what was missing; records whose message is here by now get their place. */
  recheckMissing(): void {
    for (const guid of this.#missing) {
      const messageId = this.#messageId(guid);
      if (messageId === undefined) continue;
      this.#missing.delete(guid);
      this.#missingCount--;
      this.#settle(guid, messageId);
    }
  }

  /** @returns whether anything is different now. */
  put(record: RecordFields): boolean {
    let changed = this.#putExtra(record);
    const messageId = this.#messageId(record.guid);
    if (record.uid > this.#maxUid) {
      this.#maxUid = record.uid;
      this.#insert(record, messageId);
      return true;
    }
    const main = this.#mainByUid(record.uid);
    if (main !== undefined && main.messageId === messageId) return this.#updateMain(main, record) || changed;
    if (main !== undefined) this.#replaceMain(main);
    const side = this.#hasSide ? this.#sideByUid(record.uid) : undefined;
    if (side !== undefined && side.guid === record.guid) {
      changed = this.#update(UPDATE_SIDE, side, record) || changed;
      if (messageId !== undefined) return this.#settle(record.guid, messageId) || changed;
      // One that was live and not here before was accepted so: the client has nothing to send.
      if (!record.expunged && side.expunged !== null) this.#noteMissing(record.guid);
      return changed;
    }
    if (side !== undefined) this.#markReplaced(record.uid);
    this.#insert(record, messageId);
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
        if (this.#hasSide) this.#settle(this.#guidOf(main.messageId), main.messageId);
        changed = true;
      }
      const side = this.#hasSide ? this.#sideByUid(uid) : undefined;
      if (side !== undefined && side.expunged === null) {
        this.#index.statement('UPDATE cb_record SET expunged = ? WHERE id = ?').run(this.#time, side.id);
        changed = true;
      }
    }
    return changed;
  }

  #messageId(guid: string): number | undefined {
    const message = this.#pending?.claim(guid);
    return message === undefined ? this.#index.messageId(guid) : this.#index.addMessage(message);
  }

  #guidOf(messageId: number): string {
    return this.#index.statement('SELECT guid FROM message WHERE id = ?', 'pluck').get(messageId) as string;
  }

  #mainByUid(uid: number): MainRow | undefined {
    return mainRow(this.#index.statement(MAIN_BY_UID, 'raw').get(this.#mailboxId, uid));
  }

  #mainByMessage(messageId: number): MainRow | undefined {
    return mainRow(this.#index.statement(MAIN_BY_MESSAGE, 'raw').get(this.#mailboxId, messageId));
  }

  #sideByUid(uid: number): SideRow | undefined {
    return sideRow(this.#index.statement(SIDE_BY_UID, 'raw').get(this.#mailboxId, uid));
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
    const changed = this.#update(UPDATE_MAIN, main, record);
    if (changed && record.expunged && this.#hasSide) this.#settle(record.guid, main.messageId);
    return changed;
  }

  #update(sql: string, row: Row, record: RecordFields): boolean {
    const { lastUpdated, flags, internaldate, annotations } = record;
    const expunged = record.expunged ? (row.expunged ?? this.#time) : null;
    const modseq = toSigned64(record.modseq);
    const values = [modseq, lastUpdated, flags, internaldate, annotations, expunged];
    return this.#index.statement(sql).run(this.#chunkId, ...values, row.id, ...values).changes > 0;
  }

  /** The UID of this row names another message from now on. */
  #replaceMain(main: MainRow): void {
    this.#index.statement(DEMOTE_MAIN).run(main.id);
    this.#index.statement('DELETE FROM mailbox_message WHERE id = ?').run(main.id);
    this.#hasSide = true;
    this.#markReplaced(main.uid);
    this.#settle(this.#guidOf(main.messageId), main.messageId);
  }

  #markReplaced(uid: number): void {
    this.#index.statement(MARK_REPLACED).run(this.#time, this.#mailboxId, uid);
  }

  /** Puts that of the message's UIDs into Cyrus's table which belongs there. Returns whether rows moved. */
  #settle(guid: string, messageId: number): boolean {
    const best = sideRow(this.#index.statement(BEST_SIDE, 'raw').get(this.#mailboxId, guid));
    if (best === undefined) return false;
    const main = this.#mainByMessage(messageId);
    if (main !== undefined && !isBetter(best, main)) return false;
    if (main !== undefined) {
      this.#index.statement(DEMOTE_MAIN).run(main.id);
      this.#index.statement('DELETE FROM mailbox_message WHERE id = ?').run(main.id);
    }
    this.#index.statement(PROMOTE_SIDE).run(messageId, best.id);
    this.#index.statement('DELETE FROM cb_record WHERE id = ?').run(best.id);
    return true;
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

function isBetter(a: Row, b: Row): boolean {
  if ((a.expunged === null) !== (b.expunged === null)) return a.expunged === null;
  return a.uid > b.uid;
}

function mainRow(values: unknown): MainRow | undefined {
  if (values === undefined) return undefined;
  const [id, messageId, uid, expunged] = values as [number, number, number, number | null];
  return { id, messageId, uid, expunged };
}

function sideRow(values: unknown): SideRow | undefined {
  if (values === undefined) return undefined;
  const [id, guid, uid, expunged] = values as [number, string, number, number | null];
  return { id, guid, uid, expunged };
}

const MAIN_BY_UID =
  'SELECT id, message_id, uid, expunged FROM mailbox_message WHERE mailbox_id = ? AND uid = ?';
const MAIN_BY_MESSAGE = `SELECT id, message_id, uid, expunged FROM mailbox_message
  WHERE mailbox_id = ? AND message_id = ?`;
const SIDE_BY_UID = `SELECT id, guid, uid, expunged FROM cb_record
  WHERE mailbox_id = ? AND uid = ? AND replaced = 0`;
const BEST_SIDE = `SELECT id, guid, uid, expunged FROM cb_record
  WHERE mailbox_id = ? AND guid = ? AND replaced = 0 ORDER BY expunged IS NOT NULL, uid DESC LIMIT 1`;

const INSERT_MAIN = `INSERT OR IGNORE INTO mailbox_message(mailbox_id, message_id, last_chunk_id, uid, modseq,
    last_updated, flags, internaldate, annotations, expunged)
  VALUES (?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?, CAST(? AS TEXT), ?)`;
const INSERT_SIDE = `INSERT INTO cb_record(mailbox_id, guid, size, last_chunk_id, uid, modseq, last_updated,
    flags, internaldate, annotations, expunged)
  VALUES (?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?, CAST(? AS TEXT), ?)
  ON CONFLICT(mailbox_id, guid, uid) DO UPDATE SET size = excluded.size, last_chunk_id = excluded.last_chunk_id,
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
const UPDATE_MAIN = updateOf('mailbox_message');
const UPDATE_SIDE = updateOf('cb_record');

const DEMOTE_MAIN = `INSERT OR REPLACE INTO cb_record(mailbox_id, guid, size, last_chunk_id, uid, modseq,
    last_updated, flags, internaldate, annotations, expunged)
  SELECT r.mailbox_id, m.guid, m.size, r.last_chunk_id, r.uid, r.modseq, r.last_updated, r.flags,
    r.internaldate, r.annotations, r.expunged
  FROM mailbox_message r JOIN message m ON m.id = r.message_id WHERE r.id = ?`;
const PROMOTE_SIDE = `INSERT INTO mailbox_message(mailbox_id, message_id, last_chunk_id, uid, modseq, last_updated,
    flags, internaldate, annotations, expunged)
  SELECT mailbox_id, ?, last_chunk_id, uid, modseq, last_updated, flags, internaldate, annotations, expunged
  FROM cb_record WHERE id = ?`;

const PUT_EXTRA = `INSERT INTO cb_record_extra(mailbox_id, uid, fields) VALUES (?, ?, CAST(? AS TEXT))
  ON CONFLICT(mailbox_id, uid) DO UPDATE SET fields = excluded.fields WHERE fields IS NOT excluded.fields`;
