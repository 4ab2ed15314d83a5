/** Reads from a backup in pages, so that neither thread holds a whole answer. */
import type { ReadQuery } from '../../pipeline/messages.ts';
import type { Answer } from '../answer.ts';
import type { Session } from '../session.ts';

const LF = 0x0a;

/** Hands over the `* ` lines of an answer, page after page, and gives its code. */
export async function readPages(
  session: Session,
  userid: string,
  query: ReadQuery,
  page: (bytes: Uint8Array) => void | Promise<void>,
  mayAsk = false,
): Promise<Answer> {
  let cursor: number | undefined;
  do {
    const reply = await session.backups.ask({
      op: 'read',
      session: session.id,
      userid,
      query,
      ...(mayAsk && { mayAsk }),
      ...(cursor !== undefined && { cursor }),
    });
    if (reply.code === 'NEED') return { code: 'IMAP_MAILBOX_LOCKED' };
    if (reply.code !== 'OK') return { code: reply.code, text: reply.text };
    if (reply.bytes !== undefined && reply.bytes.byteLength > 0) await page(reply.bytes);
    cursor = reply.cursor;
  } while (cursor !== undefined && !session.isClosing);
  return { code: 'OK' };
}

/** Sends an answer to the client, no faster than it reads. */
export async function sendPages(session: Session, userid: string, query: ReadQuery): Promise<Answer> {
  let isWhole = true;
  const write = (bytes: Uint8Array): Promise<void> | void => {
    isWhole = bytes.at(-1) === LF;
    session.transport.write(bytes);
    return session.transport.drained();
  };
  // By these a client decides what it sends.
  const mayAsk = query.what === 'USER' || query.what === 'MAILBOXES';
  const answer = await readPages(session, userid, query, write, mayAsk);
  // Nothing can be said any more: the client would take it for the rest of the line.
  if (!isWhole) session.transport.destroy(new Error('an answer broke off inside a line'));
  return answer;
}
