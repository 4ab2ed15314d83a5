/** Whose mailboxes are in a backup: files that were put back may have been taken for each other. */
import { isInboxOf, mailboxOwner, type NameRules, SHARED_USERID } from '../../csync/mailbox-name.ts';
import { ownerOf } from '../former-users.ts';
import type { BackupIndex } from '../index/backup-index.ts';
import { mailboxes } from '../index/queries.ts';
import type { Finding } from './finding.ts';

export interface Ownership {
  /** Key of backups.db. */
  userid: string;
  rules: NameRules;
}

/** Something if the INBOX of somebody else lives there, and nothing that is the user's. */
export function checkOwner(index: BackupIndex, { userid: key, rules }: Ownership): Finding | undefined {
  const userid = ownerOf(key);
  if (userid === SHARED_USERID) return undefined;
  let other: string | undefined;
  for (const { mboxname, deleted } of mailboxes(index)) {
    if (deleted !== null) continue;
    const owner = mailboxOwner(mboxname, rules);
    if (owner === userid) return undefined;
    if (isInboxOf(mboxname, owner, rules)) other = owner;
  }
  if (other === undefined) return undefined;
  const text = `backups.db has this file for ${userid}, but the mailboxes in it are those of ${other}`;
  return { code: 'FILE_OF_OTHER', severity: 'fault', text };
}
