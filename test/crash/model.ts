import { createHash } from 'node:crypto';
import { type Value, writeDlist } from '../support/dlist-text.ts';
import { message, Random } from '../support/random.ts';

/** What a user's backup must hold, as plain data: it is cloned before each command. */
export interface UserState {
  mailboxes: Map<string, MailboxState>;
  subscriptions: Set<string>;
  seen: Map<string, string>;
  scripts: Map<string, { content: string; lastUpdate: number }>;
  activeScript?: string;
  /** By quota root. */
  quotas: Map<string, number>;
}

export interface MailboxState {
  uniqueid: string;
  name: string;
  uidvalidity: number;
  lastUid: number;
  modseq: number;
  comment: string;
  /** Renamed, and no MAILBOX has followed yet; a client sends one in any case, if need be at its next push. */
  renamed: boolean;
  records: Map<number, RecordState>;
}

export interface RecordState {
  guid: string;
  size: number;
  modseq: number;
  flags: string[];
}

export function emptyUser(): UserState {
  return {
    mailboxes: new Map(),
    subscriptions: new Set(),
    seen: new Map(),
    scripts: new Map(),
    quotas: new Map(),
  };
}

/** Messages by GUID: what was ever made. */
export class MessageStore {
  readonly #bytes = new Map<string, Buffer>();

  make(random: Random): string {
    const roll = random.next();
    let bytes = message(random, random.int(200, 6000));
    // Now and then one that fills a slab, or several: those travel another way through the server.
    if (roll < 0.08) bytes = Buffer.concat([bytes, filler(random, random.int(70_000, 300_000))]);
    if (roll < 0.02) bytes = Buffer.concat([bytes, filler(random, random.int(1_000_000, 2_600_000))]);
    const guid = createHash('sha1').update(bytes).digest('hex');
    this.#bytes.set(guid, bytes);
    return guid;
  }

  get(guid: string): Buffer {
    return this.#bytes.get(guid)!;
  }
}

const NOISE = new Random('noise').bytes(65_536);

/** Bytes that do not pack well, made faster than one by one. */
function filler(random: Random, length: number): Buffer {
  const out = Buffer.alloc(length);
  for (let at = 0; at < length; at += NOISE.length - 64) NOISE.copy(out, at, random.int(0, 63));
  return out;
}

/** A number that stands for the mailbox's content; servers store what they are told and compare it later. */
export function checksum(mailbox: MailboxState): number {
  const text = [...mailbox.records].map(([uid, r]) => `${uid} ${r.guid} ${r.modseq} ${r.flags}`).join('\n');
  return createHash('sha1').update(text).digest().readUInt32BE(0);
}

/** The dlist of an APPLY MAILBOX that brings a server from `before` to `after`. */
export function mailboxDlist(before: MailboxState | undefined, after: MailboxState): string {
  const number = (n: number): string => String(n);
  const fields: [string, Value][] = [
    ['UNIQUEID', after.uniqueid],
    ['MBOXNAME', after.name],
    ['SYNC_CRC', number(checksum(after))],
    ['SYNC_CRC_ANNOT', '12345678'],
    ['LAST_UID', number(after.lastUid)],
    ['HIGHESTMODSEQ', number(after.modseq)],
    ['RECENTUID', '0'],
    ['RECENTTIME', '0'],
    ['LAST_APPENDDATE', '1700000000'],
    ['POP3_LAST_LOGIN', '0'],
    ['POP3_SHOW_AFTER', '0'],
    ['UIDVALIDITY', number(after.uidvalidity)],
    ['PARTITION', 'default'],
    ['ACL', 'anyone\tlrs\t'],
    ['OPTIONS', 'P'],
  ];
  if (after.comment !== '') {
    const entry = { ENTRY: '/comment', USERID: '', MODSEQ: '0', VALUE: after.comment };
    fields.push(['ANNOTATIONS', [new Map(Object.entries(entry))]]);
  }
  if (before !== undefined) {
    fields.push(['SINCE_MODSEQ', number(before.modseq)]);
    fields.push(['SINCE_CRC', number(checksum(before))], ['SINCE_CRC_ANNOT', '12345678']);
  }
  const since = before?.modseq ?? 0;
  const records = [...after.records].filter(([, r]) => r.modseq > since);
  fields.push(['RECORD', records.map(([uid, r]) => recordValue(uid, r))]);
  return writeDlist(new Map(fields));
}

function recordValue(uid: number, record: RecordState): Value {
  return new Map<string, Value>([
    ['UID', String(uid)],
    ['MODSEQ', String(record.modseq)],
    ['LAST_UPDATED', '1700000000'],
    ['FLAGS', record.flags],
    ['INTERNALDATE', '1700000000'],
    ['SIZE', String(record.size)],
    ['GUID', record.guid],
  ]);
}
