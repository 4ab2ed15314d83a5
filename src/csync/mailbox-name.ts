import { BackupError } from '../platform/errors.ts';

/** The options that decide what names mean; Config has them all. */
export interface NameRules {
  /** imapd.conf `defaultdomain`: left off in userids and internal names; '' for none. */
  defaultDomain: string;
  /** With 'off' an `@` in an admin name is part of the user's name. */
  virtDomains: 'off' | 'userid' | 'on';
  /** Admin names are written with slashes (and dots may stand in them), else with dots. */
  unixHierarchySep: boolean;
  /** imapd.conf `deletedprefix`. */
  deletedPrefix: string;
}

/**
 * What an internal name says. Facts: Cyrus IMAP imap/mboxname.c (mbname_from_intname, mbname_extname). Names
 * stay in modified UTF-7.
 */
export interface MailboxName {
  /** Absent for the default domain. */
  domain?: string;
  /** The user's name without domain; absent for shared mailboxes. */
  localpart?: string;
  /** Folder names below the user's INBOX, or from the top for shared mailboxes; dots are dots. */
  folders: string[];
  /** Set for a mailbox in the deleted namespace: the hex digits of its time, as they stand in the name. */
  deletedSuffix?: string;
}

/** Backup of all mailboxes that belong to no user. */
export const SHARED_USERID = '%SHARED';

const USER = 'user';

/** Takes an internal name apart. Empty components are passed over, as Cyrus does. */
export function parseMailboxName(name: string, rules: NameRules): MailboxName {
  const bang = name.indexOf('!');
  const domain = bang === -1 ? undefined : name.slice(0, bang);
  const folders = split(name.slice(bang + 1), '.').map((part) => part.replaceAll('^', '.'));
  const parsed: MailboxName = { folders };
  if (domain !== undefined && domain !== rules.defaultDomain) parsed.domain = domain;
  if (folders.length > 2 && folders[0] === rules.deletedPrefix) {
    folders.shift();
    parsed.deletedSuffix = folders.pop() ?? '';
  }
  if (folders.length > 1 && folders[0] === USER) {
    folders.shift();
    parsed.localpart = folders.shift() ?? '';
  }
  return parsed;
}

/** The userid whose backup holds this mailbox: `anne`, `anne@example.com`, or SHARED_USERID. */
export function mailboxOwner(name: string, rules: NameRules): string {
  const { localpart, domain } = parseMailboxName(name, rules);
  if (localpart === undefined) return SHARED_USERID;
  return domain === undefined ? localpart : `${localpart}@${domain}`;
}

/** Internal name of a user's INBOX. */
export function userInbox(userid: string, rules: NameRules): string {
  const at = userid.lastIndexOf('@');
  const hasDomain = at !== -1 && rules.virtDomains !== 'off';
  const parsed: MailboxName = { localpart: hasDomain ? userid.slice(0, at) : userid, folders: [] };
  const domain = userid.slice(at + 1);
  if (hasDomain && domain !== rules.defaultDomain) parsed.domain = domain;
  return formatMailboxName(parsed, rules);
}

/** True if this is the live INBOX of this user: where it goes, the user goes. */
export function isInboxOf(name: string, userid: string, rules: NameRules): boolean {
  const { folders, deletedSuffix } = parseMailboxName(name, rules);
  return folders.length === 0 && deletedSuffix === undefined && mailboxOwner(name, rules) === userid;
}

/** True for a mailbox in the deleted namespace. */
export function isDeletedMailbox(name: string, rules: NameRules): boolean {
  return parseMailboxName(name, rules).deletedSuffix !== undefined;
}

/** When a mailbox in the deleted namespace was deleted, in seconds since 1970; undefined if it says no time. */
export function mailboxDeletedAt(name: string, rules: NameRules): number | undefined {
  const suffix = parseMailboxName(name, rules).deletedSuffix;
  return suffix !== undefined && /^[0-9A-F]{1,13}$/i.test(suffix) ? Number.parseInt(suffix, 16) : undefined;
}

/** The internal name of these parts; the inverse of parseMailboxName. */
export function formatMailboxName(name: MailboxName, rules: NameRules): string {
  const domain = name.domain === undefined ? '' : `${name.domain}!`;
  return (
    domain +
    components(name, rules)
      .map((part) => part.replaceAll('.', '^'))
      .join('.')
  );
}

/** Internal to admin namespace: `user/anne/Sent@example.com`, or `user.anne.Sent@example.com`. */
export function toAdmin(name: string, rules: NameRules): string {
  const parsed = parseMailboxName(name, rules);
  const separator = rules.unixHierarchySep ? '/' : '.';
  const parts = components(parsed, rules);
  const shown = rules.unixHierarchySep ? parts : parts.map((part) => part.replaceAll('.', '^'));
  return shown.join(separator) + (parsed.domain === undefined ? '' : `@${parsed.domain}`);
}

/**
 * Admin namespace to internal.
 * @throws BackupError USAGE for a name that is empty or holds what cannot stand in a mailbox name.
 */
export function fromAdmin(name: string, rules: NameRules): string {
  const at = rules.virtDomains === 'off' ? -1 : name.lastIndexOf('@');
  const local = at === -1 ? name : name.slice(0, at);
  const domain = at === -1 ? undefined : name.slice(at + 1);
  const forbidden = rules.unixHierarchySep ? '^' : '/';
  let reason: string | undefined;
  if (hasControl(name)) reason = 'it holds a control character';
  else if (local.includes(forbidden)) reason = `"${forbidden}" cannot stand in it`;
  else if (local.includes('!') || domain?.includes('!')) reason = '"!" cannot stand in it';
  else if (domain === '') reason = 'no domain follows the "@"';
  const parts = split(local, rules.unixHierarchySep ? '/' : '.');
  if (parts.length === 0) reason ??= 'it is empty';
  if (reason !== undefined) {
    throw new BackupError({
      code: 'USAGE',
      tried: 'read the mailbox name',
      subject: JSON.stringify(name),
      reason,
      remedy: `Give it as the administrator sees it, such as ${exampleName(rules)}`,
    });
  }
  const prefix = domain === undefined || domain === rules.defaultDomain ? '' : `${domain}!`;
  return prefix + parts.map((part) => part.replaceAll('.', '^')).join('.');
}

function exampleName(rules: NameRules): string {
  return rules.unixHierarchySep ? 'user/anne/Sent' : 'user.anne.Sent';
}

function components(name: MailboxName, rules: NameRules): string[] {
  const parts = [...name.folders];
  if (name.localpart !== undefined) parts.unshift(USER, name.localpart);
  if (name.deletedSuffix !== undefined) parts.unshift(rules.deletedPrefix);
  if (name.deletedSuffix !== undefined) parts.push(name.deletedSuffix);
  return parts;
}

function split(text: string, separator: string): string[] {
  return text.split(separator).filter((part) => part !== '');
}

function hasControl(text: string): boolean {
  for (let at = 0; at < text.length; at++)
    if (text.charCodeAt(at) < 0x20 || text.charCodeAt(at) === 0x7f) return true;
  return false;
}
