/** Random histories, played into a store by the shard as a client would, beside a model that records each moment. */
import fc from 'fast-check';
import { vi } from 'vitest';
import type { BackupSource } from '../../src/restore/source.ts';
import { guidOf, messageValue, type StoreRig } from '../store/support/store-rig.ts';

export interface ModelRecord {
  uid: number;
  flags: string[];
  content: string;
}

export interface ModelMailbox {
  name: string;
  uniqueid: string;
  acl: string;
  records: ModelRecord[];
}

/** What lives. */
export interface ModelState {
  /** By unique id, as the rest by name. */
  mailboxes: ModelMailbox[];
  subscriptions: string[];
  quota: number | undefined;
  scripts: { filename: string; text: string }[];
  active: string | undefined;
}

const NAMES = [
  'user.anne',
  'user.anne.Sent',
  'user.anne.Old',
  'user.anne.Old.Deep',
  'DELETED.user.anne.Sent.6B041',
];
const SCRIPTS = ['a.script', 'b.script'];
const CONTENTS: readonly string[] = Array.from({ length: 8 }, (_, i) =>
  `message ${i} `.repeat(3 + i * i * 40),
);

export interface Step {
  what:
    | 'add'
    | 'flags'
    | 'expunge'
    | 'expunge-verb'
    | 'create'
    | 'rename'
    | 'delete'
    | 'acl'
    | 'sub'
    | 'unsub'
    | 'quota'
    | 'sieve'
    | 'activate'
    | 'unsieve'
    | 'deactivate';
  /** Which mailbox, message, name, ... of those that there are. */
  a: number;
  b: number;
  /** Seconds before it; the clock may go back. */
  pause: number;
  /** A session ends behind it. */
  ends: boolean;
}

const WHAT: Step['what'][] = [
  'add',
  'add',
  'add',
  'flags',
  'flags',
  'expunge',
  'expunge-verb',
  'create',
  'create',
];
WHAT.push('rename', 'delete', 'acl', 'sub', 'unsub', 'quota', 'sieve', 'activate', 'unsieve', 'deactivate');

export const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    what: fc.constantFrom(...WHAT),
    a: fc.nat(99),
    b: fc.nat(99),
    pause: fc.constantFrom(0, 0, 1, 2, 50, -5),
    ends: fc.constantFrom(false, false, true),
  }),
  { minLength: 5, maxLength: 40 },
);

export const FIRST_TIME = 1_700_000_000;

/** Times in seconds, and what was so at the end of each. */
export type Recorded = Map<number, ModelState>;

interface Live extends ModelMailbox {
  lastUid: number;
  modseq: number;
}

/** Plays steps as the user anne; the clock stands at the last moment behind it. Restore it with vi.restoreAllMocks(). */
export class Player {
  readonly recorded: Recorded = new Map();
  /** What was so behind each step, as JSON. */
  readonly states = new Set<string>();
  readonly #rig: StoreRig;
  #session = 1;
  #clock = FIRST_TIME;
  /** Of the last line: times of lines never go back. */
  time = FIRST_TIME;
  #ids = 0;
  readonly #live: Live[] = [];
  readonly #subscriptions = new Set<string>();
  #quota: number | undefined;
  readonly #scripts = new Map<string, string>();
  #active: string | undefined;
  #commands = 0;
  readonly #sent = new Set<string>();

