/** GET answers in pages, so that neither thread holds a whole answer. */
import { printString } from '../csync/encoder.ts';
import type { ReadQuery, ShardReply } from '../pipeline/messages.ts';
import type { Backup } from './backup.ts';
import { answer, sieveLine } from './index/answers.ts';
import { scriptText } from './script-text.ts';

/** A page is at least this long, unless it is the last. */
const PAGE_BYTES = 256 * 1024;

/** The pages of an answer, or the refusal. `told`: as of answer(). */
export function answerPages(
  backup: Backup,
  query: ReadQuery,
  told?: () => ReadonlySet<string>,
): Iterator<Uint8Array> | ShardReply {
  const pieces =
    query.what === 'MESSAGE'
      ? messagePieces(backup, query.guid)
      : query.what === 'SIEVE'
        ? sievePieces(backup, query.filename)
        : answer(backup.index, query, told);
  return pieces === undefined ? nonexistentAnswer(query) : pagesOf(pieces);
}

function* pagesOf(pieces: Iterable<Uint8Array>): Generator<Uint8Array, void> {
  let page: Uint8Array[] = [];
  let length = 0;
  for (const piece of pieces) {
    page.push(piece);
    length += piece.length;
    if (length < PAGE_BYTES) continue;
    yield Buffer.concat(page);
    page = [];
    length = 0;
  }
  if (length > 0) yield Buffer.concat(page);
}

/** `* MESSAGE %{partition guid size}` and the bytes: what FETCH is answered. */
function messagePieces(backup: Backup, guid: string): Iterable<Uint8Array> | undefined {
  const found = backup.findMessage(guid);
  // Its size is announced before its bytes: whether they are all there has to be known by then.
  if (found === undefined || !backup.isReadable(guid)) return undefined;
  const { partition, size, blocks } = found;
  return (function* () {
    yield Buffer.from(`* MESSAGE %{${printString(partition)} ${guid} ${size}}\r\n`, 'latin1');
    for (const block of blocks()) yield Buffer.from(block); // a block is valid only until the next
    yield Buffer.from('\r\n', 'latin1');
  })();
}

function sievePieces(backup: Backup, filename: string): Iterable<Uint8Array> | undefined {
  const script = backup.index.findSieve(filename);
  if (script === undefined) return undefined;
  const content = scriptText(backup.content(script.chunk, script.lineOffset), script.lineOffset);
  if (content === undefined) return undefined;
  return [sieveLine(backup.userid, { filename, lastUpdate: script.lastUpdate }, content)];
}

/** What a user without a backup, or a thing that is not there, is answered: reads create nothing. */
export function nonexistentAnswer(query: ReadQuery): ShardReply {
  if (query.what === 'FULLMAILBOX' || query.what === 'MESSAGE' || query.what === 'SIEVE') {
    return { code: 'IMAP_MAILBOX_NONEXISTENT', text: 'No Such Mailbox' };
  }
  return { code: 'OK', text: '', bytes: new Uint8Array(0) };
}
