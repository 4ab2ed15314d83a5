/**
 * Rows of an index as iterators, for answers and tools. Rows are fetched in pages by key, so no statement
 * stays open between them and a caller may write, or take its time, meanwhile.
 */
import type { BackupIndex } from './backup-index.ts';
import { fromBlob, sqlText, unsignedDigits } from './sql-text.ts';

const PAGE_ROWS = 500;

/** A mailbox as the last lines about it say; times in seconds. Null: the line did not say. */
export interface MailboxRow {
  id: number;
  lastChunkId: number;
  uniqueid: string;
  mboxname: string;
  mboxtype: string | null;
  lastUid: number;
  highestmodseq: bigint;
  recentuid: number;
  recenttime: number;
  lastAppenddate: number;
  pop3LastLogin: number;
  pop3ShowAfter: number | null;
  uidvalidity: number;
  partition: string;
  acl: string;
  options: string;
  /** The two checksums are those of the last MAILBOX. */
  syncCrc: number | null;
  syncCrcAnnot: number | null;
  /** Something changed since that the checksums do not reflect. */
  crcStale: boolean;
  quotaroot: string | null;
  xconvmodseq: bigint | null;
  /** Dlist text, or empty. */
  annotations: string;
  /** Other fields as sent, `KEY value KEY value`, or empty. */
  fields: string;
  /** When it was deleted; null if it was not. */
  deleted: number | null;
  /** The client shall send it again as a whole, so it is left out of answers until something of it has come. */
  underHeal: boolean;
  /** See parts.ts. */
  partUid: number | null;
}

/** A mailbox name that exists only to have children. */
export interface IntermediateRow {
  uniqueid: string;
  mboxname: string;
  mboxtype: string | null;
  fields: string;
}

/** A message in a mailbox; times in seconds. */
export interface RecordRow {
  uid: number;
  modseq: bigint;
  lastUpdated: number;
  /** Dlist text without `\Expunged`, or empty. */
  flags: string;
  internaldate: number;
  guid: string;
  /** As sent where the message is not here, else of the message. */
  size: number | null;
  /** Dlist text, or empty. */
  annotations: string;
  /** Other fields as sent, or null. */
  fields: string | null;
  expunged: number | null;
  /** Chunk of the MAILBOX line that last changed it. */
  lastChunkId: number;
  /** Id of the message in the index; null if its content is not in the backup. */
  messageId: number | null;
}

/** A row of the message table. */
export interface MessageTableRow {
  id: number;
  guid: string;
  partition: string;
  chunkId: number;
  lineOffset: number;
  /** Null where Cyrus made the row. */
  contentOffset: number | null;
  size: number;
}

/** All mailboxes, deleted ones too, in the order in which they came. */
export function* mailboxes(index: BackupIndex): Generator<MailboxRow, void> {
  const page = index.statement(`${SELECT_MAILBOX} WHERE m.id > ? ORDER BY m.id LIMIT ${PAGE_ROWS}`);
  for (let last = 0; ; ) {
    const rows = page.all(last) as RawMailbox[];
    for (const row of rows) yield mailboxOf(row);
    if (rows.length < PAGE_ROWS) return;
    last = rows.at(-1)!.id;
  }
}

/** The live mailbox of this name. */
export function mailboxByName(index: BackupIndex, mboxname: string): MailboxRow | undefined {
  const sql = `${SELECT_MAILBOX} WHERE m.mboxname = CAST(? AS TEXT) AND m.deleted IS NULL ORDER BY m.id DESC LIMIT 1`;
  const raw = index.statement(sql).get(sqlText(mboxname)) as RawMailbox | undefined;
  const row = raw && mailboxOf(raw);
  if (row !== undefined) index.lastMailbox = row;
  return row;
}

/** The mailbox with this unique id, live or deleted. */
export function mailboxByUniqueid(index: BackupIndex, uniqueid: string): MailboxRow | undefined {
  if (index.lastMailbox?.uniqueid === uniqueid) return index.lastMailbox;
  const sql = `${SELECT_MAILBOX} WHERE m.uniqueid = CAST(? AS TEXT)`;
  const row = index.statement(sql).get(sqlText(uniqueid)) as RawMailbox | undefined;
  return row && mailboxOf(row);
}

