/**
 * Lays down the text of one command in pieces, while it still arrives: up to 64 kB as bytes, more in slabs
 * that the deflate pool compresses meanwhile. Pieces are sent in order; the last one only when everything
 * before it was taken and all digests are right, so that a bad command leaves nothing behind.
 */
import { createHash, type Hash, hash } from 'node:crypto';
import type { DeflateResult, DeflateTask } from '../pipeline/deflate-task.ts';
import type { MessageRef, ShardReply, TextPiece } from '../pipeline/messages.ts';
import type { SlabHolder, SlabPool } from '../pipeline/slab-pool.ts';
import { copyToSlab, SLAB_BYTES, slabText } from '../pipeline/slabs.ts';

/** Where the pieces of a command go. */
export interface PieceSink {
  /** False: it wants the raw bytes of a slab and no deflated ones. */
  readonly deflated: boolean;
  /** Called once, before the first piece. */
  open(): Promise<void>;
  send(piece: TextPiece, last: { messages: MessageRef[] } | undefined): Promise<ShardReply>;
  /** Forget the pieces sent so far. */
  abort(): Promise<void>;
}

export interface CommandTextResources {
  slabs: SlabPool;
  holder: SlabHolder;
  deflate: { run(task: DeflateTask, holder: object): Promise<DeflateResult> };
  /** A message was not what its GUID says. */
  onMismatch(): void;
}

/** Text shorter than this travels as bytes and is compressed by the shard. */
export const SMALL_BYTES = 64 * 1024;

const FIRST_BUFFER_BYTES = 2048;
const NO_BYTES = new Uint8Array(0);

/** Messages of one command; sync_client sends up to 1024. */
const MAX_MESSAGES = 16_384;

export class CommandText {
  readonly messages: MessageRef[] = [];
  /** Set when something went wrong: what still comes is taken and dropped. */
  failure: ShardReply | undefined;
  /** Called when take() has room again. */
  onRoom: () => void = () => {};
  /** Says where the pieces go, when the first one must go before the command has ended. */
  onNeedSink: () => PieceSink | undefined = () => undefined;
  readonly #r: CommandTextResources;
  #sink: PieceSink | undefined;
  /** Bytes of text before the current buffer. */
  #base = 0;
  #length = 0;
  #small: Buffer | undefined;
  #slab: number | undefined;
  #slabText: Uint8Array | undefined;
  /** Messages that lie wholly in the current slab. */
  #inSlab: { start: number; end: number; guid: string }[] = [];
  #open: MessageRef | undefined;
  /** Digest of a message that began before the current buffer. */
  #openHash: Hash | undefined;
  #sent: Promise<void> = Promise.resolve();
  readonly #replies: Promise<void>[] = [];
  #cancelWait: (() => void) | undefined;
  #anySent = false;
  #lastReply: ShardReply | undefined;

  constructor(resources: CommandTextResources) {
    this.#r = resources;
  }

  /** Bytes of text so far. */
  get length(): number {
    return this.#base + this.#length;
  }

  /** It holds memory that others may be waiting for. */
  get holdsMemory(): boolean {
    return this.#slab !== undefined || this.#small !== undefined;
  }

  /** Where the pieces go; needed before finish(). */
  set sink(sink: PieceSink) {
    this.#sink = sink;
  }

