/** Mailboxes and records of a backup in the form in which csync sends them. */
import { numberOf } from '../../csync/dlist.ts';
import { printDlist } from '../../csync/encoder.ts';
import type { Count, CsyncMailboxFields, CsyncRecord } from '../csync-mailbox.ts';
import type { StoredMailbox, StoredRecord } from '../source.ts';

const OURS = { nonSynchronising: true };
/** Fields that csync-mailbox prints from properties of their own. */
const OWN = new Set(['RACLMODSEQ', 'CREATEDMODSEQ', 'FOLDERMODSEQ']);

/** All that the backup knows of the mailbox, under a name and on a partition. */
export function fieldsOf(mailbox: StoredMailbox, mboxname: string, partition: string): CsyncMailboxFields {
  const { more } = mailbox;
  const count = (key: string): Count | undefined => numberOf(more.get(key));
  return {
    uniqueid: mailbox.uniqueid,
    mboxname,
    mboxtype: mailbox.mboxtype,
    lastUid: mailbox.lastUid,
    highestmodseq: mailbox.highestmodseq,
    recentuid: mailbox.recentuid,
    recenttime: mailbox.recenttime,
    lastAppenddate: mailbox.lastAppenddate,
    pop3LastLogin: mailbox.pop3LastLogin,
    pop3ShowAfter: mailbox.pop3ShowAfter,
    uidvalidity: mailbox.uidvalidity,
    partition,
    acl: mailbox.acl,
    options: mailbox.options,
    quotaroot: mailbox.quotaroot,
    xconvmodseq: mailbox.xconvmodseq,
    raclmodseq: count('RACLMODSEQ'),
    createdmodseq: count('CREATEDMODSEQ'),
    foldermodseq: count('FOLDERMODSEQ'),
    annotations: mailbox.annotations,
    more: [...more].filter(([key]) => !OWN.has(key)).map(([key, value]) => [key, printDlist(value, OURS)]),
  };
}

/** @param isExpunged whether it is to be expunged at the target */
export function recordOf(record: StoredRecord, isExpunged: boolean): CsyncRecord {
  const { uid, modseq, lastUpdated, flags, internaldate, guid, size, annotations } = record;
  return {
    uid,
    modseq,
    lastUpdated,
    flags: isExpunged ? [...flags, '\\Expunged'] : flags,
    internaldate,
    size: size ?? 0,
    guid,
    annotations,
  };
}