/** All intermediate nodes, or those of this name or unique id. */
export function intermediates(
  index: BackupIndex,
  of?: { mboxname: string } | { uniqueid: string },
): IntermediateRow[] {
  const select = `SELECT CAST(uniqueid AS BLOB) AS uniqueid, CAST(mboxname AS BLOB) AS mboxname,
    CAST(mboxtype AS BLOB) AS mboxtype, CAST(fields AS BLOB) AS fields FROM cb_intermediate`;
  let rows: unknown[];
  if (of === undefined) {
    rows = index.statement(`${select} ORDER BY mboxname`).all();
  } else {
    const [column, value] = 'mboxname' in of ? ['mboxname', of.mboxname] : ['uniqueid', of.uniqueid];
    rows = index.statement(`${select} WHERE ${column} = CAST(? AS TEXT)`).all(sqlText(value));
  }
  return (rows as Record<keyof IntermediateRow, Buffer | null>[]).map((row) => ({
    uniqueid: fromBlob(row.uniqueid) ?? '',
    mboxname: fromBlob(row.mboxname) ?? '',
    mboxtype: fromBlob(row.mboxtype),
    fields: fromBlob(row.fields) ?? '',
  }));
}

/** The RECORDs of a mailbox by UID, above `after`, expunged ones and those without content too. */
export function* mailboxMessages(
  index: BackupIndex,
  mailboxId: number,
  after = 0,
): Generator<RecordRow, void> {
  const page = index.statement(SELECT_RECORDS, 'raw');
  for (let last = after; ; ) {
    const rows = page.all(mailboxId, last, mailboxId, last) as RawRecord[];
    let row: RecordRow | undefined;
    for (const values of rows) yield (row = recordOf(values));
    if (row === undefined || rows.length < PAGE_ROWS) return;
    last = row.uid;
  }
}

/** All messages, or those whose MESSAGE line lies in this chunk, in the order of the lines. */
export function* messages(index: BackupIndex, chunkId?: number): Generator<MessageTableRow, void> {
  // A chunk's are found by one pass over the table: there is no index by chunk.
  const where = chunkId === undefined ? '' : 'AND m.chunk_id = ?';
  const sql = `SELECT m.id, m.guid, CAST(m.partition AS BLOB), m.chunk_id, m.offset, c.content_offset, m.size
    FROM message m LEFT JOIN cb_message c ON c.message_id = m.id
    WHERE m.id > ? ${where} ORDER BY m.id LIMIT ${PAGE_ROWS}`;
  const page = index.statement(sql, 'raw');
  for (let last = 0; ; ) {
    const rows = page.all(...(chunkId === undefined ? [last] : [last, chunkId])) as RawMessage[];
    for (const [id, guid, partition, chunk, lineOffset, contentOffset, size] of rows) {
      yield { id, guid, partition: fromBlob(partition), chunkId: chunk, lineOffset, contentOffset, size };
      last = id;
    }
    if (rows.length < PAGE_ROWS) return;
  }
}

/** GUIDs of messages that are live in more than one mailbox. */
export function copiedMessages(index: BackupIndex): string[] {
  const sql = `SELECT m.guid FROM mailbox_message r JOIN message m ON m.id = r.message_id
    WHERE r.expunged IS NULL GROUP BY r.message_id HAVING COUNT(*) > 1`;
  return index.statement(sql, 'pluck').all() as string[];
}

type RawMessage = [number, string, Buffer, number, number, number | null, number];

/** Names of subscribed mailboxes. */
export function subscriptions(index: BackupIndex): string[] {
  const sql = 'SELECT CAST(mboxname AS BLOB) FROM subscription WHERE unsubscribed IS NULL ORDER BY id';
  return (index.statement(sql, 'pluck').all() as Buffer[]).map((name) => fromBlob(name));
}

