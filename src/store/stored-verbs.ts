/** How each APPLY verb is written into a data file. */
import type { StoredVerb } from '../pipeline/messages.ts';

/** What Cyrus's own readers understand as it is; everything else is kept as a note (notes.ts). */
const CYRUS_KNOWS: ReadonlySet<StoredVerb> = new Set<StoredVerb>([
  'MESSAGE',
  'MAILBOX',
  'EXPUNGE',
  'UNMAILBOX',
  'RENAME',
  'SUB',
  'UNSUB',
  'SEEN',
  'SIEVE',
  'UNSIEVE',
]);

/** Whether a command with this verb is a line of its own or a note. */
export function commandWord(verb: StoredVerb): 'APPLY' | 'NOTE' {
  return CYRUS_KNOWS.has(verb) ? 'APPLY' : 'NOTE';
}
