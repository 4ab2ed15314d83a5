/**
 * UNMAILBOX goes into the backup of the user whom the name says, but for a mailbox that GET USER has just shown of another
 * one: when a renamed user took the backup along, what the mail server had forgotten by then stayed under the old name.
 */
import { type Answer, badParameters, protocolError } from '../answer.ts';
import { type CommandText, SMALL_BYTES } from '../command-text.ts';
import { readPages } from '../get/pages.ts';
import { ownerOfMailbox } from '../owners.ts';
import type { Session } from '../session.ts';
import type { ApplyHandler, ApplyVerb } from './handler.ts';
import { BackupSink } from './sinks.ts';
import { finishStored } from './stored-command.ts';

export const unmailboxVerb: ApplyVerb = {
  verb: 'UNMAILBOX',
  begin: (session) => new UnmailboxHandler(session),
};

class UnmailboxHandler implements ApplyHandler {
  readonly text: CommandText;
  readonly #session: Session;
  #name: string | null | undefined;

  constructor(session: Session) {
    this.#session = session;
    this.text = session.newText();
  }

  field(key: string, value: string | null): void {
    if (key === '') this.#name ??= value;
  }

  async finish(): Promise<Answer> {
    const session = this.#session;
    const owner = ownerOfMailbox(this.#name, session.server.config);
    if (owner === undefined || this.text.length >= SMALL_BYTES) {
      await this.text.abort();
      return this.text.length >= SMALL_BYTES
        ? badParameters('UNMAILBOX is too long')
        : protocolError('The name is missing or names no user');
    }
    const asked = session.routing.lastAsked;
    const isAstray = asked !== undefined && asked !== owner && (await this.#isThere(asked));
    const sink = new BackupSink(session, isAstray ? asked : owner, 'UNMAILBOX');
    this.text.sink = sink;
    return finishStored(session, sink, await this.text.finish());
  }

  async #isThere(userid: string): Promise<boolean> {
    let isThere = false;
    const query = { what: 'MAILBOXES' as const, mboxnames: [this.#name!] };
    await readPages(this.#session, userid, query, () => {
      isThere = true;
    });
    return isThere;
  }
}