export interface SeenRow {
  uniqueid: string;
  lastread: number;
  lastuid: number;
  lastchange: number;
  seenuids: string;
}

/** Seen state of the user in mailboxes that do not carry it in their flags. */
export function seenStates(index: BackupIndex): SeenRow[] {
  const sql = `SELECT CAST(uniqueid AS BLOB) AS uniqueid, lastread, lastuid, lastchange,
    CAST(seenuids AS BLOB) AS seenuids FROM seen ORDER BY id`;
  const rows = index.statement(sql).all() as (Omit<SeenRow, 'uniqueid' | 'seenuids'> & {
    uniqueid: Buffer;
    seenuids: Buffer | null;
  })[];
  return rows.map((row) => ({
    ...row,
    uniqueid: fromBlob(row.uniqueid),
    seenuids: fromBlob(row.seenuids) ?? '',
  }));
}

/** The live Sieve scripts; the active one is `BackupIndex.activeSieve()`. */
export function sieveScripts(index: BackupIndex): { filename: string; lastUpdate: number; guid: string }[] {
  const sql = `SELECT CAST(filename AS BLOB) AS filename, last_update AS lastUpdate, guid FROM sieve
    WHERE deleted IS NULL ORDER BY id`;
  const rows = index.statement(sql).all() as { filename: Buffer; lastUpdate: number | null; guid: string }[];
  return rows.map(({ filename, lastUpdate, guid }) => ({
    filename: fromBlob(filename),
    lastUpdate: lastUpdate ?? 0,
    guid,
  }));
}

/** Quotas as sent: `%(ROOT r ...)`. */
export function quotas(index: BackupIndex, root?: string): string[] {
  const sql = `SELECT CAST(fields AS BLOB) FROM cb_quota ${root === undefined ? '' : 'WHERE root = CAST(? AS TEXT)'}`;
  const rows = index.statement(sql, 'pluck').all(...(root === undefined ? [] : [sqlText(root)]));
  return (rows as Buffer[]).map((fields) => fromBlob(fields));
}

/** Annotations of this mailbox (of the server: the empty name) that came by ANNOTATION, as sent. */
export function annotations(index: BackupIndex, mboxname: string): string[] {
  const sql =
    'SELECT CAST(fields AS BLOB) FROM cb_annotation WHERE mboxname = CAST(? AS TEXT) ORDER BY entry, userid';
  return (index.statement(sql, 'pluck').all(sqlText(mboxname)) as Buffer[]).map((fields) => fromBlob(fields));
}

type RawMailbox = Omit<
  MailboxRow,
  | 'uniqueid'
  | 'mboxname'
  | 'mboxtype'
  | 'partition'
  | 'acl'
  | 'options'
  | 'quotaroot'
  | 'annotations'
  | 'fields'
  | 'highestmodseq'
  | 'xconvmodseq'
  | 'crcStale'
  | 'underHeal'
> & {
  uniqueid: Buffer;
  mboxname: Buffer;
  mboxtype: Buffer | null;
  partition: Buffer | null;
  acl: Buffer | null;
  options: Buffer | null;
  quotaroot: Buffer | null;
  annotations: Buffer | null;
  fields: Buffer | null;
  highestmodseq: string | null;
  xconvmodseq: string | null;
  crcStale: number | null;
  underHeal: number;
};

const SELECT_MAILBOX = `SELECT m.id, m.last_chunk_id AS lastChunkId, CAST(m.uniqueid AS BLOB) AS uniqueid,
    CAST(m.mboxname AS BLOB) AS mboxname, CAST(m.mboxtype AS BLOB) AS mboxtype, m.last_uid AS lastUid,
    CAST(m.highestmodseq AS TEXT) AS highestmodseq, m.recentuid, m.recenttime,
    m.last_appenddate AS lastAppenddate, m.pop3_last_login AS pop3LastLogin,
    m.pop3_show_after AS pop3ShowAfter, m.uidvalidity, CAST(m.partition AS BLOB) AS partition,
    CAST(m.acl AS BLOB) AS acl, CAST(m.options AS BLOB) AS options, m.sync_crc AS syncCrc,
    m.sync_crc_annot AS syncCrcAnnot, CAST(m.quotaroot AS BLOB) AS quotaroot,
    CAST(m.xconvmodseq AS TEXT) AS xconvmodseq, CAST(m.annotations AS BLOB) AS annotations, m.deleted,
    CAST(c.fields AS BLOB) AS fields, c.crc_stale AS crcStale,
    h.guids IS NOT NULL AS underHeal, h.part_uid AS partUid
  FROM mailbox m LEFT JOIN cb_mailbox c ON c.mailbox_id = m.id LEFT JOIN cb_heal h ON h.uniqueid = m.uniqueid`;

