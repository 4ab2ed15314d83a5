/**
 * Asking a client again, some days later, for messages that it named and had nothing to send for (index/lacking.ts), and for mailboxes that
 * differ by their checksum and were asked for the day before (index/checksum.ts).
 */
import { printString } from '../csync/encoder.ts';
import type { Backup } from './backup.ts';
import type { BackupIndex } from './index/backup-index.ts';
import { differingMailboxes, noteAsked } from './index/checksum.ts';
import { type DueMailbox, dueMailboxes } from './index/lacking.ts';
import { isHidden } from './index/parts.ts';
import { mailboxes } from './index/queries.ts';
import { writeNote } from './notes.ts';
import type { OpenChunk } from './open-chunk.ts';
import type { StoreEnvironment } from './store-environment.ts';

const GUID_BYTES = 20;

/**
 * Before a client is told which mailboxes there are: those that are due are told nothing of, so that it sends all of them.
 *
 * @param mboxnames it asks for; undefined: all
 */
export async function askAgain(
  backup: Backup,
  mboxnames: readonly string[] | undefined,
  env: StoreEnvironment,
): Promise<void> {
  const { index } = backup;
  const names = mboxnames && new Set(mboxnames);
  const isAsked = ({ mboxname }: { mboxname: string }): boolean => names?.has(mboxname) ?? true;
  const time = Math.floor(Date.now() / 1000);
  let due = dueMailboxes(index, { time, isAlone: false }, isAsked);
  if (due.length > 0 && isNoOtherShown(index, due, isAsked))
    due = dueMailboxes(index, { time, isAlone: true }, isAsked);
  const differing = differingMailboxes(index, time).filter(isAsked);
  // What waits for its MAILBOX may be somebody else's and must not lie before anything committed; the next GET will do.
  if (due.length + differing.length === 0 || (backup.chunk?.pending.size ?? 0) > 0) return;
  const chunk = backup.ensureChunk();
  chunk.holdSpill(due.reduce((bytes, { guids }) => bytes + GUID_BYTES * guids.length, 0));
  for (const mailbox of due) noteAgain(index, chunk, backup.userid, mailbox, env);
  for (const { id, uniqueid, mboxname } of differing) {
    if (index.healMark(uniqueid) === undefined) noteHeal(index, chunk, uniqueid, []);
    noteAsked(index, id, time);
    env.figures.count('heals_requested_total');
    env.log.warn(
      { userid: backup.userid, mailbox: mboxname, uniqueid },
      'a mailbox is still not as the mail server has it, by its checksum; the client is asked to send all of it again',
    );
  }
  await backup.commit();
}

/** A client that is told of no mailbox does not ask which messages are here. */
function isNoOtherShown(
  index: BackupIndex,
  due: readonly DueMailbox[],
  isAsked: (mailbox: { mboxname: string }) => boolean,
): boolean {
  const hidden = new Set(due.map(({ uniqueid }) => uniqueid));
  for (const row of mailboxes(index)) {
    if (row.deleted === null && !isHidden(row) && isAsked(row) && !hidden.has(row.uniqueid)) return false;
  }
  return true;
}

function noteHeal(index: BackupIndex, chunk: OpenChunk, uniqueid: string, guids: readonly string[]): void {
  index.markForHeal(uniqueid, guids);
  writeNote(chunk, 'HEAL', { bytes: Buffer.from(`%(UNIQUEID ${printString(uniqueid)})`, 'latin1') });
}

/** To be committed. */
export function noteAgain(
  index: BackupIndex,
  chunk: OpenChunk,
  userid: string,
  { uniqueid, mboxname, guids, since }: DueMailbox,
  env: StoreEnvironment,
): void {
  noteHeal(index, chunk, uniqueid, guids);
  env.figures.count('heals_requested_total');
  env.log.info(
    {
      userid,
      mailbox: mboxname,
      uniqueid,
      missing: guids.length,
      since: new Date(since * 1000).toISOString(),
    },
    'the client is asked again for a mailbox with messages that it named and did not send',
  );
}
