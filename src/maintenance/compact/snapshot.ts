/**
 * Lines that make a state from nothing: what stands in a compacted data file for all lines that are older than the
 * retention, but for those that bring messages and scripts, which are copied. Their times are those of the lines
 * that they stand for, where a time is part of the state, else that of the last of them.
 */
import { printKvlist, printString } from '../../csync/encoder.ts';
import { mailboxFields, recordText } from '../../store/index/answers.ts';
import type { BackupIndex } from '../../store/index/backup-index.ts';
import {
  type MailboxRow,
  mailboxes,
  mailboxMessages,
  quotas,
  seenStates,
  subscriptions,
} from '../../store/index/queries.ts';
import { fromBlob, sqlText, unsignedDigits } from '../../store/index/sql-text.ts';
import { hexOf, type Retention } from './window.ts';

/** A line of the data file. */
export interface SnapshotLine {
  /** Seconds. */
  time: number;
  /** What follows `UNIXTIME APPLY `, CRLF included; in pieces, since a MAILBOX may be long. */
  text: Iterable<Buffer>;
}

/** A line has at most so many RECORDs: Cyrus's programs hold a line in memory. */
const RECORDS_PER_LINE = 5000;
const PIECE_CHARACTERS = 64 * 1024;

/**
 * Lines that come before all others.
 *
 * @param snapshotTime of the snapshot that follows: no state before it can be had from now on
 */
export function* openingLines(
  state: BackupIndex,
  time: number,
  snapshotTime: number,
): Generator<SnapshotLine, void> {
  const since = Math.max(snapshotTime, state.historySince() ?? 0);
  yield { time, text: note('COMPACTED', printKvlist([['TIME', String(since)]])) };
  for (const key of state.formerKeys()) {
    yield { time, text: note('FORMER', printKvlist([['KEY', printString(key)]])) };
  }
}

/**
 * What had gone before the retention and is kept because lines in the retention speak of it, in the order of its
 * times. There is little of it.
 */
export function goneLines(state: BackupIndex, retention: Retention, userid: string): SnapshotLine[] {
  const lines: SnapshotLine[] = [];
  for (const mailbox of mailboxes(state)) {
    if (!retention.keepsMailbox(mailbox.uniqueid, mailbox.deleted)) continue;
    lines.push(...goneRecords(state, mailbox, retention));
  }
  const unsubscribed = state.statement(
    'SELECT CAST(mboxname AS BLOB), unsubscribed FROM subscription WHERE unsubscribed IS NOT NULL',
    'raw',
  );
  for (const [name, time] of unsubscribed.all() as [Buffer, number][]) {
    const mboxname = fromBlob(name);
    if (!retention.subscriptions.has(hexOf(mboxname))) continue;
    lines.push({ time, text: [line(`UNSUB ${subscription(userid, mboxname)}`)] });
  }
  return lines.sort((a, b) => a.time - b.time);
}

function* goneRecords(
  state: BackupIndex,
  mailbox: MailboxRow,
  retention: Retention,
): Generator<SnapshotLine, void> {
  const { uniqueid, mboxname, deleted } = mailbox;
  const expunged = new Map<number, { record: string; uid: number }[]>();
  for (const record of mailboxMessages(state, mailbox.id)) {
    if (record.expunged === null || !retention.keepsRecord(uniqueid, record.uid, record.expunged)) continue;
    const at = { record: recordText(record), uid: record.uid };
    const list = expunged.get(record.expunged);
    if (list === undefined) expunged.set(record.expunged, [at]);
    else list.push(at);
  }
  const ofExpunged = (list: { record: string }[]): string[] => list.map(({ record }) => record);
  for (const [time, list] of expunged) {
    if (deleted === null || time <= deleted) yield { time, text: mailboxText(mailbox, ofExpunged(list)) };
  }
  if (deleted === null) return;
  const unmailbox = { time: deleted, text: [line(`UNMAILBOX ${printString(mboxname)}`)] };
  for (const batch of batches(liveRecords(state, mailbox))) {
    yield { time: deleted, text: mailboxText(mailbox, batch) };
  }
  yield unmailbox;
  for (const [time, list] of expunged) {
    if (time <= deleted) continue;
    // A MAILBOX would bring the mailbox back: they are live in one before it goes, and then expunged.
    yield { time: deleted, text: mailboxText(mailbox, ofExpunged(list).map(asLive)) };
    yield unmailbox;
    const uids = list.map(({ uid }) => uid).join(' ');
    const fields = `MBOXNAME ${printString(mboxname)} UNIQUEID ${printString(uniqueid)} UID (${uids})`;
    yield { time, text: [line(`EXPUNGE %(${fields})`)] };
  }
}

/** The state of everything that lives. */
export function* liveLines(
  state: BackupIndex,
  retention: Retention,
  userid: string,
  time: number,
): Generator<SnapshotLine, void> {
  for (const mailbox of mailboxes(state)) {
    if (mailbox.deleted !== null) continue;
    for (const batch of batches(liveRecords(state, mailbox)))
      yield { time, text: mailboxText(mailbox, batch) };
  }
  yield* settingLines(state, retention, userid, time);
}

