/**
 * Two people who had the same userid one after the other. When a user who is gone (UNUSER) gets a mailbox that
 * the backup has never seen, somebody new has the name: the old backup is put aside in the catalog under
 * `%DELETED.USERID.HEXTIME`, and the new user begins an empty one that names it (the note FORMER).
 *
 * The mail server goes on naming the old user's deleted folders (`DELETED.user.x...`) as the new user's. They
 * are answered from the old backup and what changes them goes there, so that neither is mixed with the other.
 */
import { isDeletedMailbox } from '../csync/mailbox-name.ts';
import type { ReadQuery, StoredVerb } from '../pipeline/messages.ts';
import type { Backup } from './backup.ts';
import { mailboxByName, mailboxByUniqueid, mailboxes } from './index/queries.ts';
import type { StoreEnvironment } from './store-environment.ts';

const PREFIX = '%DELETED.';

/** Catalog key under which the backup of a user who is gone is put aside. */
export function formerKey(userid: string, unuserAt: number): string {
  return `${PREFIX}${userid}.${unuserAt.toString(16).toUpperCase()}`;
}

/** The userid under whose name a catalog key is asked for: itself, or that of the former user's successor. */
export function ownerOf(key: string): string {
  return key.startsWith(PREFIX) ? key.slice(PREFIX.length, key.lastIndexOf('.')) : key;
}

/** Which field of a command names the mailbox that it changes. */
const NAME_FIELD: Partial<Record<StoredVerb, string>> = {
  MAILBOX: 'MBOXNAME',
  EXPUNGE: 'MBOXNAME',
  UNMAILBOX: '',
  RENAME: 'OLDMBOXNAME',
};

/** Whether this command is the first sign that somebody new has the name of a user who is gone. */
export function isNewPerson(
  backup: Backup,
  verb: StoredVerb,
  fields: ReadonlyMap<string, string>,
  env: StoreEnvironment,
): boolean {
  if (verb !== 'MAILBOX' || backup.index.unuserAt() === undefined) return false;
  const name = fields.get('MBOXNAME');
  const uniqueid = fields.get('UNIQUEID');
  if (name === undefined || uniqueid === undefined || isDeletedMailbox(name, env.config)) return false;
  return mailboxByUniqueid(backup.index, uniqueid) === undefined;
}

/**
 * The deleted mailbox that a command is about, if it may be that of a former user: the name is in the deleted
 * namespace and this backup does not have it.
 */
export function mailboxOfFormerUser(
  backup: Backup,
  verb: StoredVerb,
  fields: ReadonlyMap<string, string>,
  env: StoreEnvironment,
): string | undefined {
  const field = NAME_FIELD[verb];
  const name = field === undefined ? undefined : fields.get(field);
  if (name === undefined || !isDeletedMailbox(name, env.config)) return undefined;
  return mailboxByName(backup.index, name) === undefined ? name : undefined;
}

/** What of this query concerns the deleted mailboxes of former users; undefined if nothing. */
export function queryOfFormerUser(
  query: ReadQuery,
  former: Backup,
  env: StoreEnvironment,
): ReadQuery | undefined {
  switch (query.what) {
    case 'USER':
      return { what: 'MAILBOXES', mboxnames: deletedMailboxes(former, env) };
    case 'MAILBOXES':
      return { what: 'MAILBOXES', mboxnames: query.mboxnames.filter(isDeleted(env)) };
    case 'FULLMAILBOX':
    case 'MESSAGE':
      return isDeletedMailbox(query.mboxname, env.config) ? query : undefined;
    default:
      return undefined;
  }
}

function deletedMailboxes(former: Backup, env: StoreEnvironment): string[] {
  const names: string[] = [];
  for (const mailbox of mailboxes(former.index)) {
    if (mailbox.deleted === null) names.push(mailbox.mboxname);
  }
  return names.filter(isDeleted(env));
}

function isDeleted(env: StoreEnvironment): (name: string) => boolean {
  return (name) => isDeletedMailbox(name, env.config);
}