  constructor(rig: StoreRig) {
    this.#rig = rig;
    vi.spyOn(Date, 'now').mockImplementation(() => this.#clock * 1000);
  }

  async play(list: readonly Step[]): Promise<void> {
    for (const step of list) {
      this.#clock += step.pause;
      const [before, commands] = [this.#fingerprint(), this.#commands];
      await this.#step(step);
      const isSent = this.#commands > commands;
      if (isSent && this.#fingerprint() !== before) this.time = Math.max(this.time, this.#clock);
      this.recorded.set(this.time, structuredClone(this.state()));
      this.states.add(JSON.stringify(this.state()));
      if (step.ends) await this.end();
    }
  }

  /** What changes nothing is not stored. */
  #fingerprint(): string {
    return JSON.stringify([this.state(), this.#live.map(({ modseq }) => modseq)]);
  }

  async end(): Promise<void> {
    await this.#rig.release(this.#session++);
  }

  state(): ModelState {
    return {
      mailboxes: this.#live
        .map(({ name, uniqueid, acl, records }) => ({ name, uniqueid, acl, records }))
        .sort((x, y) => (x.uniqueid < y.uniqueid ? -1 : 1)),
      subscriptions: [...this.#subscriptions].sort(),
      quota: this.#quota,
      scripts: [...this.#scripts].map(([filename, text]) => ({ filename, text })).sort(byFilename),
      active: this.#active,
    };
  }

  async #step({ what, a, b }: Step): Promise<void> {
    const mailbox = this.#live[a % Math.max(this.#live.length, 1)];
    const name = NAMES[b % NAMES.length]!;
    const script = SCRIPTS[a % SCRIPTS.length]!;
    switch (what) {
      case 'create':
        await this.#create(name);
        return;
      case 'sub':
        if (this.#subscriptions.has(name)) return;
        this.#subscriptions.add(name);
        await this.#apply('SUB', `%(USERID anne MBOXNAME ${name})`);
        return;
      case 'unsub':
        if (!this.#subscriptions.delete(name)) return;
        await this.#apply('UNSUB', `%(USERID anne MBOXNAME ${name})`);
        return;
      case 'quota':
        this.#quota = 1000 + b;
        await this.#apply('QUOTA', `%(ROOT user.anne STORAGE ${this.#quota})`);
        return;
      case 'sieve':
        this.#scripts.set(script, `keep; # ${b}\r\n`);
        await this.#apply(
          'SIEVE',
          `%(USERID anne FILENAME ${script} LAST_UPDATE 1 CONTENT {${`keep; # ${b}\r\n`.length}}\r\nkeep; # ${b}\r\n)`,
        );
        return;
      case 'activate':
        this.#active = script;
        await this.#apply('ACTIVATE_SIEVE', `%(USERID anne FILENAME ${script.replace('.script', '.bc')})`);
        return;
      case 'deactivate':
        // All that sync_client says of it.
        if (this.#active !== undefined)
          await this.#apply('UNSIEVE', `%(USERID anne FILENAME ${this.#active.replace('.script', '.bc')})`);
        this.#active = undefined;
        return;
      case 'unsieve':
        if (this.#scripts.delete(script)) await this.#apply('UNSIEVE', `%(USERID anne FILENAME ${script})`);
        return;
      default:
        if (mailbox !== undefined) await this.#change(mailbox, what, b, name);
    }
  }

  async #create(name: string): Promise<void> {
    if (this.#live.some((live) => live.name === name)) return;
    const made: Live = {
      name,
      uniqueid: `id${++this.#ids}`,
      acl: 'anne\tlrs\t',
      records: [],
      lastUid: 0,
      modseq: 1,
    };
    this.#live.push(made);
    await this.#mailbox(made, []);
  }

  async #change(mailbox: Live, what: Step['what'], b: number, name: string): Promise<void> {
    const record = mailbox.records[b % Math.max(mailbox.records.length, 1)];
    mailbox.modseq++;
    if (what === 'add') {
      const content = CONTENTS[b % CONTENTS.length]!;
      const added: ModelRecord = { uid: ++mailbox.lastUid, flags: [], content };
      mailbox.records.push(added);
      const { value, refs } = messageValue([content]);
      // A client sends what RESERVE said is missing, or all.
      if (!this.#sent.has(content) || b % 2 === 0) await this.#apply('MESSAGE', value, refs);
      this.#sent.add(content);
      await this.#mailbox(mailbox, [recordText(added, mailbox.modseq)]);
    } else if (what === 'acl') {
      mailbox.acl = `anne\tlrs\tbob\t${'lrswi'.slice(0, 1 + (b % 5))}\t`;
      await this.#mailbox(mailbox, []);
    } else if (what === 'rename') {
      if (this.#live.some((live) => live.name === name)) return;
      const old = mailbox.name;
      mailbox.name = name;
      await this.#apply(
        'RENAME',
        `%(OLDMBOXNAME ${old} NEWMBOXNAME ${name} PARTITION default UIDVALIDITY 1700000000)`,
      );
    } else if (what === 'delete') {
      this.#live.splice(this.#live.indexOf(mailbox), 1);
      await this.#apply('UNMAILBOX', mailbox.name);
    } else if (record !== undefined && what === 'flags') {
      record.flags = [[], ['\\Seen'], ['\\Seen', '\\Flagged'], ['$Label1']][b % 4]!;
      await this.#mailbox(mailbox, [recordText(record, mailbox.modseq)]);
    } else if (record !== undefined) {
      mailbox.records.splice(mailbox.records.indexOf(record), 1);
      if (what === 'expunge') {
        const gone = { ...record, flags: ['\\Expunged', ...record.flags] };
        await this.#mailbox(mailbox, [recordText(gone, mailbox.modseq)]);
      } else {
        const at = `MBOXNAME ${mailbox.name} UNIQUEID ${mailbox.uniqueid}`;
        await this.#apply('EXPUNGE', `%(${at} UID (${record.uid}))`);
      }
    }
  }

  async #mailbox(mailbox: Live, records: string[]): Promise<void> {
    const { name, uniqueid, acl, lastUid, modseq } = mailbox;
    const head =
      `UNIQUEID ${uniqueid} MBOXNAME ${name} SYNC_CRC 1 SYNC_CRC_ANNOT 1 LAST_UID ${lastUid} HIGHESTMODSEQ ${modseq} ` +
      'RECENTUID 0 RECENTTIME 0 LAST_APPENDDATE 0 POP3_LAST_LOGIN 0 POP3_SHOW_AFTER 0 UIDVALIDITY 1700000000 ' +
      `PARTITION default ACL "${acl}" OPTIONS P`;
    await this.#apply('MAILBOX', `%(${head} RECORD (${records.join(' ')}))`);
  }

  async #apply(verb: Verb, value: string, refs?: Refs): Promise<void> {
    const reply = await this.#rig.apply(this.#session, 'anne', verb, value, refs);
    this.#commands++;
    if (reply.code !== 'OK') throw new Error(`${verb} ${value.slice(0, 200)}: ${reply.code} ${reply.text}`);
  }
}

type Verb = Parameters<StoreRig['apply']>[2];
type Refs = Parameters<StoreRig['apply']>[4];

function byFilename(x: { filename: string }, y: { filename: string }): number {
  return x.filename < y.filename ? -1 : 1;
}

function recordText({ uid, flags, content }: ModelRecord, modseq: number): string {
  return (
    `%(UID ${uid} MODSEQ ${modseq} LAST_UPDATED 1700000000 FLAGS (${flags.join(' ')}) INTERNALDATE 1700000000 ` +
    `SIZE ${content.length} GUID ${guidOf(content)})`
  );
}

/** The same of a backup, every message read. */
export function stateOf(source: BackupSource): ModelState {
  return {
    mailboxes: [...source.mailboxes()]
      .map((mailbox) => ({
        name: mailbox.mboxname,
        uniqueid: mailbox.uniqueid,
        acl: mailbox.acl,
        records: [...source.records(mailbox)].map(({ uid, flags, guid }) => ({
          uid,
          flags,
          content: source.message(guid).toString('latin1'),
        })),
      }))
      .sort((x, y) => (x.uniqueid < y.uniqueid ? -1 : 1)),
    subscriptions: source.subscriptions().sort(),
    quota: source.quotas()[0]?.limits.get('STORAGE'),
    scripts: source
      .scripts()
      .map((script) => ({ filename: script.filename, text: script.content().toString('latin1') }))
      .sort(byFilename),
    active: source.activeScript(),
  };
}