  /** Takes text; fewer bytes than offered when there is no room: onRoom says when there is. */
  take(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end) {
      if (this.failure !== undefined) return end - start;
      if (this.#slab === undefined && this.#takeSmall(bytes, at, end)) return end - start;
      if (this.#length === SLAB_BYTES) this.#flushSlab();
      if (this.failure !== undefined) continue;
      if (this.#slab === undefined && !this.#beginSlab()) return at - start;
      const count = Math.min(end - at, SLAB_BYTES - this.#length);
      copyToSlab(this.#slabText!, this.#length, bytes, at, at + count);
      this.#length += count;
      at += count;
    }
    return end - start;
  }

  messageStart(message: { partition: string; guid: string; size: number }): void {
    if (this.failure !== undefined) return;
    if (this.messages.length >= MAX_MESSAGES) {
      this.fail('IMAP_PROTOCOL_BAD_PARAMETERS', `More than ${MAX_MESSAGES} messages in one command`);
      return;
    }
    const { partition, guid, size } = message;
    this.#open = { guid, partition, offset: this.length, size };
    this.messages.push(this.#open);
  }

  messageEnd(): void {
    const message = this.#open;
    this.#open = undefined;
    if (message === undefined || this.failure !== undefined) return;
    if (this.#openHash !== undefined) {
      this.#openHash.update(this.#buffer(0, this.#length));
      this.#check(message.guid, this.#openHash.digest('hex'));
      this.#openHash = undefined;
    } else {
      this.#inSlab.push({ start: message.offset - this.#base, end: this.#length, guid: message.guid });
    }
  }

  /** The command cannot be carried out; the rest of it is dropped and finish() says so. */
  fail(code: ShardReply['code'], text: string): void {
    if (this.failure !== undefined) return;
    this.failure = { code, text };
    this.#dropBuffer();
    if (this.#cancelWait === undefined) return;
    this.#cancelWait();
    this.#cancelWait = undefined;
    queueMicrotask(() => this.onRoom());
  }

  /**
   * Sends on what there is, so that a slow client does not keep memory from others.
   *
   * @returns false if nobody can say yet where it would go
   */
  flushEarly(): boolean {
    if (this.failure !== undefined || this.#length === 0) return true;
    if (this.#sink === undefined && (this.#sink = this.onNeedSink()) === undefined) return false;
    if (this.#slab !== undefined && this.#length >= SMALL_BYTES) this.#flushSlab();
    else this.#flushBytes(undefined);
    return true;
  }

  /** Sends the last piece, after all others were taken. */
  async finish(): Promise<ShardReply> {
    await this.#settled();
    if (this.failure !== undefined) return this.#abortSent(this.failure);
    const last = { messages: this.messages };
    if (this.#slab !== undefined && this.#length >= SMALL_BYTES) this.#flushSlab(last);
    else this.#flushBytes(last);
    await this.#settled();
    return this.failure === undefined ? this.#lastReply! : this.#abortSent(this.failure);
  }

  /** The command was bad or the client is gone: nothing of it may stay. */
  async abort(): Promise<void> {
    this.fail('IMAP_PROTOCOL_ERROR', 'The command did not end');
    await this.#settled();
    if (this.#anySent) await this.#sink?.abort();
  }

  async #abortSent(failure: ShardReply): Promise<ShardReply> {
    if (this.#anySent) await this.#sink?.abort();
    return failure;
  }

  async #settled(): Promise<void> {
    await this.#sent;
    await Promise.all(this.#replies);
  }

  /** @returns false when the text is too long for a small buffer, or there is no room for one */
  #takeSmall(bytes: Uint8Array, start: number, end: number): boolean {
    const needed = this.#length + end - start;
    if (needed >= SMALL_BYTES) return false;
    const capacity = this.#small?.length ?? 0;
    if (needed > capacity) {
      const grown = Math.max(FIRST_BUFFER_BYTES, 1 << Math.ceil(Math.log2(needed)));
      if (!this.#r.slabs.takeSmall(grown - capacity)) return false;
      const larger = Buffer.allocUnsafeSlow(grown);
      if (this.#small !== undefined) larger.set(this.#small.subarray(0, this.#length));
      this.#small = larger;
    }
    this.#small!.set(bytes.subarray(start, end), this.#length);
    this.#length = needed;
    return true;
  }

  /** A slab for the text that follows, with what the small buffer holds in front. */
  #beginSlab(): boolean {
    const slab = this.#r.slabs.tryTake(this.#r.holder);
    if (slab !== undefined) {
      this.#useSlab(slab);
      return true;
    }
    this.#cancelWait ??= this.#r.slabs.wait(this.#r.holder, (granted) => {
      this.#cancelWait = undefined;
      this.#useSlab(granted);
      this.onRoom();
    });
    return false;
  }

  #useSlab(slab: number): void {
    this.#slab = slab;
    this.#slabText = slabText(this.#r.slabs.memory, slab);
    if (this.#small !== undefined) {
      this.#slabText.set(this.#small.subarray(0, this.#length));
      this.#r.slabs.releaseSmall(this.#small.length);
      this.#small = undefined;
    }
  }

  #buffer(start: number, end: number): Uint8Array {
    return (this.#small ?? this.#slabText ?? NO_BYTES).subarray(start, end);
  }

  #dropBuffer(): void {
    if (this.#small !== undefined) this.#r.slabs.releaseSmall(this.#small.length);
    if (this.#slab !== undefined) this.#r.slabs.release(this.#r.holder, this.#slab);
    this.#nextBuffer();
    this.#openHash = undefined;
  }

  #nextBuffer(): void {
    this.#base += this.#length;
    this.#length = 0;
    this.#small = undefined;
    this.#slab = undefined;
    this.#slabText = undefined;
    this.#inSlab = [];
  }

  #check(expected: string, found: string): void {
    if (expected === found || this.failure !== undefined) return;
    this.#r.onMismatch();
    this.fail('IMAP_PROTOCOL_ERROR', `A message has the SHA-1 ${found} and not ${expected}`);
  }

  /** A message that goes on in the next buffer is digested here, piece by piece. */
  #carryOpenMessage(): void {
    if (this.#open === undefined) return;
    const start = Math.max(0, this.#open.offset - this.#base);
    this.#openHash ??= createHash('sha1');
    this.#openHash.update(this.#buffer(start, this.#length));
  }

  #flushSlab(last?: { messages: MessageRef[] }): void {
    const sink = (this.#sink ??= this.onNeedSink());
    if (sink === undefined) {
      const kilobytes = Math.round(SLAB_BYTES / 1024);
      this.fail('IMAP_PROTOCOL_BAD_PARAMETERS', `The first ${kilobytes} kB do not say whose it is`);
      return;
    }
    this.#carryOpenMessage();
    if (!sink.deflated) this.#checkHere();
    if (this.failure !== undefined) return;
    const slab = this.#slab!;
    const length = this.#length;
    const inSlab = this.#inSlab;
    this.#nextBuffer();
    const task: DeflateTask = { slab, length, messages: inSlab.map(({ start, end }) => ({ start, end })) };
    const deflating = sink.deflated ? this.#r.deflate.run(task, this.#r.holder) : undefined;
    // The chain may reach it late; a rejection is looked at there.
    deflating?.catch(() => {});
    this.#enqueue(sink, last, slab, async () => {
      const result = await deflating;
      inSlab.forEach(({ guid }, i) => {
        if (result !== undefined) this.#check(guid, result.digests[i]!);
      });
      const { deflatedLength, crc32 } = result ?? { deflatedLength: 0, crc32: 0 };
      return { kind: 'slab', slab, rawLength: length, deflatedLength, crc32 };
    });
  }

  #flushBytes(last: { messages: MessageRef[] } | undefined): void {
    const sink = (this.#sink ??= this.onNeedSink());
    if (sink === undefined) {
      this.fail('IMAP_PROTOCOL_ERROR', 'The command does not say whose it is');
      return;
    }
    this.#carryOpenMessage();
    this.#checkHere();
    if (this.failure !== undefined) return;
    // An array of its own: posting a part of a larger one to a thread would copy all of that.
    const bytes = new Uint8Array(this.#buffer(0, this.#length));
    const slab = this.#slab;
    if (this.#small !== undefined) this.#r.slabs.releaseSmall(this.#small.length);
    this.#nextBuffer();
    if (slab !== undefined) this.#r.slabs.release(this.#r.holder, slab);
    this.#enqueue(sink, last, undefined, async () => ({ kind: 'bytes', bytes }));
  }

  /** Checks the messages that lie wholly in the current buffer, in this thread. */
  #checkHere(): void {
    for (const { start, end, guid } of this.#inSlab)
      this.#check(guid, hash('sha1', this.#buffer(start, end)));
  }

  #enqueue(
    sink: PieceSink,
    last: { messages: MessageRef[] } | undefined,
    slab: number | undefined,
    prepare: () => Promise<TextPiece>,
  ): void {
    const release = () => {
      if (slab !== undefined) this.#r.slabs.release(this.#r.holder, slab);
    };
    this.#sent = this.#sent.then(async () => {
      let piece: TextPiece;
      try {
        piece = await prepare();
      } catch (error) {
        this.fail('IMAP_MAILBOX_LOCKED', `Compressing failed, try again later (${String(error)})`);
        release();
        return;
      }
      if (this.failure !== undefined) {
        release();
        return;
      }
      if (!this.#anySent) await sink.open();
      this.#anySent = true;
      const replied = sink.send(piece, last).then((reply) => {
        release();
        if (last !== undefined) this.#lastReply = reply;
        else if (reply.code !== 'OK') this.fail(reply.code, reply.text);
      });
      this.#replies.push(replied);
    });
  }
}
