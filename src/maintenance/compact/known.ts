/**
 * What the old index still knows of damaged chunks, and no line says any more: states of mailboxes, settings, and
 * messages that can be read although the line around them is damaged. The compacted backup says it again, since the index
 * goes, and the mail server may be gone, too.
 */
import { printFileHeader } from '../../csync/encoder.ts';
import { isReadable } from '../../store/heal.ts';
import type { BackupIndex } from '../../store/index/backup-index.ts';
import { type MailboxRow, mailboxByUniqueid, mailboxes, messages } from '../../store/index/queries.ts';
import { readMessage } from '../../store/stored-message.ts';
import type { Output } from './output.ts';
import { mailboxLines, type SnapshotLine, settingLines } from './snapshot.ts';
import type { Survey } from './survey.ts';
import type { Retention } from './window.ts';

export interface KnownOptions {
  /** The old data file, and its index. */
  fd: number;
  path: string;
  old: BackupIndex;
  survey: Survey;
  retention: Retention;
  userid: string;
  /** The new index, and who writes it and the new data file. */
  newIndex: BackupIndex;
  output: Output;
}

/** @returns UNIQUEIDs of the live mailboxes of which something is said again */
export async function sayKnown(options: KnownOptions): Promise<string[]> {
  const { old, survey, retention, userid, newIndex, output } = options;
  const damaged = damagedIds(old, survey);
  if (damaged.size === 0) return [];
  await bringMessages(options, damaged);
  const mailboxesOf = hitMailboxes(old, damaged);
  const said: string[] = [];
  for (const mailbox of mailboxes(old)) {
    const { uniqueid, mboxname, deleted } = mailbox;
    const inLines = mailboxByUniqueid(newIndex, uniqueid);
    const isDropped = deleted !== null && !retention.keepsMailbox(uniqueid, deleted);
    if (isDropped ? inLines?.deleted !== null : !mailboxesOf.has(mailbox.id) && isSame(mailbox, inLines))
      continue;
    // The name may be another one's since.
    if (deleted !== null && isTaken(old, mboxname)) continue;
    for (const line of mailboxLines(old, mailbox, output.lastTime)) await write(output, line);
    if (deleted === null) said.push(uniqueid);
  }
  for (const line of settingLines(old, retention, userid, output.lastTime)) await write(output, line);
  await output.finish();
  return said;
}

/** Chunks of the index that lie where something is damaged. */
function damagedIds(old: BackupIndex, { chunks }: Survey): Set<number> {
  const hit = chunks.filter(({ isDamaged }) => isDamaged);
  const isHit = (offset: number) => hit.some((chunk) => offset >= chunk.offset && offset < chunk.end);
  return new Set(
    old
      .chunks()
      .filter(({ offset }) => isHit(offset))
      .map(({ id }) => id),
  );
}

/** Rows of mailboxes of which something was last said in these chunks. */
function hitMailboxes(old: BackupIndex, damaged: ReadonlySet<number>): Set<number> {
  const found = new Set<number>();
  for (const id of damaged) {
    const rows = old.statement(SAID_IN, 'pluck').all(id, id, id) as number[];
    for (const row of rows) found.add(row);
  }
  return found;
}

const SAID_IN = `SELECT id FROM mailbox WHERE last_chunk_id = ?
  UNION SELECT mailbox_id FROM mailbox_message WHERE last_chunk_id = ?
  UNION SELECT mailbox_id FROM cb_record WHERE last_chunk_id = ? AND replaced = 0`;

function isSame(known: MailboxRow, said: MailboxRow | undefined): boolean {
  if (said === undefined) return false;
  return said.mboxname === known.mboxname && (said.deleted === null) === (known.deleted === null);
}

function isTaken(old: BackupIndex, mboxname: string): boolean {
  const sql = 'SELECT 1 FROM mailbox WHERE mboxname = CAST(? AS TEXT) AND deleted IS NULL';
  return old.statement(sql).get(Buffer.from(mboxname, 'latin1')) !== undefined;
}

async function bringMessages(
  { fd, path, old, newIndex, output }: KnownOptions,
  damaged: ReadonlySet<number>,
): Promise<void> {
  for (const id of damaged) {
    for (const { guid } of messages(old, id)) {
      if (newIndex.messageId(guid) !== undefined) continue;
      const location = old.findMessage(guid);
      if (location === undefined || !isReadable(fd, old, location, path)) continue;
      output.beginLine(output.lastTime);
      const head = `MESSAGE (${printFileHeader(location.partition, guid, location.size)}`;
      output.write(Buffer.from(head, 'latin1'));
      for (const block of readMessage(fd, old, location, path)) {
        output.write(block);
        await output.drain();
      }
      output.write(Buffer.from(')\r\n', 'latin1'));
    }
  }
}

async function write(output: Output, { time, text }: SnapshotLine): Promise<void> {
  output.beginLine(time);
  for (const piece of text) {
    output.write(piece);
    await output.drain();
  }
}
