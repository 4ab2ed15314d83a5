/**
 * Private annotations of a user who is renamed. Cyrus gives those in the user's mailboxes to the new name (facts: Cyrus IMAP imap/annotate.c,
 * rename_cb) and changes no modseq, so that sync_client never says so of messages: RENAME is all that it sends.
 */
import { DlistSax } from '../../csync/dlist-sax.ts';
import { printString } from '../../csync/encoder.ts';
import type { BackupIndex } from './backup-index.ts';
import { DlistText } from './dlist-text.ts';
import { sqlText } from './sql-text.ts';

const OWNER = /^(?:([^!]*)!)?user\.([^.]+)/;

/** Of a mailbox that had the first name and has the second, its list of annotations. */
export function renamedAnnotations(annotations: string, oldName: string, newName: string): string {
  const users = renamedUser(oldName, newName);
  return users === undefined ? annotations : withUserid(Buffer.from(annotations, 'latin1'), ...users);
}

/** The mailbox had the first name and has the second. */
export function renameAnnotations(
  index: BackupIndex,
  mailboxId: number,
  oldName: string,
  newName: string,
): void {
  const users = renamedUser(oldName, newName);
  if (users === undefined) return;
  const [from, to] = users;
  for (const [table, column] of TABLES) {
    const find = `SELECT id, CAST(annotations AS BLOB) FROM ${table}
      WHERE ${column} = ? AND instr(CAST(annotations AS BLOB), ?) > 0`;
    const update = index.statement(`UPDATE ${table} SET annotations = CAST(? AS TEXT) WHERE id = ?`);
    const rows = index.statement(find, 'raw').all(mailboxId, Buffer.from(from, 'latin1')) as [
      number,
      Buffer,
    ][];
    for (const [id, text] of rows) update.run(sqlText(withUserid(text, from, to)), id);
  }
}

function renamedUser(oldName: string, newName: string): [from: string, to: string] | undefined {
  const [from, to] = [ownerIn(oldName), ownerIn(newName)];
  return from === undefined || to === undefined || from === to ? undefined : [from, to];
}

const TABLES = [
  ['mailbox', 'id'],
  ['mailbox_message', 'mailbox_id'],
  ['cb_record', 'mailbox_id'],
] as const;

/** Userid of the owner of a mailbox, by its internal name; undefined of one that is shared or in the deleted namespace. */
function ownerIn(mboxname: string): string | undefined {
  const [, domain, name] = OWNER.exec(mboxname) ?? [];
  if (name === undefined) return undefined;
  const localpart = name.replaceAll('^', '.');
  return domain === undefined ? localpart : `${localpart}@${domain}`;
}

/** The list of annotations, with what is the one user's given to the other. */
function withUserid(annotations: Buffer, from: string, to: string): string {
  const text = new DlistText();
  let key = '';
  const sax = new DlistSax({
    beginList: () => text.beginList(),
    beginKvlist: () => text.beginKvlist(),
    end: () => text.end(),
    key: (name) => {
      key = name;
      text.key(name);
    },
    scalar: (value) => {
      if (key === 'USERID' && value.held && value.latin1() === from) text.raw(printString(to));
      else text.scalar(value);
    },
    file: () => {},
  });
  sax.begin(0);
  sax.push(annotations, 0, annotations.length);
  return text.latin1();
}
