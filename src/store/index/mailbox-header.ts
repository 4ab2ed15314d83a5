/** The fields of a MAILBOX outside its RECORDs, and which of them are columns of Cyrus's `mailbox` table. */
import type { ScalarView } from '../../csync/dlist-sax.ts';
import { DlistText } from './dlist-text.ts';
import { badParameters, type Rejection } from './outcome.ts';
import type { MailboxRow } from './queries.ts';
import { type SqlText, sqlText, toSigned64 } from './sql-text.ts';

type Column = 'text' | 'uint32' | 'uint64' | 'time';

/** In the order of the columns, from `uniqueid` to `xconvmodseq`. */
const COLUMNS: Readonly<Record<string, Column>> = {
  UNIQUEID: 'text',
  MBOXNAME: 'text',
  MBOXTYPE: 'text',
  LAST_UID: 'uint32',
  HIGHESTMODSEQ: 'uint64',
  RECENTUID: 'uint32',
  RECENTTIME: 'time',
  LAST_APPENDDATE: 'time',
  POP3_LAST_LOGIN: 'time',
  POP3_SHOW_AFTER: 'time',
  UIDVALIDITY: 'uint32',
  PARTITION: 'text',
  ACL: 'text',
  OPTIONS: 'text',
  SYNC_CRC: 'uint32',
  SYNC_CRC_ANNOT: 'uint32',
  QUOTAROOT: 'text',
  XCONVMODSEQ: 'uint64',
};
const COLUMN_KEYS = Object.keys(COLUMNS);
/** The fields of a row that hold these columns. */
const ROW_FIELDS = [
  ['UNIQUEID', 'uniqueid'],
  ['MBOXNAME', 'mboxname'],
  ['MBOXTYPE', 'mboxtype'],
  ['LAST_UID', 'lastUid'],
  ['HIGHESTMODSEQ', 'highestmodseq'],
  ['RECENTUID', 'recentuid'],
  ['RECENTTIME', 'recenttime'],
  ['LAST_APPENDDATE', 'lastAppenddate'],
  ['POP3_LAST_LOGIN', 'pop3LastLogin'],
  ['POP3_SHOW_AFTER', 'pop3ShowAfter'],
  ['UIDVALIDITY', 'uidvalidity'],
  ['PARTITION', 'partition'],
  ['ACL', 'acl'],
  ['OPTIONS', 'options'],
  ['SYNC_CRC', 'syncCrc'],
  ['SYNC_CRC_ANNOT', 'syncCrcAnnot'],
  ['QUOTAROOT', 'quotaroot'],
  ['XCONVMODSEQ', 'xconvmodseq'],
] as const satisfies readonly (readonly [key: string, field: keyof MailboxRow])[];

/** What Cyrus's backupd insists on, RECORD apart. */
const REQUIRED = [
  'UNIQUEID',
  'MBOXNAME',
  'LAST_UID',
  'HIGHESTMODSEQ',
  'RECENTUID',
  'RECENTTIME',
  'LAST_APPENDDATE',
  'POP3_LAST_LOGIN',
  'UIDVALIDITY',
  'PARTITION',
  'ACL',
  'OPTIONS',
];
/** Cyrus's programs do not survive NULL in these. */
const NOT_NIL = new Set(['UNIQUEID', 'MBOXNAME', 'PARTITION', 'ACL', 'OPTIONS']);

/** What the sender believes the mailbox to be before this change; not stored. */
const SINCE_KEYS = new Set(['SINCE_MODSEQ', 'SINCE_CRC', 'SINCE_CRC_ANNOT']);

const UINT32 = 0xffff_ffffn;

export class MailboxHeader {
  readonly #values = new Map<string, string | null>();
  /** Fields without a column, as `KEY value KEY value`. */
  readonly extra = new DlistText();
  readonly annotations = new DlistText();
  hasRecords = false;

  reset(): void {
    this.#values.clear();
    this.extra.reset();
    this.annotations.reset();
    this.hasRecords = false;
  }

