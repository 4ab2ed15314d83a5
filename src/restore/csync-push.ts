import { createHash } from 'node:crypto';
import { printKvlist, printNumber, printString } from '../csync/encoder.ts';
import { type CsyncClient, MAX_MESSAGES_PER_COMMAND, type OutgoingMessage } from './csync-client.ts';
import { syncCrcs } from './csync-crc.ts';
import {
  type CsyncMailbox,
  type CsyncRecord,
  printApplyMailbox,
  type Since,
  type SyncCrcs,
} from './csync-mailbox.ts';
import { CsyncRefusal, type CsyncReply } from './csync-reply.ts';
import { isUpToDate, readServerState, type ServerMailbox, type ServerState } from './csync-server-state.ts';

/** Everything of one user that is replicated. Names are internal, one byte per character; times UNIX seconds. */
export interface CsyncUser {
  userid: string;
  mailboxes: readonly CsyncMailbox[];
  subscriptions?: readonly string[];
  seen?: readonly {
    uniqueid: string;
    lastread: number;
    lastuid: number;
    lastchange: number;
    seenuids: string;
  }[];
  /** Sieve scripts; `filename` as `main.script`. */
  sieve?: readonly { filename: string; lastUpdate: number; content: string }[];
  /** Compiled name of the active script, as `main.bc`. */
  activeSieve?: string;
  /** Resource limits by name, as `STORAGE` (kB), for each quota root. */
  quotas?: readonly { root: string; limits: Record<string, number> }[];
}

/** Where the bytes of a message come from; asked only for those that the server lacks. */
export type MessageSource = (record: CsyncRecord) => OutgoingMessage['content'];

export interface PushOptions {
  content: MessageSource;
  /** Called before each command that changes something, with its verb: `MESSAGE`, `MAILBOX`, ... */
  onApply?: (verb: string, userid: string) => void;
}

/** What a push sent. */
export interface PushFigures {
  messages: number;
  messageBytes: number;
  mailboxes: number;
  /** APPLY commands of every kind. */
  applies: number;
}

const OURS = { nonSynchronising: true };

/**
 * Brings one user on the server to our state, in sync_client's order: GET USER, RESERVE for the mailboxes
 * that the server knows, then MESSAGE and MAILBOX for each changed mailbox, QUOTA, SUB, SIEVE, SEEN. What the
 * server has already is not sent. The caller sends RESTART.
 * @throws CsyncRefusal as the server answered, also where its copy stays different from ours
 */
export async function pushUser(
  client: CsyncClient,
  user: CsyncUser,
  options: PushOptions,
): Promise<PushFigures> {
  return await new UserPush(client, user, options).run();
}

class UserPush {
  readonly #client: CsyncClient;
  readonly #user: CsyncUser;
  readonly #options: PushOptions;
  readonly #figures: PushFigures = { messages: 0, messageBytes: 0, mailboxes: 0, applies: 0 };
  /** `partition guid` of the messages that the server surely has by now. */
  readonly #present = new Set<string>();

  constructor(client: CsyncClient, user: CsyncUser, options: PushOptions) {
    this.#client = client;
    this.#user = user;
    this.#options = options;
  }

