/** Rows of mailboxes and intermediate nodes, as MAILBOX lines make and change them. */
import type { BackupIndex } from './backup-index.ts';
import type { MailboxHeader } from './mailbox-header.ts';
import { sqlText, toSigned64, unsignedDigits } from './sql-text.ts';

/** What the index said of a mailbox before the line. */
export interface StoredMailbox {
  id: number;
  /** The line brought it in. */
  isNew: boolean;
  deleted: boolean;
  highestmodseq: bigint;
  /** 0 if it is not known. */
  syncCrc: bigint;
  syncCrcAnnot: bigint;
}

/** Internal name of a user's folder outside the deleted namespace. */
const OWN_FOLDER = /^(?:[^!]*!)?user\./;

export class MailboxRows {
  readonly #index: BackupIndex;
  readonly #chunkId: number;

  constructor(index: BackupIndex, chunkId: number) {
    this.#index = index;
    this.#chunkId = chunkId;
  }

  /** The mailbox with the header's UNIQUEID; it gets a row if it has none. */
  open(header: MailboxHeader): StoredMailbox {
    const row = this.#index.statement(FIND).get(sqlText(header.uniqueid)) as FoundRow | undefined;
    if (row !== undefined) {
      const isStale = row.crcStale === 1;
      return {
        id: row.id,
        isNew: false,
        deleted: row.deleted !== null,
        highestmodseq: BigInt(unsignedDigits(row.highestmodseq ?? '0')),
        syncCrc: isStale ? 0n : BigInt(row.syncCrc ?? 0),
        syncCrcAnnot: isStale ? 0n : BigInt(row.syncCrcAnnot ?? 0),
      };
    }
    const inserted = this.#index.statement(INSERT).run(this.#chunkId, ...header.bindings());
    const id = Number(inserted.lastInsertRowid);
    return { id, isNew: true, deleted: false, highestmodseq: 0n, syncCrc: 0n, syncCrcAnnot: 0n };
  }

  /** Makes the mailbox what its complete header says. Returns whether the line changed anything. */
  finish(mailbox: StoredMailbox, header: MailboxHeader, time: number, recordsChanged: boolean): boolean {
    const values = header.bindings();
    const updated = this.#index.statement(UPDATE).run(this.#chunkId, ...values, mailbox.id, ...values);
    let changed = mailbox.isNew || recordsChanged || updated.changes > 0;
    if (this.#putFields(mailbox.id, header)) changed = true;
    if (this.#takeName(header, mailbox.id, time)) changed = true;
    if (this.#dropIntermediate(header)) changed = true;
    if (this.#index.clearHealMark(header.uniqueid)) changed = true;
    // Deleted folders of a user who is gone are reported as long as the mail server has them.
    if (OWN_FOLDER.test(header.mboxname) && this.#index.unuserAt() !== undefined) {
      this.#index.setUnuserAt(undefined);
      changed = true;
    }
    if (changed && updated.changes === 0) {
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

  #putFields(id: number, header: MailboxHeader): boolean {
    if (header.extra.length === 0) {
      if (!this.#index.mayHaveRows('cb_mailbox')) return false;
      return this.#index.statement('DELETE FROM cb_mailbox WHERE mailbox_id = ?').run(id).changes > 0;
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

interface FoundRow {
  id: number;
  highestmodseq: string | null;
  syncCrc: number | null;
  syncCrcAnnot: number | null;
  deleted: number | null;
  crcStale: number | null;
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

const FIND = `SELECT m.id, CAST(m.highestmodseq AS TEXT) AS highestmodseq, m.sync_crc AS syncCrc,
    m.sync_crc_annot AS syncCrcAnnot, m.deleted, c.crc_stale AS crcStale
  FROM mailbox m LEFT JOIN cb_mailbox c ON c.mailbox_id = m.id WHERE m.uniqueid = CAST(? AS TEXT)`;
const INSERT = `INSERT INTO mailbox(last_chunk_id, ${COLUMNS.map(([name]) => name).join(', ')})
  VALUES (?, ${COLUMNS.map(([, parameter]) => parameter).join(', ')})`;
const UPDATE = `UPDATE mailbox SET last_chunk_id = ?, deleted = NULL,
    ${COLUMNS.map(([name, parameter]) => `${name} = ${parameter}`).join(', ')}
  WHERE id = ? AND (deleted IS NOT NULL
    OR ${COLUMNS.map(([name, parameter]) => `${name} IS NOT ${parameter}`).join(' OR ')})`;
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
