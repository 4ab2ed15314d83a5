/**
 * What the index knows of damage in the data file: which chunks were found damaged, and which messages the backup
 * lacks since. The data file says the same by DAMAGE and HEAL notes, so that an index made anew agrees.
 */
import type { BackupIndex } from './backup-index.ts';
import { forgetLacking } from './lacking.ts';
import { demoteRecord } from './record-places.ts';
import { fromBlob, sqlText } from './sql-text.ts';

/** Name in `cb_state`: pairs `CHUNK_ID:UNIXTIME`, comma-separated. */
const STATE_NAME = 'damaged_chunks';

/** When each chunk that is known to be damaged was found so, in seconds, by chunk id. */
export function damagedChunks(index: BackupIndex): Map<number, number> {
  const text = index.stateText(STATE_NAME) ?? '';
  const pairs = text.split(',').filter((pair) => pair !== '');
  return new Map(pairs.map((pair) => pair.split(':').map(Number) as [number, number]));
}

/** @returns whether that was not known. */
export function noteDamagedChunk(index: BackupIndex, chunkId: number, time: number): boolean {
  const known = damagedChunks(index);
  if (known.has(chunkId)) return false;
  known.set(chunkId, time);
  index.setStateText(STATE_NAME, [...known].map(([id, at]) => `${id}:${at}`).join(','));
  return true;
}

/**
 * The chunk that lies there in the file and whose first line is of this time. A DAMAGE note names it so, since ids and
 * hashes change with the index; where compaction has moved chunks nothing fits.
 */
export function chunkAt(
  index: BackupIndex,
  place: { offset: number; end: number; tsStart: number },
): number | undefined {
  // An index that was made anew knows no time of a chunk without a line that can be read.
  const sql = `SELECT id FROM chunk WHERE offset = ? AND ts_start IN (?, 0)
    AND EXISTS (SELECT 1 FROM chunk WHERE offset = ?)`;
  const { offset, end, tsStart } = place;
  return index.statement(sql, 'pluck').get(offset, tsStart, end) as number | undefined;
}

/**
 * The backup does not have this message any more: RESERVE answers that it is missing, records that name it stay.
 *
 * @param chunkId only if it lies in this chunk; undefined: wherever it lies
 * @returns whether it was there
 */
export function loseMessage(index: BackupIndex, guid: string, chunkId?: number): boolean {
  const sql = 'SELECT id, chunk_id FROM message WHERE guid = ?';
  const row = index.statement(sql, 'raw').get(guid) as [id: number, chunkId: number] | undefined;
  if (row === undefined || (chunkId !== undefined && row[1] !== chunkId)) return false;
  const [id] = row;
  index.lastMailbox = undefined;
  const records = index.statement('SELECT id, mailbox_id FROM mailbox_message WHERE message_id = ?', 'raw');
  for (const [record, mailboxId] of records.all(id) as [id: number, mailboxId: number][]) {
    demoteRecord(index, record);
    forgetLacking(index, mailboxId);
  }
  index.statement('DELETE FROM cb_message WHERE message_id = ?').run(id);
  index.statement('DELETE FROM message WHERE id = ?').run(id);
  return true;
}

/** Marks a mailbox for heal of which something is lost: what its client had nothing to send for may be else now. */
export function markLost(index: BackupIndex, uniqueid: string, guids: readonly string[]): void {
  index.markForHeal(uniqueid, guids);
  const sql = 'SELECT id FROM mailbox WHERE uniqueid = CAST(? AS TEXT)';
  const id = index.statement(sql, 'pluck').get(sqlText(uniqueid)) as number | undefined;
  if (id !== undefined) forgetLacking(index, id);
}

/** UNIQUEIDs of the mailboxes that are there and in which the message is live. */
export function mailboxesWith(index: BackupIndex, guid: string): string[] {
  return (index.statement(WHO_NAMES, 'pluck').all(guid, guid) as Buffer[]).map((name) => fromBlob(name));
}

const WHO_NAMES = `SELECT CAST(b.uniqueid AS BLOB) FROM mailbox b WHERE b.deleted IS NULL AND b.id IN (
    SELECT r.mailbox_id FROM mailbox_message r JOIN message m ON m.id = r.message_id
      WHERE m.guid = ? AND r.expunged IS NULL
    UNION SELECT mailbox_id FROM cb_record WHERE guid = ? AND expunged IS NULL AND replaced = 0)
  ORDER BY b.id`;

/** UNIQUEIDs of the mailboxes that name live messages which the backup lacks, and are not to come as a whole. */
export function mailboxesLacking(index: BackupIndex): string[] {
  return (index.statement(WHO_LACKS, 'pluck').all() as Buffer[]).map((name) => fromBlob(name));
}

const WHO_LACKS = `SELECT DISTINCT CAST(b.uniqueid AS BLOB) FROM cb_record r JOIN mailbox b ON b.id = r.mailbox_id
  WHERE r.expunged IS NULL AND r.replaced = 0 AND b.deleted IS NULL
    AND NOT EXISTS (SELECT 1 FROM message m WHERE m.guid = r.guid)
    AND NOT EXISTS (SELECT 1 FROM cb_heal h WHERE h.uniqueid = b.uniqueid AND h.part_uid IS NULL)`;

/** UNIQUEIDs of the mailboxes that clients shall send again, and how many messages were missing in each (0: unknown). */
export function mailboxesUnderHeal(index: BackupIndex): Map<string, number> {
  const sql = 'SELECT CAST(uniqueid AS BLOB), length(guids) / 20 FROM cb_heal ORDER BY uniqueid';
  const rows = index.statement(sql, 'raw').all() as [Buffer, number][];
  return new Map(rows.map(([uniqueid, missing]) => [fromBlob(uniqueid), missing]));
}

/** Those of them that are there: nobody sends again what the mail server has deleted since. */
export function awaitedHeals(index: BackupIndex): Map<string, number> {
  const gone = new Set(
    (index.statement(WHICH_ARE_GONE, 'pluck').all() as Buffer[]).map((name) => fromBlob(name)),
  );
  return new Map([...mailboxesUnderHeal(index)].filter(([uniqueid]) => !gone.has(uniqueid)));
}

/** Whether there are any. */
export function awaitsHeals(index: BackupIndex): boolean {
  return index.mayHaveRows('cb_heal') && awaitedHeals(index).size > 0;
}

const WHICH_ARE_GONE = `SELECT CAST(h.uniqueid AS BLOB) FROM cb_heal h JOIN mailbox b ON b.uniqueid = h.uniqueid
  WHERE b.deleted IS NOT NULL`;
