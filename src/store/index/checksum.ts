/**
 * Whether the records of a mailbox here are those of the mail server, by the SYNC_CRC that each MAILBOX carries.
 *
 * | cb_mailbox | |
 * | --- | --- |
 * | `crc` | what the live records add up to (record-sum.ts); NULL: what `sync_crc` says, -1: not counted yet |
 * | `crc_asked` | Unix time at which the mailbox was last asked for, or given up, because of its checksum; NULL: never, or a change has fitted since |
 * | `crc_state` | 2: it did not fit when all of it had come, nor since; 1: nor when all had come in parts; NULL: it did, or not all has come yet |
 *
 * In state 2 nobody is asked for anything: it is the checksum that means something else, and no number of messages would
 * make it right. A mailbox that fits whenever all of it has come, and not otherwise, is asked for once a day at most; one that
 * has fitted since when some of it changed is asked for at once. So
 * whatever a mail server's checksums mean, its syncs stay small.
 */
import type { BackupIndex } from './backup-index.ts';
import type { MailboxHeader } from './mailbox-header.ts';
import type { StoredMailbox } from './mailbox-rows.ts';
import type { ChecksumVerdict } from './outcome.ts';
import { bringsAll } from './parts.ts';
import { sumOfMailbox, uidsBeside } from './record-sum.ts';
import { fromBlob, sqlText } from './sql-text.ts';

const ASK_AGAIN_SECONDS = 86_400;
const NOT_COUNTED = -1;
const DIFFERED_IN_PARTS = 1;
const UNUSABLE = 2;

/** The three columns. */
type Stored = [crc: number | null, asked: number | null, state: number | null];
const NOTHING_STORED: Stored = [null, null, null];

/** `crc_asked` and `crc_state`, and what is to be done. */
interface Judged {
  asked: number | null;
  state: number | null;
  verdict?: ChecksumVerdict;
}

/** A mailbox to which all of a MAILBOX was applied. */
export interface AppliedMailbox {
  mailbox: StoredMailbox;
  header: MailboxHeader;
  /** RecordStore.sumChange. */
  sumChange: number;
  /** Whether the client said something of this UID, if all of a mailbox that was here before has come; else undefined. */
  said: ((uid: number) => boolean) | undefined;
  /** Whether the line brought anything. */
  changed: boolean;
  /** Of the line, in seconds. */
  time: number;
  /** A client waits for the answer; of history nobody can be asked for more. */
  live: boolean;
}

/** Compares, and notes how the mailbox stands. Undefined: there is nothing to do or to tell. */
export function compareChecksum(index: BackupIndex, applied: AppliedMailbox): ChecksumVerdict | undefined {
  const { mailbox, header, changed, live } = applied;
  const { row } = mailbox;
  const stored = row === undefined ? NOTHING_STORED : read(index, row.id);
  const [, asked, state] = stored;
  // A change that was told of alone, and fits: the checksum means what it seems to, and may be asked by at once.
  const isProven = row !== undefined && applied.said === undefined && applied.sumChange !== 0;
  const fits: Judged = { asked: isProven ? null : asked, state: null };
  let sum = add(sumOf(stored, row?.syncCrc), applied.sumChange);
  const sent = sentChecksum(header);
  let judged: Judged = { asked, state };
  if (sent !== undefined) {
    if (sum === undefined && live && changed) sum = sumOfMailbox(index, mailbox.id);
    if (sum !== undefined) judged = sum === sent ? fits : judge({ index, ...applied }, asked, state);
    // Before anything is concluded all is counted once more.
    if (judged.verdict !== undefined && live) {
      sum = sumOfMailbox(index, mailbox.id);
      const gone = applied.said && uidsBeside(index, mailbox.id, applied.said, sent);
      if (sum === sent) judged = fits;
      else if (gone !== undefined) judged = { ...fits, verdict: { type: 'gone', uids: gone } };
    }
  }
  write(index, mailbox.id, stored, { ...judged, sum }, crcColumn(header));
  return judged.verdict;
}

