/** RESERVE: which of these messages does the server lack? Changes nothing, and nothing of it is stored. */
import { type Answer, badParameters, OK } from '../answer.ts';
import { ownerOfMailbox } from '../owners.ts';
import type { Session } from '../session.ts';
import type { ApplyHandler, ApplyVerb } from './handler.ts';

export const reserveVerb: ApplyVerb = { verb: 'RESERVE', begin: (session) => new ReserveHandler(session) };

/** sync_client asks for up to 8193 at a time. */
const MAX_GUIDS = 65_536;
/** A batch of mailboxes has no more users than mailboxes; sync_client's has up to 1000. */
const MAX_USERS = 4096;
const GUID = /^[0-9a-f]{40}$/;

class ReserveHandler implements ApplyHandler {
  readonly #session: Session;
  readonly #owners = new Set<string>();
  readonly #guids = new Set<string>();
  #problem: string | undefined;

  constructor(session: Session) {
    this.#session = session;
  }

  item(key: string, value: string | null): void {
    if (key === 'GUID') this.#addGuid((value ?? '').toLowerCase());
    else if (key === 'MBOXNAME') this.#addMailbox(value);
  }

  async finish(): Promise<Answer> {
    if (this.#problem !== undefined) return badParameters(this.#problem);
    if (this.#owners.size === 0) return badParameters('No mailbox is named');
    const { backups, id, routing } = this.#session;
    const guids = [...this.#guids];
    const missing = new Set<string>();
    const isSure = this.#owners.size === 1 && routing.isOnlyAbout([...this.#owners][0]!);
    for (const userid of this.#owners) {
      const reply = await backups.ask({ op: 'reserve', session: id, userid, guids });
      if (reply.code === 'NEED') return { code: 'IMAP_MAILBOX_LOCKED' };
      if (reply.code !== 'OK') return { code: reply.code, text: reply.text };
      const lacking = new Set(reply.guids);
      for (const guid of guids) {
        if (!lacking.has(guid)) {
          // The GUIDs are those of all mailboxes that the client goes on to send, the names only those that the server has. So
          // what is not sent because this user has it may be needed by somebody else.
          routing.hold(guid, userid);
          continue;
        }
        missing.add(guid);
        routing.reserve(guid, userid, isSure);
      }
    }
    if (missing.size > 0) {
      const inOrder = guids.filter((guid) => missing.has(guid));
      this.#session.transport.write(`* MISSING (${inOrder.join(' ')})\r\n`);
    }
    return OK;
  }

  #addGuid(guid: string): void {
    if (!GUID.test(guid)) this.#problem ??= 'A GUID is not 40 hex digits';
    else if (this.#guids.size >= MAX_GUIDS) this.#problem ??= `More than ${MAX_GUIDS} GUIDs`;
    else this.#guids.add(guid);
  }

  #addMailbox(name: string | null): void {
    const owner = ownerOfMailbox(name, this.#session.server.config);
    if (owner === undefined) this.#problem ??= 'A mailbox name names no user';
    else if (this.#owners.size >= MAX_USERS && !this.#owners.has(owner))
      this.#problem ??= `Mailboxes of more than ${MAX_USERS} users`;
    else this.#owners.add(owner);
  }
}
