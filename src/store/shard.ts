/**
 * A shard: everything that has state about the backups of its users. Requests for one user are carried out in
 * the order in which they came; those of different users overlap while they wait for the disk.
 */
import fs from 'node:fs';
import path from 'node:path';
import type {
  PieceRequest,
  ReadRequest,
  ReleaseRequest,
  RestedBackup,
  RestRequest,
  ShardReply,
  ShardRequest,
  StagedMessage,
  TextPiece,
  UserRequest,
} from '../pipeline/messages.ts';
import { slabText } from '../pipeline/slabs.ts';
import { crashPoint } from '../platform/crash-points.ts';
import { BackupError } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import { askAgain } from './ask-again.ts';
import type { Backup } from './backup.ts';
import { BackupShelf } from './backup-shelf.ts';
import { indexPathOf } from './data-file.ts';
import { FormerOwners } from './former-owners.ts';
import { ownerOf } from './former-users.ts';
import { indexError, isSqliteError } from './index/index-error.ts';
import { LeftOut } from './left-out.ts';
import { SpoolFile } from './line-text.ts';
import { type Command, MessageCommand } from './message-command.ts';
import { nonexistentAnswer } from './read-pages.ts';
import { isCorruptIndex } from './recovery.ts';
import { bringToRest } from './rest.ts';
import { SerialQueues } from './serial-queues.ts';
import { findListed } from './staged-list.ts';
import { StateCommand } from './state-command.ts';
import type { StoreEnvironment } from './store-environment.ts';

const OK: ShardReply = { code: 'OK', text: '' };

interface Session {
  /** Users whose backups it has locked here. */
  users: Set<string>;
  /** Commands whose text is still coming or that wait for `supply`. */
  commands: Map<number, { userid: string; command: Command }>;
  /** Answers with more pages to come: the next one, and those behind it. */
  pages: Map<number, { next: Uint8Array; rest: Iterator<Uint8Array> }>;
  /** Files in the staging folder that were written for it here. */
  spools: Set<string>;
}

export class Shard {
  readonly #env: StoreEnvironment;
  readonly #memory: SharedArrayBuffer;
  readonly #shelf: BackupShelf;
  readonly #formerOwners: FormerOwners;
  readonly #leftOut: LeftOut;
  readonly #queues = new SerialQueues();
  readonly #sessions = new Map<number, Session>();
  /** Distinguishes the files of several shards in the staging folder. */
  readonly #name: string;
  #nextCursor = 1;
  #spoolCount = 0;