/**
 * Mailboxes that differed when a client last said something of them, and were not asked for since as that was not long ago. A client is told its
 * own checksum, and says nothing more until something changes.
 *
 * @param time in seconds
 */
export function differingMailboxes(
  index: BackupIndex,
  time: number,
): { id: number; uniqueid: string; mboxname: string }[] {
  if (!index.mayHaveRows('cb_mailbox')) return [];
  const rows = index.statement(DIFFERING, 'raw').all(time - ASK_AGAIN_SECONDS) as [number, Buffer, Buffer][];
  return rows.map(([id, uniqueid, mboxname]) => ({
    id,
    uniqueid: fromBlob(uniqueid),
    mboxname: fromBlob(mboxname),
  }));
}

/** Such a one is asked for now. */
export function noteAsked(index: BackupIndex, mailboxId: number, time: number): void {
  index.statement('UPDATE cb_mailbox SET crc_asked = ? WHERE mailbox_id = ?').run(time, mailboxId);
}

/** The records of a mailbox have changed without a new checksum. */
export function changeSum(index: BackupIndex, mailboxId: number, sumChange: number): void {
  if (sumChange === 0) return;
  const sql = 'SELECT sync_crc FROM mailbox WHERE id = ?';
  const column = index.statement(sql, 'pluck').get(mailboxId) as number | null;
  const stored = read(index, mailboxId);
  const [, asked, state] = stored;
  write(index, mailboxId, stored, { asked, state, sum: add(sumOf(stored, column), sumChange) }, column);
}

function add(sum: number | undefined, change: number): number | undefined {
  return sum === undefined ? undefined : (sum ^ change) >>> 0;
}

/** SYNC_CRC as its column holds it. */
function crcColumn(header: MailboxHeader): number | undefined {
  const sent = header.number('SYNC_CRC');
  return sent === undefined ? undefined : Number(BigInt.asUintN(32, sent));
}

/**
 * Undefined if the client does not know it: none, or 0, which is also that of an empty mailbox. Then SYNC_CRC_ANNOT is
 * not 0, in all releases that send it.
 */
function sentChecksum(header: MailboxHeader): number | undefined {
  const sent = crcColumn(header);
  return sent === 0 && !header.number('SYNC_CRC_ANNOT') ? undefined : sent;
}

function judge(
  applied: AppliedMailbox & { index: BackupIndex },
  asked: number | null,
  state: number | null,
): Judged {
  const { index, mailbox, header, live, time } = applied;
  const { row } = mailbox;
  // Of a snapshot by compaction a line need not be all, and how the mailbox stood is not to be seen.
  const isFirst = row === undefined && (live || time > (index.historySince() ?? 0));
  if (!isFirst && !live) return { asked, state };
  if (isFirst || bringsAll(mailbox, header)) {
    const isInParts = row?.deleted === null && row.partUid !== null;
    // Between the parts the mail server may have been put back.
    if (isInParts && state === null)
      return { asked: time, state: DIFFERED_IN_PARTS, verdict: { type: 'ask' } };
    return { asked: asked ?? time, state: UNUSABLE, verdict: { type: 'unusable' } };
  }
  if (state === UNUSABLE) return { asked, state };
  if (asked !== null && time - asked < ASK_AGAIN_SECONDS) {
    return { asked, state, verdict: { type: 'differs' } };
  }
  return { asked: time, state, verdict: { type: 'ask' } };
}

/**
 * Takes over what the data file does not say, from an index of the same backup: what was asked for, and what was given
 * up. It holds as long as the records are those that were judged.
 */
export function carryChecksums(from: BackupIndex, to: BackupIndex): void {
  const known = judgedMailboxes(from);
  const found = judgedMailboxes(to);
  for (const uniqueid of new Set([...known.keys(), ...found.keys()])) {
    const old = known.get(uniqueid) ?? judgedMailbox(from, uniqueid);
    const own = found.get(uniqueid) ?? judgedMailbox(to, uniqueid);
    if (old === undefined || own === undefined || old.sum !== own.sum) continue;
    if (old.asked === own.asked && old.state === own.state) continue;
    to.statement(CARRY).run(own.id, old.asked, old.state);
  }
}

