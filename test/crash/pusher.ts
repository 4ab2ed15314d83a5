import { createHash } from 'node:crypto';
import { asList, readLine, writeDlist } from '../support/dlist-text.ts';
import type { Random } from '../support/random.ts';
import type { CsyncWire } from '../support/wire.ts';
import { emptyUser, type MailboxState, type MessageStore, mailboxDlist, type UserState } from './model.ts';

/** State of all users of one pusher, by userid. */
export type Users = Map<string, UserState>;

const OPERATIONS = [
  'append',
  'flags',
  'expunge',
  'copy',
  'create',
  'rename',
  'delete',
  'meta',
  'share',
  'user',
] as const;
type Operation = (typeof OPERATIONS)[number];

/** How often each comes, of a hundred; RESTART makes up the rest. */
const WEIGHTS: Record<Operation, number> = {
  append: 32,
  flags: 12,
  expunge: 8,
  copy: 6,
  create: 6,
  rename: 4,
  delete: 3,
  meta: 12,
  share: 5,
  user: 3,
};

/**
 * Pushes a random history of a few users over one connection, in the order in which sync_client sends things.
 * `acknowledged` is what the server has said OK to; `inDoubt` is what there may be instead since the command to
 * which no answer came was carried out nevertheless, or has come to a step from which it is taken up again.
 */
export class Pusher {
  acknowledged: Users = new Map();
  inDoubt: Users[] = [];
  /** State-changing commands that were acknowledged. */
  commands = 0;
  /** Called at each acknowledgement of a command that changes state. */
  onAcknowledged: () => void = () => {};
  readonly #prefix: string;
  readonly #random: Random;
  readonly #store: MessageStore;
  readonly #literals: boolean;
  #wire!: CsyncWire;
  #serial = 0;

  constructor(prefix: string, random: Random, store: MessageStore, literals: boolean) {
    this.#prefix = prefix;
    this.#random = random;
    this.#store = store;
    this.#literals = literals;
  }

  /** Pushes random operations; throws ConnectionLost when the server goes away. */
  async push(wire: CsyncWire, operations: number): Promise<void> {
    this.#wire = wire;
    await this.#finishRenames();
    for (let i = 0; i < operations; i++) {
      let roll = this.#random.int(1, 100);
      const what = OPERATIONS.find((name) => (roll -= WEIGHTS[name]) <= 0);
      if (what === undefined) await this.#wire.ok('RESTART');
      else await this.#perform(what);
    }
    await this.#wire.ok('RESTART');
  }

