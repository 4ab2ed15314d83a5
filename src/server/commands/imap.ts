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

/**
 * The answer to a tagged IMAP command; undefined if it is none. In TLS from the first byte the client asks
 * before it has read the greeting, takes that for part of the answer and then waits ten seconds for another
 * one (imap/backend.c of Cyrus, backend_starttls and backend_login): `again` is that.
 */
export function answerImap(
  tag: string,
  args: string[],
  again: string | undefined,
): { line: string; ends: boolean } | undefined {
  const word = args[0]?.toUpperCase();
  if (word === undefined || !IMAP_WORDS.has(word) || !TAG.test(tag)) return undefined;
  if (word === 'LOGOUT') return { line: `* BYE This is no IMAP server\r\n${tag} OK Completed`, ends: true };
  const line = `${tag} BAD IMAP_PROTOCOL_ERROR Unrecognized command`;
  return { line: again === undefined ? line : `${line}\r\n${again}`, ends: false };
}
