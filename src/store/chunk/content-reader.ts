/**
 * Reads many pieces of the content of one data file, at best in the order of the file: what lies between two of them is
 * inflated once, and not from the segment start before each. Blocks of content that were inflated lately are kept.
 */
import { type InflateStream, newInflateStream } from '../../platform/inflate-stream.ts';
import { decodeMemberHeader, MAX_HEADER_BYTES } from './member.ts';
import { type ChunkPlace, readContent } from './reader.ts';
import { FileWindow } from './window.ts';

const BLOCK_BYTES = 256 * 1024;
const WINDOW_BYTES = 256 * 1024;
/** Enough for several segments, so that mailboxes whose messages lie mixed with one another do not cost twice. */
const MAX_BLOCKS = 128;

/** Content from `start` to `end`; the first byte of `bytes` is that of the block, whether or not it is known. */
interface Block {
  key: string;
  first: number;
  start: number;
  end: number;
  bytes: Uint8Array;
  /** Readings that have handed out a part of it. */
  users: number;
}

/** A chunk that is being inflated, and how far it is. */
interface Running {
  chunkOffset: number;
  stream: InflateStream;
  window: FileWindow;
  /** Content offset of what comes next. */
  at: number;
  isAtEnd: boolean;
}

export class ContentReader {
  readonly #fd: number;
  /** Least recently used first. */
  readonly #blocks = new Map<string, Block>();
  readonly #spare: Uint8Array[] = [];
  readonly #maxBlocks: number;
  /** null: no engine of this machine can be used. */
  #stream: InflateStream | null | undefined;
  #windowBytes: Uint8Array<ArrayBuffer> | undefined;
  #running: Running | undefined;

  constructor(fd: number, maxBlocks: number = MAX_BLOCKS) {
    this.#fd = fd;
    this.#maxBlocks = maxBlocks;
  }

  /** As readContent() does, and with the same errors. Several readings may be under way. */
  *read(chunk: ChunkPlace, from: number, length: number): Generator<Uint8Array, void> {
    const end = from + length;
    for (let at = from; at < end; ) {
      const block = this.#known(chunk, at) ?? this.#inflated(chunk, at);
      if (block === undefined) {
        // Damaged, torn or too short: the other way can tell.
        yield* readContent(this.#fd, chunk, at, end - at);
        return;
      }
      const until = Math.min(end, block.end);
      block.users++;
      try {
        yield block.bytes.subarray(at - block.first, until - block.first);
      } finally {
        block.users--;
      }
      at = until;
    }
  }

  #known(chunk: ChunkPlace, at: number): Block | undefined {
    const key = keyOf(chunk.offset, at);
    const block = this.#blocks.get(key);
    if (block === undefined || at < block.start || at >= block.end) return undefined;
    this.#blocks.delete(key);
    this.#blocks.set(key, block);
    return block;
  }

  /** Inflates up to the end of the block that holds `at`. */
  #inflated(chunk: ChunkPlace, at: number): Block | undefined {
    const running = this.#runningBefore(chunk, at);
    if (running === undefined) return undefined;
    for (;;) {
      const block = this.#newBlock(chunk.offset, running.at);
      const isSound = this.#fill(running, block);
      if (!isSound || block.end === block.start) {
        // Some of what came before an error may be wrong.
        running.isAtEnd = true;
        this.#drop(block);
        return undefined;
      }
      if (at < block.end) return block;
      if (block.end < block.first + BLOCK_BYTES) return undefined; // the chunk ends before
    }
  }

  /** @returns whether the stream is good so far */
  #fill(running: Running, block: Block): boolean {
    const { stream, window } = running;
    const last = block.first + BLOCK_BYTES;
    while (block.end < last && !running.isAtEnd) {
      if (window.start === window.end && window.fill() === 0) return true;
      const input = window.bytes.subarray(window.start, window.end);
      const step = stream.run(input, block.bytes.subarray(block.end - block.first));
      const { state, consumed, produced } = step;
      window.start += consumed;
      if (state === 'error') return false;
      block.end += produced;
      running.at = block.end;
      if (state === 'end') running.isAtEnd = true;
    }
    return true;
  }

  /** The one that is under way if it can get to `at` at less cost than from the segment start, or a new one. */
  #runningBefore(chunk: ChunkPlace, at: number): Running | undefined {
    const start = chunk.start !== undefined && chunk.start.contentOffset <= at ? chunk.start : undefined;
    const running = this.#running;
    if (
      running?.chunkOffset === chunk.offset &&
      !running.isAtEnd &&
      running.at <= at &&
      running.at >= (start?.contentOffset ?? 0)
    ) {
      return running;
    }
    this.#running = undefined;
    this.#stream ??= newInflateStream() ?? null;
    if (this.#stream === null) return undefined;
    this.#windowBytes ??= new Uint8Array(WINDOW_BYTES);
    const limit = chunk.end ?? Number.POSITIVE_INFINITY;
    const window = new FileWindow(this.#fd, start?.fileOffset ?? chunk.offset, limit, this.#windowBytes);
    if (start === undefined) {
      window.fill(MAX_HEADER_BYTES);
      const header = decodeMemberHeader(window.bytes.subarray(window.start, window.end));
      if (typeof header === 'string') return undefined;
      window.start += header.length;
    }
    this.#stream.reset();
    this.#running = {
      chunkOffset: chunk.offset,
      stream: this.#stream,
      window,
      at: start?.contentOffset ?? 0,
      isAtEnd: false,
    };
    return this.#running;
  }

  #newBlock(chunkOffset: number, at: number): Block {
    const key = keyOf(chunkOffset, at);
    const old = this.#blocks.get(key);
    if (old !== undefined) this.#drop(old);
    if (this.#blocks.size >= this.#maxBlocks) {
      for (const block of this.#blocks.values()) {
        if (block.users > 0) continue;
        this.#drop(block);
        break;
      }
    }
    const first = at - (at % BLOCK_BYTES);
    const bytes = this.#spare.pop() ?? new Uint8Array(BLOCK_BYTES);
    const block: Block = { key, first, start: at, end: at, bytes, users: 0 };
    this.#blocks.set(key, block);
    return block;
  }

  #drop(block: Block): void {
    this.#blocks.delete(block.key);
    // One that is in use is left to whoever uses it.
    if (block.users === 0) this.#spare.push(block.bytes);
  }
}

function keyOf(chunkOffset: number, at: number): string {
  return `${chunkOffset}:${Math.floor(at / BLOCK_BYTES)}`;
}
