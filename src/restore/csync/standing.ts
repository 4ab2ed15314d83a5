/** How a mailbox at the target stands to the one of the backup that is to come back as it was. */
import type { CsyncClient } from '../csync-client.ts';
import { CrcSum } from '../csync-crc.ts';
import { readServerState, type ServerMailbox } from '../csync-server-state.ts';
import type { BackupSource, StoredMailbox } from '../source.ts';
import { readFullMailbox } from './full-mailbox.ts';
import { recordOf } from './mailbox-fields.ts';

export type Standing =
  /** It is not there, or nothing ever was in it: it is made as it was. */
  | { kind: 'absent' }
  /** The same mailbox, and the target has all of it. */
  | { kind: 'complete' }
  /**
   * The same mailbox, and the target has its messages up to a UID; as they are in the backup if `isExact`, else changed or
   * deleted since. It is continued.
   */
  | { kind: 'part'; lastUid: number; isExact: boolean }
  /** Other contents. Messages that it lacks can be added, with new UIDs. */
  | { kind: 'other'; why: string };

/** Names in one GET MAILBOXES. */
const NAMES_PER_COMMAND = 100;

/** What the target has of these names. */
export async function mailboxesAt(
  client: CsyncClient,
  mboxnames: readonly string[],
): Promise<Map<string, ServerMailbox>> {
  const found = new Map<string, ServerMailbox>();
  for (let from = 0; from < mboxnames.length; from += NAMES_PER_COMMAND) {
    const lines = await client.getMailboxes(mboxnames.slice(from, from + NAMES_PER_COMMAND));
    for (const mailbox of readServerState(lines).mailboxes.values()) found.set(mailbox.mboxname, mailbox);
  }
  return found;
}

/** @param known the mailbox of this name at the target */
export async function standingOf(
  client: CsyncClient,
  source: BackupSource,
  mailbox: StoredMailbox,
  known: ServerMailbox | undefined,
): Promise<Standing> {
  if (known === undefined) return { kind: 'absent' };
  if (known.uniqueid !== mailbox.uniqueid) {
    if (known.lastUid === 0n) return { kind: 'absent' };
    return { kind: 'other', why: `it is another mailbox there (unique id ${known.uniqueid})` };
  }
  if (known.uidvalidity !== BigInt(mailbox.uidvalidity)) {
    return { kind: 'other', why: `it has the UIDVALIDITY ${known.uidvalidity} there` };
  }
  if (known.lastUid > BigInt(mailbox.lastUid)) return { kind: 'other', why: 'newer mail has come there' };
  const lastUid = Number(known.lastUid);
  if (hasSameChecksum(source, mailbox, lastUid, known)) {
    const isComplete = lastUid === mailbox.lastUid && known.highestmodseq >= mailbox.highestmodseq;
    return isComplete ? { kind: 'complete' } : { kind: 'part', lastUid, isExact: true };
  }
  const same = await holdsOnlyOurs(client, source, mailbox, lastUid);
  return same
    ? { kind: 'part', lastUid, isExact: false }
    : { kind: 'other', why: 'it holds messages there that the backup does not have' };
}

function hasSameChecksum(
  source: BackupSource,
  mailbox: StoredMailbox,
  lastUid: number,
  { crcs }: ServerMailbox,
): boolean {
  const sum = new CrcSum();
  for (const record of source.records(mailbox)) {
    if (record.uid > lastUid) break;
    if (record.isHere) sum.add(recordOf(record, false));
  }
  return sum.crcs.basic === crcs.basic && sum.crcs.annot === crcs.annot;
}

/** Whether each message there is the one that the backup has under its UID. */
async function holdsOnlyOurs(
  client: CsyncClient,
  source: BackupSource,
  mailbox: StoredMailbox,
  lastUid: number,
): Promise<boolean> {
  const ours = source.records(mailbox, { expunged: true });
  let next = ours.next();
  let same = true;
  await readFullMailbox(client, mailbox.mboxname, ({ uid, guid, isExpunged }) => {
    while (!next.done && next.value.uid < uid && next.value.uid <= lastUid) next = ours.next();
    if (isExpunged) return;
    if (next.done || next.value.uid !== uid || next.value.guid !== guid) same = false;
  });
  ours.return();
  return same;
}
