/** sync_client may try whether the port speaks IMAP; an untagged BAD would cost it ten seconds. */

const IMAP_WORDS = new Set([
  'CAPABILITY',
  'LOGOUT',
  'NOOP',
  'ID',
  'LOGIN',
  'AUTHENTICATE',
  'STARTTLS',
  'ENABLE',
]);
const TAG = /^[A-Za-z0-9._-]{1,32}$/;

/** The answer to a tagged IMAP command; undefined if it is none. */
export function answerImap(tag: string, args: string[]): { line: string; ends: boolean } | undefined {
  const word = args[0]?.toUpperCase();
  if (word === undefined || !IMAP_WORDS.has(word) || !TAG.test(tag)) return undefined;
  if (word === 'LOGOUT') return { line: `* BYE This is no IMAP server\r\n${tag} OK Completed`, ends: true };
  return { line: `${tag} BAD IMAP_PROTOCOL_ERROR Unrecognized command`, ends: false };
}