  constructor(env: StoreEnvironment, memory: SharedArrayBuffer, name: string) {
    this.#name = name;
    this.#env = env;
    this.#memory = memory;
    this.#shelf = new BackupShelf(env);
    this.#leftOut = new LeftOut(env.log);
    this.#formerOwners = new FormerOwners(env, {
      lock: (request, create) => this.#lock(request, create),
      forget: (backup) => this.#shelf.forget(backup),
      newSpool: (session, kind) => this.#newSpool(session, kind),
      toldOf: (backup) => this.#leftOut.toldOf(backup),
    });
  }

  /** Carries out one request. Never rejects: what goes wrong is in the reply, the log and the figures. */
  async handle(request: ShardRequest): Promise<ShardReply> {
    this.#env.disk.underWay++;
    try {
      switch (request.op) {
        case 'stats':
          this.#shelf.count();
          return { ...OK, stats: this.#env.figures.take() };
        case 'stop':
          return await this.#stop();
        case 'stage':
          return this.#stage(request);
        case 'listed':
          return { ...OK, staged: await findListed(request.path, request.guids) };
        case 'release':
          return await this.#release(request);
        case 'rest':
          return await this.#rest(request);
        default:
          return await this.#queues.run(request.userid, () => this.#handleInOrder(request));
      }
    } catch (error) {
      return this.#failed(error, request);
    } finally {
      this.#env.disk.underWay--;
    }
  }

  /** What was put off until this request, and it itself unless that failed. */
  async #handleInOrder(request: UserRequest): Promise<ShardReply> {
    for (const piece of request.before ?? []) {
      const reply = await this.#piece(piece);
      if (reply.code !== 'OK') return reply;
    }
    return await this.#handleOfUser(request);
  }

  async #handleOfUser(request: UserRequest): Promise<ShardReply> {
    switch (request.op) {
      case 'piece':
        return await this.#piece(request);
      case 'abort':
        this.#takeCommand(request.session, request.command)?.abort();
        return OK;
      case 'supply': {
        const command = this.#takeCommand(request.session, request.command);
        if (!(command instanceof StateCommand)) return gone();
        const reply = await command.supply(request);
        if (reply.code === 'NEED')
          this.#session(request.session).commands.set(request.command, { userid: request.userid, command });
        return reply;
      }
      case 'reserve': {
        const backup = await this.#lock(request, false);
        if (backup === undefined) return { ...OK, guids: request.guids };
        if ('code' in backup) return backup;
        const guids = backup.index.missing(request.guids);
        for (const guid of guids) backup.reserved.add(guid);
        return { ...OK, guids };
      }
      case 'export': {
        const backup = await this.#lock(request, false);
        if (backup === undefined) return { ...OK, staged: [] };
        if ('code' in backup) return backup;
        const staged = this.#export(backup, request.session, request.guids, request.path);
        for await (const former of this.#formerOwners.of(backup, request.session)) {
          if ('code' in former) return former;
          const found = new Set(staged.map(({ guid }) => guid));
          const rest = request.guids.filter((guid) => !found.has(guid));
          staged.push(...this.#export(former, request.session, rest, request.path));
        }
        return { ...OK, staged };
      }
      case 'read':
        return await this.#read(request);
      case 'rename-user':
        return await this.#renameUser(request.session, request.userid, request.to);
    }
  }

  async #piece(request: PieceRequest): Promise<ShardReply> {
    const session = this.#session(request.session);
    let command = session.commands.get(request.command)?.command;
    const isFirst = command === undefined;
    if (command === undefined) {
      const own = await this.#lock(request, true);
      if (own === undefined || 'code' in own) return own ?? gone();
      const backup = await this.#formerOwners.choose(own, request, () => this.#textOf(request.piece));
      if ('code' in backup) return backup;
      command =
        request.verb === 'MESSAGE'
          ? new MessageCommand(backup, this.#memory)
          : new StateCommand(backup, request.verb, this.#memory, this.#env, (kind) =>
              this.#newSpool(request.session, kind),
            );
      session.commands.set(request.command, { userid: request.userid, command });
    }
    await command.addPiece(request.piece, isFirst && request.last);
    if (!request.last) return OK;
    const reply = await command.finish(request.messages);
    if (reply.code !== 'NEED') session.commands.delete(request.command);
    return reply;
  }

  #takeCommand(session: number, number: number): Command | undefined {
    const commands = this.#sessions.get(session)?.commands;
    const entry = commands?.get(number);
    commands?.delete(number);
    return entry?.command;
  }

  async #read(request: ReadRequest): Promise<ShardReply> {
    const session = this.#session(request.session);
    const begun = request.cursor === undefined ? undefined : session.pages.get(request.cursor);
    if (request.cursor !== undefined) session.pages.delete(request.cursor);
    if (begun !== undefined) return this.#page(session, begun.next, begun.rest);
    if (request.cursor !== undefined) return gone();
    const backup = await this.#lock(request, false);
    if (backup === undefined) return nonexistentAnswer(request.query);
    if ('code' in backup) return backup;
    const { query } = request;
    if (request.mayAsk)
      await askAgain(backup, query.what === 'MAILBOXES' ? query.mboxnames : undefined, this.#env);
    if (request.mayAsk && query.what === 'MAILBOXES') this.#leftOut.askedByName(backup, query.mboxnames);
    const answer = await this.#formerOwners.answer(backup, request);
    if ('code' in answer) return answer;
    const first = answer.next();
    return first.done ? { ...OK, bytes: new Uint8Array(0) } : this.#page(session, first.value, answer);
  }

  /** A page, and whether another follows: looking ahead saves short answers a second request. */
  #page(session: Session, bytes: Uint8Array, rest: Iterator<Uint8Array>): ShardReply {
    const next = rest.next();
    if (next.done) return { ...OK, bytes };
    const cursor = this.#nextCursor++;
    session.pages.set(cursor, { next: next.value, rest });
    return { ...OK, bytes, cursor };
  }

  /** The backup, locked for the session; undefined if there is none; a reply if it cannot be had now. */
  async #lock(
    request: { session: number; userid: string },
    create: boolean,
  ): Promise<Backup | ShardReply | undefined> {
    const backup = await this.#shelf.lock(request.userid, request.session, create);
    if (backup === 'busy') {
      this.#env.figures.count('locks_refused_total');
      return {
        code: 'IMAP_MAILBOX_LOCKED',
        text: `the backup of ${request.userid} is in use by another connection or program`,
      };
    }
    if (backup !== undefined) this.#session(request.session).users.add(request.userid);
    return backup;
  }

  #session(number: number): Session {
    let session = this.#sessions.get(number);
    if (session === undefined) {
      session = { users: new Set(), commands: new Map(), pages: new Map(), spools: new Set() };
      this.#sessions.set(number, session);
    }
    return session;
  }

  #textOf(piece: TextPiece): Uint8Array {
    return piece.kind === 'bytes' ? piece.bytes : slabText(this.#memory, piece.slab, piece.rawLength);
  }

  #stage(request: Extract<ShardRequest, { op: 'stage' }>): ShardReply {
    const spool = this.#openSpool(request.session, request.path);
    try {
      return { ...OK, offset: spool.append(this.#textOf(request.piece)) };
    } finally {
      spool.close();
    }
  }

  #export(backup: Backup, session: number, guids: readonly string[], target: string): StagedMessage[] {
    const staged: StagedMessage[] = [];
    const spool = this.#openSpool(session, target);
    try {
      for (const guid of guids) {
        const found = backup.findMessage(guid);
        // One that cannot be read is not here for anybody else either.
        if (found === undefined || !backup.isReadable(guid)) continue;
        const offset = spool.end;
        for (const block of found.blocks()) spool.append(block);
        staged.push({ guid, partition: found.partition, path: target, offset, size: found.size });
      }
    } finally {
      spool.close();
    }
    crashPoint('export-written');
    return staged;
  }

  async #renameUser(session: number, from: string, to: string): Promise<ShardReply> {
    const backup = await this.#lock({ session, userid: from }, false);
    if (backup !== undefined && 'code' in backup) return backup;
    if (backup === undefined || this.#env.catalog.get(to) !== undefined) {
      return { code: 'IMAP_MAILBOX_NONEXISTENT', text: `cannot make the backup of ${from} that of ${to}` };
    }
    await backup.release();
    this.#shelf.forget(backup);
    this.#session(session).users.delete(from);
    this.#env.catalog.rename(from, to);
    crashPoint('rename-user-catalog');
    this.#env.log.info({ from, to, path: backup.file.path }, 'user renamed, the backup goes with it');
    return OK;
  }

  async #release(request: ReleaseRequest): Promise<ShardReply> {
    const session = this.#sessions.get(request.session);
    if (session === undefined) return OK;
    // What the session asks for from now on is a new beginning, even while this one is being finished.
    if (request.userid === undefined) this.#sessions.delete(request.session);
    const users = request.userid === undefined ? [...session.users] : [request.userid];
    await Promise.all(
      users.map((userid) =>
        this.#queues.run(ownerOf(userid), () => this.#releaseUser(request.session, session, userid)),
      ),
    );
    if (request.userid === undefined) {
      for (const file of session.spools) fs.rmSync(file, { force: true });
    }
    return OK;
  }

  async #releaseUser(number: number, session: Session, userid: string): Promise<void> {
    for (const [id, entry] of session.commands) {
      if (entry.userid !== userid) continue;
      entry.command.abort();
      session.commands.delete(id);
    }
    session.pages.clear();
    session.users.delete(userid);
    const backup = this.#shelf.find(userid);
    try {
      if (backup?.session === number) this.#leftOut.settle(backup);
      await this.#shelf.release(userid, number);
    } catch (error) {
      this.#failed(error, { op: 'release', session: number, userid });
    }
  }

  /** Stands behind whatever is being done for each of these users. */
  async #rest(request: RestRequest): Promise<ShardReply> {
    const of = request.ofUser;
    const keys = this.#shelf.keys().filter((key) => of === undefined || key === of || ownerOf(key) === of);
    const rested = await Promise.all(
      keys.map((key) => this.#queues.run(ownerOf(key), () => this.#restOne(key, request))),
    );
    return { ...OK, rested: rested.filter((one) => one !== undefined) };
  }

  async #restOne(key: string, request: RestRequest): Promise<RestedBackup | undefined> {
    const backup = this.#shelf.find(key);
    const session = backup?.session;
    if (backup === undefined || (session !== undefined && (request.ofSession ?? session) !== session))
      return undefined;
    let rested: RestedBackup | undefined;
    if (session !== undefined) {
      const { users, commands, pages } = this.#session(session);
      const isHalf = [...commands.values()].some(({ userid }) => userid === ownerOf(key));
      if (isHalf) return { userid: key, session, staged: [], problem: 'a command for it is half received' };
      try {
        const staged = await bringToRest(backup, () => this.#newSpool(session, 'rest'));
        rested = { userid: key, session, staged };
      } catch (error) {
        const { text } = this.#failed(error, { op: 'release', session, userid: key });
        rested = { userid: key, session, staged: [], problem: text };
      }
      users.delete(key);
      pages.clear();
    }
    if (request.forget || backup.file.staged) this.#shelf.forget(backup);
    return rested;
  }

  #newSpool(session: number, kind: string): SpoolFile {
    const name = `session-${process.pid}-${session}.${this.#name}.${this.#spoolCount++}.${kind}`;
    return this.#openSpool(session, path.join(this.#env.config.backupStagingPath, name));
  }

  #openSpool(session: number, file: string): SpoolFile {
    this.#session(session).spools.add(file);
    return new SpoolFile(file);
  }

  #drop(userid: string, isIndexCorrupt: boolean): void {
    this.#shelf.drop(userid, isIndexCorrupt);
    for (const session of this.#sessions.values()) {
      for (const [id, entry] of session.commands) if (entry.userid === userid) session.commands.delete(id);
    }
  }

  async #stop(): Promise<ShardReply> {
    for (const session of [...this.#sessions.keys()]) await this.#release({ op: 'release', session });
    this.#shelf.close();
    return OK;
  }

  /** What SQLite or the system says, with the place and what to do. A mistake of ours stays as it is. */
  #explained(error: unknown, { op, ...request }: ShardRequest): unknown {
    if (error instanceof BackupError) return error;
    const userid = 'userid' in request ? request.userid : undefined;
    const subject = (userid && this.#pathOf(userid)) ?? `the backup of ${userid ?? `nobody (${op})`}`;
    if (isSqliteError(error)) return indexError(error, 'use the index', indexPathOf(subject));
    return error instanceof Error && 'errno' in error ? ioError(error, 'use', subject) : error;
  }

  /** Of the data file, for a message; one that could not be opened is not on the shelf. */
  #pathOf(userid: string): string | undefined {
    try {
      return this.#shelf.find(userid)?.file.path ?? this.#env.catalog.get(userid);
    } catch {
      return undefined; // what failed in the first place is what to report
    }
  }

  /**
   * A request failed in a way that leaves the state in memory in doubt: the backup is closed as it is, and the
   * next open recovers it from the files. The client may try again later.
   */
  #failed(cause: unknown, request: ShardRequest): ShardReply {
    const userid = 'userid' in request ? request.userid : undefined;
    const error = this.#explained(cause, request);
    if (userid !== undefined) this.#drop(userid, isCorruptIndex(cause));
    const code = error instanceof BackupError ? error.code : undefined;
    this.#env.figures.count('failures_total');
    this.#env.log.error({ err: error, code, op: request.op, userid }, 'a request to the store failed');
    const reason = error instanceof Error ? error.message : String(error);
    return { code: 'IMAP_MAILBOX_LOCKED', text: `not now: ${reason.replaceAll(/\s+/g, ' ')}` };
  }
}

/** The command's backup was dropped after a failure, or the session's lock is gone. */
function gone(): ShardReply {
  return { code: 'IMAP_MAILBOX_LOCKED', text: 'the backup had to be closed; try again' };
}
