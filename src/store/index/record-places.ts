/**
 * Where a RECORD has its row. Cyrus's table `mailbox_message` has one row for each message in a mailbox, but the
 * same message may stand there under several UIDs, and some RECORDs name messages that were never sent. So:
 *
 * - `mailbox_message` holds, of a message's UIDs in the mailbox, a live one before an expunged one, and of
 *   these the highest;
 * - `cb_record` holds its other UIDs, and the RECORDs whose message is not in the backup;
 * - a UID that comes again with another message takes the place of the former one, which stays in `cb_record`
 *   as `replaced` and is answered no more.
 */
import type { BackupIndex } from './backup-index.ts';

/** A row of `mailbox_message` or `cb_record`, as far as it decides where it belongs. */
export interface Row {
  id: number;
  uid: number;
  expunged: number | null;
  /** All columns that were asked for. */
  values: readonly unknown[];
}

export interface MainRow extends Row {
  messageId: number;
}

export interface SideRow extends Row {
  guid: string;
}

/** Puts that of the message's UIDs into Cyrus's table which belongs there. Returns whether rows moved. */
export function settleRecords(
  index: BackupIndex,
  mailboxId: number,
  guid: string,
  messageId: number,
): boolean {
  const best = sideRow(index.statement(BEST_SIDE, 'raw').get(guid, mailboxId));
  if (best === undefined) return false;
  const main = mainRow(index.statement(MAIN_BY_MESSAGE, 'raw').get(mailboxId, messageId));
  if (main !== undefined && !isBetter(best, main)) return false;
  if (main !== undefined) demoteRecord(index, main.id);
  index.statement(PROMOTE_SIDE).run(messageId, best.id);
  index.statement('DELETE FROM cb_record WHERE id = ?').run(best.id);
  return true;
}

/** A message has come that was not here: RECORDs that named it before get their place. */
export function settleNewMessage(index: BackupIndex, guid: string, messageId: number): void {
  if (!index.mayHaveRows('cb_record')) return;
  if (index.statement(IS_AWAITED, 'pluck').get(guid) === undefined) return;
  const mailboxIds = index.statement(MAILBOXES_WAITING, 'pluck').all(guid) as number[];
  for (const mailboxId of mailboxIds) settleRecords(index, mailboxId, guid, messageId);
}

/** Moves a row from Cyrus's table into ours. */
export function demoteRecord(index: BackupIndex, id: number): void {
  index.statement(DEMOTE_MAIN).run(id);
  index.statement('DELETE FROM mailbox_message WHERE id = ?').run(id);
}

/** From a raw row `id, message_id, uid, expunged, ...`. */
export function mainRow(values: unknown): MainRow | undefined {
  if (values === undefined) return undefined;
  const row = values as [id: number, messageId: number, uid: number, expunged: number | null];
  return { id: row[0], messageId: row[1], uid: row[2], expunged: row[3], values: row };
}

/** From a raw row `id, guid, uid, expunged, ...`. */
export function sideRow(values: unknown): SideRow | undefined {
  if (values === undefined) return undefined;
  const row = values as [id: number, guid: string, uid: number, expunged: number | null];
  return { id: row[0], guid: row[1], uid: row[2], expunged: row[3], values: row };
}

function isBetter(a: Row, b: Row): boolean {
  if ((a.expunged === null) !== (b.expunged === null)) return a.expunged === null;
  return a.uid > b.uid;
}

const MAIN_BY_MESSAGE = `SELECT id, message_id, uid, expunged FROM mailbox_message
  WHERE mailbox_id = ? AND message_id = ?`;
const BEST_SIDE = `SELECT id, guid, uid, expunged FROM cb_record
  WHERE guid = ? AND mailbox_id = ? AND replaced = 0 ORDER BY expunged IS NOT NULL, uid DESC LIMIT 1`;
const IS_AWAITED = 'SELECT 1 FROM cb_record WHERE guid = ? LIMIT 1';
const MAILBOXES_WAITING = 'SELECT DISTINCT mailbox_id FROM cb_record WHERE guid = ? AND replaced = 0';

const DEMOTE_MAIN = `INSERT OR REPLACE INTO cb_record(mailbox_id, guid, size, last_chunk_id, uid, modseq,
    last_updated, flags, internaldate, annotations, expunged)
  SELECT r.mailbox_id, m.guid, m.size, r.last_chunk_id, r.uid, r.modseq, r.last_updated, r.flags,
    r.internaldate, r.annotations, r.expunged
  FROM mailbox_message r JOIN message m ON m.id = r.message_id WHERE r.id = ?`;
const PROMOTE_SIDE = `INSERT INTO mailbox_message(mailbox_id, message_id, last_chunk_id, uid, modseq, last_updated,
    flags, internaldate, annotations, expunged)
  SELECT mailbox_id, ?, last_chunk_id, uid, modseq, last_updated, flags, internaldate, annotations, expunged
  FROM cb_record WHERE id = ?`;
