/** Whose backup a command belongs to. */
import type { Config } from '../config/config.ts';
import { mailboxOwner, parseMailboxName } from '../csync/mailbox-name.ts';
import { SHARED_USERID } from '../pipeline/messages.ts';

/** A file name holds the userid, a separator and six more characters. */
const MAX_USERID_BYTES = 200;

/**
 * The userid, if it can be one. Names that a path could not hold, and those of our own (`%SHARED`), belong to
 * nobody.
 */
export function validUserid(userid: string | null | undefined): string | undefined {
  if (userid === null || userid === undefined || userid === '' || userid.length > MAX_USERID_BYTES)
    return undefined;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not get into a path
  return /^[%.]|[/\x00-\x1f\x7f]/.test(userid) ? undefined : userid;
}

/** Owner of a mailbox by its internal name; undefined if the name cannot be one. */
export function ownerOfMailbox(name: string | null | undefined, config: Config): string | undefined {
  if (name === null || name === undefined || name === '') return undefined;
  const owner = mailboxOwner(name, config);
  if (owner !== SHARED_USERID) return validUserid(owner);
  // A user of that name would get into everybody's shared mailboxes.
  return parseMailboxName(name, config).localpart === undefined ? owner : undefined;
}

/** True for the mailbox that a user has the name from. */
export function isInbox(name: string, config: Config): boolean {
  const { localpart, folders, deletedSuffix } = parseMailboxName(name, config);
  return localpart !== undefined && folders.length === 0 && deletedSuffix === undefined;
}
