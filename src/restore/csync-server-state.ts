import { child, type Dlist, numberOf, textOf } from '../csync/dlist.ts';
import type { CsyncMailboxFields, SyncCrcs } from './csync-mailbox.ts';
import type { CsyncLine } from './csync-reply.ts';

/** A mailbox as a server described it; counters that it left out are 0. */
export interface ServerMailbox {
  uniqueid: string;
  mboxname: string;
  /** Letters as Cyrus writes them; empty for a mailbox of mail. */
  mboxtype: string;
  partition: string;
  acl: string;
  options: string;
  lastUid: bigint;
  highestmodseq: bigint;
  uidvalidity: bigint;
  recentuid: bigint;
  recenttime: bigint;
  foldermodseq: bigint;
  crcs: SyncCrcs;
}

/** What a server holds for a user, as far as a sending client compares it. */
export interface ServerState {
  /** By uniqueid. */
  mailboxes: Map<string, ServerMailbox>;
  subscriptions: Set<string>;
  /** Fields of each SEEN by uniqueid, as text. */
  seen: Map<string, Record<string, string>>;
  /** Scripts by file name: the SHA-1 of each. */
  sieve: Map<string, string>;
  /** File name of the active script as the server says it, such as `main.bc`. */
  activeSieve: string | undefined;
  /** Limits of each quota root by resource name. */
  quotas: Map<string, Record<string, string>>;
}

/** Gathers the answers to GET USER, or to GET MAILBOXES and GET META. Unknown lines are passed over. */
export function readServerState(lines: Iterable<CsyncLine>): ServerState {
  const state: ServerState = {
    mailboxes: new Map(),
    subscriptions: new Set(),
    seen: new Map(),
    sieve: new Map(),
    activeSieve: undefined,
    quotas: new Map(),
  };
  for (const { name, value } of lines) {
    if (name === 'MAILBOX') {
      const mailbox = readMailbox(value);
      state.mailboxes.set(mailbox.uniqueid, mailbox);
    } else if (name === 'LSUB' && value.kind === 'list') {
      for (const item of value.items) state.subscriptions.add(textOf(item) ?? '');
    } else if (name === 'SEEN') {
      state.seen.set(text(value, 'UNIQUEID'), scalars(value));
    } else if (name === 'SIEVE') {
      if (text(value, 'ISACTIVE') === '1') state.activeSieve = text(value, 'FILENAME');
      // The compiled form of the active script comes as an entry of its own and is no script.
      if (!text(value, 'FILENAME').endsWith('.bc'))
        state.sieve.set(text(value, 'FILENAME'), text(value, 'GUID'));
    } else if (name === 'QUOTA') {
      state.quotas.set(text(value, 'ROOT'), scalars(value));
    }
  }
  return state;
}

export function readMailbox(value: Dlist): ServerMailbox {
  return {
    uniqueid: text(value, 'UNIQUEID'),
    mboxname: text(value, 'MBOXNAME'),
    mboxtype: text(value, 'MBOXTYPE'),
    partition: text(value, 'PARTITION'),
    acl: text(value, 'ACL'),
    options: text(value, 'OPTIONS'),
    lastUid: count(value, 'LAST_UID'),
    highestmodseq: count(value, 'HIGHESTMODSEQ'),
    uidvalidity: count(value, 'UIDVALIDITY'),
    recentuid: count(value, 'RECENTUID'),
    recenttime: count(value, 'RECENTTIME'),
    foldermodseq: count(value, 'FOLDERMODSEQ'),
    crcs: { basic: Number(count(value, 'SYNC_CRC')), annot: Number(count(value, 'SYNC_CRC_ANNOT')) },
  };
}

/** Whether the server's mailbox is as ours, so that there is nothing to send. */
export function isUpToDate(server: ServerMailbox, ours: CsyncMailboxFields, crcs: SyncCrcs): boolean {
  return (
    server.highestmodseq === BigInt(ours.highestmodseq) &&
    server.lastUid === BigInt(ours.lastUid) &&
    server.uidvalidity === BigInt(ours.uidvalidity) &&
    server.recentuid === BigInt(ours.recentuid) &&
    server.recenttime === BigInt(ours.recenttime) &&
    server.mboxname === ours.mboxname &&
    server.partition === ours.partition &&
    server.acl === ours.acl &&
    server.options === ours.options &&
    server.crcs.basic === crcs.basic &&
    server.crcs.annot === crcs.annot
  );
}

function text(value: Dlist, key: string): string {
  return textOf(child(value, key)) ?? '';
}

function count(value: Dlist, key: string): bigint {
  return numberOf(child(value, key)) ?? 0n;
}

function scalars(value: Dlist): Record<string, string> {
  const fields: Record<string, string> = {};
  if (value.kind !== 'kvlist') return fields;
  for (const [key, item] of value.entries) fields[key.toUpperCase()] = textOf(item) ?? '';
  return fields;
}
