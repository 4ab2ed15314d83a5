/**
 * A mail server in memory, and a client of it that syncs as Cyrus's sync_client does (facts: Cyrus IMAP 3.6.1, imap/sync_support.c): what it
 * has sent in a run, or was told that the server has, it never sends again in it.
 */
import { createHash } from 'node:crypto';
import { syncCrcs } from '../../src/restore/csync-crc.ts';
import { asMap, readLine } from '../support/dlist-text.ts';
import type { Random } from '../support/random.ts';
import type { CsyncWire } from '../support/wire.ts';

export interface Message {
  uid: number;
  modseq: number;
  guid: string;
  size: number;
  flags: string[];
  expunged: boolean;
}

export interface Mailbox {
  uniqueid: string;
  name: string;
  uidvalidity: number;
  lastUid: number;
  modseq: number;
  messages: Message[];
  /** GUIDs of messages whose files are gone. */
  lost: string[];
}

const TIME = 1_700_000_000;

export function sha1(text: string): string {
  return createHash('sha1').update(text, 'latin1').digest('hex');
}

export class FakeMail {
  mailboxes: Mailbox[] = [];
  readonly contents = new Map<string, string>();
  /**
   * GUIDs of messages whose file some mailbox has lost. What it could not read sync_client counts as sent, and does not send from another mailbox in the same
   * run, so that the backup may have to ask again on another day.
   */
  readonly lost = new Set<string>();
  readonly #name: string;
  readonly #random: Random;
  #serial = 0;

  /** @param name of the life: unique ids are those of no other one */
  constructor(name: string, random: Random) {
    this.#name = name;
    this.#random = random;
  }

  create(name: string): Mailbox {
    const serial = ++this.#serial;
    const mailbox = { uniqueid: `${this.#name}uid${serial}`, name, uidvalidity: TIME + serial };
    const made = { ...mailbox, lastUid: 0, modseq: 1, messages: [], lost: [] };
    this.mailboxes.push(made);
    return made;
  }

  /** A message that is new, or one that is somewhere else, too. */
  append(mailbox: Mailbox): void {
    const random = this.#random;
    const known = [...this.contents.keys()];
    let guid = random.chance(0.5) && known.length > 0 ? random.pick(known) : '';
    if (guid === '') {
      const text = `Subject: ${++this.#serial}\r\n\r\n${random.bytes(random.int(0, 200)).toString('latin1')}`;
      guid = sha1(text);
      this.contents.set(guid, text);
    }
    const { lastUid, modseq } = mailbox;
    mailbox.lastUid = lastUid + random.pick([1, 1, 1, 3]);
    mailbox.modseq = modseq + 1;
    mailbox.messages.push({
      ...{ uid: mailbox.lastUid, modseq: mailbox.modseq, guid, size: this.contents.get(guid)!.length },
      ...{ flags: [], expunged: false },
    });
  }

  lose(mailbox: Mailbox): string {
    const { guid } = this.#random.pick(mailbox.messages);
    mailbox.lost.push(guid);
    this.lost.add(guid);
    return guid;
  }

  change(mailbox: Mailbox): void {
    const { messages } = mailbox;
    if (messages.length === 0) return;
    const message = this.#random.pick(messages);
    if (message.expunged) return;
    message.modseq = ++mailbox.modseq;
    if (this.#random.chance(0.5)) message.expunged = true;
    else message.flags = message.flags.length > 0 ? [] : ['\\Seen'];
  }
}

/** The run is over for this time; a later one begins anew. */
export class RunFailed extends Error {}

export interface Remote {
  uniqueid: string;
  name: string;
  lastUid: number;
  modseq: number;
  crc: number;
}

/** What a client with `sync_cache_db_path` remembers of the server from run to run, by the name of the mailbox. */
export type SyncCache = Map<string, Remote>;

export class FakeSyncClient {
  readonly #wire: CsyncWire;
  readonly #mail: FakeMail;
  readonly #cache: SyncCache | undefined;

