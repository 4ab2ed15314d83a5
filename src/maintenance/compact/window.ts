/**
 * What lines inside the retention say about things that had gone before it: those stay, since the lines that follow
 * count on them. Everything else that had gone is past the retention.
 */

import type { ScalarView } from '../../csync/dlist-sax.ts';
import { type LineEvents, LineParser, type LineStart } from '../../csync/line-parser.ts';
import type { BackupIndex } from '../../store/index/backup-index.ts';
import { sqlText } from '../../store/index/sql-text.ts';
import type { StateRow } from '../../store/index/state-rows.ts';

/** `UNIQUEID` as hex digits and the UID in ten digits, as in the keys of StateRow. */
const recordKey = (uniqueidHex: string, uid: number): string =>
  `${uniqueidHex} ${String(uid).padStart(10, '0')}`;

export const hexOf = (text: string): string => Buffer.from(text, 'latin1').toString('hex').toUpperCase();

/** Decides what of a state is kept. */
export class Retention {
  /** Seconds: what had gone at that time or before is past the retention. -Infinity: nothing is. */
  readonly since: number;
  /** UNIQUEIDs, in hex, of mailboxes that had gone. */
  readonly mailboxes = new Set<string>();
  /** recordKey() of expunged RECORDs. */
  readonly records = new Set<string>();
  /** Names, in hex, that had been unsubscribed. */
  readonly subscriptions = new Set<string>();

  constructor(since: number) {
    this.since = since;
  }

  keepsMailbox(uniqueid: string, deleted: number | null): boolean {
    return this.#isInside(deleted) || this.mailboxes.has(hexOf(uniqueid));
  }

  keepsRecord(uniqueid: string, uid: number, expunged: number | null): boolean {
    return this.#isInside(expunged) || this.records.has(recordKey(hexOf(uniqueid), uid));
  }

  keepsSubscription(mboxname: string, unsubscribed: number | null): boolean {
    return this.#isInside(unsubscribed) || this.subscriptions.has(hexOf(mboxname));
  }

  /** Whether the row is part of what a compacted backup must say as before. `goneMailboxes`: in hex. */
  keepsRow(row: StateRow, goneMailboxes: ReadonlySet<string>): boolean {
    const [first, second] = row.key.split(' ') as [string, string];
    switch (row.kind) {
      case 'heal': // carried over on its own
      case 'message': // RECORDs say of each whether it is there
        return false;
      case 'mailbox':
        return !goneMailboxes.has(first);
      case 'seen':
        return !goneMailboxes.has(first);
      case 'record':
        if (goneMailboxes.has(first)) return false;
        if (this.#isInside(row.gone)) return true;
        return !row.text.endsWith(' replaced') && this.records.has(`${first} ${second}`);
      case 'subscription':
        return this.#isInside(row.gone) || this.subscriptions.has(first);
      case 'sieve':
        return this.#isInside(row.gone);
      default:
        return true;
    }
  }

  /** Whether a RECORD that is kept names the message. findNeeded() has been called. */
  needs(guid: string, state: BackupIndex): boolean {
    return state.statement('SELECT 1 FROM temp.needed WHERE guid = ?', 'pluck').get(guid) === 1;
  }

  /**
   * Finds the messages that RECORDs name which are kept. `state`: at the end; it keeps them as long as it is open.
   *
   * @param withUnnamed also those that nothing names, since damage may have taken the MAILBOX that did
   */
  findNeeded(state: BackupIndex, withUnnamed = false): void {
    state.statement('CREATE TEMP TABLE needed(guid TEXT PRIMARY KEY) WITHOUT ROWID').run();
    const since = this.#sqlSince;
    const inside = (column: string): string => `(${column} IS NULL OR ${column} > ?)`;
    for (const rows of [MAIN_ROWS, SIDE_ROWS]) {
      state.statement(`${rows} WHERE ${inside('b.deleted')} AND ${inside('r.expunged')}`).run(since, since);
      const ofMailbox = state.statement(
        `${rows} WHERE b.uniqueid = CAST(? AS TEXT) AND ${inside('r.expunged')}`,
      );
      for (const uniqueid of this.mailboxes) ofMailbox.run(Buffer.from(uniqueid, 'hex'), since);
      const ofRecord = state.statement(`${rows} WHERE b.uniqueid = CAST(? AS TEXT) AND r.uid = ?`);
      for (const key of this.records) {
        const [uniqueid, uid] = key.split(' ') as [string, string];
        ofRecord.run(Buffer.from(uniqueid, 'hex'), Number(uid));
      }
    }
    if (withUnnamed) state.statement(UNNAMED).run();
  }

  /** Mailboxes, in hex, that are past the retention. */
  goneMailboxes(index: BackupIndex): Set<string> {
    const sql = 'SELECT hex(CAST(uniqueid AS BLOB)) FROM mailbox WHERE deleted IS NOT NULL AND deleted <= ?';
    const gone = index.statement(sql, 'pluck').all(this.#sqlSince) as string[];
    return new Set(gone.filter((uniqueid) => !this.mailboxes.has(uniqueid)));
  }

  /** `since` for a comparison in SQL. */
  get #sqlSince(): number {
    return Number.isFinite(this.since) ? this.since : -1;
  }

  #isInside(gone: number | null): boolean {
    return gone === null || gone > this.since;
  }
}