function mailboxOf(row: RawMailbox): MailboxRow {
  return {
    ...row,
    uniqueid: fromBlob(row.uniqueid),
    mboxname: fromBlob(row.mboxname),
    mboxtype: fromBlob(row.mboxtype),
    partition: fromBlob(row.partition) ?? '',
    acl: fromBlob(row.acl) ?? '',
    options: fromBlob(row.options) ?? '',
    quotaroot: fromBlob(row.quotaroot),
    annotations: fromBlob(row.annotations) ?? '',
    fields: fromBlob(row.fields) ?? '',
    highestmodseq: BigInt(unsignedDigits(row.highestmodseq ?? '0')),
    xconvmodseq: row.xconvmodseq === null ? null : BigInt(unsignedDigits(row.xconvmodseq)),
    crcStale: row.crcStale === 1,
    underHeal: row.underHeal === 1,
  };
}

/** In the order of SELECT_RECORDS. */
type RawRecord = [
  uid: number,
  modseq: string | null,
  lastUpdated: number,
  flags: Buffer | null,
  internaldate: number,
  guid: string,
  size: number | null,
  annotations: Buffer | null,
  expunged: number | null,
  lastChunkId: number,
  messageId: number | null,
  fields: Buffer | null,
];

/** Both tables walk an index by UID, so a page costs what is in it. */
const SELECT_RECORDS = `SELECT s.uid, s.modseq, s.last_updated, s.flags, s.internaldate, s.guid, s.size,
    s.annotations, s.expunged, s.last_chunk_id, s.message_id, CAST(x.fields AS BLOB) FROM (
    SELECT r.mailbox_id, r.uid, CAST(r.modseq AS TEXT) AS modseq, r.last_updated, CAST(r.flags AS BLOB) AS flags,
      r.internaldate, m.guid, m.size, CAST(r.annotations AS BLOB) AS annotations, r.expunged, r.last_chunk_id,
      m.id AS message_id
    FROM mailbox_message r JOIN message m ON m.id = r.message_id WHERE r.mailbox_id = ? AND r.uid > ?
    UNION ALL
    SELECT r.mailbox_id, r.uid, CAST(r.modseq AS TEXT), r.last_updated, CAST(r.flags AS BLOB), r.internaldate,
      r.guid, coalesce(m.size, r.size), CAST(r.annotations AS BLOB), r.expunged, r.last_chunk_id, m.id
    FROM cb_record r LEFT JOIN message m ON m.guid = r.guid
    WHERE r.mailbox_id = ? AND r.uid > ? AND r.replaced = 0
    ORDER BY uid LIMIT ${PAGE_ROWS}
  ) s LEFT JOIN cb_record_extra x ON x.mailbox_id = s.mailbox_id AND x.uid = s.uid ORDER BY s.uid`;

function recordOf(row: RawRecord): RecordRow {
  const [uid, modseq, lastUpdated, flags, internaldate, guid, size, notes, expunged, chunk, messageId, more] =
    row;
  return {
    uid,
    modseq: BigInt(unsignedDigits(modseq ?? '0')),
    lastUpdated,
    flags: fromBlob(flags) ?? '',
    internaldate,
    guid,
    size,
    annotations: fromBlob(notes) ?? '',
    fields: fromBlob(more),
    expunged,
    lastChunkId: chunk,
    messageId,
  };
}
