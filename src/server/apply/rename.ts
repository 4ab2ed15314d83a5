/**
 * RENAME. Within one user it is a line like others. Between users it is part of a user's rename: when the
 * INBOX moves, the whole backup goes with it and its history stays in one place; a new user may then take the
 * old name without meeting it.
 */
import { printString } from '../../csync/encoder.ts';
import { type Answer, badParameters, protocolError } from '../answer.ts';
import { type CommandText, SMALL_BYTES } from '../command-text.ts';
import { readPages } from '../get/pages.ts';
import { isInbox, ownerOfMailbox } from '../owners.ts';
import type { Session } from '../session.ts';
import type { ApplyHandler, ApplyVerb } from './handler.ts';
import { BackupSink } from './sinks.ts';
import { finishStored } from './stored-command.ts';

export const renameVerb: ApplyVerb = { verb: 'RENAME', begin: (session) => new RenameHandler(session) };

class RenameHandler implements ApplyHandler {
  readonly text: CommandText;
  readonly #session: Session;
  #from: string | null | undefined;
  #to: string | null | undefined;

  constructor(session: Session) {
    this.#session = session;
    this.text = session.newText();
  }

  field(key: string, value: string | null): void {
    if (key === 'OLDMBOXNAME') this.#from ??= value;
    else if (key === 'NEWMBOXNAME') this.#to ??= value;
  }

  async finish(): Promise<Answer> {
    const { config } = this.#session.server;
    const from = ownerOfMailbox(this.#from, config);
    const to = ownerOfMailbox(this.#to, config);
    if (from === undefined || to === undefined || this.text.length >= SMALL_BYTES) {
      await this.text.abort();
      return this.text.length >= SMALL_BYTES
        ? badParameters('RENAME is too long')
        : protocolError('OLDMBOXNAME or NEWMBOXNAME is missing or names no user');
    }
    if (from === to) return await this.#store(from);
    return await this.#betweenUsers(from, to);
  }

  async #betweenUsers(from: string, to: string): Promise<Answer> {
    const { routing, backups, id, server } = this.#session;
    if (routing.renamed.get(from) === to) return await this.#store(to);
    if (isInbox(this.#from!, server.config) && isInbox(this.#to!, server.config)) {
      const reply = await backups.ask({ op: 'rename-user', session: id, userid: from, to });
      if (reply.code === 'IMAP_MAILBOX_LOCKED')
        return await this.#give({ code: reply.code, text: reply.text });
      if (reply.code === 'OK') {
        routing.rename(from, to);
        server.log.info({ session: id, from, to }, 'a user was renamed and took the backup along');
        return await this.#store(to);
      }
    }
    return await this.#leaveBehind(from, to);
  }

  /**
   * The new owner has a backup already, or only this folder moves. Its history stays where it is, ended by an
   * UNMAILBOX; the client asks again after a rename, is told of neither name, and sends the folder to its new
   * owner. If the old owner does not have it, the new one does, since an earlier session moved the INBOX.
   */
  async #leaveBehind(from: string, to: string): Promise<Answer> {
    let exists = false;
    const query = { what: 'MAILBOXES' as const, mboxnames: [this.#from!] };
    const answer = await readPages(this.#session, from, query, () => {
      exists = true;
    });
    if (answer.code !== 'OK') return await this.#give(answer);
    if (!exists) return await this.#store(to);
    await this.text.abort();
    const sink = new BackupSink(this.#session, from, 'UNMAILBOX');
    await sink.open();
    const bytes = new Uint8Array(Buffer.from(`UNMAILBOX ${printString(this.#from!)}\r\n`, 'latin1'));
    const reply = await sink.send({ kind: 'bytes', bytes }, { messages: [] });
    return finishStored(this.#session, sink, reply);
  }

  async #store(userid: string): Promise<Answer> {
    const sink = new BackupSink(this.#session, userid, 'RENAME');
    this.text.sink = sink;
    return finishStored(this.#session, sink, await this.text.finish());
  }

  async #give(answer: Answer): Promise<Answer> {
    await this.text.abort();
    return answer;
  }
}
