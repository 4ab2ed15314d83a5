/**
 * Administrators of Cyrus may make shared mailboxes and say who has which right in them (RFC 4314), but have no right to
 * add mail themselves. One who restores gives himself what is missing while mail goes in.
 */
import { type ImapClient, imapString, type Tagged } from '../../imap/client.ts';
import type { RestoreReport } from '../report.ts';
import { myRights } from './mailbox.ts';

/** To read what is there, set flags, among them \Seen and \Deleted, and add. */
const NEEDED = 'rswit';

export class BorrowedRights {
  readonly #client: ImapClient;
  readonly #user: string;
  readonly #report: RestoreReport;

  /** @param user who is logged in */
  constructor(client: ImapClient, user: string, report: RestoreReport) {
    this.#client = client;
    this.#user = user;
    this.#report = report;
  }

  /**
   * With the rights, as far as the server gives them, which are taken back behind it, and before mailboxes are made below:
   * those inherit them.
   *
   * @param work gets whether rights are there that were not there before
   */
  async during<T>(mailbox: string, work: (areNew: boolean) => Promise<T>): Promise<T> {
    const rights = await this.#borrow(mailbox);
    try {
      return await work(rights !== '');
    } finally {
      if (rights !== '') await this.#giveBack(mailbox, rights);
    }
  }

  async #borrow(mailbox: string): Promise<string> {
    const held = await myRights(this.#client, mailbox);
    const missing = [...NEEDED].filter((right) => !held.includes(right)).join('');
    if (missing === '' || !held.includes('a')) return '';
    const { status } = await this.#set(mailbox, `+${missing}`);
    return status === 'OK' ? missing : '';
  }

  async #giveBack(mailbox: string, rights: string): Promise<void> {
    const answer = this.#client.isClosed ? undefined : await this.#set(mailbox, `-${rights}`);
    if (answer?.status === 'OK') return;
    const reason = answer === undefined ? 'the connection broke' : answer.text;
    this.#report.remark(`${this.#user} still has the rights ${rights} in ${mailbox} (${reason}): see SETACL`);
  }

  async #set(mailbox: string, change: string): Promise<Tagged> {
    const to = [' ', imapString(this.#user), ` ${change}`];
    return await this.#client.command(['SETACL ', imapString(mailbox), ...to]);
  }
}
