/**
 * How far a mailbox has come again that the client was asked for as a whole and sends in parts (`sync_batchsize`). Each
 * part brings all records above the last UID of the one before, up to its own LAST_UID, and what has changed of those
 * below; so what is live here at or below it, and was in no part, is not on the mail server, or will come yet.
 *
 * | cb_heal | |
 * | --- | --- |
 * | `part_uid` | up to this UID all has come; NULL: nothing has, and the client is told nothing of the mailbox |
 * | `unsaid` | UIDs up to there that are live here and were in no part, 4 bytes each, big-endian; NULL: none |
 *
 * Until the last part is there nothing counts as expunged. Whoever asks for the mailbox once more begins anew.
 */
import type { BackupIndex } from './backup-index.ts';
import type { MailboxHeader } from './mailbox-header.ts';
import type { StoredMailbox } from './mailbox-rows.ts';
import type { MailboxRow } from './queries.ts';
import { fromBlob, sqlText } from './sql-text.ts';

/** What has come of a mailbox. */
export interface CameInParts {
  /** UID up to which all of it has come. */
  lastUid: number;
  /** UIDs of live records up to there that did not come. */
  unsaid: ReadonlySet<number>;
}

const UID_BYTES = 4;

/** Whether the client is told nothing of a mailbox that is there, so that it sends all of it. */
export function isHidden(row: Pick<MailboxRow, 'underHeal' | 'partUid'>): boolean {
  return row.underHeal && row.partUid === null;
}

/** UNIQUEIDs of those. */
export function hiddenMailboxes(index: BackupIndex): string[] {
  if (!index.mayHaveRows('cb_heal')) return [];
  return (index.statement(HIDDEN, 'pluck').all() as Buffer[]).map((uniqueid) => fromBlob(uniqueid));
}

/** Undefined if the client begins with the first record. */
export function cameInParts(index: BackupIndex, row: MailboxRow): CameInParts | undefined {
  if (row.deleted !== null || row.partUid === null) return undefined;
  const sql = 'SELECT unsaid FROM cb_heal WHERE uniqueid = CAST(? AS TEXT)';
  const bytes = index.statement(sql, 'pluck').get(sqlText(row.uniqueid)) as Buffer | null | undefined;
  const unsaid = new Set<number>();
  for (let at = 0; at < (bytes?.length ?? 0); at += UID_BYTES) unsaid.add(bytes!.readUInt32BE(at));
  return { lastUid: row.partUid, unsaid };
}

/** Whether a MAILBOX is a part of what the client was asked for. */
export function isAskedPart({ row }: StoredMailbox, header: MailboxHeader): boolean {
  return row?.underHeal === true && header.isPart;
}

/**
 * Whether a MAILBOX, with the parts that came before it, brings all of a mailbox that was here before: the client was
 * told nothing of it, or what came in these parts only.
 */
export function bringsAll({ row }: StoredMailbox, header: MailboxHeader): boolean {
  if (row === undefined || header.isPart) return false;
  if (row.deleted === null && row.partUid !== null) return true;
  return (row.deleted !== null || row.underHeal) && !header.number('SINCE_MODSEQ');
}

/** A part has been applied: these UIDs stood in it. */
export function notePart(
  index: BackupIndex,
  { id }: StoredMailbox,
  header: MailboxHeader,
  before: CameInParts | undefined,
  mentioned: readonly number[],
): void {
  const from = before?.lastUid ?? 0;
  const to = Math.max(from, Number(header.number('LAST_UID') ?? 0));
  const said = new Set(mentioned);
  const unsaid = [...(before?.unsaid ?? []), ...liveUids(index, id, from, to)].filter(
    (uid) => !said.has(uid),
  );
  const bytes = Buffer.alloc(unsaid.length * UID_BYTES);
  for (const [i, uid] of unsaid.entries()) bytes.writeUInt32BE(uid, i * UID_BYTES);
  index.lastMailbox = undefined;
  index.statement(NOTE).run(to, unsaid.length > 0 ? bytes : null, sqlText(header.uniqueid));
}

function liveUids(index: BackupIndex, mailboxId: number, from: number, to: number): number[] {
  return index.statement(LIVE, 'pluck').all(mailboxId, from, to, mailboxId, from, to) as number[];
}

const HIDDEN = `SELECT CAST(b.uniqueid AS BLOB) FROM mailbox b JOIN cb_heal h ON h.uniqueid = b.uniqueid
  WHERE b.deleted IS NULL AND h.part_uid IS NULL ORDER BY b.id`;
const NOTE = 'UPDATE cb_heal SET part_uid = ?, unsaid = ? WHERE uniqueid = CAST(? AS TEXT)';
const LIVE = `SELECT uid FROM mailbox_message WHERE mailbox_id = ? AND uid > ? AND uid <= ? AND expunged IS NULL
  UNION ALL SELECT uid FROM cb_record
    WHERE mailbox_id = ? AND uid > ? AND uid <= ? AND expunged IS NULL AND replaced = 0`;
