/**
 * A mail server in memory, and a client of it that syncs as Cyrus's sync_client does (facts: Cyrus IMAP 3.6.1, imap/sync_support.c): what it
 * has sent in a run, or was told that the server has, it never sends again in it.
 */
import { createHash } from 'node:crypto';
import { syncCrcs } from '../../src/restore/csync-crc.ts';
import { asList, asMap, readLine, type Value } from '../support/dlist-text.ts';
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
  /** Highest modseq of an expunged message of which nothing is known any more. */
  deletedModseq: number;
}

const TIME = 1_700_000_000;

export function sha1(text: string): string {
  return createHash('sha1').update(text, 'latin1').digest('hex');
}

export class FakeMail {
  mailboxes: Mailbox[];
  readonly contents: Map<string, string>;
  /**
   * GUIDs of messages whose file some mailbox has lost. What it could not read sync_client counts as sent, and does not send from another mailbox in the same
   * run, so that the backup may have to ask again on another day.
   */
  readonly lost: Set<string>;
  readonly #name: string;
  readonly #random: Random;
  #serial = 0;

  /**
   * @param name of the life: unique ids are those of no other one
   * @param of it begins with what this one has, and knows of the same messages
   */
  constructor(name: string, random: Random, of?: FakeMail) {
    this.#name = name;
    this.#random = random;
    this.mailboxes = structuredClone(of?.mailboxes ?? []);
    this.contents = of?.contents ?? new Map();
    this.lost = of?.lost ?? new Set();
  }

  /** Another mail server with the same mailboxes, which goes its own way from now on. */
  copy(): FakeMail {
    return new FakeMail(`${this.#name}copy`, this.#random, this);
  }

  create(name: string): Mailbox {
    const serial = ++this.#serial;
    const mailbox = { uniqueid: `${this.#name}uid${serial}`, name, uidvalidity: TIME + serial };
    const made = { ...mailbox, lastUid: 0, modseq: 1, messages: [], lost: [], deletedModseq: 0 };
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

  /** Forgets what is expunged, as cyr_expire does. */
  expire(mailbox: Mailbox): void {
    for (const { expunged, modseq } of mailbox.messages)
      if (expunged) mailbox.deletedModseq = Math.max(mailbox.deletedModseq, modseq);
    mailbox.messages = mailbox.messages.filter(({ expunged }) => !expunged);
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
    const own = (name: string): boolean => name === `user.${user}` || name.startsWith(`user.${user}.`);
    const names = this.#mail.mailboxes.map(({ name }) => name).filter(own);
    await this.#untilSettled(async () => {
      const remotes = await this.#get(`GET USER ${user}`);
      for (const { uniqueid, name } of remotes)
        if (this.#mail.mailboxes.every((local) => local.uniqueid !== uniqueid))
          await this.#apply(`UNMAILBOX ${name}`);
      return await this.#sync(names, remotes);
    });
  }

  /** `sync_client -m NAME ...`, and what a rolling client does with its log. */
  async some(names: readonly string[]): Promise<void> {
    await this.#untilSettled(async () => {
      const cached = names.flatMap((name) => this.#cache?.get(name) ?? []);
      const asked = names.filter((name) => !this.#cache?.has(name));
      const got = asked.length > 0 ? await this.#get(`GET MAILBOXES (${asked.join(' ')})`) : [];
      return await this.#sync(names, [...cached, ...got]);
    });
  }

  /** Behind a rename it asks once more before it sends anything else. */
  async #untilSettled(sync: () => Promise<boolean>): Promise<void> {
    for (let tries = 0; tries < 3; tries++) if (await sync()) return;
    throw new RunFailed('renames do not settle');
  }

  /** @returns false if there was something to rename */
  async #sync(names: readonly string[], remotes: readonly Remote[]): Promise<boolean> {
    const locals = names.flatMap((name) => this.#mail.mailboxes.filter((one) => one.name === name));
    const known = new Map(remotes.map((remote) => [remote.uniqueid, remote]));
    const needed = await this.#reserve(locals, known, remotes);
    let isSettled = true;
    for (const local of locals) {
      const remote = known.get(local.uniqueid);
      if (remote === undefined || remote.name === local.name) continue;
      isSettled = false;
      this.#cache?.delete(local.name);
      const fields = `OLDMBOXNAME ${remote.name} NEWMBOXNAME ${local.name} PARTITION default`;
      await this.#apply(`RENAME %(${fields} UIDVALIDITY ${local.uidvalidity})`);
    }
    if (!isSettled) return false;
    for (const local of locals) await this.#update(local, known.get(local.uniqueid), needed);
    return true;
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
    const { deletedModseq } = local;
    if (remote !== undefined && deletedModseq > remote.modseq) {
      await this.#compareAll(local);
      const [now] = await this.#get(`GET MAILBOXES (${local.name})`);
      if (now !== undefined && isUnchanged(local, now)) return;
      if (!(await this.#updateOnce(local, now, needed, false)))
        throw new RunFailed(`${local.name} was refused`);
      return;
    }
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

  /** So much was expunged and forgotten since that it goes by each record. */
  async #compareAll(local: Mailbox): Promise<void> {
    this.#cache?.delete(local.name);
    const full = await this.#wire.command(`GET FULLMAILBOX ${local.name}`);
    if (full.kind === 'NO IMAP_MAILBOX_NONEXISTENT') throw new RunFailed(full.final);
    if (full.kind !== 'OK') this.#failed(full.final);
    const mailbox = asMap(readLine(full.lines[0]!).value);
    const here = new Map(local.messages.map((message) => [message.uid, message]));
    const stale: number[] = [];
    for (const { uid, guid, modseq, expunged } of recordsOf(mailbox)) {
      const own = here.get(uid);
      here.delete(uid);
      if (expunged && (own === undefined || own.expunged)) continue;
      if (own === undefined && modseq < local.deletedModseq) stale.push(uid);
      else if (own === undefined) throw new Error(`UID ${uid} of ${local.name} would be fetched back`);
      else if (own.guid !== guid) throw new Error(`UID ${uid} of ${local.name} would be renumbered`);
      else if (own.expunged !== expunged && !own.expunged)
        throw new Error(`UID ${uid} of ${local.name} would be expunged`);
    }
    for (const { uid, expunged } of here.values())
      if (uid <= Number(mailbox.get('LAST_UID')) && !expunged)
        throw new Error(`UID ${uid} of ${local.name}, which is not there, would be renumbered`);
    if (stale.length === 0) return;
    const fields = `MBOXNAME ${local.name} UNIQUEID ${local.uniqueid} UID (${stale.join(' ')})`;
    await this.#apply(`EXPUNGE %(${fields})`);
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

/** RECORDs of a FULLMAILBOX. */
export function recordsOf(mailbox: ReadonlyMap<string, Value>): Omit<Message, 'size'>[] {
  return asList(mailbox.get('RECORD')).map((record) => {
    const field = (key: string): Value => asMap(record).get(key) ?? null;
    const all = asList(field('FLAGS')).map(String);
    return {
      ...{ uid: Number(field('UID')), modseq: Number(field('MODSEQ')), guid: String(field('GUID')) },
      ...{ flags: all.filter((flag) => flag !== '\\Expunged'), expunged: all.includes('\\Expunged') },
    };
  });
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
