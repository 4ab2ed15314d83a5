/**
 * Users who were renamed on the mail server: sync_client without `-r` tells the backup of the new name and never that the old
 * one is gone, so that both have the same mailboxes.
 */
import { child, numberOf, parseDlist } from '../csync/dlist.ts';
import { type NameRules, SHARED_USERID, userInbox } from '../csync/mailbox-name.ts';
import { BackupError } from '../platform/errors.ts';
import { indexPathOf } from '../store/data-file.ts';
import { BackupIndex } from '../store/index/backup-index.ts';
import { type MailboxRow, mailboxByName } from '../store/index/queries.ts';
import type { BackupSource } from './source.ts';

interface User {
  userid: string;
  path: string;
}

interface Inbox<U> {
  user: U;
  uniqueid: string;
  /** When the backup last changed, in seconds. */
  changedAt: number;
  /** Grows with each rename. */
  foldermodseq: bigint;
}

/**
 * Of users whose INBOX is, by unique id, that of others too: these others, if they seem to have it now. Goes by the indexes
 * as they are; whose cannot be read is left out.
 */
export function usersWithSameInbox<U extends User>(users: readonly U[], rules: NameRules): Map<string, U[]> {
  const byUniqueid = new Map<string, Inbox<U>[]>();
  for (const user of users) {
    const inbox = user.userid === SHARED_USERID ? undefined : latestInbox(user, rules);
    if (inbox === undefined) continue;
    const same = byUniqueid.get(inbox.uniqueid);
    if (same === undefined) byUniqueid.set(inbox.uniqueid, [inbox]);
    else same.push(inbox);
  }
  const successors = new Map<string, U[]>();
  for (const same of byUniqueid.values()) {
    if (same.length === 1) continue;
    same.sort((a, b) => b.changedAt - a.changedAt || Number(b.foldermodseq - a.foldermodseq));
    for (const [i, { user }] of same.entries()) {
      if (i > 0)
        successors.set(
          user.userid,
          same.slice(0, i).map((inbox) => inbox.user),
        );
    }
  }
  return successors;
}

/** Unique id of the user's INBOX; undefined if there is none. */
export function inboxOf(source: BackupSource, userid: string, rules: NameRules): string | undefined {
  return mailboxByName(source.backup.index, userInbox(userid, rules))?.uniqueid;
}

function latestInbox<U extends User>(user: U, rules: NameRules): Inbox<U> | undefined {
  let index: BackupIndex | undefined;
  try {
    index = BackupIndex.open(indexPathOf(user.path), { readonly: true });
    const row = mailboxByName(index, userInbox(user.userid, rules));
    if (row === undefined) return undefined;
    // A mail server that was put back has the old name again, and says so later than the new one was told of.
    const changedAt = index.state()?.lastTime ?? row.lastAppenddate;
    return { user, uniqueid: row.uniqueid, changedAt, foldermodseq: foldermodseqOf(row) };
  } catch (error) {
    if (error instanceof BackupError) return undefined;
    throw error;
  } finally {
    index?.close();
  }
}

function foldermodseqOf({ fields }: MailboxRow): bigint {
  if (fields === '') return 0n;
  return numberOf(child(parseDlist(Buffer.from(`%(${fields})`, 'latin1')), 'FOLDERMODSEQ')) ?? 0n;
}
