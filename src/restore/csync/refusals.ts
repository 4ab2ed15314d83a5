/** What to make of what the target says. */
import { printNumber, printString } from '../../csync/encoder.ts';
import { BackupError } from '../../platform/errors.ts';
import { CsyncRefusal } from '../csync-reply.ts';

/** What a person can do about a refusal. */
export function remedyFor(refusal: CsyncRefusal, partition: string): string {
  const { code, text } = refusal.reply;
  if (code === 'IMAP_MAILBOX_LOCKED') return 'Another program works on it: try again later';
  if (code === 'IMAP_MAILBOX_MOVED') return 'Its unique id is in use there: leave --identity out';
  if (/admin|permission/i.test(text)) return 'Log in as one of the admins of the target';
  return (
    `See the log of the target: its disk may be full or read-only, it may not know the user, or have no partition "${partition}" ` +
    '(--partition NAME puts new mailboxes on another)'
  );
}

/** Whether it is the target's last word about one thing, so that the rest can go on. */
export function isRefusal(error: unknown): error is CsyncRefusal {
  return error instanceof CsyncRefusal && error.reply.status !== 'BYE';
}

/** Whether the connection is of no more use. */
export function isBroken(error: unknown): error is BackupError {
  return error instanceof BackupError && error.code === 'UNAVAILABLE';
}

const OURS = { nonSynchronising: true };

/** `%(KEY value ...)`. */
export function printFields(fields: Record<string, string | number>): string {
  const printed = Object.entries(fields).map(
    ([key, value]) => `${key} ${typeof value === 'number' ? printNumber(value) : printString(value, OURS)}`,
  );
  return `%(${printed.join(' ')})`;
}
