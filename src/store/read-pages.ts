/** GET answers in pages: as many whole `* ` lines as make up about a slab's quarter. */
import type { ReadQuery, ShardReply } from '../pipeline/messages.ts';
import type { Backup } from './backup.ts';
import { answer } from './index/answers.ts';

const PAGE_BYTES = 256 * 1024;

/** The pages of an answer, or the refusal. */
export function answerPages(backup: Backup, query: ReadQuery): Iterator<Uint8Array> | ShardReply {
  const lines = answer(backup.index, query);
  return lines === undefined ? nonexistentAnswer(query) : pagesOf(lines);
}

function* pagesOf(lines: Iterable<Uint8Array>): Generator<Uint8Array, void> {
  let page: Uint8Array[] = [];
  let length = 0;
  for (const line of lines) {
    page.push(line);
    length += line.length;
    if (length < PAGE_BYTES) continue;
    yield Buffer.concat(page);
    page = [];
    length = 0;
  }
  if (length > 0) yield Buffer.concat(page);
}

/** What a user without a backup, or a mailbox that is not there, is answered: reads create nothing. */
export function nonexistentAnswer(query: ReadQuery): ShardReply {
  if (query.what === 'FULLMAILBOX' || query.what === 'MESSAGE') {
    return { code: 'IMAP_MAILBOX_NONEXISTENT', text: 'No Such Mailbox' };
  }
  return { code: 'OK', text: '', bytes: new Uint8Array(0) };
}
