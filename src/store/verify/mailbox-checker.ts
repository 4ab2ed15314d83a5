/**
 * Compares MAILBOX lines with the index: the fields that Cyrus's verify compares (backup/lcb_verify.c), and flags. Each
 * RECORD is compared when it is complete, so a mailbox of any size takes the same memory.
 */
import type { ScalarView } from '../../csync/dlist-sax.ts';
import type { BackupIndex } from '../index/backup-index.ts';
import { DlistText } from '../index/dlist-text.ts';
import { type MailboxRow, mailboxByUniqueid } from '../index/queries.ts';
import { isExpungedFlag } from '../index/record-reader.ts';
import { fromBlob, unsignedDigits } from '../index/sql-text.ts';
import type { MarkSet } from './marks.ts';

/** What a RENAME changes of a mailbox. */
export interface MailboxPlace {
  mboxname: string;
  partition: string;
  /** Decimal. */
  uidvalidity: string;
}

/** A mailbox whose row fits a line but for its place. */
export interface RenamedState {
  mailboxId: number;
  lineOffset: number;
  place: MailboxPlace;
}

/** Fields that must be equal, and those of which none is the same as 0. */
const REQUIRED = [
  'LAST_UID',
  'HIGHESTMODSEQ',
  'RECENTUID',
  'RECENTTIME',
  'LAST_APPENDDATE',
  'ACL',
  'OPTIONS',
];
const OPTIONAL = ['XCONVMODSEQ', 'SYNC_CRC', 'SYNC_CRC_ANNOT'];
const HEADER_KEYS = new Set(['UNIQUEID', 'MBOXNAME', 'PARTITION', 'UIDVALIDITY', ...REQUIRED, ...OPTIONAL]);

const DONE = 0;
const HEADER = 1;
const RECORDS = 2;
const RECORD = 3;

export class MailboxChecker {
  readonly #renamed = new Map<number, RenamedState>();
  readonly #index: BackupIndex;
  readonly #chunkId: number;
  readonly #marks: MarkSet;
  #lineOffset = 0;
  /** Containers that are open, and which of them are read. */
  #depth = 0;
  #state = DONE;
  #stateDepth = 0;
  #key = '';
  readonly #header = new Map<string, string>();
  #row: MailboxRow | undefined;
  #lastRow: MailboxRow | undefined;
  #hasSideRecords = false;
  #uid: number | undefined;
  #modseq: string | undefined;
  #lastUpdated: number | undefined;
  #internaldate: number | undefined;
  #size: number | undefined;
  #guid: string | undefined;
  /** As the column has them. */
  readonly #flags = new DlistText();
  #isInFlags = false;

  constructor(index: BackupIndex, chunkId: number, marks: MarkSet) {
    this.#index = index;
    this.#chunkId = chunkId;
    this.#marks = marks;
  }

