/** What became of a line that was applied to an index. */
import type { ReplyCode } from '../../pipeline/messages.ts';

export type ApplyOutcome =
  | {
      type: 'ok';
      /** False if the index says all that already: the line need not be stored. */
      changed: boolean;
      /** The command word under which the line belongs in the data file. */
      command: 'APPLY' | 'NOTE';
      /** There is something to be done about the mailbox of this line. */
      verdict?: { uniqueid: string; mboxname: string } & MailboxVerdict;
    }
  | Rejection
  | {
      /** The line names messages that are not here. Enter them and end the line again, or undo it. */
      type: 'need';
      uniqueid: string;
      /** At most MAX_MISSING of them. */
      guids: string[];
      missingCount: number;
      /** More of them, which were accepted without content before: the client was asked for them again. */
      stillMissing: string[];
    };

/** What is to be done about a checksum that differs. */
export type ChecksumVerdict =
  /** The mailbox is to be asked for as a whole. */
  | { type: 'ask' }
  /** It was, not long ago. */
  | { type: 'differs' }
  /** All of it has just come, and was not this: the records of these UIDs, of which it said nothing, are no more. */
  | { type: 'gone'; uids: number[] }
  /** All of it has just come, so that to ask again would bring nothing. */
  | { type: 'unusable' };

/** The same for what a client that asks nothing does not see to be due: the mailbox is to be asked for as a whole again. */
export type MailboxVerdict = ChecksumVerdict | { type: 'again'; guids: string[]; since: number };

export interface Rejection {
  type: 'reject';
  code: ReplyCode;
  /** For people. */
  text: string;
  /** UNIQUEID of a mailbox that is other than the client believes, and is to be sent as a whole. */
  heal?: string;
}

/** More missing messages than this are only counted: a whole resend is then the way anyhow. */
export const MAX_MISSING = 100_000;

export function badParameters(text: string): Rejection {
  return { type: 'reject', code: 'IMAP_PROTOCOL_BAD_PARAMETERS', text };
}
