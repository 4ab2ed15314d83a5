/** Rows of mailboxes and intermediate nodes, as MAILBOX lines make and change them. */
import type { BackupIndex } from './backup-index.ts';
import type { MailboxHeader } from './mailbox-header.ts';
import { isAskedPart } from './parts.ts';
import { type MailboxRow, mailboxByUniqueid } from './queries.ts';
import { sqlText, toSigned64 } from './sql-text.ts';

/** What the index said of a mailbox before the line. */
export interface StoredMailbox {
  id: number;
  /** Undefined if the line brought it in. */
  row: MailboxRow | undefined;
  /** Of a new one: how much of the header its row was made of. */
  insertedFields: number;
}

/** Internal name of a user's folder outside the deleted namespace. */
const OWN_FOLDER = /^(?:[^!]*!)?user\./;

export class MailboxRows {
  readonly #index: BackupIndex;
  readonly #chunkId: number;
  /** What clients send now is in an index that only we have written since: a name has one live mailbox at most. */
  readonly #live: boolean;

  constructor(index: BackupIndex, chunkId: number, live: boolean) {
    this.#index = index;
    this.#chunkId = chunkId;
    this.#live = live;
  }

  /** The mailbox with the header's UNIQUEID; it gets a row if it has none. */
  open(header: MailboxHeader): StoredMailbox {
    const row = mailboxByUniqueid(this.#index, header.uniqueid);
    if (row !== undefined) return { id: row.id, row, insertedFields: 0 };
    const inserted = this.#index.statement(INSERT).run(this.#chunkId, ...header.bindings());
    return { id: Number(inserted.lastInsertRowid), row: undefined, insertedFields: header.fieldCount };
  }

  /** Makes the mailbox what its complete header says. Returns whether the line changed anything. */
  finish(mailbox: StoredMailbox, header: MailboxHeader, time: number, recordsChanged: boolean): boolean {
    const { row } = mailbox;
    const isHeaderNew =
      row === undefined
        ? mailbox.insertedFields < header.fieldCount
        : row.deleted !== null || header.differsFrom(row);
    if (isHeaderNew) this.#index.statement(UPDATE).run(this.#chunkId, ...header.bindings(), mailbox.id);
    let changed = row === undefined || recordsChanged || isHeaderNew;
    if (this.#putFields(mailbox, header)) changed = true;
    const keepsName = this.#live && row?.deleted === null && row.mboxname === header.mboxname;
    if (!keepsName && this.#takeName(header, mailbox.id, time)) changed = true;
    if (this.#dropIntermediate(header)) changed = true;
    // Of a part the next one is to be said again, too.
    if (!isAskedPart(mailbox, header) && this.#index.clearHealMark(header.uniqueid)) changed = true;
    // Deleted folders of a user who is gone are reported as long as the mail server has them.
    if (OWN_FOLDER.test(header.mboxname) && this.#index.unuserAt() !== undefined) {
      this.#index.setUnuserAt(undefined);
      changed = true;
    }
    // A line that is in the file is the last that spoke of the mailbox, whether it brought anything or not.
    if (!isHeaderNew && (changed || !this.#live)) {
      this.#index
        .statement('UPDATE mailbox SET last_chunk_id = ? WHERE id = ?')
        .run(this.#chunkId, mailbox.id);
    }
    return changed;
  }

  /** @returns whether the index did not say so already. */
  putIntermediate(header: MailboxHeader, time: number): boolean {
    const { uniqueid, mboxname } = header;
    let changed = this.#takeName(header, undefined, time);
    const other =
      'DELETE FROM cb_intermediate WHERE mboxname = CAST(? AS TEXT) AND uniqueid <> CAST(? AS TEXT)';
    if (this.#index.statement(other).run(sqlText(mboxname), sqlText(uniqueid)).changes > 0) changed = true;
    const bindings = [
      sqlText(uniqueid),
      sqlText(mboxname),
      sqlText(header.text('MBOXTYPE') ?? null),
      toSigned64(header.number('HIGHESTMODSEQ') ?? 0),
      header.extra.text(),
    ];
    return this.#index.statement(PUT_INTERMEDIATE).run(...bindings).changes > 0 || changed;
  }

  #putFields({ id, row }: StoredMailbox, header: MailboxHeader): boolean {
    if (row !== undefined && !row.crcStale && row.fields === header.extra.latin1()) return false;
    if (header.extra.length === 0) {
      if (this.#index.statement(DROP_ROW).run(id).changes > 0) return true;
      return row !== undefined && this.#index.statement(DROP_FIELDS).run(id).changes > 0;
    }
    return this.#index.statement(PUT_FIELDS).run(id, header.extra.text()).changes > 0;
  }

  /** Whoever else had this name is gone: the client would have renamed it otherwise. */
  #takeName(header: MailboxHeader, exceptId: number | undefined, time: number): boolean {
    return this.#index.statement(TAKE_NAME).run(time, sqlText(header.mboxname), exceptId ?? -1).changes > 0;
  }

  #dropIntermediate(header: MailboxHeader): boolean {
    if (!this.#index.mayHaveRows('cb_intermediate')) return false;
    const sql = 'DELETE FROM cb_intermediate WHERE uniqueid = CAST(? AS TEXT) OR mboxname = CAST(? AS TEXT)';
    return this.#index.statement(sql).run(sqlText(header.uniqueid), sqlText(header.mboxname)).changes > 0;
  }
}

/** Text columns hold the bytes that were sent, so they are compared and bound through CAST. */
const TEXT = 'CAST(? AS TEXT)';
const COLUMNS: readonly (readonly [name: string, parameter: string])[] = [
  ['uniqueid', TEXT],
  ['mboxname', TEXT],
  ['mboxtype', TEXT],
  ['last_uid', '?'],
  ['highestmodseq', '?'],
  ['recentuid', '?'],
  ['recenttime', '?'],
  ['last_appenddate', '?'],
  ['pop3_last_login', '?'],
  ['pop3_show_after', '?'],
  ['uidvalidity', '?'],
  ['partition', TEXT],
  ['acl', TEXT],
  ['options', TEXT],
  ['sync_crc', '?'],
  ['sync_crc_annot', '?'],
  ['quotaroot', TEXT],
  ['xconvmodseq', '?'],
  ['annotations', TEXT],
];

const INSERT = `INSERT INTO mailbox(last_chunk_id, ${COLUMNS.map(([name]) => name).join(', ')})
  VALUES (?, ${COLUMNS.map(([, parameter]) => parameter).join(', ')})`;
const UPDATE = `UPDATE mailbox SET last_chunk_id = ?, ${COLUMNS.map(
  ([name, parameter]) => `${name} = ${parameter}`,
).join(', ')}, deleted = NULL WHERE id = ?`;
/** Unless it says something of the checksum (checksum.ts). */
const DROP_ROW = 'DELETE FROM cb_mailbox WHERE mailbox_id = ? AND crc IS NULL AND crc_asked IS NULL';
const DROP_FIELDS = `UPDATE cb_mailbox SET fields = '', crc_stale = 0
  WHERE mailbox_id = ? AND (fields <> '' OR crc_stale <> 0)`;
const PUT_FIELDS = `INSERT INTO cb_mailbox(mailbox_id, fields, crc_stale) VALUES (?, CAST(? AS TEXT), 0)
  ON CONFLICT(mailbox_id) DO UPDATE SET fields = excluded.fields, crc_stale = 0
  WHERE fields IS NOT excluded.fields OR crc_stale <> 0`;
const TAKE_NAME = `UPDATE mailbox SET deleted = ?
  WHERE mboxname = CAST(? AS TEXT) AND deleted IS NULL AND id <> ?`;
const PUT_INTERMEDIATE = `INSERT INTO cb_intermediate(uniqueid, mboxname, mboxtype, highestmodseq, fields)
  VALUES (CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?, CAST(? AS TEXT))
  ON CONFLICT(uniqueid) DO UPDATE SET mboxname = excluded.mboxname, mboxtype = excluded.mboxtype,
    highestmodseq = excluded.highestmodseq, fields = excluded.fields
  WHERE mboxname IS NOT excluded.mboxname OR mboxtype IS NOT excluded.mboxtype
    OR highestmodseq IS NOT excluded.highestmodseq OR fields IS NOT excluded.fields`;