interface JudgedMailbox extends Judged {
  id: number;
  sum: number;
}

type JudgedValues = [uniqueid: Buffer, id: number, sum: number, asked: number | null, state: number | null];

function judgedMailboxes(index: BackupIndex): Map<string, JudgedMailbox> {
  const rows = index.statement(`${SELECT_JUDGED} AND c.crc_asked IS NOT NULL`, 'raw').all() as JudgedValues[];
  return new Map(rows.map(([uniqueid, ...values]) => [fromBlob(uniqueid), judgedOf(values)]));
}

function judgedMailbox(index: BackupIndex, uniqueid: string): JudgedMailbox | undefined {
  const sql = `${SELECT_JUDGED} AND m.uniqueid = CAST(? AS TEXT)`;
  const row = index.statement(sql, 'raw').get(sqlText(uniqueid)) as JudgedValues | undefined;
  return row && judgedOf(row.slice(1) as Tail<JudgedValues>);
}

type Tail<T extends unknown[]> = T extends [unknown, ...infer R] ? R : never;

function judgedOf([id, sum, asked, state]: Tail<JudgedValues>): JudgedMailbox {
  return { id, sum, asked, state };
}

function read(index: BackupIndex, mailboxId: number): Stored {
  return (index.statement(SELECT, 'raw').get(mailboxId) as Stored | undefined) ?? NOTHING_STORED;
}

/** What the live records add up to; undefined: not counted. `column`: `sync_crc`. */
function sumOf([crc]: Stored, column: number | null | undefined): number | undefined {
  return crc === NOT_COUNTED ? undefined : (crc ?? column ?? 0);
}

function write(
  index: BackupIndex,
  mailboxId: number,
  stored: Stored,
  { sum, asked, state }: Judged & { sum: number | undefined },
  column: number | null | undefined,
): void {
  const crc = sum === (column ?? 0) ? null : (sum ?? NOT_COUNTED);
  if (crc === stored[0] && asked === stored[1] && state === stored[2]) return;
  index.statement(PUT).run(mailboxId, crc, asked, state);
}

const SELECT = 'SELECT crc, crc_asked, crc_state FROM cb_mailbox WHERE mailbox_id = ?';
const DIFFERING = `SELECT m.id, CAST(m.uniqueid AS BLOB), CAST(m.mboxname AS BLOB)
  FROM cb_mailbox c JOIN mailbox m ON m.id = c.mailbox_id
  WHERE c.crc_asked <= ? AND c.crc_state IS NULL AND c.crc <> ${NOT_COUNTED} AND c.crc_stale = 0
    AND m.deleted IS NULL AND (m.sync_crc <> 0 OR m.sync_crc_annot <> 0)
    AND NOT EXISTS (SELECT 1 FROM cb_heal h WHERE h.uniqueid = m.uniqueid)`;
const PUT = `INSERT INTO cb_mailbox(mailbox_id, crc, crc_asked, crc_state) VALUES (?, ?, ?, ?)
  ON CONFLICT(mailbox_id) DO UPDATE SET crc = excluded.crc, crc_asked = excluded.crc_asked,
    crc_state = excluded.crc_state`;
const SELECT_JUDGED = `SELECT CAST(m.uniqueid AS BLOB), m.id, coalesce(c.crc, m.sync_crc, 0), c.crc_asked, c.crc_state
  FROM mailbox m LEFT JOIN cb_mailbox c ON c.mailbox_id = m.id WHERE coalesce(c.crc, 0) <> ${NOT_COUNTED}`;
const CARRY = `INSERT INTO cb_mailbox(mailbox_id, crc_asked, crc_state) VALUES (?, ?, ?)
  ON CONFLICT(mailbox_id) DO UPDATE SET crc_asked = excluded.crc_asked, crc_state = excluded.crc_state`;
