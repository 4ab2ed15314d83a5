/** Tagless answers as sync_client understands them: the word after NO decides what the client does next. */
import type { ReplyCode } from '../pipeline/messages.ts';

export interface Answer {
  code: ReplyCode;
  /** For people; a usual text for the code if empty. */
  text?: string;
}

export const OK: Answer = { code: 'OK' };

/** As backupd words them. */
const USUAL_TEXT: Record<ReplyCode, string> = {
  OK: 'Success',
  IMAP_INVALID_USER: 'Invalid user',
  IMAP_MAILBOX_NONEXISTENT: 'No Such Mailbox',
  IMAP_MAILBOX_LOCKED: 'Mailbox locked',
  IMAP_SYNC_CHECKSUM: 'Checksum failure',
  IMAP_SYNC_BADSIEVE: 'Sieve script compilation failure',
  IMAP_PROTOCOL_ERROR: 'Protocol error',
  IMAP_PROTOCOL_BAD_PARAMETERS: 'Bad parameters',
};

const MAX_TEXT = 500;

/** Text that stays on its line, whatever it quotes. */
export function oneLine(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, ' ').slice(0, MAX_TEXT);
}

/** `OK Success` or `NO CODE text`, without the line end. */
export function answerLine(answer: Answer): string {
  const text = answer.text ? oneLine(answer.text) : USUAL_TEXT[answer.code];
  return answer.code === 'OK' ? `OK ${text}` : `NO ${answer.code} ${text}`;
}

/** A command in which something is missing or makes no sense: nothing that time could heal. */
export function protocolError(text: string): Answer {
  return { code: 'IMAP_PROTOCOL_ERROR', text };
}

export function badParameters(text: string): Answer {
  return { code: 'IMAP_PROTOCOL_BAD_PARAMETERS', text };
}
