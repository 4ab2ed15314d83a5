/** Mailboxes with many records, whose messages need not be there. */
import { hash } from 'node:crypto';
import { SeededRandom } from '../../src/cli/generated-mail.ts';
import { GeneratedMailbox } from '../../src/cli/generated-user.ts';
import { mailboxStep } from '../load/session.ts';

const COMMAND = 'APPLY ';
const VERB = 'MAILBOX ';
const FIRST_DATE = 1_704_067_200;
const MESSAGE = Buffer.alloc(3403);

export function bigMailbox(records: number): GeneratedMailbox {
  const mailbox = new GeneratedMailbox(new SeededRandom(3), 'anne', '', FIRST_DATE);
  for (let at = 0; at < records; at++) {
    mailbox.append({ bytes: MESSAGE, guid: hash('sha1', String(at)), internaldate: FIRST_DATE + at });
  }
  return mailbox;
}

/** The command as sent, `APPLY MAILBOX %(...)` and CRLF. */
export function mailboxCommand(mailbox: GeneratedMailbox): Buffer {
  return mailboxStep(mailbox, mailbox.records).bytes;
}

/** `%(...)` of it. */
export function mailboxValue(command: Buffer): Buffer {
  return command.subarray(COMMAND.length + VERB.length, -2);
}