  constructor(wire: CsyncWire, mail: FakeMail, cache?: SyncCache) {
    this.#wire = wire;
    this.#mail = mail;
    this.#cache = cache;
  }

  /** `sync_client -u USER`. */
  async user(user: string): Promise<void> {
    const remotes = await this.#get(`GET USER ${user}`);
    const own = (name: string): boolean => name === `user.${user}` || name.startsWith(`user.${user}.`);
    const names = this.#mail.mailboxes.map(({ name }) => name).filter(own);
    await this.#sync(names, remotes);
  }

  /** `sync_client -m NAME ...`, and what a rolling client does with its log. */
  async some(names: readonly string[]): Promise<void> {
    const cached = names.flatMap((name) => this.#cache?.get(name) ?? []);
    const asked = names.filter((name) => !this.#cache?.has(name));
    const got = asked.length > 0 ? await this.#get(`GET MAILBOXES (${asked.join(' ')})`) : [];
    await this.#sync(names, [...cached, ...got]);
  }

  async #sync(names: readonly string[], remotes: readonly Remote[]): Promise<void> {
    const locals = names.flatMap((name) => this.#mail.mailboxes.filter((one) => one.name === name));
    const known = new Map(remotes.map((remote) => [remote.uniqueid, remote]));
    const needed = await this.#reserve(locals, known, remotes);
    for (const local of locals) {
      const remote = known.get(local.uniqueid);
      if (remote === undefined || remote.name === local.name) continue;
      const fields = `OLDMBOXNAME ${remote.name} NEWMBOXNAME ${local.name} PARTITION default`;
      await this.#apply(`RENAME %(${fields} UIDVALIDITY ${local.uidvalidity})`);
    }
    for (const { uniqueid, name } of remotes)
      if (this.#mail.mailboxes.every((local) => local.uniqueid !== uniqueid))
        await this.#apply(`UNMAILBOX ${name}`);
    for (const local of locals) await this.#update(local, known.get(local.uniqueid), needed);
  }

  /** What the server is believed to lack, of the messages that will be named. */
  async #reserve(
    locals: readonly Mailbox[],
    known: ReadonlyMap<string, Remote>,
    remotes: readonly Remote[],
  ): Promise<Map<string, boolean>> {
    const needed = new Map<string, boolean>();
    for (const { uniqueid, messages } of locals) {
      const from = known.get(uniqueid)?.lastUid ?? 0;
      for (const { uid, guid } of messages) if (uid > from) needed.set(guid, true);
    }
    if (remotes.length === 0 || needed.size === 0) return needed;
    const fields = `MBOXNAME (${remotes.map(({ name }) => name).join(' ')}) GUID (${[...needed.keys()].join(' ')})`;
    const { lines } = await this.#apply(`RESERVE %(PARTITION default ${fields})`);
    const missing = new Set(lines.join(' ').match(/[0-9a-f]{40}/g));
    for (const guid of needed.keys()) needed.set(guid, missing.has(guid));
    return needed;
  }

  async #update(local: Mailbox, remote: Remote | undefined, needed: Map<string, boolean>): Promise<void> {
    if (remote !== undefined && isUnchanged(local, remote)) return;
    const known = this.#cache?.get(local.name);
    this.#cache?.delete(local.name); // unless all goes well
    const { uniqueid, name, lastUid, modseq } = local;
    const now = { uniqueid, name, lastUid, modseq, crc: crcOf(local) };
    if (await this.#updateOnce(local, known ?? remote, needed, true)) {
      this.#cache?.set(name, now);
      return;
    }
    const [again] = await this.#get(`GET MAILBOXES (${local.name})`);
    if (again !== undefined && isUnchanged(local, again)) return;
    if (await this.#updateOnce(local, again, needed, false)) return;
    const full = await this.#wire.command(`GET FULLMAILBOX ${local.name}`);
    // It would compare record by record, renumber messages and fetch what only the backup has.
    if (full.kind === 'OK') throw new Error(`${local.name} would be changed on the mail server`);
    throw new RunFailed(`${local.name} was refused twice`);
  }

  /** @returns false if it is to be sent again */
  async #updateOnce(
    local: Mailbox,
    remote: Remote | undefined,
    needed: Map<string, boolean>,
    isFirst: boolean,
  ): Promise<boolean> {
    const records = local.messages.filter(({ modseq }) => modseq > (remote?.modseq ?? 0));
    const files: string[] = [];
    for (const { uid, guid, size } of records) {
      if (uid <= (remote?.lastUid ?? 0) || needed.get(guid) === false) continue;
      needed.set(guid, false);
      // A file that is gone is sent as NIL.
      files.push(
        local.lost.includes(guid) ? 'NIL' : `%{default ${guid} ${size}}\r\n${this.#mail.contents.get(guid)}`,
      );
    }
    if (files.some((file) => file !== 'NIL'))
      await this.#apply(`MESSAGE (${files.filter((f) => f !== 'NIL').join(' ')})`);
    const since =
      isFirst && remote !== undefined
        ? [`SINCE_MODSEQ ${remote.modseq}`, `SINCE_CRC ${remote.crc}`, 'SINCE_CRC_ANNOT 12345678']
        : [];
    const fields = [
      ...[`UNIQUEID ${local.uniqueid}`, `MBOXNAME ${local.name}`, `SYNC_CRC ${crcOf(local)}`],
      ...['SYNC_CRC_ANNOT 12345678', `LAST_UID ${local.lastUid}`, `HIGHESTMODSEQ ${local.modseq}`],
      ...['RECENTUID 0', 'RECENTTIME 0', 'LAST_APPENDDATE 0', 'POP3_LAST_LOGIN 0', 'POP3_SHOW_AFTER 0'],
      ...[
        `UIDVALIDITY ${local.uidvalidity}`,
        'PARTITION default',
        'ACL "anne\tlrswipkxtecdan\t"',
        'OPTIONS P',
      ],
      ...[...since, `RECORD (${records.map(recordText).join(' ')})`],
    ];
    const answer = await this.#wire.command(`APPLY MAILBOX %(${fields.join(' ')})`);
    if (answer.kind === 'NO IMAP_SYNC_CHECKSUM') return false;
    if (answer.kind !== 'OK') this.#failed(answer.final);
    return true;
  }

  async #get(command: string): Promise<Remote[]> {
    const answer = await this.#wire.command(command);
    if (answer.kind !== 'OK') this.#failed(answer.final);
    return answer.lines
      .map(readLine)
      .filter(({ name }) => name === 'MAILBOX')
      .map(({ value }) => {
        const field = (key: string): string => String(asMap(value).get(key));
        const numbers = { lastUid: Number(field('LAST_UID')), modseq: Number(field('HIGHESTMODSEQ')) };
        return {
          uniqueid: field('UNIQUEID'),
          name: field('MBOXNAME'),
          ...numbers,
          crc: Number(field('SYNC_CRC')),
        };
      });
  }

  async #apply(text: string): Promise<{ lines: string[] }> {
    const answer = await this.#wire.command(`APPLY ${text}`);
    if (answer.kind !== 'OK') this.#failed(answer.final);
    return answer;
  }

  #failed(final: string): never {
    if (final.startsWith('NO IMAP_MAILBOX_LOCKED')) throw new RunFailed(final);
    throw new Error(final);
  }
}

function isUnchanged(local: Mailbox, remote: Remote): boolean {
  return remote.lastUid === local.lastUid && remote.modseq === local.modseq && remote.crc === crcOf(local);
}

function recordText({ uid, modseq, guid, size, flags, expunged }: Message): string {
  const all = [...(expunged ? ['\\Expunged'] : []), ...flags].join(' ');
  return `%(UID ${uid} MODSEQ ${modseq} LAST_UPDATED ${TIME} FLAGS (${all}) INTERNALDATE ${TIME} SIZE ${size} GUID ${guid})`;
}

function crcOf({ messages }: Mailbox): number {
  const live = messages.filter(({ expunged }) => !expunged);
  return syncCrcs(live.map((one) => ({ ...one, lastUpdated: TIME, internaldate: TIME }))).basic;
}
