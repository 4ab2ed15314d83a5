import { type GeneratedMessage, MailGenerator, SeededRandom } from '../../src/cli/generated-mail.ts';
import { type GeneratedMailbox, generateUser } from '../../src/cli/generated-user.ts';
import { syncCrcs } from '../../src/restore/csync-crc.ts';
import { command, firstPushFrame, mailboxStep, messageSteps, RESTART, type Step } from './session.ts';

const FOLDERS = ['', 'Sent', 'Archive', 'Archive.2024', 'Drafts', 'Trash'];
/** Cumulated shares of a user's messages by folder, in the order of FOLDERS. */
const FOLDER_SHARES = [0.55, 0.7, 0.85, 0.97, 0.98, 1];
const FIRST_UIDVALIDITY = 1_700_000_000;
const SMALL_USER_MESSAGES = 8;
const SMALL_USER_MESSAGE_BYTES = 12_000;

/** All steps of one user's first push, RESTART included. */
export interface UserSession {
  steps: Step[];
  /** The user's mailboxes afterwards. */
  mailboxes: readonly GeneratedMailbox[];
}

/** Makes users and their mail; the same seed and the same calls give the same bytes. */
export class Workload {
  readonly mail: MailGenerator;
  readonly #random: SeededRandom;
  #users = 0;

  constructor(seed: number) {
    this.mail = new MailGenerator(seed);
    this.#random = new SeededRandom(seed + 1);
  }

  /** A user with six folders and this many messages of mixed mail. */
  user(userid: string, messages: number): UserSession {
    return this.#firstPush(userid, FOLDERS, this.#dealt(messages));
  }

  /** The same, but a part of each folder's mail at a time, in turn, as it comes in while the user is backed up. */
  userInRounds(userid: string, messages: number, rounds: number): UserSession {
    const queues = this.#dealt(messages);
    const user = generateUser(this.#random, userid, FOLDERS, FIRST_UIDVALIDITY + this.#users++);
    const { head, tail } = firstPushFrame(user);
    const steps = [...head];
    for (let round = 0; round < rounds; round++) {
      for (const [folder, mailbox] of user.mailboxes.entries()) {
        const queue = queues[folder]!;
        const part = (n: number): number => Math.round((queue.length * n) / rounds);
        const since = { ...syncCrcs(mailbox.records), modseq: mailbox.highestmodseq };
        const messages = queue.slice(part(round), part(round + 1));
        const records = messages.map((message) => mailbox.append(message));
        if (round === 0) steps.push(...messageSteps(messages), mailboxStep(mailbox, mailbox.records));
        else {
          steps.push(command('GET MAILBOXES', `GET MAILBOXES (${mailbox.mboxname})`, 1));
          steps.push(...messageSteps(messages), mailboxStep(mailbox, records, since));
        }
      }
      steps.push(...(round === 0 ? tail : []), RESTART);
    }
    return { steps, mailboxes: user.mailboxes };
  }

  /** Mixed mail for each of FOLDERS. */
  #dealt(messages: number): GeneratedMessage[][] {
    const queues: GeneratedMessage[][] = FOLDERS.map(() => []);
    for (let at = 0; at < messages; at++) {
      const share = this.#random.fraction();
      queues[FOLDER_SHARES.findIndex((limit) => share < limit)]!.push(this.mail.mixed());
    }
    return queues;
  }

  /** A user with as much mixed mail in the inbox as makes `bytes`. */
  userOfSize(userid: string, bytes: number, messageBytes?: number): UserSession {
    return this.#firstPush(userid, [''], [this.mailOfSize(bytes, messageBytes)]);
  }

  /** A user with an inbox of a few messages. */
  smallUser(userid: string): UserSession {
    const messages = Array.from({ length: SMALL_USER_MESSAGES }, () =>
      this.mail.alternative(SMALL_USER_MESSAGE_BYTES),
    );
    return this.#firstPush(userid, [''], [messages]);
  }

  /** @param messageBytes texts of this size; mixed mail if absent */
  mailOfSize(bytes: number, messageBytes?: number): GeneratedMessage[] {
    const messages: GeneratedMessage[] = [];
    for (let size = 0; size < bytes; size += messages.at(-1)!.bytes.length) {
      messages.push(messageBytes === undefined ? this.mail.mixed() : this.mail.text(messageBytes));
    }
    return messages;
  }

  #firstPush(userid: string, folders: readonly string[], queues: readonly GeneratedMessage[][]): UserSession {
    const user = generateUser(this.#random, userid, folders, FIRST_UIDVALIDITY + this.#users++);
    const steps = user.mailboxes.flatMap((mailbox, folder) => {
      const messages = queues[folder]!;
      for (const message of messages) mailbox.append(message);
      return [...messageSteps(messages), mailboxStep(mailbox, mailbox.records)];
    });
    const { head, tail } = firstPushFrame(user);
    return { steps: [...head, ...steps, ...tail, RESTART], mailboxes: user.mailboxes };
  }
}
