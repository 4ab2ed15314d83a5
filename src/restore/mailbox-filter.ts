/** A mailbox in the history of a backup, by a name that it has or had. */
import type { NameRules } from '../csync/mailbox-name.ts';
import { BackupError } from '../platform/errors.ts';
import { mailboxes } from '../store/index/queries.ts';
import { withBackup } from '../store/open-backup.ts';
import { isCorruptIndex } from '../store/recovery.ts';
import type { HistoryChange } from './history-event.ts';
import { namesOf } from './selection.ts';

export class MailboxFilter {
  readonly #name: string;
  readonly #rules: NameRules;
  readonly #uniqueids = new Set<string>();
  /** Whether there is or was such a mailbox. */
  isKnown = false;

  private constructor(name: string, rules: NameRules) {
    this.#name = name;
    this.#rules = rules;
  }

  /**
   * What has the name now may have had others before.
   *
   * @param name one character a byte
   */
  static async open(name: string, dataPath: string, rules: NameRules): Promise<MailboxFilter> {
    const filter = new MailboxFilter(name, rules);
    try {
      await withBackup(dataPath, ({ index }) => {
        for (const row of mailboxes(index)) filter.#see(row);
      });
    } catch (error) {
      // Then only what has it at the time is found.
      if (!isCorruptIndex(error)) throw error;
    }
    return filter;
  }

  takes(change: HistoryChange): boolean {
    if (!('mboxname' in change) || change.mboxname === '') return false;
    const uniqueid = 'uniqueid' in change ? change.uniqueid : '';
    if (this.#see({ mboxname: change.mboxname, uniqueid })) return true;
    if ('from' in change && this.#see({ mboxname: change.from, uniqueid })) return true;
    return this.#uniqueids.has(uniqueid);
  }

  #see(mailbox: { mboxname: string; uniqueid: string }): boolean {
    if (!namesOf(mailbox, this.#rules).includes(this.#name)) return false;
    this.isKnown = true;
    if (mailbox.uniqueid !== '') this.#uniqueids.add(mailbox.uniqueid);
    return true;
  }
}

/** @param name as the person wrote it */
export function unknownMailbox(name: string, path: string): BackupError {
  return new BackupError({
    code: 'NOT_FOUND',
    tried: 'find',
    subject: name,
    reason: `no mailbox of ${path} is or was called so`,
    remedy: 'See csync-backup show mailboxes for the names; INBOX is the inbox, Sent a folder of it',
  });
}
