/** APPLY MESSAGE into the open chunk of the user that most likely owns the messages. */
import type { MessageRef, ShardReply, TextPiece } from '../pipeline/messages.ts';
import { slabDeflated, slabText } from '../pipeline/slabs.ts';
import type { Backup } from './backup.ts';
import type { LineStart, OpenChunk } from './open-chunk.ts';

/** A command whose text arrives in pieces. */
export interface Command {
  /** Takes the next piece; the piece's memory may be reused when this resolves. */
  addPiece(piece: TextPiece, isOnly: boolean): Promise<void>;
  /** All pieces are there. */
  finish(messages?: readonly MessageRef[]): Promise<ShardReply>;
  /** Forgets the command. */
  abort(): void;
}

/** Appends one piece of text to the chunk: small ones are gathered, slabs are written as they are. */
export function appendPiece(chunk: OpenChunk, piece: TextPiece, memory: SharedArrayBuffer): void {
  if (piece.kind === 'bytes') {
    chunk.appendText(piece.bytes);
    return;
  }
  chunk.appendSegment(
    slabDeflated(memory, piece.slab, piece.deflatedLength),
    slabText(memory, piece.slab, piece.rawLength),
    piece.crc32,
  );
}

export class MessageCommand implements Command {
  readonly #backup: Backup;
  readonly #chunk: OpenChunk;
  readonly #memory: SharedArrayBuffer;
  readonly #mark: ReturnType<OpenChunk['mark']>;
  readonly #line: LineStart;

  constructor(backup: Backup, memory: SharedArrayBuffer) {
    this.#backup = backup;
    this.#memory = memory;
    this.#chunk = backup.ensureChunk();
    this.#mark = this.#chunk.mark();
    this.#line = this.#chunk.beginLine();
  }

  async addPiece(piece: TextPiece): Promise<void> {
    appendPiece(this.#chunk, piece, this.#memory);
  }

  /** The messages are now pending: nothing is promised until a MAILBOX claims them. */
  async finish(messages: readonly MessageRef[] = []): Promise<ShardReply> {
    this.#chunk.pending.add({ chunkId: this.#chunk.id, ...this.#line }, messages, (guid) =>
      this.#backup.reserved.has(guid),
    );
    return { code: 'OK', text: '' };
  }

  abort(): void {
    this.#chunk.rollback(this.#mark);
  }
}
