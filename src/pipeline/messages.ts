/**
 * What the main thread and the store shards say to each other. Each request is one Piscina task on the pool
 * (of one thread) of the shard that owns the user; requests for one user are carried out in the order sent.
 *
 * A command's **text** is what goes into the data file after `UNIXTIME APPLY `: the verb, a space, the dlist
 * as the client sent it with literals written `{n}`, and CRLF. The shard adds the time, which never goes back.
 */

import type { PackedChanges } from './backup-changes.ts';

/** The userid under which all shared mailboxes are kept. */
export const SHARED_USERID = '%SHARED';

/** APPLY verbs whose text is stored; RESERVE changes nothing and is asked by its own request. */
export type StoredVerb =
  | 'MESSAGE'
  | 'MAILBOX'
  | 'EXPUNGE'
  | 'UNMAILBOX'
  | 'RENAME'
  | 'SUB'
  | 'UNSUB'
  | 'SEEN'
  | 'SIEVE'
  | 'UNSIEVE'
  | 'ACTIVATE_SIEVE'
  | 'UNACTIVATE_SIEVE'
  | 'QUOTA'
  | 'UNQUOTA'
  | 'ANNOTATION'
  | 'UNANNOTATION'
  | 'UNUSER';

/**
 * A piece of a command's text. Small ones travel as bytes and are compressed by the shard together with
 * their neighbours; large ones lie in a slab (see slabs.ts), already deflated by the deflate pool. Whoever
 * sent the request owns the slab and may reuse it when the reply has come.
 */
export type TextPiece =
  | { kind: 'bytes'; bytes: Uint8Array }
  | {
      kind: 'slab';
      slab: number;
      rawLength: number;
      /** Length of the raw deflate segment in the slab's second half; it ends with a full flush. */
      deflatedLength: number;
      /** CRC-32 of the raw bytes. */
      crc32: number;
    };

/** Where one message's bytes lie in the text of its MESSAGE command. */
export interface MessageRef {
  /** 40 lower-case hex digits: SHA-1 of the bytes, checked before the piece with `last` is sent. */
  guid: string;
  /** Cyrus partition named by the client. */
  partition: string;
  /** Offset of the message's first byte from the start of the text (the verb's first byte). */
  offset: number;
  size: number;
}

/** A message that lies outside the user's backup and is offered to it: raw bytes in a staging file. */
export interface StagedMessage {
  guid: string;
  partition: string;
  path: string;
  offset: number;
  size: number;
}

interface OfSession {
  /** Number of the connection; locks are held for it until `release`. */
  session: number;
  /** Whose backup; SHARED_USERID for shared mailboxes. */
  userid: string;
  /**
   * Whole small MESSAGE commands of the same user that are carried out first. If one of them fails, so does the
   * request, which is not carried out then.
   */
  before?: PieceRequest[];
}

/** One piece of a command that is to be stored. The reply to `last` is the command's answer. */
export interface PieceRequest extends OfSession {
  op: 'piece';
  /** Number of the command within the session. */
  command: number;
  verb: StoredVerb;
  piece: TextPiece;
  last: boolean;
  /** With the last piece of MESSAGE: all messages in the command. */
  messages?: MessageRef[];
}

/** The client went away, or the rest of the command was bad: forget all pieces of it. */
export interface AbortRequest extends OfSession {
  op: 'abort';
  command: number;
}

/**
 * Answer to code `NEED`: the messages that main could find elsewhere in the session. If more are missing than were asked for, and some
 * were found, the reply is NEED again; else what is still missing makes the shard decide (IMAP_SYNC_CHECKSUM to heal, or accept;
 * see docs/architecture.md).
 */
export interface SupplyRequest extends OfSession {
  op: 'supply';
  command: number;
  staged: StagedMessage[];
  /** GUIDs that the client takes for stored: it has sent them in this session, or was told so, and does not send them in it again. */
  lost: string[];
  /** Of so many messages the client has said since the last MAILBOX that it cannot read them: to ask for them at once is in vain. */
  unsent: number;
}

/** Which of these GUIDs the user's backup lacks. */
export interface ReserveRequest extends OfSession {
  op: 'reserve';
  guids: string[];
}

/** Copies messages out of a user's backup into a staging file, for another user of the same session. */
export interface ExportRequest extends OfSession {
  op: 'export';
  guids: string[];
  /** File to append the raw bytes to. */
  path: string;
}

/** Appends bytes to a staging file of the session: messages whose owner is not known yet. */
export interface StageRequest {
  op: 'stage';
  session: number;
  path: string;
  piece: TextPiece;
}