  get renamed(): RenamedState[] {
    return [...this.#renamed.values()];
  }

  begin(lineOffset: number): void {
    this.#lineOffset = lineOffset;
    this.#depth = this.#stateDepth = 0;
    this.#state = DONE;
    this.#isInFlags = false;
    this.#header.clear();
    this.#row = undefined;
  }

  beginList(): void {
    this.#depth++;
    if (this.#state === HEADER && this.#depth === 2 && this.#key === 'RECORD') {
      this.#enter(RECORDS);
      this.#findRow();
    } else if (this.#state === RECORD && this.#depth === this.#stateDepth + 1 && this.#key === 'FLAGS') {
      this.#isInFlags = true;
      this.#flags.reset();
      this.#flags.beginList();
    }
  }

  beginKvlist(): void {
    this.#depth++;
    if (this.#depth === 1) this.#enter(HEADER);
    else if (this.#state === RECORDS && this.#depth === 3) this.#beginRecord();
  }

  end(): void {
    const closed = this.#depth--;
    if (this.#isInFlags && closed === this.#stateDepth + 1) {
      this.#isInFlags = false;
      this.#flags.end();
    }
    if (closed !== this.#stateDepth) return;
    if (this.#state === RECORD) this.#endRecord();
    this.#stateDepth = this.#depth;
    this.#state = this.#state === RECORD ? RECORDS : this.#state === RECORDS ? HEADER : DONE;
  }

  key(key: string): void {
    if (this.#depth === this.#stateDepth) this.#key = key;
  }

  scalar(value: ScalarView): void {
    if (this.#isInFlags && this.#depth === this.#stateDepth + 1) {
      if (!isExpungedFlag(value)) this.#flags.scalar(value);
    }
    if (this.#depth !== this.#stateDepth) return;
    if (this.#state === HEADER) {
      // Of a field that comes twice Cyrus takes the first.
      if (!HEADER_KEYS.has(this.#key) || this.#header.has(this.#key) || !value.held) return;
      this.#header.set(this.#key, value.latin1());
    } else if (this.#state === RECORD) this.#recordField(value);
  }

  /** The line is complete. */
  finish(): void {
    const row = this.#row ?? this.#findRow();
    if (row === undefined || row.lastChunkId !== this.#chunkId) return;
    if (this.#marks.has('mailbox', row.id) || !this.#stateFits(row)) return;
    const place = {
      mboxname: this.#header.get('MBOXNAME') ?? '',
      partition: this.#header.get('PARTITION') ?? '',
      uidvalidity: this.#header.get('UIDVALIDITY') ?? '',
    };
    if (isAt(row, place)) this.#marks.set('mailbox', row.id);
    else this.#renamed.set(row.id, { mailboxId: row.id, lineOffset: this.#lineOffset, place });
  }

  #enter(state: number): void {
    this.#state = state;
    this.#stateDepth = this.#depth;
  }

  #findRow(): MailboxRow | undefined {
    const uniqueid = this.#header.get('UNIQUEID');
    if (uniqueid === undefined) return undefined;
    // One MAILBOX after the other is about the same mailbox; nobody changes the index meanwhile.
    if (this.#lastRow?.uniqueid !== uniqueid) {
      this.#lastRow = mailboxByUniqueid(this.#index, uniqueid);
      const side = this.#lastRow && this.#index.statement(HAS_SIDE, 'pluck').get(this.#lastRow.id);
      this.#hasSideRecords = side === 1;
    }
    this.#row = this.#lastRow;
    return this.#row;
  }

  #stateFits(row: MailboxRow): boolean {
    const values: Record<string, string | number | bigint | null> = {
      LAST_UID: row.lastUid,
      HIGHESTMODSEQ: row.highestmodseq,
      RECENTUID: row.recentuid,
      RECENTTIME: row.recenttime,
      LAST_APPENDDATE: row.lastAppenddate,
      ACL: row.acl,
      OPTIONS: row.options,
      XCONVMODSEQ: row.xconvmodseq ?? 0,
      SYNC_CRC: row.syncCrc ?? 0,
      SYNC_CRC_ANNOT: row.syncCrcAnnot ?? 0,
    };
    return (
      REQUIRED.every((key) => this.#header.get(key) === String(values[key])) &&
      OPTIONAL.every((key) => (this.#header.get(key) ?? '0') === String(values[key]))
    );
  }

  #beginRecord(): void {
    this.#enter(RECORD);
    this.#uid = this.#modseq = this.#lastUpdated = this.#internaldate = this.#size = this.#guid = undefined;
    this.#flags.reset();
  }

  #recordField(value: ScalarView): void {
    switch (this.#key) {
      case 'UID':
        this.#uid ??= value.number();
        return;
      case 'MODSEQ':
        this.#modseq ??= value.bigint()?.toString();
        return;
      case 'LAST_UPDATED':
        this.#lastUpdated ??= value.number();
        return;
      case 'INTERNALDATE':
        this.#internaldate ??= value.number();
        return;
      case 'SIZE':
        this.#size ??= value.number();
        return;
      case 'GUID':
        if (value.held) this.#guid ??= value.latin1().toLowerCase();
    }
  }

  #endRecord(): void {
    if (this.#row === undefined || this.#uid === undefined || this.#guid === undefined) return;
    const { id } = this.#row;
    const flags = this.#flags.text();
    const main = this.#index.statement(SELECT_MAIN, 'raw').all(flags, id, this.#uid) as RecordRow[];
    for (const row of main) if (this.#recordFits(row, FLAGS_MAIN)) this.#marks.set('mailbox_message', row[0]);
    if (!this.#hasSideRecords) return;
    const side = this.#index
      .statement(SELECT_SIDE, 'raw')
      .all(flags, id, this.#guid, this.#uid) as RecordRow[];
    for (const row of side) if (this.#recordFits(row, FLAGS_SIDE)) this.#marks.set('cb_record', row[0]);
  }

  #recordFits(row: RecordRow, selectFlags: string): boolean {
    const [, chunkId, modseq, lastUpdated, internaldate, size, guid, hasFlags] = row;
    return (
      chunkId === this.#chunkId &&
      guid === this.#guid &&
      unsignedDigits(modseq ?? '0') === this.#modseq &&
      lastUpdated === this.#lastUpdated &&
      internaldate === this.#internaldate &&
      (size === null || this.#size === undefined || size === this.#size) &&
      (hasFlags === 1 || this.#hasSameFlags(row[0], selectFlags))
    );
  }

  /** Cyrus's index has \Expunged among them. */
  #hasSameFlags(rowId: number, selectFlags: string): boolean {
    const text = fromBlob(this.#index.statement(selectFlags, 'pluck').get(rowId) as Buffer | null) ?? '';
    return flagsIn(text) === flagsIn(this.#flags.latin1());
  }
}

/** In an order of their own, whatever that of the text is. */
function flagsIn(text: string): string {
  return text
    .replace(/^\(|\)$/g, '')
    .split(' ')
    .filter((flag) => flag !== '' && flag.toLowerCase() !== '\\expunged')
    .sort()
    .join(' ');
}

/** Whether the row says the same of where the mailbox is. */
export function isAt(row: MailboxRow, place: MailboxPlace): boolean {
  return (
    row.mboxname === place.mboxname &&
    row.partition === place.partition &&
    String(row.uidvalidity) === place.uidvalidity
  );
}

type RecordRow = [
  id: number,
  lastChunkId: number,
  modseq: string | null,
  lastUpdated: number,
  internaldate: number,
  size: number | null,
  guid: string,
  hasFlags: 0 | 1,
];

const HAS_SIDE = 'SELECT EXISTS (SELECT 1 FROM cb_record WHERE mailbox_id = ?)';
// No size: the index keeps none of a record whose message is there, it is the message's whatever the mail server said.
const SELECT_MAIN = `SELECT r.id, r.last_chunk_id, CAST(r.modseq AS TEXT), r.last_updated, r.internaldate, NULL,
    m.guid, r.flags IS CAST(? AS TEXT)
  FROM mailbox_message r JOIN message m ON m.id = r.message_id WHERE r.mailbox_id = ? AND r.uid = ?`;
const SELECT_SIDE = `SELECT id, last_chunk_id, CAST(modseq AS TEXT), last_updated, internaldate, size, guid,
    flags IS CAST(? AS TEXT)
  FROM cb_record WHERE mailbox_id = ? AND guid = ? AND uid = ?`;
const FLAGS_MAIN = 'SELECT CAST(flags AS BLOB) FROM mailbox_message WHERE id = ?';
const FLAGS_SIDE = 'SELECT CAST(flags AS BLOB) FROM cb_record WHERE id = ?';
