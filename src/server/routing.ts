/**
 * Whose message is it? A reserved GUID says so; others belong to the user whose mailboxes were asked for
 * last, as far as anybody can know before the MAILBOX that names them. What stays unknown goes to a staging
 * file, from which it is supplied to whoever turns out to need it.
 */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { type GuidBudget, GuidMap } from './guid-map.ts';
import { StagedMessages } from './staged-messages.ts';

/** Reserved by more than one user, or in a batch with mailboxes of others. */
const SEVERAL = 0;

export class Routing {
  /** Messages in place of which the client has sent NIL since the last MAILBOX: it cannot read them. */
  unsent = 0;
  #lastAsked: string | undefined;
  #asksSeveral = false;
  /** Renamed users of this session: old userid to new. */
  readonly renamed = new Map<string, string>();
  readonly #stagingFolder: string;
  readonly #session: number;
  #generation = 0;
  /** Numbers of users in the maps below; 0 is SEVERAL. */
  readonly #users: string[] = [''];
  readonly #userNumbers = new Map<string, number>();
  readonly #reserved: GuidMap;
  readonly #held: GuidMap;
  readonly staged: StagedMessages;
  readonly #files = new Set<string>();

  constructor(session: number, stagingFolder: string, budget: GuidBudget) {
    this.#session = session;
    this.#stagingFolder = stagingFolder;
    this.#reserved = new GuidMap(budget);
    this.#held = new GuidMap(budget);
    this.staged = new StagedMessages(budget);
  }

  /** The only user named by the latest GET. */
  get lastAsked(): string | undefined {
    return this.#lastAsked;
  }

  /** A GET named these users. */
  asked(userids: readonly string[]): void {
    this.#lastAsked = userids.length === 1 ? userids[0] : undefined;
    this.#asksSeveral = userids.length > 1;
  }

  /**
   * Whether a RESERVE that names mailboxes of this user only is about nobody else's messages: the client names those that
   * the server has, and asks for what all mailboxes of its batch need. Without any GET it knows of the server by its own cache.
   */
  isOnlyAbout(userid: string): boolean {
    return !this.#asksSeveral && (this.#lastAsked ?? userid) === userid;
  }

  /** The user's backup lacks it, and the client was told so. `isSure`: if nobody else lacks it, it is this user's. */
  reserve(guid: string, userid: string, isSure: boolean): void {
    const number = isSure ? this.#numberOf(userid) : SEVERAL;
    const before = this.#reserved.get(guid);
    this.#reserved.set(guid, before === undefined || before === number ? number : SEVERAL);
  }

  /** Where messages go that come with these GUIDs; undefined: nobody's yet, to the staging file. */
  ownerOf(guids: Iterable<string>): string | undefined {
    let owner: number | undefined;
    for (const guid of guids) {
      const number = this.#reserved.get(guid);
      if (number === undefined) continue;
      if (number === SEVERAL || (owner !== undefined && owner !== number)) return undefined;
      owner = number;
    }
    return owner === undefined ? this.#lastAsked : this.#users[owner];
  }

  /** The message lies in this user's file, claimed by a mailbox or not. */
  hold(guid: string, userid: string): void {
    this.#held.set(guid, this.#numberOf(userid));
  }

  /** User in whose file the message was put in this session, or was found by it. */
  holderOf(guid: string): string | undefined {
    const number = this.#held.get(guid);
    return number === undefined ? undefined : this.#users[number];
  }

  /** The user took the backup along, with what lies in it. Somebody else may get the old name. */
  rename(from: string, to: string): void {
    this.renamed.set(from, to);
    if (this.#lastAsked === from) this.#lastAsked = to;
    const number = this.#userNumbers.get(from);
    if (number === undefined) return;
    this.#userNumbers.delete(from);
    this.#users[number] = to;
    if (!this.#userNumbers.has(to)) this.#userNumbers.set(to, number);
  }

  /** The session's staging file in this shard: one writer each, so that offsets stay true. */
  stagingFile(shard: number): string {
    const name = `session-${process.pid}-${this.#session}-${this.#generation}.${shard}`;
    const file = path.join(this.#stagingFolder, name);
    this.#files.add(file);
    return file;
  }

  /** RESTART or the end: the client sends again what it still wants stored. */
  async clear(): Promise<void> {
    this.asked([]);
    this.unsent = 0;
    this.renamed.clear();
    this.#reserved.clear();
    this.#held.clear();
    this.staged.clear();
    this.#users.length = 1;
    this.#userNumbers.clear();
    this.#generation++;
    const files = [...this.#files];
    this.#files.clear();
    for (const file of files) await rm(file, { force: true });
  }

  #numberOf(userid: string): number {
    let number = this.#userNumbers.get(userid);
    if (number === undefined) {
      number = this.#users.push(userid) - 1;
      this.#userNumbers.set(userid, number);
    }
    return number;
  }
}
