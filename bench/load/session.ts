import type { GeneratedMessage } from '../../src/cli/generated-mail.ts';
import { type GeneratedMailbox, PARTITION } from '../../src/cli/generated-user.ts';
import { printFileHeader } from '../../src/csync/encoder.ts';
import { MAX_MESSAGES_PER_COMMAND } from '../../src/restore/csync-client.ts';
import { syncCrcs } from '../../src/restore/csync-crc.ts';
import { type CsyncRecord, printApplyMailbox, type Since } from '../../src/restore/csync-mailbox.ts';
import type { CsyncUser } from '../../src/restore/csync-push.ts';

/** One command of a session, ready to be written, and what has to come back. */
export interface Step {
  /** For the latency table: `MESSAGE`, `MAILBOX`, `RESTART`, ... */
  verb: string;
  bytes: Buffer;
  /** The same, deflated by itself, for connections with COMPRESS: see pack(). */
  packed?: Buffer;
  /** Number of `* ` lines that have to come before the OK, where it is known. */
  answers?: number;
  messages?: number;
}

export function command(verb: string, text: string, answers?: number): Step {
  return { verb, bytes: Buffer.from(`${text}\r\n`, 'latin1'), answers };
}

export const RESTART = command('RESTART', 'RESTART', 0);

/** APPLY MESSAGE of all of these, in blocks as sync_client makes them. */
export function messageSteps(messages: readonly GeneratedMessage[]): Step[] {
  const steps: Step[] = [];
  for (let from = 0; from < messages.length; from += MAX_MESSAGES_PER_COMMAND) {
    const block = messages.slice(from, from + MAX_MESSAGES_PER_COMMAND);
    const pieces: Buffer[] = [];
    for (const { bytes, guid } of block) {
      const head = pieces.length === 0 ? 'APPLY MESSAGE (' : ' ';
      pieces.push(Buffer.from(`${head}${printFileHeader(PARTITION, guid, bytes.length)}`, 'latin1'), bytes);
    }
    pieces.push(Buffer.from(')\r\n'));
    steps.push({ verb: 'MESSAGE', bytes: Buffer.concat(pieces), answers: 0, messages: block.length });
  }
  return steps;
}

/** APPLY MAILBOX with these records of it. */
export function mailboxStep(mailbox: GeneratedMailbox, records: readonly CsyncRecord[], since?: Since): Step {
  const text = [...printApplyMailbox(mailbox, records, syncCrcs(mailbox.records), since)].join('');
  return command('MAILBOX', text, 0);
}

/** A user's first push, without the messages: GET USER at its head, what follows the mailboxes at its end. */
export function firstPushFrame(user: CsyncUser): { head: Step[]; tail: Step[] } {
  const tail: Step[] = [];
  for (const { root, limits } of user.quotas ?? []) {
    const fields = Object.entries(limits).map(([name, limit]) => ` ${name} ${limit}`);
    tail.push(command('QUOTA', `APPLY QUOTA %(ROOT ${root}${fields.join('')})`, 0));
  }
  for (const name of user.subscriptions ?? []) {
    tail.push(command('SUB', `APPLY SUB %(USERID ${user.userid} MBOXNAME ${name})`, 0));
  }
  const inbox = user.mailboxes[0]!;
  const seen = `LASTREAD ${inbox.lastAppenddate} LASTUID ${inbox.lastUid} LASTCHANGE ${inbox.lastAppenddate} SEENUIDS 1:${inbox.lastUid}`;
  tail.push(command('SEEN', `APPLY SEEN %(USERID ${user.userid} UNIQUEID ${inbox.uniqueid} ${seen})`, 0));
  return { head: [command('GET USER', `GET USER ${user.userid}`)], tail };
}

/** One new message in a mailbox that the server has: what a rolling sync_client sends for it. */
export function smallUpdate(mailbox: GeneratedMailbox, message: GeneratedMessage): Step[] {
  const since = { ...syncCrcs(mailbox.records), modseq: mailbox.highestmodseq };
  const record = mailbox.append(message);
  const { mboxname } = mailbox;
  const reserve = `APPLY RESERVE %(PARTITION ${PARTITION} MBOXNAME (${mboxname}) GUID (${message.guid}))`;
  return [
    command('GET MAILBOXES', `GET MAILBOXES (${mboxname})`, 1),
    command('RESERVE', reserve, 1),
    ...messageSteps([message]),
    mailboxStep(mailbox, [record], since),
    RESTART,
  ];
}