/** What is no mailbox's. */
export function* settingLines(
  state: BackupIndex,
  retention: Retention,
  userid: string,
  time: number,
): Generator<SnapshotLine, void> {
  for (const text of intermediateNotes(state)) yield { time, text };
  for (const quota of quotas(state)) yield { time, text: note('QUOTA', quota) };
  for (const fields of allAnnotations(state)) yield { time, text: note('ANNOTATION', fields) };
  for (const mboxname of subscriptions(state)) {
    yield { time, text: [line(`SUB ${subscription(userid, mboxname)}`)] };
  }
  for (const seen of seenStates(state)) {
    if (isGone(state, retention, seen.uniqueid)) continue;
    const fields = printKvlist([
      ['USERID', printString(userid)],
      ['UNIQUEID', printString(seen.uniqueid)],
      ['LASTREAD', String(seen.lastread)],
      ['LASTUID', String(seen.lastuid)],
      ['LASTCHANGE', String(seen.lastchange)],
      ['SEENUIDS', printString(seen.seenuids)],
    ]);
    yield { time, text: [line(`SEEN ${fields}`)] };
  }
  const active = state.activeSieve();
  if (active !== undefined) {
    const fields = printKvlist([
      ['USERID', printString(userid)],
      ['FILENAME', printString(active)],
    ]);
    yield { time, text: note('ACTIVATE_SIEVE', fields) };
  }
}

/** All that a state says of one mailbox: what is expunged or gone there is so from `time` on. */
export function* mailboxLines(
  state: BackupIndex,
  mailbox: MailboxRow,
  time: number,
): Generator<SnapshotLine, void> {
  const records = mailboxMessages(state, mailbox.id);
  for (const batch of batches(mapped(records, recordText))) yield { time, text: mailboxText(mailbox, batch) };
  if (mailbox.deleted !== null) yield { time, text: [line(`UNMAILBOX ${printString(mailbox.mboxname)}`)] };
}

function* mapped<T, U>(items: Iterable<T>, change: (item: T) => U): Generator<U, void> {
  for (const item of items) yield change(item);
}

/** Asks the clients for these mailboxes as a whole. */
export function* healLines(uniqueids: Iterable<string>, time: number): Generator<SnapshotLine, void> {
  for (const uniqueid of uniqueids) {
    yield { time, text: note('HEAL', printKvlist([['UNIQUEID', printString(uniqueid)]])) };
  }
}

function* liveRecords(state: BackupIndex, mailbox: MailboxRow): Generator<string, void> {
  for (const record of mailboxMessages(state, mailbox.id)) {
    if (record.expunged === null) yield recordText(record);
  }
}

/** At least one, which may be empty. */
function* batches(records: Iterable<string>): Generator<string[], void> {
  let batch: string[] = [];
  let isFirst = true;
  for (const record of records) {
    if (batch.length === RECORDS_PER_LINE) {
      yield batch;
      isFirst = false;
      batch = [];
    }
    batch.push(record);
  }
  if (isFirst || batch.length > 0) yield batch;
}

function* mailboxText(mailbox: MailboxRow, records: Iterable<string>): Generator<Buffer, void> {
  let piece = `MAILBOX %(${mailboxFields(mailbox)} RECORD (`;
  let separator = '';
  for (const record of records) {
    piece += separator + record;
    separator = ' ';
    if (piece.length < PIECE_CHARACTERS) continue;
    yield Buffer.from(piece, 'latin1');
    piece = '';
  }
  yield line(`${piece}))`);
}

/** recordText() of an expunged record, without that. */
function asLive(record: string): string {
  return record.replace(/FLAGS \(\\Expunged ?/, 'FLAGS (');
}

function* intermediateNotes(state: BackupIndex): Generator<Buffer[], void> {
  const sql = `SELECT CAST(uniqueid AS BLOB), CAST(mboxname AS BLOB), CAST(mboxtype AS BLOB),
    CAST(highestmodseq AS TEXT), CAST(fields AS BLOB) FROM cb_intermediate ORDER BY uniqueid`;
  const rows = state.statement(sql, 'raw').all() as [Buffer, Buffer, Buffer | null, string | null, Buffer][];
  for (const [uniqueid, mboxname, mboxtype, modseq, fields] of rows) {
    const known = [
      `UNIQUEID ${printString(fromBlob(uniqueid))}`,
      `MBOXNAME ${printString(fromBlob(mboxname))}`,
      `MBOXTYPE ${printString(fromBlob(mboxtype))}`,
      `HIGHESTMODSEQ ${unsignedDigits(modseq ?? '0')}`,
    ];
    const more = fromBlob(fields);
    yield note('MAILBOX', `%(${[...known, ...(more === '' ? [] : [more])].join(' ')})`);
  }
}

function* allAnnotations(state: BackupIndex): Generator<string, void> {
  const sql = 'SELECT CAST(fields AS BLOB) FROM cb_annotation ORDER BY mboxname, entry, userid';
  for (const fields of state.statement(sql, 'pluck').all() as Buffer[]) yield fromBlob(fields);
}

/** Of a mailbox that is gone nobody needs to know what was read. */
function isGone(state: BackupIndex, retention: Retention, uniqueid: string): boolean {
  const sql = 'SELECT deleted FROM mailbox WHERE uniqueid = CAST(? AS TEXT)';
  const deleted = state.statement(sql, 'pluck').get(sqlText(uniqueid)) as number | null | undefined;
  return deleted !== undefined && !retention.keepsMailbox(uniqueid, deleted);
}

function subscription(userid: string, mboxname: string): string {
  return printKvlist([
    ['USERID', printString(userid)],
    ['MBOXNAME', printString(mboxname)],
  ]);
}

function note(verb: string, value: string): Buffer[] {
  return [line(`RESERVE %(NOTE ${verb} VALUE ${value})`)];
}

function line(text: string): Buffer {
  return Buffer.from(`${text}\r\n`, 'latin1');
}