  /** Takes a scalar field. Of a field that comes twice Cyrus takes the first. */
  scalar(key: string, value: ScalarView): void {
    if (key in COLUMNS || SINCE_KEYS.has(key)) {
      if (!this.#values.has(key)) this.#values.set(key, value.isNil ? null : value.latin1());
      return;
    }
    if (key === 'ANNOTATIONS' || key === 'RECORD') return; // NIL: none
    this.extra.key(key);
    this.extra.scalar(value);
  }

  /** Fields so far that have a column; of one that comes twice the first counts, so more fields mean more content. */
  get fieldCount(): number {
    return this.#values.size + (this.annotations.length > 0 ? 1 : 0);
  }

  /** Whether the columns of this row are to be others than they are. */
  differsFrom(row: MailboxRow): boolean {
    for (const [key, field] of ROW_FIELDS) {
      const stored = row[field];
      const value = COLUMNS[key] === 'text' ? (this.#values.get(key) ?? null) : this.#columnNumber(key);
      const isSame =
        typeof value === 'bigint' ? stored !== null && value === BigInt(stored) : value === stored;
      if (!isSame) return true;
    }
    return this.annotations.latin1() !== row.annotations;
  }

  /** As the column holds it, unsigned; null where there is none. */
  #columnNumber(key: string): bigint | null {
    const number = this.number(key);
    if (number === undefined) return null;
    return COLUMNS[key] === 'uint32' ? number & UINT32 : number;
  }

  /** Undefined if the field is absent, null for NIL. */
  text(key: string): string | null | undefined {
    return this.#values.get(key);
  }

  get uniqueid(): string {
    return this.#values.get('UNIQUEID') ?? '';
  }

  get mboxname(): string {
    return this.#values.get('MBOXNAME') ?? '';
  }

  /** A node that exists only to have children, or a tombstone: it has neither messages nor state of its own. */
  get isIntermediate(): boolean {
    return (
      /[id]/.test(this.text('MBOXTYPE') ?? '') && !this.hasRecords && this.text('LAST_UID') === undefined
    );
  }

  /** Unsigned number; undefined if the field is absent or no number. */
  number(key: string): bigint | undefined {
    const text = this.#values.get(key);
    return typeof text === 'string' && /^\d{1,20}$/.test(text) ? BigInt(text) : undefined;
  }

  /**
   * Whether it says how the mailbox would be with a part of its messages, the rest of which is to come: sync_client
   * divides what is more than `sync_batchsize` (facts: Cyrus IMAP imap/sync_support.c, sync_prepare_dlists). Of a whole
   * one the releases that do so send both checksums.
   */
  get isPart(): boolean {
    return this.number('SYNC_CRC') === 0n && this.number('SYNC_CRC_ANNOT') === undefined;
  }

  /** What is wrong with it for a mailbox that holds messages. */
  problem(): Rejection | undefined {
    for (const key of REQUIRED) {
      const value = this.#values.get(key);
      if (value === undefined || (value === null && NOT_NIL.has(key)) || (value === '' && isName(key))) {
        return badParameters(`MAILBOX ${this.mboxname} lacks the field ${key}`);
      }
    }
    for (const key of REQUIRED) {
      if (COLUMNS[key] === 'text' || this.number(key) !== undefined) continue;
      return badParameters(`${key} of MAILBOX ${this.mboxname} is no number`);
    }
    return this.hasRecords ? undefined : badParameters(`MAILBOX ${this.mboxname} lacks the field RECORD`);
  }

  /** What is wrong with it for a mailbox name without content. */
  intermediateProblem(): Rejection | undefined {
    const missing = ['UNIQUEID', 'MBOXNAME'].find((key) => !this.#values.get(key));
    return missing === undefined ? undefined : badParameters(`MAILBOX lacks the field ${missing}`);
  }

  /** Values of COLUMN_KEYS and the annotations to bind; null for what is absent, which Cyrus reads as 0. */
  bindings(): (SqlText | number | bigint | null)[] {
    const values = COLUMN_KEYS.map((key) => {
      const value = this.#values.get(key) ?? null;
      if (COLUMNS[key] === 'text' || value === null) return sqlText(value);
      const number = this.#columnNumber(key);
      return number === null ? null : toSigned64(number);
    });
    return [...values, this.annotations.text()];
  }
}

function isName(key: string): boolean {
  return key === 'UNIQUEID' || key === 'MBOXNAME' || key === 'PARTITION';
}