/** Where messages lie that a list in a staging file of the session names (store/staged-list.ts). */
export interface ListedRequest {
  op: 'listed';
  session: number;
  path: string;
  guids: string[];
}

export type ReadQuery =
  | { what: 'USER' }
  | { what: 'META' }
  | { what: 'MAILBOXES'; mboxnames: string[] }
  | { what: 'UNIQUEIDS'; uniqueids: string[] }
  | { what: 'FULLMAILBOX'; mboxname: string }
  | { what: 'QUOTA'; root: string }
  | { what: 'ANNOTATION'; mboxname: string }
  | { what: 'SIEVE'; filename: string }
  | { what: 'MESSAGE'; mboxname: string; uniqueid: string; guid: string; uid: string };

/** A GET. The answer comes in pages of `* ` lines so that neither side holds all of it. */
export interface ReadRequest extends OfSession {
  op: 'read';
  query: ReadQuery;
  /** A client goes by the answer: mailboxes that it is to send again may be left out from now on. */
  mayAsk?: boolean;
  /** Absent for the first page, then what the reply before said. */
  cursor?: number;
}

/** Moves the catalog entry and all history of `userid` to `to`; both belong to this session. */
export interface RenameUserRequest extends OfSession {
  op: 'rename-user';
  to: string;
}

/** RESTART, EXIT, idle or a lost connection: finish what is committed, drop the rest, unlock everything. */
export interface ReleaseRequest {
  op: 'release';
  session: number;
  /** Only this backup of the session's. */
  userid?: string;
}

/**
 * Brings backups to rest: chunk and index finished and synced, lock given up, while their sessions go on. What
 * waits in a file for a MAILBOX that is still to come is put into a staging file of its session first.
 */
export interface RestRequest {
  op: 'rest';
  /** Only the backup of this user, with those of former owners of the userid. */
  ofUser?: string;
  /** Only backups that this session has locked. */
  ofSession?: number;
  /** Close the files too, so that the next session opens them anew: somebody is going to work on them. */
  forget?: boolean;
}

/** Figures of the shard, for /metrics. */
export interface StatsRequest {
  op: 'stats';
}

/** Close every backup; the shard takes no more requests. */
export interface StopRequest {
  op: 'stop';
}

/** Requests about one user's backup: carried out in the order in which they were sent. */
export type UserRequest =
  | PieceRequest
  | AbortRequest
  | SupplyRequest
  | ReserveRequest
  | ExportRequest
  | ReadRequest
  | RenameUserRequest;

export type ShardRequest =
  | UserRequest
  | StageRequest
  | ListedRequest
  | ReleaseRequest
  | RestRequest
  | StatsRequest
  | StopRequest;

/** Codes that reach the client; the text after it is for people. */
export type ReplyCode =
  | 'OK'
  | 'IMAP_INVALID_USER'
  | 'IMAP_MAILBOX_NONEXISTENT'
  | 'IMAP_MAILBOX_LOCKED'
  | 'IMAP_SYNC_CHECKSUM'
  | 'IMAP_SYNC_BADSIEVE'
  | 'IMAP_PROTOCOL_ERROR'
  | 'IMAP_PROTOCOL_BAD_PARAMETERS';

/** The shard carried the request out, or says why not. Never thrown across the thread border. */
export interface ShardReply {
  code: ReplyCode | 'NEED';
  /** For people: what was wrong, on what, what happens next. Empty with OK. */
  text: string;
  /** NEED and reserve: GUIDs that the backup lacks. */
  guids?: string[];
  /** export, listed: where the messages lie now. */
  staged?: StagedMessage[];
  /** rest: what was locked before, and what of it lies in staging files now. */
  rested?: RestedBackup[];
  /** stage: offset in the staging file at which the piece was written. */
  offset?: number;
  /** read: whole `* ` lines. */
  bytes?: Uint8Array;
  /** read: there is more; ask again with this. */
  cursor?: number;
  /** stats. */
  stats?: ShardStats;
}

/** A backup that was brought to rest. */
export interface RestedBackup {
  userid: string;
  /** Who had it locked. */
  session: number;
  /** Messages that waited in its file for a MAILBOX, where they lie now. */
  staged: StagedMessage[];
  /** Absent: it is at rest. Otherwise why it is not. */
  problem?: string;
}

export interface ShardStats {
  /** Counters since the shard began, gauges as of now; keys are metric names without the prefix. */
  values: Record<string, number>;
  /** By histogram name: numbers of HistogramTotals with LATENCY_BOUNDS, in seconds, since the shard began. */
  histograms: Record<string, Float64Array>;
  /** What was added to backups since the last stats request. */
  changes: PackedChanges;
}
