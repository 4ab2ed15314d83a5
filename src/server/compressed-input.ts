/**
 * What a client sends behind COMPRESS DEFLATE, inflated as it comes, in this thread: a thread of its own would cost more than
 * the inflating. The session takes it piece by piece; what it does not take yet stays compressed, and no more is received.
 */
import type { InflateStream } from '../platform/inflate-stream.ts';
import type { ConnectionCompression } from './compression.ts';

export interface InflatedEvents {
  /** The bytes are valid only during the call. */
  data(bytes: Uint8Array): void;
  /** The client sends no more: its stream of bytes has ended, or the deflate stream in it. */
  ended(): void;
  /** What the client sends is no deflate stream. */
  failed(error: Error): void;
  /** Whether more should be received. push() bears being called nevertheless. */
  wanted(isWanted: boolean): void;
  /** Memory is short: bring little at a time. */
  isTight(): boolean;
}

/** Others get their turn after this much came out: 16 kB can inflate to 16 MB. */
const TURN_BYTES = 1 << 20;
const NOTHING = new Uint8Array(0);
const SMALLEST_HISTORY_BYTES = 1024;

export class CompressedInput {
  readonly #shared: ConnectionCompression;
  readonly #events: InflatedEvents;
  /** Lent while there is more to know than #history. */
  #stream: InflateStream | undefined;
  /** What came out last, #historyLength bytes of it. */
  #history = NOTHING;
  #historyLength = 0;
  /** Received and not inflated; of our own. */
  #rest: Uint8Array | undefined;
  /** More comes out without more going in. */
  #isFull = false;
  #isPaused = false;
  #isWanted = true;
  #isRunning = false;
  #turn: NodeJS.Immediate | undefined;
  /** No more will be pushed. */
  #isAtEnd = false;
  #saidEnded = false;
  #isClosed = false;

  constructor(shared: ConnectionCompression, events: InflatedEvents) {
    this.#shared = shared;
    this.#events = events;
  }

  /** Takes what was received. The bytes are not used any more when it returns. */
  push(bytes: Uint8Array): void {
    if (this.#isClosed || this.#saidEnded || bytes.length === 0) return;
    if (!this.#isPaused && !this.#hasMore) {
      this.#run(bytes);
      return;
    }
    this.#rest = this.#rest === undefined ? Buffer.from(bytes) : Buffer.concat([this.#rest, bytes]);
    this.#settle();
  }

  /** Nothing more is received. */
  end(): void {
    this.#isAtEnd = true;
    this.#settle();
  }

  /** data() is not called any more until resume(). */
  pause(): void {
    this.#isPaused = true;
    this.#settle();
  }

  resume(): void {
    this.#isPaused = false;
    this.#settle();
  }

  /** Forgets what has come, and calls nobody any more. */
  close(): void {
    this.#isClosed = true;
    this.#rest = undefined;
    this.#history = NOTHING;
    clearImmediate(this.#turn);
    if (!this.#isRunning) this.#release();
  }

  get #hasMore(): boolean {
    return this.#rest !== undefined || this.#isFull;
  }

  /** Goes on, stops or says that this is the end, as things are now. */
  #settle(): void {
    if (this.#isRunning || this.#isClosed) return;
    const isWanted = this.#saidEnded || !(this.#isPaused || this.#hasMore);
    if (isWanted !== this.#isWanted) {
      this.#isWanted = isWanted;
      this.#events.wanted(isWanted);
    }
    if (this.#isPaused || this.#saidEnded) return;
    if (this.#hasMore) {
      this.#turn ??= setImmediate(() => {
        this.#turn = undefined;
        if (this.#isClosed || this.#isPaused) return;
        const rest = this.#rest ?? NOTHING;
        this.#rest = undefined;
        this.#run(rest);
      });
    } else if (this.#isAtEnd) {
      this.#saidEnded = true;
      this.#events.ended();
    }
  }

  /** Inflates until nothing is left, the session takes no more or others have to get their turn. */
  #run(input: Uint8Array): void {
    this.#isRunning = true;
    const stream = (this.#stream ??= this.#shared.lend(this.#history.subarray(0, this.#historyLength)));
    const output = this.#shared.output(this.#events.isTight());
    let at = 0;
    let left = TURN_BYTES;
    for (;;) {
      const { state, consumed, produced } = stream.run(at === 0 ? input : input.subarray(at), output);
      at += consumed;
      left -= produced;
      if (state === 'error') {
        this.#isRunning = false;
        this.#events.failed(new Error('COMPRESS: invalid deflate data'));
        return;
      }
      if (produced > 0) this.#events.data(output.subarray(0, produced));
      if (this.#isClosed) break;
      if (state === 'end') {
        // What follows the final block is nothing of ours.
        this.#isAtEnd = true;
        this.#isFull = false;
        this.#isRunning = false;
        this.#release();
        this.#settle();
        return;
      }
      this.#isFull = state === 'output';
      if (!this.#isFull && at === input.length) break;
      if (this.#isPaused || left <= 0) break;
    }
    this.#isRunning = false;
    if (this.#isClosed) {
      this.#release();
      return;
    }
    if (at < input.length) this.#rest = Buffer.from(input.subarray(at));
    else if (!this.#isFull) this.#park(stream);
    this.#settle();
  }

  /** Between two commands a client's stream is at a byte border between blocks: then others can have the state. */
  #park(stream: InflateStream): void {
    const history = stream.history();
    if (history === undefined) return;
    if (history.length > this.#history.length) {
      let room = Math.max(SMALLEST_HISTORY_BYTES, this.#history.length);
      while (room < history.length) room *= 2;
      this.#history = new Uint8Array(room);
    }
    this.#history.set(history);
    this.#historyLength = history.length;
    this.#release();
  }

  #release(): void {
    if (this.#stream === undefined) return;
    this.#shared.giveBack(this.#stream);
    this.#stream = undefined;
  }
}