  async run(): Promise<PushFigures> {
    const server = readServerState(await this.#client.get('USER', this.#user.userid));
    const changed = this.#user.mailboxes
      .map((mailbox) => ({
        mailbox,
        crcs: syncCrcs(mailbox.records),
        known: server.mailboxes.get(mailbox.uniqueid),
      }))
      .filter(({ mailbox, crcs, known }) => known === undefined || !isUpToDate(known, mailbox, crcs));

    await this.#removeGone(server);
    for (const { mailbox, known } of changed) {
      if (known !== undefined && known.mboxname !== mailbox.mboxname) await this.#rename(known, mailbox);
    }
    await this.#reserve(changed);
    for (const { mailbox, crcs, known } of changed) await this.#pushMailbox(mailbox, crcs, known);
    await this.#pushMeta(server);
    return this.#figures;
  }

  async #removeGone(server: ServerState): Promise<void> {
    const ours = new Set(this.#user.mailboxes.map((mailbox) => mailbox.uniqueid));
    for (const { uniqueid, mboxname } of server.mailboxes.values()) {
      if (!ours.has(uniqueid)) await this.#apply('UNMAILBOX', printString(mboxname, OURS));
    }
  }

  async #rename(known: ServerMailbox, mailbox: CsyncMailbox): Promise<void> {
    await this.#applyFields('RENAME', {
      OLDMBOXNAME: known.mboxname,
      NEWMBOXNAME: mailbox.mboxname,
      PARTITION: mailbox.partition,
      UIDVALIDITY: mailbox.uidvalidity,
    });
  }

  /** One RESERVE for each partition, of the new messages of all mailboxes that the server knows. */
  async #reserve(
    changed: readonly { mailbox: CsyncMailbox; known: ServerMailbox | undefined }[],
  ): Promise<void> {
    const partitions = new Map<string, { mboxnames: string[]; guids: Set<string> }>();
    for (const { mailbox, known } of changed) {
      if (known === undefined) continue;
      const entry = partitions.get(mailbox.partition) ?? { mboxnames: [], guids: new Set() };
      partitions.set(mailbox.partition, entry);
      entry.mboxnames.push(mailbox.mboxname);
      for (const record of newRecords(mailbox, known)) entry.guids.add(record.guid);
    }
    for (const [partition, { mboxnames, guids }] of partitions) {
      if (guids.size === 0) continue;
      const missing = new Set(await this.#client.reserve(partition, mboxnames, [...guids]));
      for (const guid of guids) if (!missing.has(guid)) this.#present.add(`${partition} ${guid}`);
    }
  }

  async #pushMailbox(mailbox: CsyncMailbox, crcs: SyncCrcs, known: ServerMailbox | undefined): Promise<void> {
    await this.#sendMessages(mailbox, known);
    let reply = await this.#applyMailbox(
      mailbox,
      crcs,
      known,
      known && { ...known.crcs, modseq: known.highestmodseq },
    );
    if (reply.code === 'IMAP_SYNC_CHECKSUM') {
      // The server's copy is not what its last answer made us believe: ask again, then send without SINCE; all
      // of it, messages too, where the server leaves the mailbox out of its answer.
      const again = readServerState(await this.#client.getMailboxes([mailbox.mboxname])).mailboxes.get(
        mailbox.uniqueid,
      );
      if (again === undefined)
        for (const { guid } of mailbox.records) this.#present.delete(`${mailbox.partition} ${guid}`);
      await this.#sendMessages(mailbox, again);
      reply = await this.#applyMailbox(mailbox, crcs, again, undefined);
    }
    if (reply.status !== 'OK')
      throw new CsyncRefusal(reply, `send mailbox ${mailbox.mboxname}`, 'the csync server');
    this.#figures.mailboxes++;
  }

  async #sendMessages(mailbox: CsyncMailbox, known: ServerMailbox | undefined): Promise<void> {
    const wanted = newRecords(mailbox, known).filter((record) => {
      const key = `${mailbox.partition} ${record.guid}`;
      if (record.flags.includes('\\Expunged') || this.#present.has(key)) return false;
      this.#present.add(key);
      return true;
    });
    for (let from = 0; from < wanted.length; from += MAX_MESSAGES_PER_COMMAND) {
      const block = wanted.slice(from, from + MAX_MESSAGES_PER_COMMAND);
      this.#begin('MESSAGE');
      await this.#client.sendMessages(
        mailbox.partition,
        block.map((record) => ({
          guid: record.guid,
          size: record.size,
          content: this.#options.content(record),
        })),
      );
      this.#figures.messages += block.length;
      for (const { size } of block) this.#figures.messageBytes += size;
    }
  }

  async #applyMailbox(
    mailbox: CsyncMailbox,
    crcs: SyncCrcs,
    known: ServerMailbox | undefined,
    since: Since | undefined,
  ): Promise<CsyncReply> {
    const after = known?.highestmodseq ?? 0n;
    const records = mailbox.records.filter((record) => BigInt(record.modseq) > after);
    this.#begin('MAILBOX');
    return await this.#client.request(printApplyMailbox(mailbox, records, crcs, since));
  }

  async #pushMeta(server: ServerState): Promise<void> {
    const { userid, quotas = [], subscriptions = [], sieve = [], activeSieve, seen = [] } = this.#user;
    for (const { root, limits } of quotas) {
      const held = server.quotas.get(root);
      const same =
        held !== undefined && Object.entries(limits).every(([name, limit]) => held[name] === String(limit));
      if (!same) await this.#applyFields('QUOTA', { ROOT: root, ...limits });
    }
    for (const name of subscriptions) {
      if (!server.subscriptions.has(name)) await this.#applyFields('SUB', { USERID: userid, MBOXNAME: name });
    }
    for (const name of server.subscriptions) {
      if (!subscriptions.includes(name)) await this.#applyFields('UNSUB', { USERID: userid, MBOXNAME: name });
    }
    for (const { filename, lastUpdate, content } of sieve) {
      const guid = createHash('sha1').update(content, 'latin1').digest('hex');
      if (server.sieve.get(filename) === guid) continue;
      await this.#applyFields('SIEVE', {
        USERID: userid,
        FILENAME: filename,
        LAST_UPDATE: lastUpdate,
        CONTENT: content,
      });
    }
    for (const filename of server.sieve.keys()) {
      if (sieve.some((script) => script.filename === filename)) continue;
      await this.#applyFields('UNSIEVE', { USERID: userid, FILENAME: filename });
    }
    if (activeSieve !== undefined && server.activeSieve !== activeSieve) {
      await this.#applyFields('ACTIVATE_SIEVE', { USERID: userid, FILENAME: activeSieve });
    }
    for (const { uniqueid, lastread, lastuid, lastchange, seenuids } of seen) {
      const fields = { LASTREAD: lastread, LASTUID: lastuid, LASTCHANGE: lastchange, SEENUIDS: seenuids };
      const held = server.seen.get(uniqueid);
      const same =
        held !== undefined && Object.entries(fields).every(([key, value]) => held[key] === String(value));
      if (!same) await this.#applyFields('SEEN', { USERID: userid, UNIQUEID: uniqueid, ...fields });
    }
  }

  async #applyFields(verb: string, fields: Record<string, string | number>): Promise<void> {
    const printed = Object.entries(fields).map(
      ([key, value]) =>
        [key, typeof value === 'number' ? printNumber(value) : printString(value, OURS)] as const,
    );
    await this.#apply(verb, printKvlist(printed));
  }

  async #apply(verb: string, text: string): Promise<void> {
    this.#begin(verb);
    await this.#client.command(`APPLY ${verb} ${text}`);
  }

  #begin(verb: string): void {
    this.#figures.applies++;
    this.#options.onApply?.(verb, this.#user.userid);
  }
}

/** Records whose messages the server cannot have through this mailbox yet. */
function newRecords(mailbox: CsyncMailbox, known: ServerMailbox | undefined): CsyncRecord[] {
  const lastUid = known?.lastUid ?? 0n;
  return mailbox.records.filter((record) => BigInt(record.uid) > lastUid);
}
