/** What is to be restored, and under which names. */
import { mailboxDeletedAt, type NameRules, parseMailboxName } from '../csync/mailbox-name.ts';
import { encodeMailboxName } from '../csync/modified-utf7.ts';
import { BackupError } from '../platform/errors.ts';
import { familiarName, nearNames } from './near-names.ts';
import { isLive, type Selection } from './selection.ts';
import type { BackupSource, StoredMailbox, StoredRecord } from './source.ts';

export interface PlannedMailbox {
  mailbox: StoredMailbox;
  /**
   * Where it goes, as folder names from the user's INBOX down (empty: INBOX itself), or from the top for a mailbox
   * of nobody. Modified UTF-7 as stored; a dot in a name is a dot.
   */
  folders: string[];
  /** Those that are wanted, by UID. */
  records(): Generator<StoredRecord, void>;
}

export interface RestorePlan {
  source: BackupSource;
  /** Whose backup: `anne`, `%SHARED`. */
  userid: string;
  rules: NameRules;
  /** Name of the new tree below INBOX in which all is put; undefined: everything under its own name. */
  into: string | undefined;
  mailboxes: PlannedMailbox[];
  /** Subscriptions, seen states, Sieve scripts, quotas as well. */
  withSettings: boolean;
}

export interface PlanOptions {
  userid: string;
  rules: NameRules;
  selection: Selection;
  /** As a person writes it. */
  into: string | undefined;
  withSettings: boolean;
  /** An object for people, in errors. */
  describe?(object: string): string;
}

/** Of those that are missing, so many are named. */
const MAX_NAMED = 10;

/** @throws BackupError NOT_FOUND for an object that the backup does not have */
export function planRestore(source: BackupSource, options: PlanOptions): RestorePlan {
  const { userid, rules, selection, withSettings, describe = (object) => object } = options;
  const into = options.into === undefined ? undefined : encodeMailboxName(options.into);
  const planned: PlannedMailbox[] = [];
  const names: string[] = [];
  for (const mailbox of source.mailboxes({ deleted: true })) {
    if (names.length < NAMES_TO_COMPARE) names.push(familiarName(mailbox, rules));
    const wanted = selection.ofMailbox(mailbox);
    if (wanted === undefined) continue;
    const folders = foldersOf(mailbox, rules);
    function* records(): Generator<StoredRecord, void> {
      for (const record of source.records(mailbox, { expunged: wanted!.expunged })) {
        if (wanted!.takes(record)) yield record;
      }
    }
    planned.push({ mailbox, folders: into === undefined ? folders : [into, ...folders], records });
  }
  const missing = selection.unmatched();
  if (missing.length > 0) throw notThere(source, missing, names, describe);
  return { source, userid, rules, into, mailboxes: planned, withSettings };
}

/** Names that are looked through for what somebody may have meant. */
const NAMES_TO_COMPARE = 10_000;
const GUID = /^[0-9a-f]{40}$/;

function notThere(
  source: BackupSource,
  missing: readonly string[],
  names: readonly string[],
  describe: (object: string) => string,
): BackupError {
  const moment = source.at === undefined ? '' : ` at ${new Date(source.at * 1000).toISOString()}`;
  const named = missing.slice(0, MAX_NAMED);
  const more = missing.length > named.length ? ` and ${missing.length - named.length} more` : '';
  const isDeleted = named.some((object) => names.includes(Buffer.from(object, 'latin1').toString('utf8')));
  const near = named.flatMap((object) =>
    GUID.test(object) ? [] : nearNames(Buffer.from(object, 'latin1').toString('utf8'), names),
  );
  const meant = isDeleted
    ? 'There was one, which is deleted: leave --identity out, or give --at with a moment before that. '
    : near.length === 0
      ? ''
      : `Did you mean ${[...new Set(near)].join(', ')}? `;
  return new BackupError({
    code: 'NOT_FOUND',
    tried: 'find',
    subject: named.map(describe).join(', ') + more,
    reason: `the backup ${source.path} does not have it${moment}`,
    remedy: `${meant}See csync-backup show mailboxes for what there is, csync-backup history for what was renamed, and csync-backup search for messages`,
  });
}

/** One that is gone may have the name of one that lives, so it says when it went. */
function foldersOf(mailbox: StoredMailbox, rules: NameRules): string[] {
  const { folders } = parseMailboxName(mailbox.mboxname, rules);
  if (isLive(mailbox, rules)) return folders;
  const time = mailboxDeletedAt(mailbox.mboxname, rules) ?? mailbox.deleted;
  const when = time === null ? '' : `-${compactTime(time)}`;
  return [...folders.slice(0, -1), `${folders.at(-1) ?? 'INBOX'}-DELETED${when}`];
}

/** `20261125T215500`, UTC: a part of a mailbox's name. */
export function compactTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 19).replaceAll(/[-:]/g, '');
}