const UNNAMED = `INSERT OR IGNORE INTO temp.needed SELECT guid FROM message
  EXCEPT SELECT m.guid FROM mailbox_message r JOIN message m ON m.id = r.message_id EXCEPT SELECT guid FROM cb_record`;

const MAILBOX = 1;
const EXPUNGE = 2;
const UNSUB = 3;

/** Reads lines of the retention, and notes in a Retention what of a state at its beginning they speak of. */
export class WindowReader implements LineEvents {
  readonly #retention: Retention;
  readonly #state: BackupIndex;
  readonly #hasExpunged: boolean;
  #isInside = false;
  #verb = 0;
  #depth = 0;
  #key = '';
  #uniqueid = '';
  #uids: number[] = [];

  /** @param state of the backup when the retention began */
  constructor(retention: Retention, state: BackupIndex) {
    this.#retention = retention;
    this.#state = state;
    const sql = `SELECT EXISTS (SELECT 1 FROM mailbox_message WHERE expunged IS NOT NULL)
      OR EXISTS (SELECT 1 FROM cb_record WHERE expunged IS NOT NULL)`;
    this.#hasExpunged = state.statement(sql, 'pluck').get() === 1;
  }

  newParser(): LineParser {
    return new LineParser(this);
  }

  lineStart({ time, verb }: LineStart): void {
    this.#isInside ||= time > this.#retention.since;
    this.#verb = !this.#isInside
      ? 0
      : verb === 'MAILBOX'
        ? MAILBOX
        : verb === 'EXPUNGE'
          ? EXPUNGE
          : verb === 'UNSUB' || verb === 'SUB'
            ? UNSUB
            : 0;
    this.#depth = 0;
    this.#uniqueid = '';
    this.#uids = [];
  }

  lineEnd(): void {
    for (const uid of this.#uids) this.#touchRecord(uid);
    this.#verb = 0;
  }

  malformed(): void {
    this.#verb = 0;
  }

  beginList(): void {
    this.#depth++;
  }

  beginKvlist(): void {
    this.#depth++;
  }

  end(): void {
    this.#depth--;
  }

  key(key: string): void {
    if (this.#verb !== 0) this.#key = key;
  }

  scalar(value: ScalarView): void {
    if (this.#verb === 0 || !value.held || value.isNil) return;
    if (this.#depth === 1 && this.#key === 'UNIQUEID' && this.#uniqueid === '') {
      this.#uniqueid = value.latin1();
      if (this.#verb !== UNSUB) this.#touchMailbox(this.#uniqueid);
    } else if (this.#depth === 1 && this.#key === 'MBOXNAME' && this.#verb === UNSUB) {
      this.#touchSubscription(value.latin1());
    } else if (this.#key === 'UID' && this.#hasExpunged) {
      const uid = value.number();
      if (uid === undefined) return;
      if (this.#verb === MAILBOX && this.#depth === 3) this.#touchRecord(uid);
      else if (this.#verb === EXPUNGE && this.#depth === 2) this.#uids.push(uid);
    }
  }

  file(): void {}

  #touchMailbox(uniqueid: string): void {
    const sql = 'SELECT 1 FROM mailbox WHERE uniqueid = CAST(? AS TEXT) AND deleted IS NOT NULL';
    if (this.#state.statement(sql).get(sqlText(uniqueid)) !== undefined) {
      this.#retention.mailboxes.add(hexOf(uniqueid));
    }
  }

  #touchSubscription(mboxname: string): void {
    const sql = 'SELECT 1 FROM subscription WHERE mboxname = CAST(? AS TEXT) AND unsubscribed IS NOT NULL';
    if (this.#state.statement(sql).get(sqlText(mboxname)) !== undefined) {
      this.#retention.subscriptions.add(hexOf(mboxname));
    }
  }

  #touchRecord(uid: number): void {
    const name = sqlText(this.#uniqueid);
    if (this.#state.statement(IS_EXPUNGED, 'pluck').get({ name, uid }) === 1) {
      this.#retention.records.add(recordKey(hexOf(this.#uniqueid), uid));
    }
  }
}

const IS_EXPUNGED = `SELECT EXISTS (SELECT 1 FROM mailbox_message r
    WHERE r.mailbox_id = b.id AND r.uid = @uid AND r.expunged IS NOT NULL)
  OR EXISTS (SELECT 1 FROM cb_record r
    WHERE r.mailbox_id = b.id AND r.uid = @uid AND r.expunged IS NOT NULL AND r.replaced = 0)
  FROM mailbox b WHERE b.uniqueid = CAST(@name AS TEXT)`;

const MAIN_ROWS = `INSERT OR IGNORE INTO temp.needed SELECT m.guid FROM mailbox_message r
  JOIN mailbox b ON b.id = r.mailbox_id JOIN message m ON m.id = r.message_id`;
const SIDE_ROWS = `INSERT OR IGNORE INTO temp.needed SELECT r.guid FROM cb_record r
  JOIN mailbox b ON b.id = r.mailbox_id`;
