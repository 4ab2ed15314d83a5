/**
 * Mailboxes that name live messages which the backup lacks, and of which all has come: the client had nothing to send.
 * It may have it another day (a spool that could not be read for a while was repaired, or another mail server took over),
 * so it is asked again after a day, and then each time that twice as much has passed since it was first not there: after
 * 1, 2, 4, 8 days and so on. A client that is told of another mailbox asks by RESERVE then which messages to send; one that is
 * told of none sends all of them, so that comes only after 8 days, 16 and so on.
 *
 * `lacking` in `cb_state`: `mailbox_id:since:asked,...`, text, in seconds; absent if there are none. `since`: the first MAILBOX with
 * messages that neither it nor the backup had; `asked`: the last one that brought all of the mailbox. Both follow from the data file.
 */
import type { BackupIndex } from './backup-index.ts';
import { MAX_MISSING } from './outcome.ts';
import { fromBlob, sqlText } from './sql-text.ts';

const STATE_NAME = 'lacking';
const DAY_SECONDS = 86_400;
/** For a mailbox that would come with all of its messages. */
const DAYS_IF_ALONE = 8;

interface Waiting {
  since: number;
  asked: number;
}

/** A mailbox that is to be asked for again. */
export interface DueMailbox {
  uniqueid: string;
  mboxname: string;
  /** Of live messages that are not here, up to MAX_MISSING. */
  guids: string[];
  /** When they were first not there, in seconds. */
  since: number;
}

/** By mailbox id. */
function read(index: BackupIndex): Map<number, Waiting> {
  const text = index.stateText(STATE_NAME) ?? '';
  const entries = text.split(',').filter((entry) => entry !== '');
  return new Map(
    entries.map((entry) => {
      const [id, since, asked] = entry.split(':').map(Number) as [number, number, number];
      return [id, { since, asked }];
    }),
  );
}

function write(index: BackupIndex, waiting: ReadonlyMap<number, Waiting>): void {
  const entries = [...waiting].map(([id, { since, asked }]) => `${id}:${since}:${asked}`);
  index.setStateText(STATE_NAME, entries.length === 0 ? undefined : entries.join(','));
}

function put(index: BackupIndex, mailboxId: number, entry: Waiting | undefined): void {
  // As many as are lost may ask; most have no mailbox here.
  if (entry === undefined && !`,${index.stateText(STATE_NAME) ?? ''}`.includes(`,${mailboxId}:`)) return;
  const waiting = read(index);
  if (entry === undefined) waiting.delete(mailboxId);
  else waiting.set(mailboxId, entry);
  write(index, waiting);
}

/** A MAILBOX of this time was accepted though it names live messages that nobody had before and that did not come. */
export function noteLacking(index: BackupIndex, mailboxId: number, time: number): void {
  put(index, mailboxId, { since: time, asked: time });
}

/** All of a mailbox that the client was asked for has come, with a MAILBOX of this time. */
export function noteWhole(index: BackupIndex, mailboxId: number, time: number): void {
  if (!index.mayHaveRows('cb_record')) return;
  const isLacking = guidsLacking(index, mailboxId, 1).length > 0;
  const since = read(index).get(mailboxId)?.since ?? time;
  put(index, mailboxId, isLacking ? { since, asked: time } : undefined);
}

/** Something else of the mailbox is not there any more: what was found out before holds no longer. */
export function forgetLacking(index: BackupIndex, mailboxId: number): void {
  put(index, mailboxId, undefined);
}

/** Whether the client was asked for what this mailbox lacks, and did not send it. */
export function isKnownToLack(index: BackupIndex, uniqueid: string): boolean {
  const waiting = read(index);
  if (waiting.size === 0) return false;
  const id = index.statement(ID_OF, 'pluck').get(sqlText(uniqueid)) as number | undefined;
  return id !== undefined && waiting.has(id);
}

/** Those that are to be asked for again now, and are not yet. `time`: in seconds. `isAlone`: the client would send all messages. */
export function dueMailboxes(
  index: BackupIndex,
  { time, isAlone }: { time: number; isAlone: boolean },
  isWanted: (mailbox: { uniqueid: string; mboxname: string }) => boolean = () => true,
): DueMailbox[] {
  const first = (isAlone ? DAYS_IF_ALONE : 1) * DAY_SECONDS;
  const due: DueMailbox[] = [];
  for (const [id, { since, asked }] of read(index)) {
    if (time - since < Math.max(first, 2 * (asked - since))) continue;
    const row = index.statement(NAMES_OF, 'raw').get(id) as [uniqueid: Buffer, mboxname: Buffer] | undefined;
    const mailbox = row && { uniqueid: fromBlob(row[0]), mboxname: fromBlob(row[1]) };
    if (mailbox === undefined || !isWanted(mailbox)) continue;
    const guids = guidsLacking(index, id, MAX_MISSING);
    if (guids.length > 0) due.push({ ...mailbox, guids, since });
  }
  return due;
}

/** GUIDs that mailboxes lack though their clients were asked for them, by UNIQUEID; those first that were asked for longest ago. */
export function lackedByMailbox(index: BackupIndex): Map<string, string[]> {
  const waiting = [...read(index)].sort(([, one], [, other]) => one.asked - other.asked);
  const lacked = new Map<string, string[]>();
  for (const [id] of waiting) {
    const uniqueid = index.statement(UNIQUEID_OF, 'pluck').get(id) as Buffer | undefined;
    if (uniqueid !== undefined) lacked.set(fromBlob(uniqueid), guidsLacking(index, id, MAX_MISSING));
  }
  return lacked;
}

/** Takes over from an index of the same backup what is known there of mailboxes that lack something here, too. */
export function carryLacking(from: BackupIndex, to: BackupIndex): void {
  const waiting = read(to);
  const known = read(from);
  for (const id of waiting.keys()) {
    const uniqueid = to.statement(UNIQUEID_OF, 'pluck').get(id);
    const old = from.statement(ID_OF, 'pluck').get(sqlText(fromBlob(uniqueid as Buffer)));
    const entry = known.get(old as number);
    if (entry !== undefined) waiting.set(id, entry);
  }
  write(to, waiting);
}

function guidsLacking(index: BackupIndex, mailboxId: number, limit: number): string[] {
  return index.statement(LACKING, 'pluck').all(mailboxId, limit) as string[];
}

const UNIQUEID_OF = 'SELECT CAST(uniqueid AS BLOB) FROM mailbox WHERE id = ?';
const ID_OF = 'SELECT id FROM mailbox WHERE uniqueid = CAST(? AS TEXT)';
const NAMES_OF = `SELECT CAST(b.uniqueid AS BLOB), CAST(b.mboxname AS BLOB) FROM mailbox b WHERE b.id = ? AND b.deleted IS NULL
  AND NOT EXISTS (SELECT 1 FROM cb_heal h WHERE h.uniqueid = b.uniqueid)`;
const LACKING = `SELECT DISTINCT r.guid FROM cb_record r WHERE r.mailbox_id = ? AND r.expunged IS NULL AND r.replaced = 0
  AND NOT EXISTS (SELECT 1 FROM message m WHERE m.guid = r.guid) LIMIT ?`;
