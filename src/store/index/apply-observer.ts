import type { MailboxHeader } from './mailbox-header.ts';
import type { StoredMailbox } from './mailbox-rows.ts';
import type { RecordFields } from './record-store.ts';
import type { SmallLine } from './small-line.ts';

/**
 * Told what stored lines say, each time before it is applied, so that the index still says what was before. A line
 * that turns out to be malformed behind that is undone.
 */
export interface ApplyObserver {
  /** A line that is neither MAILBOX nor MESSAGE, complete and well-formed; `verb` in upper case. */
  small(verb: string, line: SmallLine): void;
  /** That line was applied: whether anything is different now. */
  applied(changed: boolean): void;
  /** A RECORD of a MAILBOX. Fields of the header that stand behind the RECORDs are not known yet. */
  record(mailbox: StoredMailbox, header: MailboxHeader, record: RecordFields): void;
  /** A MAILBOX is complete, its RECORDs are applied. Not called for intermediate nodes. */
  mailbox(mailbox: StoredMailbox, header: MailboxHeader): void;
}
