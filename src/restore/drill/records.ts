/**
 * What a backup's index says of messages, read by queries of its own: a drill compares with this what restore makes
 * of the backup, so it must not be read by the same code.
 */
import Database from 'better-sqlite3';
import { BackupError } from '../../platform/errors.ts';

/** A message in a mailbox. Texts have one character for each byte. */
export interface DrillRecord {
  table: 'mailbox_message' | 'cb_record';
  /** Row of that table. */
  id: number;
  uniqueid: string;
  mboxname: string;
  /** When the mailbox was deleted, in seconds; null if it was not. */
  mailboxDeleted: number | null;
  uid: number;
  guid: string;
  size: number;
  internaldate: number;
  /** In lower case, sorted. */
  flags: string[];
}

type Table = DrillRecord['table'];

const PAGE_ROWS = 10_000;

const COLUMNS = `r.id, CAST(b.uniqueid AS BLOB), CAST(b.mboxname AS BLOB), b.deleted, r.uid, m.guid, m.size,
  r.internaldate, CAST(r.flags AS BLOB)`;
const FROM: Record<Table, string> = {
  mailbox_message: `mailbox_message r JOIN message m ON m.id = r.message_id JOIN mailbox b ON b.id = r.mailbox_id`,
  cb_record: `cb_record r JOIN message m ON m.guid = r.guid JOIN mailbox b ON b.id = r.mailbox_id AND r.replaced = 0`,
};

type Row = [
  id: number,
  uniqueid: Buffer,
  mboxname: Buffer,
  mailboxDeleted: number | null,
  uid: number,
  guid: string,
  size: number,
  internaldate: number,
  flags: Buffer | null,
];

export class DrillRecords {
  readonly #db: Database.Database;
  readonly #tables: Table[] = ['mailbox_message'];

  /** @throws BackupError INDEX_STALE */
  constructor(indexPath: string) {
    try {
      this.#db = new Database(indexPath, { readonly: true, fileMustExist: true });
      const table = this.#db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?").pluck();
      if (table.get('mailbox_message') === undefined) throw new Error('it is no index of a backup');
      if (table.get('cb_record') !== undefined) this.#tables.push('cb_record');
    } catch (error) {
      throw new BackupError({
        code: 'INDEX_STALE',
        tried: 'read the records of',
        subject: indexPath,
        reason: error instanceof Error ? error.message : String(error),
        remedy:
          'Run csync-backup reindex on this backup: without its records nothing can be compared with them',
        cause: error,
      });
    }
  }

  /** How many messages there are in mailboxes, deleted ones too. */
  get count(): number {
    const counts = this.#tables.map(
      (table) => this.#db.prepare(`SELECT count(*) FROM ${FROM[table]}`).pluck().get() as number,
    );
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Live records whose message the backup does not have: the mail server never sent it, or damage was noted. */
  get absent(): number {
    if (!this.#tables.includes('cb_record')) return 0;
    const sql = `SELECT count(*) FROM cb_record r WHERE r.expunged IS NULL AND r.replaced = 0
      AND NOT EXISTS (SELECT 1 FROM message m WHERE m.guid = r.guid)`;
    return this.#db.prepare(sql).pluck().get() as number;
  }

  /** Of all messages in mailboxes. In pages, so that no reader keeps a server from committing. */
  *ids(): Generator<[Table, number], void> {
    for (const table of this.#tables) {
      const page = this.#db
        .prepare(`SELECT r.id FROM ${FROM[table]} WHERE r.id > ? ORDER BY r.id LIMIT ${PAGE_ROWS}`)
        .pluck();
      for (let last = 0; ; ) {
        const ids = page.all(last) as number[];
        for (const id of ids) yield [table, id];
        if (ids.length < PAGE_ROWS) break;
        last = ids.at(-1)!;
      }
    }
  }

  /** Undefined: there is no such row (any more). */
  get(table: Table, id: number): DrillRecord | undefined {
    const row = this.#db.prepare(`SELECT ${COLUMNS} FROM ${FROM[table]} WHERE r.id = ?`).raw().get(id);
    return row === undefined ? undefined : recordOf(table, row as Row);
  }

  close(): void {
    this.#db.close();
  }
}

function recordOf(table: Table, row: Row): DrillRecord {
  const [id, uniqueid, mboxname, mailboxDeleted, uid, guid, size, internaldate, flags] = row;
  return {
    table,
    id,
    uniqueid: uniqueid.toString('latin1'),
    mboxname: mboxname.toString('latin1'),
    mailboxDeleted,
    uid,
    guid,
    size,
    internaldate,
    flags: flagsOf(flags?.toString('latin1') ?? ''),
  };
}

/** `(\Seen $Junk "a b")`. */
function flagsOf(text: string): string[] {
  const flags = [...text.matchAll(/"((?:[^"\\]|\\.)*)"|[^\s()"]+/g)].map(
    ([whole, quoted]) => quoted?.replaceAll(/\\(.)/g, '$1') ?? whole,
  );
  return flags.map((flag) => flag.toLowerCase()).sort();
}
