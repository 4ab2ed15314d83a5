/** How each APPLY verb is written into a data file. */
import type { StoredVerb } from '../pipeline/messages.ts';

/**
 * What Cyrus's own readers understand is an APPLY line; they report an unknown APPLY name as an error, but
 * skip lines with any other command word, so what Cyrus does not store is kept as NOTE.
 */
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

/** The command word of a line with this verb. */
export function commandWord(verb: StoredVerb): 'APPLY' | 'NOTE' {
  return CYRUS_KNOWS.has(verb) ? 'APPLY' : 'NOTE';
}
