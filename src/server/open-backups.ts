/**
 * The backups that a session holds locks on, and giving them up again: at RESTART, EXIT, when it is idle or
 * gone, and the least recently used one when it touches too many.
 */
import type { PieceRequest, ShardReply, ShardRequest, UserRequest } from '../pipeline/messages.ts';
import { type Shards, shardOf } from '../pipeline/shard-pools.ts';
import type { UserAccess } from './user-access.ts';

/** `sync_client -A` goes through all users without RESTART: only so many of them stay locked. */
export const MAX_OPEN_BACKUPS = 8;

/** What may be put off for one session; more is sent as it comes. */
const MAX_DEFERRED_BYTES = 128 * 1024;

/** Names kept for the log line of the session. */
const MAX_LOGGED_USERS = 20;

interface DeferredPiece {
  request: PieceRequest;
  bytes: number;
  done: () => void;
}

export class OpenBackups {
  readonly #session: number;
  readonly #shards: Shards;
  readonly #access: UserAccess;
  /** Userid to whether messages wait in its file for a MAILBOX; least recently used first. */
  readonly #open = new Map<string, boolean>();
  /** Shards that keep other state of this session: staging files, or a backup since renamed. */
  readonly #touchedShards = new Set<number>();
  /** Small MESSAGE commands that travel with the next request about their user. */
  readonly #deferred = new Map<string, DeferredPiece[]>();
  #deferredBytes = 0;
  /** Whether all went well so far, of those that are open. */
  readonly #isServed = new Map<string, boolean>();
  readonly #seen = new Set<string>();
  #seenCount = 0;

  constructor(session: number, shards: Shards, access: UserAccess) {
    this.#session = session;
    this.#shards = shards;
    this.#access = access;
  }

  get count(): number {
    return this.#open.size;
  }

  /** Whose backups are open. */
  get users(): string[] {
    return [...this.#open.keys()];
  }

  has(userid: string): boolean {
    return this.#open.has(userid);
  }

  /** Anything to release? */
  get isEmpty(): boolean {
    return this.#open.size === 0 && this.#touchedShards.size === 0;
  }

  /** Messages wait in some backup for the MAILBOX that names them: a release would drop them. */
  get hasPending(): boolean {
    return [...this.#open.values()].includes(true);
  }

  /** Users so far, for the log: some by name, and how many in all. */
  get seen(): { users: string[]; count: number } {
    return { users: [...this.#seen], count: this.#seenCount };
  }

  usesShard(shard: number): boolean {
    if (this.#touchedShards.has(shard)) return true;
    return [...this.#open.keys()].some((userid) => shardOf(userid, this.#shards.count) === shard);
  }

  /** Asks the shard of this user, after making room for one more open backup. */
  async ask(request: UserRequest): Promise<ShardReply> {
    return (await this.open(request.userid)) ?? (await this.askOpen(request));
  }

  /**
   * Keeps a whole small command, for a backup that was touched just now, until the next request about its user:
   * to wake another thread costs more than the command. Only for what promises nothing (MESSAGE).
   *
   * @param done called when its memory is free again
   * @returns false if there is no room: then it is to be asked for at once
   */
  defer(request: PieceRequest, bytes: number, done: () => void): boolean {
    if (this.#deferredBytes + bytes > MAX_DEFERRED_BYTES) return false;
    this.#deferredBytes += bytes;
    const deferred = this.#deferred.get(request.userid);
    const piece = { request, bytes, done };
    if (deferred === undefined) this.#deferred.set(request.userid, [piece]);
    else deferred.push(piece);
    return true;
  }

  /** Asks a shard for something that is no user's. */
  askShard(shard: number, request: ShardRequest): Promise<ShardReply> {
    this.#touchedShards.add(shard);
    return this.#shards.ask(shard, request);
  }

  /** The same for a backup that was touched just now: requests keep the order of these calls. */
  async askOpen(request: UserRequest): Promise<ShardReply> {
    const shard = shardOf(request.userid, this.#shards.count);
    const deferred = this.#takeDeferred(request.userid);
    try {
      const before = deferred.map((piece) => piece.request);
      const reply = await this.#shards.ask(shard, deferred.length === 0 ? request : { ...request, before });
      this.#note(request.userid, reply);
      return reply;
    } finally {
      for (const { done } of deferred) done();
    }
  }

  /** Who may ask and is refused what he brings (a full disk, say) must not pass for one who is backed up. */
  #note(userid: string, { code }: ShardReply): void {
    if (code === 'IMAP_MAILBOX_LOCKED') this.#isServed.set(userid, false);
    else if (code === 'OK' && !this.#isServed.has(userid)) this.#isServed.set(userid, true);
  }

  #tell(userid: string): void {
    if (this.#isServed.get(userid)) this.#access.served(userid);
    this.#isServed.delete(userid);
  }

  #takeDeferred(userid: string): DeferredPiece[] {
    const deferred = this.#deferred.get(userid);
    if (deferred === undefined) return [];
    this.#deferred.delete(userid);
    for (const { bytes } of deferred) this.#deferredBytes -= bytes;
    return deferred;
  }

  get hasDeferred(): boolean {
    return this.#deferred.size > 0;
  }

  /** Sends what was put off for these users, or for all: a release would pass it by. */
  async flush(userids: readonly string[] = [...this.#deferred.keys()]): Promise<void> {
    for (const userid of userids) {
      for (const { request, done } of this.#takeDeferred(userid)) {
        await this.#shards.ask(shardOf(userid, this.#shards.count), request);
        done();
      }
    }
  }

  setPending(userid: string, pending: boolean): void {
    if (this.#open.has(userid)) this.#open.set(userid, pending);
  }

  /** Gives everything up and waits until that is done. */
  async releaseAll(): Promise<void> {
    if (this.hasDeferred) await this.flush();
    const shards = new Set(this.#touchedShards);
    for (const userid of this.#open.keys()) shards.add(shardOf(userid, this.#shards.count));
    this.#open.clear();
    this.#touchedShards.clear();
    for (const userid of [...this.#isServed.keys()]) this.#tell(userid);
    await Promise.all(
      [...shards].map((shard) => this.#shards.ask(shard, { op: 'release', session: this.#session })),
    );
  }

  /**
   * Before the first request of a command for this user: touch(), if the backup may be used.
   *
   * @returns what to answer if it may not
   */
  async open(userid: string): Promise<ShardReply | undefined> {
    const refusal = this.#access.refusal(userid);
    if (refusal !== undefined) return { code: 'IMAP_MAILBOX_LOCKED', text: refusal };
    await this.#access.makeRoom(userid);
    await this.touch(userid);
    return undefined;
  }

  /** Makes this the most recently used backup, and room for it if it is not open yet. */
  async touch(userid: string): Promise<void> {
    const pending = this.#open.get(userid);
    if (pending !== undefined) {
      this.#open.delete(userid);
      this.#open.set(userid, pending);
      return;
    }
    if (!this.#seen.has(userid)) {
      this.#seenCount++;
      if (this.#seen.size < MAX_LOGGED_USERS) this.#seen.add(userid);
    }
    while (this.#open.size >= MAX_OPEN_BACKUPS) await this.#releaseOne();
    this.#open.set(userid, false);
  }

  async #releaseOne(): Promise<void> {
    const entries = [...this.#open];
    const victim = (entries.find(([, pending]) => !pending) ?? entries[0])![0];
    this.#open.delete(victim);
    await this.flush([victim]);
    this.#tell(victim);
    const shard = shardOf(victim, this.#shards.count);
    await this.#shards.ask(shard, { op: 'release', session: this.#session, userid: victim });
  }
}
