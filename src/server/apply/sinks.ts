/** Where the pieces of a command's text go: into a user's backup, or into the staging file of the session. */
import type {
  MessageRef,
  PieceRequest,
  ShardReply,
  StoredVerb,
  SupplyRequest,
  TextPiece,
} from '../../pipeline/messages.ts';
import type { PieceSink } from '../command-text.ts';
import type { Session } from '../session.ts';
import { listStaged } from './staging-list.ts';

export class BackupSink implements PieceSink {
  readonly deflated = true;
  readonly userid: string;
  readonly #session: Session;
  readonly #command: number;
  readonly #verb: StoredVerb;
  /** Why the backup may not be used now. */
  #refusal: ShardReply | undefined;
  #hasSent = false;

  constructor(session: Session, userid: string, verb: StoredVerb) {
    this.#session = session;
    this.userid = userid;
    this.#verb = verb;
    this.#command = session.nextCommandNumber();
  }

  async open(): Promise<void> {
    await this.#session.gate.enter();
    this.#refusal = await this.#session.backups.open(this.userid);
  }

  async send(piece: TextPiece, last: { messages: MessageRef[] } | undefined): Promise<ShardReply> {
    if (this.#refusal !== undefined) return this.#refusal;
    const isWhole = last !== undefined && !this.#hasSent;
    this.#hasSent = true;
    const request: PieceRequest = {
      op: 'piece',
      ...this.#of,
      verb: this.#verb,
      piece,
      last: last !== undefined,
      ...(last !== undefined && this.#verb === 'MESSAGE' && { messages: last.messages }),
    };
    if (isWhole && this.#defer(request)) return { code: 'OK', text: '' };
    return await this.#session.backups.askOpen(request);
  }

  /**
   * The OK of a MESSAGE promises nothing yet, and the MAILBOX that builds on it fails if it fails: a small one
   * need not wake the shard.
   */
  #defer(request: PieceRequest): boolean {
    const { piece, verb } = request;
    if (verb !== 'MESSAGE' || piece.kind !== 'bytes') return false;
    const { slabs } = this.#session.server;
    const bytes = piece.bytes.byteLength;
    if (!slabs.takeSmall(bytes)) return false;
    if (this.#session.backups.defer(request, bytes, () => slabs.releaseSmall(bytes))) return true;
    slabs.releaseSmall(bytes);
    return false;
  }

  async abort(): Promise<void> {
    await this.#session.backups.askOpen({ op: 'abort', ...this.#of });
  }

  /** Hands over messages that the shard asked for with NEED. */
  supply(found: Pick<SupplyRequest, 'staged' | 'lost' | 'unsent'>): Promise<ShardReply> {
    return this.#session.backups.askOpen({ op: 'supply', ...this.#of, ...found });
  }

  get #of() {
    return { session: this.#session.id, userid: this.userid, command: this.#command };
  }
}

export class StagingSink implements PieceSink {
  readonly deflated = false;
  readonly path: string;
  readonly #session: Session;
  readonly #shard: number;
  /** Where the command's text begins in the file. */
  #offset: number | undefined;

  constructor(session: Session) {
    this.#session = session;
    this.#shard = session.id % session.server.shards.count;
    this.path = session.routing.stagingFile(this.#shard);
  }

  open(): Promise<void> {
    return this.#session.gate.enter();
  }

  async send(piece: TextPiece): Promise<ShardReply> {
    const { id, backups } = this.#session;
    const reply = await backups.askShard(this.#shard, { op: 'stage', session: id, path: this.path, piece });
    this.#offset ??= reply.offset;
    return reply;
  }

  /** What was written stays unused until the session's files are removed. */
  abort(): Promise<void> {
    return Promise.resolve();
  }

  /** The messages of the command can be supplied from now on. */
  async remember(messages: readonly MessageRef[]): Promise<void> {
    for (const { guid, partition, offset, size } of messages) {
      this.#session.routing.staged.add({
        guid,
        partition,
        path: this.path,
        offset: (this.#offset ?? 0) + offset,
        size,
      });
    }
    await listStaged(this.#session);
  }
}