  /** Each operation once, in random order: passes every step of the write order. */
  async pushEverything(wire: CsyncWire): Promise<void> {
    this.#wire = wire;
    await this.#finishRenames();
    await this.#append(this.#newUser());
    await this.#share(this.#anyUser(), false);
    const shuffled = OPERATIONS.map((what) => ({ what, key: this.#random.next() })).sort(
      (a, b) => a.key - b.key,
    );
    for (const { what } of shuffled) {
      if (what === 'user') await this.#renameUser(await this.#userWithInbox());
      else await this.#perform(what);
    }
    await this.#wire.ok('RESTART');
    await this.#append(this.#anyUser());
    await this.#wire.ok('RESTART');
  }

  async #perform(what: Operation): Promise<void> {
    const userid = this.#random.chance(0.1) ? this.#newUser() : this.#anyUser();
    if (what === 'append') await this.#append(userid);
    else if (what === 'create') await this.#create(userid);
    else if (what === 'flags' || what === 'expunge') await this.#changeRecords(userid, what);
    else if (what === 'copy') await this.#copy(userid);
    else if (what === 'rename' || what === 'delete') await this.#renameMailbox(userid, what);
    else if (what === 'meta') await this.#meta(userid);
    else if (what === 'share') await this.#share(userid);
    else await this.#renameUser(userid);
  }

  // ------------------------------------------------------------------------------------------ operations

  /** New messages in a mailbox, new or known: [GET, RESERVE,] MESSAGE, MAILBOX. */
  async #append(userid: string): Promise<void> {
    const mailbox = this.#anyMailbox(userid) ?? this.#newMailbox(userid);
    const guids = Array.from({ length: this.#random.int(1, 4) }, () => this.#store.make(this.#random));
    await this.#upload(userid, mailbox, guids);
    await this.#storeMailbox(userid, mailbox.uniqueid, mailbox, (m) => this.#addRecords(m, guids));
  }

  async #create(userid: string): Promise<void> {
    const mailbox = this.#newMailbox(userid);
    await this.#storeMailbox(userid, mailbox.uniqueid, mailbox, () => {});
  }

  async #changeRecords(userid: string, what: 'flags' | 'expunge'): Promise<void> {
    const mailbox = this.#anyMailbox(userid);
    if (mailbox === undefined || mailbox.records.size === 0) return this.#append(userid);
    const uids = [...mailbox.records.keys()].filter(() => this.#random.chance(0.4));
    await this.#storeMailbox(userid, mailbox.uniqueid, mailbox, (m) => {
      m.modseq++;
      for (const uid of uids) {
        const record = m.records.get(uid)!;
        const flags =
          what === 'expunge' ? ['\\Expunged', '\\Deleted'] : ['\\Seen', `$Label${this.#random.int(1, 3)}`];
        record.flags = [...new Set([...record.flags.filter((f) => f.startsWith('\\')), ...flags])];
        record.modseq = m.modseq;
      }
    });
  }

  /** A message that the user has already gets a second place: nothing is uploaded, if the server is right. */
  async #copy(userid: string): Promise<void> {
    const from = this.#anyMailbox(userid);
    const live = [...(from?.records.values() ?? [])].filter((r) => !r.flags.includes('\\Expunged'));
    if (from === undefined || live.length === 0) return this.#append(userid);
    const to = this.#anyMailbox(userid)!;
    const guids = [this.#random.pick(live).guid];
    await this.#upload(userid, to, guids);
    await this.#storeMailbox(userid, to.uniqueid, to, (m) => this.#addRecords(m, guids));
  }

  async #renameMailbox(userid: string, what: 'rename' | 'delete'): Promise<void> {
    const mailbox = this.#anyMailbox(userid);
    if (mailbox === undefined || mailbox.name === inbox(userid)) return this.#create(userid);
    const serial = this.#next();
    const stamp = (0x6b000000 + serial).toString(16).toUpperCase();
    const name = what === 'rename' ? `${inbox(userid)}.Folder ${serial}` : `DELETED.${mailbox.name}.${stamp}`;
    await this.#renameTo(userid, mailbox, name);
    await this.#finishRenames();
  }

  async #meta(userid: string): Promise<void> {
    const mailbox = this.#anyMailbox(userid);
    if (mailbox === undefined) return this.#create(userid);
    const serial = this.#next();
    const who = `USERID ${userid}`;
    const name = writeDlist(mailbox.name);
    await this.#apply([userid], `SUB %(${who} MBOXNAME ${name})`, (u) => u.subscriptions.add(mailbox.name));
    await this.#apply(
      [userid],
      `SEEN %(${who} UNIQUEID ${mailbox.uniqueid} LASTREAD ${serial} LASTUID 3 LASTCHANGE ${serial} SEENUIDS 1:${serial})`,
      (u) => u.seen.set(mailbox.uniqueid, `1:${serial}`),
    );
    await this.#apply([userid], `QUOTA %(ROOT ${inbox(userid)} STORAGE ${serial})`, (u) => {
      u.quotas.set(inbox(userid), serial);
    });
    if (this.#random.chance(0.5)) {
      await this.#apply([userid], `UNSUB %(${who} MBOXNAME ${name})`, (u) =>
        u.subscriptions.delete(mailbox.name),
      );
    }
    const content = this.#literals ? `# version ${serial}\r\nkeep;\r\n` : `# version ${serial}`;
    const value = this.#literals ? `{${content.length}+}\r\n${content}` : `"${content}"`;
    await this.#apply(
      [userid],
      `SIEVE %(${who} FILENAME main.script LAST_UPDATE ${serial} CONTENT ${value})`,
      (u) => u.scripts.set('main.script', { content, lastUpdate: serial }),
    );
    await this.#apply([userid], `ACTIVATE_SIEVE %(${who} FILENAME main.bc)`, (u) => {
      u.activeScript = 'main.bc';
    });
  }

  /**
   * One message for two users, sent once: the second mailbox names what the first one's upload brought. Asked
   * for together, nobody knows whose it is until a mailbox names it; else it is in the first one's backup.
   */
  async #share(userid: string, together = this.#random.chance(0.5)): Promise<void> {
    const other = this.#newUser();
    const [a, b] = [this.#newMailbox(userid), this.#newMailbox(other)];
    const guid = this.#store.make(this.#random);
    if (together) await this.#wire.ok(`GET MAILBOXES (${writeDlist(a.name)} ${writeDlist(b.name)})`);
    else await this.#wire.ok(`GET USER ${userid}`);
    await this.#sendMessages([guid]);
    await this.#storeMailbox(userid, a.uniqueid, a, (m) => this.#addRecords(m, [guid]));
    if (!together) await this.#wire.ok(`GET USER ${other}`);
    await this.#storeMailbox(other, b.uniqueid, b, (m) => this.#addRecords(m, [guid]));
  }

  /** RENAME of every mailbox to a new user, then UNUSER. */
  async #renameUser(userid: string): Promise<void> {
    if (![...this.#user(userid).mailboxes.values()].some((m) => m.name === inbox(userid)))
      return this.#append(userid);
    await this.#wire.ok('RESTART');
    const to = this.#newUser();
    const move = (name: string): string => name.replace(inbox(userid), inbox(to));
    const boxes = [...this.#user(userid).mailboxes.values()].sort((a, b) => a.name.length - b.name.length);
    const names = boxes.flatMap((m) => [m.name, move(m.name)]).map(writeDlist);
    await this.#wire.ok(`GET MAILBOXES (${names.join(' ')})`);
    const first = boxes.find((m) => m.name === inbox(userid))!;
    // The backup goes over to the new name before its INBOX does: a crash between the two leaves the client's
    // next GET USER with the old mailbox names, which it renames then.
    const goneOver = new Map(this.acknowledged).set(to, this.#user(userid));
    goneOver.delete(userid);
    await this.#apply(
      [userid, to],
      renameText(first, inbox(to)),
      (state, users) => {
        moveQuota(state, first.name, inbox(to));
        Object.assign(state.mailboxes.get(first.uniqueid)!, { name: inbox(to), renamed: true });
        users.delete(userid);
        users.set(to, state);
      },
      [goneOver],
    );
    await this.#finishRenames();
    await this.#wire.ok(`APPLY UNUSER ${userid}`);
  }

  /**
   * Mailboxes that are still under their user's former name follow the INBOX; a MAILBOX follows each RENAME. Also
   * the first thing of a push, if the one before was cut off.
   */
  async #finishRenames(): Promise<void> {
    for (const userid of [...this.acknowledged.keys()]) {
      for (const mailbox of [...this.#user(userid).mailboxes.values()]) {
        const owner = ownerOf(mailbox.name);
        if (owner !== userid) {
          await this.#renameTo(userid, mailbox, mailbox.name.replace(`user.${owner}`, inbox(userid)));
        }
      }
      for (const mailbox of [...this.#user(userid).mailboxes.values()]) {
        if (mailbox.renamed) await this.#storeMailbox(userid, mailbox.uniqueid, mailbox, (m) => m.modseq++);
      }
    }
  }

  // ---------------------------------------------------------------------------------------------- pieces

  /** Does what sync_client does before a MAILBOX: asks, reserves, and sends what is missing. */
  async #upload(userid: string, mailbox: MailboxState, guids: string[]): Promise<void> {
    const known = this.#user(userid).mailboxes.has(mailbox.uniqueid);
    const name = writeDlist(mailbox.name);
    await this.#wire.ok(known ? `GET MAILBOXES (${name})` : `GET USER ${userid}`);
    if (!known) return this.#sendMessages(guids);
    const list = [...new Set(guids)].join(' ');
    const answer = await this.#wire.ok(
      `APPLY RESERVE %(PARTITION default MBOXNAME (${name}) GUID (${list}))`,
    );
    const missing = answer.lines.flatMap((line) => asList(readLine(line).value).map(String));
    if (missing.length > 0) await this.#sendMessages(missing);
  }

  async #sendMessages(guids: string[]): Promise<void> {
    const parts = [...new Set(guids)].flatMap((guid, i) => {
      const bytes = this.#store.get(guid);
      return [`${i > 0 ? ' ' : ''}%{default ${guid} ${bytes.length}}\r\n`, bytes];
    });
    await this.#wire.ok('APPLY MESSAGE (', ...parts, ')');
  }

  async #storeMailbox(
    userid: string,
    uniqueid: string,
    base: MailboxState,
    change: (mailbox: MailboxState) => void,
  ): Promise<void> {
    const before = this.#user(userid).mailboxes.get(uniqueid);
    const after = { ...structuredClone(before ?? base), renamed: false };
    change(after);
    await this.#apply([userid], `MAILBOX ${mailboxDlist(before, after)}`, (u) =>
      u.mailboxes.set(uniqueid, after),
    );
  }

  #renameTo(userid: string, mailbox: MailboxState, name: string): Promise<void> {
    return this.#apply([userid], renameText(mailbox, name), (u) => {
      moveQuota(u, mailbox.name, name);
      Object.assign(u.mailboxes.get(mailbox.uniqueid)!, { name, renamed: true });
    });
  }

  /** Sends an APPLY that changes state of these users, and notes what is acknowledged or in doubt by it. */
  async #apply(
    userids: string[],
    text: string,
    change: (user: UserState, users: Users) => unknown,
    halfway: Users[] = [],
  ): Promise<void> {
    const after = new Map(this.acknowledged);
    for (const userid of userids) after.set(userid, structuredClone(this.#user(userid)));
    change(after.get(userids[0]!)!, after);
    for (const userid of userids) {
      if (after.get(userid)?.mailboxes.size === 0) after.delete(userid);
    }
    this.inDoubt = [after, ...halfway];
    await this.#wire.ok(`APPLY ${text}`);
    this.acknowledged = after;
    this.inDoubt = [];
    this.commands++;
    this.onAcknowledged();
  }

  #addRecords(mailbox: MailboxState, guids: string[]): void {
    for (const guid of guids) {
      mailbox.modseq++;
      const record = { guid, size: this.#store.get(guid).length, modseq: mailbox.modseq, flags: [] };
      mailbox.records.set(++mailbox.lastUid, record);
    }
  }

  #user(userid: string): UserState {
    return this.acknowledged.get(userid) ?? emptyUser();
  }

  #anyUser(): string {
    const userids = [...this.acknowledged.keys()];
    return userids.length === 0 ? this.#newUser() : this.#random.pick(userids);
  }

  /** Without an INBOX no backup goes over to another name. */
  async #userWithInbox(): Promise<string> {
    const userid = this.#newUser();
    await this.#append(userid);
    return userid;
  }

  #newUser(): string {
    return `${this.#prefix}${this.#next()}`;
  }

  /** A mailbox that is not deleted, if the user has one. */
  #anyMailbox(userid: string): MailboxState | undefined {
    const live = [...this.#user(userid).mailboxes.values()].filter((m) => !m.name.startsWith('DELETED.'));
    return live.length === 0 ? undefined : this.#random.pick(live);
  }

  #newMailbox(userid: string): MailboxState {
    const serial = this.#next();
    const hasInbox = [...this.#user(userid).mailboxes.values()].some((m) => m.name === inbox(userid));
    return {
      uniqueid: createHash('md5').update(`${this.#prefix}/${serial}`).digest('hex').slice(0, 24),
      name: hasInbox ? `${inbox(userid)}.Folder ${serial}` : inbox(userid),
      uidvalidity: 1_700_000_000 + serial,
      lastUid: 0,
      modseq: 1,
      comment: this.#random.chance(0.3) ? `folder ${serial}` : '',
      renamed: false,
      records: new Map(),
    };
  }

  #next(): number {
    return ++this.#serial;
  }
}

/** The user whose name a mailbox bears. */
export function ownerOf(mboxname: string): string {
  return /^(?:DELETED\.)?user\.([^.]+)/.exec(mboxname)![1]!;
}

function inbox(userid: string): string {
  return `user.${userid}`;
}

/** A quota root follows the INBOX of its user to the new name. */
function moveQuota(user: UserState, from: string, to: string): void {
  const limit = user.quotas.get(from);
  if (limit === undefined || from.split('.')[1] === to.split('.')[1]) return;
  user.quotas.delete(from);
  user.quotas.set(to, limit);
}

function renameText(mailbox: MailboxState, name: string): string {
  const names = `OLDMBOXNAME ${writeDlist(mailbox.name)} NEWMBOXNAME ${writeDlist(name)}`;
  return `RENAME %(${names} PARTITION default UIDVALIDITY ${mailbox.uidvalidity})`;
}
