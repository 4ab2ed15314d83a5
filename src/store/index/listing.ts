/**
 * What an index holds, as Cyrus's tools list it: rows of Cyrus's own tables only, in the order in which they have
 * them. Rows are fetched in pages, so that no statement stays open while a slow reader takes its time and keeps the
 * server from committing.
 */
import type { BackupIndex } from './backup-index.ts';
import { fromBlob, sqlText } from './sql-text.ts';

const PAGE_ROWS = 1000;

/** A message in a mailbox. */
export interface ListedRecord {
  uid: number;
  guid: string;
  /** When it was expunged, in seconds since 1970; null if it was not. */
  expunged: number | null;
}

/** A message and the mailboxes that it is or was in. */
export interface ListedMessage {
  guid: string;
  /** Bytes. */
  size: number;
  /** Id of the chunk that holds it. */
  chunk: number;
  mailboxes: { uniqueid: string; mboxname: string }[];
}

/**
 * The messages of a mailbox: by UID where the index has our own index over them, else in the order in which they came
 * into the backup. That is the order in which SQLite answers Cyrus's tools, which ask for none.
 */
export function* listedRecords(index: BackupIndex, mailboxId: number): Generator<ListedRecord, void> {
  const byUid = index.statement(HAS_UID_INDEX, 'pluck').get() !== undefined;
  const page = index.statement(byUid ? RECORDS_BY_UID : RECORDS_BY_MESSAGE, 'raw');
  for (let last: [number, number] = [0, 0]; ; ) {
    const rows = page.all(mailboxId, ...last) as [number, number, number, string, number | null][];
    for (const [, , uid, guid, expunged] of rows) yield { uid, guid, expunged };
    if (rows.length < PAGE_ROWS) return;
    const [major, minor] = rows.at(-1)!;
    last = [major, minor];
  }
}

const HAS_UID_INDEX = "SELECT 1 FROM sqlite_master WHERE name = 'cb_mailbox_message_uid'";
const RECORDS_BY_UID = `SELECT r.uid, r.id, r.uid, m.guid, r.expunged
  FROM mailbox_message r JOIN message m ON m.id = r.message_id
  WHERE r.mailbox_id = ? AND (r.uid, r.id) > (?, ?) ORDER BY r.uid, r.id LIMIT ${PAGE_ROWS}`;
const RECORDS_BY_MESSAGE = `SELECT r.message_id, r.id, r.uid, m.guid, r.expunged
  FROM mailbox_message r JOIN message m ON m.id = r.message_id
  WHERE r.mailbox_id = ? AND (r.message_id, r.id) > (?, ?) ORDER BY r.message_id, r.id LIMIT ${PAGE_ROWS}`;

/** GUIDs of all messages in the order in which they came. */
export function* listedGuids(index: BackupIndex): Generator<string, void> {
  for (const [, guid] of messageRows(index)) yield guid;
}

/** All messages with their mailboxes, of each the mailboxes in the order in which those came. */
export function* listedMessages(index: BackupIndex): Generator<ListedMessage, void> {
  const names = mailboxNames(index);
  // Each mailbox is asked for the page's range: there is no index by message.
  const links = index.statement(
    `SELECT r.message_id, b.id FROM mailbox b
      CROSS JOIN mailbox_message r ON r.mailbox_id = b.id AND r.message_id BETWEEN ? AND ? ORDER BY b.id`,
    'raw',
  );
  let page = new Map<number, ListedMessage>();
  let first = 0;
  let last = 0;
  const flush = (): Iterable<ListedMessage> => {
    const whole = page;
    page = new Map();
    if (whole.size === 0) return [];
    for (const [message, mailbox] of links.all(first, last) as [number, number][]) {
      const name = names.get(mailbox);
      if (name !== undefined) whole.get(message)?.mailboxes.push(name);
    }
    return whole.values();
  };
  for (const [id, guid, size, chunk] of messageRows(index)) {
    if (page.size === 0) first = id;
    last = id;
    page.set(id, { guid, size, chunk, mailboxes: [] });
    if (page.size === PAGE_ROWS) yield* flush();
  }
  yield* flush();
}

/** Names of all mailboxes by their ids: they are few, and messages are many. */
function mailboxNames(index: BackupIndex): Map<number, { uniqueid: string; mboxname: string }> {
  const rows = index
    .statement('SELECT id, CAST(uniqueid AS BLOB), CAST(mboxname AS BLOB) FROM mailbox', 'raw')
    .all() as [number, Buffer, Buffer][];
  return new Map(
    rows.map(([id, uniqueid, mboxname]) => [
      id,
      { uniqueid: fromBlob(uniqueid), mboxname: fromBlob(mboxname) },
    ]),
  );
}

/** The mailboxes that a message is or was in, in the order in which they came. */
export function mailboxesOfMessage(index: BackupIndex, messageId: number): ListedMessage['mailboxes'] {
  const rows = index
    .statement(
      `SELECT CAST(b.uniqueid AS BLOB), CAST(b.mboxname AS BLOB) FROM mailbox b
        CROSS JOIN mailbox_message r ON r.mailbox_id = b.id AND r.message_id = ? ORDER BY b.id`,
      'raw',
    )
    .all(messageId) as [Buffer, Buffer][];
  return rows.map(([uniqueid, mboxname]) => ({
    uniqueid: fromBlob(uniqueid),
    mboxname: fromBlob(mboxname),
  }));
}

/** Unique id of the mailbox of this internal name; of several the live one, else the last. */
export function uniqueidByName(index: BackupIndex, mboxname: string): string | undefined {
  const sql = `SELECT CAST(uniqueid AS BLOB) FROM mailbox WHERE mboxname = CAST(? AS TEXT)
    ORDER BY deleted IS NULL DESC, id DESC LIMIT 1`;
  const found = index.statement(sql, 'pluck').get(sqlText(mboxname)) as Buffer | undefined;
  return found && fromBlob(found);
}

type MessageRow = [id: number, guid: string, size: number, chunkId: number];

function* messageRows(index: BackupIndex): Generator<MessageRow, void> {
  const page = index.statement(
    `SELECT id, guid, size, chunk_id FROM message WHERE id > ? ORDER BY id LIMIT ${PAGE_ROWS}`,
    'raw',
  );
  for (let last = 0; ; ) {
    const rows = page.all(last) as MessageRow[];
    yield* rows;
    if (rows.length < PAGE_ROWS) return;
    last = rows.at(-1)![0];
  }
}
