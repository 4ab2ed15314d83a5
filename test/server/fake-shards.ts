/** Shards that keep what they are sent, for tests of everything in front of the store. */
import { crc32, inflateRawSync } from 'node:zlib';
import type {
  ExportRequest,
  MessageRef,
  PieceRequest,
  ReadRequest,
  ReserveRequest,
  ShardReply,
  ShardRequest,
} from '../../src/pipeline/messages.ts';
import type { Shards } from '../../src/pipeline/shard-pools.ts';
import type { SlabPool } from '../../src/pipeline/slab-pool.ts';
import { slabDeflated, slabText } from '../../src/pipeline/slabs.ts';

export interface StoredCommand {
  userid: string;
  verb: string;
  text: Buffer;
  messages: MessageRef[] | undefined;
  /** Kinds of its pieces. */
  pieces: string[];
}

const OK: ShardReply = { code: 'OK', text: '' };

export class FakeShards implements Shards {
  readonly count: number;
  slabs!: SlabPool;
  /** All requests, in the order in which they came, with the shard. */
  readonly requests: (ShardRequest & { shard: number })[] = [];
  readonly stored: StoredCommand[] = [];
  /** Staging files. */
  readonly files = new Map<string, Buffer>();
  /** Called before a request is carried out; what it returns is the reply. */
  script: (request: ShardRequest) => ShardReply | Promise<ShardReply> | undefined = () => undefined;
  /** While set, requests wait for it. */
  gate: Promise<void> | undefined;
  readonly #texts = new Map<string, { pieces: Buffer[]; kinds: string[] }>();

  constructor(count = 2) {
    this.count = count;
  }

  async ask(
    shard: number,
    { before, ...request }: ShardRequest & { before?: PieceRequest[] },
  ): Promise<ShardReply> {
    for (const piece of before ?? []) {
      const reply = await this.ask(shard, piece);
      if (reply.code !== 'OK') return reply;
    }
    this.requests.push({ ...request, shard });
    if (this.gate !== undefined) await this.gate;
    const scripted = await this.script(request);
    if (scripted !== undefined && scripted.code !== 'OK' && request.op !== 'stage') return scripted;
    switch (request.op) {
      case 'piece':
        return this.#piece(request, scripted);
      case 'abort':
        this.#texts.delete(`${request.session}.${request.command}`);
        return OK;
      case 'stage': {
        const before = this.files.get(request.path) ?? Buffer.alloc(0);
        const bytes = this.#bytes(request.piece, true);
        this.files.set(request.path, Buffer.concat([before, bytes]));
        return scripted ?? { ...OK, offset: before.length };
      }
      default:
        return scripted ?? OK;
    }
  }

  /** Requests with this op. */
  of<Op extends ShardRequest['op']>(op: Op): (Extract<ShardRequest, { op: Op }> & { shard: number })[] {
    return this.requests.filter((request) => request.op === op) as never;
  }

  /** Texts stored for a user, as strings. */
  texts(userid: string): string[] {
    return this.stored.filter((one) => one.userid === userid).map(({ text }) => text.toString('latin1'));
  }

  #piece(request: PieceRequest, scripted: ShardReply | undefined): ShardReply {
    const key = `${request.session}.${request.command}`;
    const text = this.#texts.get(key) ?? { pieces: [], kinds: [] };
    this.#texts.set(key, text);
    text.pieces.push(this.#bytes(request.piece, false));
    text.kinds.push(request.piece.kind);
    if (!request.last) return scripted ?? OK;
    this.#texts.delete(key);
    this.stored.push({
      userid: request.userid,
      verb: request.verb,
      text: Buffer.concat(text.pieces),
      messages: request.messages,
      pieces: text.kinds,
    });
    return scripted ?? OK;
  }

  #bytes(piece: PieceRequest['piece'], raw: boolean): Buffer {
    if (piece.kind === 'bytes') return Buffer.from(piece.bytes);
    const text = Buffer.from(slabText(this.slabs.memory, piece.slab, piece.rawLength));
    if (raw) return text;
    const deflated = slabDeflated(this.slabs.memory, piece.slab, piece.deflatedLength);
    const inflated = inflateRawSync(deflated, { finishFlush: 2 });
    if (!inflated.equals(text) || crc32(text) !== piece.crc32)
      throw new Error('a slab is not what it should be');
    return text;
  }
}

export type { ExportRequest, ReadRequest, ReserveRequest };
