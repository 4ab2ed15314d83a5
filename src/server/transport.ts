/**
 * One client's byte stream in both directions, through TLS and COMPRESS DEFLATE as they are negotiated. What
 * the session does not take stays in the kernel: nothing is buffered here but the chunk at hand.
 */
import type net from 'node:net';
import tls from 'node:tls';
import { shareReceiveBuffer } from '../platform/shared-receive.ts';
import { CompressedInput } from './compressed-input.ts';
import type { ConnectionCompression } from './compression.ts';

export interface TransportEvents {
  /**
   * The stream is paused until resume() unless the session takes all of it at once. The bytes are valid only
   * during the call.
   */
  data(bytes: Uint8Array): void;
  /** The client sends no more. */
  ended(): void;
  /** Nothing more can be read or written. Called once. */
  closed(error?: Error): void;
}

/** A peer that does not close after we did is cut off after this. */
const LINGER_MS = 5000;

/** More than this is deflated and sent without being asked to. */
const MOST_UNSENT_BYTES = 64 * 1024;

export class Transport {
  readonly remoteAddress: string;
  bytesIn = 0;
  bytesOut = 0;
  /** performance.now() when bytes last moved in either direction. */
  lastProgressMs = performance.now();
  readonly #events: TransportEvents;
  readonly #socket: net.Socket;
  #stream: net.Socket | tls.TLSSocket;
  /** Behind COMPRESS. */
  #compression: ConnectionCompression | undefined;
  #input: CompressedInput | undefined;
  /** Behind COMPRESS: answers that wait for flush(). */
  #unsent: Uint8Array[] = [];
  #unsentBytes = 0;
  #isClosed = false;
  #isHandshaking = false;
  #waitingForDrain: (() => void)[] = [];
  #lingerTimer: NodeJS.Timeout | undefined;
  #detach: () => void = () => {};
  /** Takes what a stream receives that shares the buffer. */
  #receive: (bytes: Uint8Array) => void = () => {};
  /** The streams that emit no 'data' but call #receive. */
  readonly #sharing = new WeakSet<net.Socket>();
  readonly #isTight: () => boolean;

  /** @param isTight whether memory is short: then little is read at a time */
  constructor(socket: net.Socket, events: TransportEvents, isTight: () => boolean) {
    this.#socket = socket;
    this.#stream = socket;
    this.#events = events;
    this.remoteAddress = socket.remoteAddress ?? 'unknown';
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 60_000);
    this.#isTight = isTight;
    this.#share(socket);
    this.#listen(socket);
  }

  /** What comes now is read through the buffer that all connections share. */
  get sharesReceiveBuffer(): boolean {
    return this.#sharing.has(this.#stream);
  }

  get isTls(): boolean {
    return this.#stream !== this.#socket;
  }

  get isCompressed(): boolean {
    return this.#compression !== undefined;
  }

  /** TLS was begun and is not up yet. */
  get isHandshaking(): boolean {
    return this.#isHandshaking;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The client does not take what was written to it. */
  get isClogged(): boolean {
    return this.#stream.writableNeedDrain;
  }

  pause(): void {
    (this.#input ?? this.#stream).pause();
  }

  resume(): void {
    (this.#input ?? this.#stream).resume();
  }

  /** Nothing is sent before flush(), unless it is much. */
  write(data: string | Uint8Array): void {
    if (this.#isClosed) return;
    const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : data;
    this.bytesOut += bytes.byteLength;
    if (this.#compression !== undefined) {
      this.#unsent.push(bytes);
      this.#unsentBytes += bytes.byteLength;
      if (this.#unsentBytes >= MOST_UNSENT_BYTES) this.flush();
    } else {
      if (!this.#stream.writableCorked) this.#stream.cork();
      this.#stream.write(bytes);
    }
  }

  /** Sends what was written. */
  flush(): void {
    if (this.#isClosed) return;
    if (this.#compression !== undefined) {
      const [first, ...others] = this.#unsent;
      if (first === undefined) return;
      this.#unsent = [];
      this.#unsentBytes = 0;
      const answers = others.length === 0 ? first : Buffer.concat([first, ...others]);
      for (const bytes of this.#compression.deflate(answers)) this.#stream.write(bytes);
    } else if (this.#stream.writableCorked) this.#stream.uncork();
  }

  /** Resolves when the client has taken enough of what was written, or is gone. */
  drained(): Promise<void> {
    if (this.#isClosed || !this.isClogged) return Promise.resolve();
    this.flush();
    return new Promise((resolve) => this.#waitingForDrain.push(resolve));
  }

  /**
   * Begins the TLS handshake. What the client sent before it is discarded by the caller: it was not protected.
   *
   * @throws when the handshake fails; the connection is closed then
   */
  startTls(secureContext: tls.SecureContext): Promise<void> {
    const socket = this.#socket;
    this.#detach();
    // An error that comes late, from below, has nobody else to go to.
    socket.on('error', () => {});
    const stream = new tls.TLSSocket(socket, { isServer: true, secureContext, requestCert: false });
    this.#stream = stream;
    this.#isHandshaking = true;
    return new Promise((resolve, reject) => {
      const failed = (error?: Error | boolean) => {
        this.#isHandshaking = false;
        const reason = error instanceof Error ? error.message : 'the connection was closed';
        const failure = new Error(`TLS handshake: ${reason}`);
        this.destroy(failure);
        reject(failure);
      };
      stream.on('error', () => {});
      stream.once('error', failed);
      stream.once('close', failed);
      stream.once('secure', () => {
        this.#isHandshaking = false;
        stream.off('error', failed);
        stream.off('close', failed);
        this.#share(stream);
        this.#listen(stream);
        resolve();
      });
    });
  }

  /** From the next byte on both directions are raw deflate. `early`: what the client has sent of that already. */
  startCompression(compression: ConnectionCompression, early: Uint8Array): void {
    this.flush();
    const stream = this.#stream;
    this.#detach();
    const input = new CompressedInput(compression, {
      data: (bytes) => this.#events.data(bytes),
      ended: () => this.#events.ended(),
      failed: (error) => this.destroy(error),
      wanted: (isWanted) => (isWanted ? stream.resume() : stream.pause()),
      isTight: this.#isTight,
    });
    this.#compression = compression;
    this.#input = input;
    this.#listen(stream, { data: (bytes) => input.push(bytes), end: () => input.end() });
    input.push(early);
    stream.resume();
  }

  /** Sends what was written and closes. */
  end(): void {
    if (this.#isClosed || this.#lingerTimer !== undefined) return;
    this.flush();
    this.#stream.end();
    // Reads and drops what still comes: closing with unread bytes would reset the connection and could cost
    // the client our last answer.
    this.#detach();
    this.#input?.close();
    this.#input = undefined;
    this.#listen(this.#stream, { data: () => {}, end: () => {} });
    this.#stream.resume();
    this.#lingerTimer = setTimeout(() => this.destroy(), LINGER_MS);
    this.#lingerTimer.unref();
  }

  destroy(error?: Error): void {
    this.#stream.destroy();
    this.#socket.destroy();
    this.#closed(error);
  }

  #share(stream: net.Socket): void {
    // What TLS has decrypted comes in any case: in small pieces it would only take longer.
    const isTight = stream === this.#socket ? this.#isTight : () => false;
    if (shareReceiveBuffer(stream, (bytes) => this.#receive(bytes), isTight)) this.#sharing.add(stream);
  }

  #listen(
    stream: net.Socket,
    to: { data: (bytes: Uint8Array) => void; end: () => void } = {
      data: (bytes) => this.#events.data(bytes),
      end: () => this.#events.ended(),
    },
  ): void {
    const received = (bytes: Uint8Array): void => {
      this.bytesIn += bytes.byteLength;
      this.lastProgressMs = performance.now();
      to.data(bytes);
    };
    const isShared = this.#sharing.has(stream);
    this.#receive = isShared ? received : () => {};
    const listeners: [string, (value: never) => void][] = [
      ...(isShared ? [] : ([['data', received]] as [string, (value: never) => void][])),
      ['end', to.end],
      ['error', (error: Error) => this.destroy(error)],
      ['close', () => this.#closed()],
      ['drain', () => this.#drained()],
    ];
    for (const [event, listener] of listeners) stream.on(event, listener as (...values: unknown[]) => void);
    // A listener for 'data' would have begun this.
    if (isShared) stream.resume();
    this.#detach = () => {
      for (const [event, listener] of listeners)
        stream.off(event, listener as (...values: unknown[]) => void);
    };
  }

  #drained(): void {
    this.lastProgressMs = performance.now();
    if (this.isClogged) return;
    const waiting = this.#waitingForDrain;
    this.#waitingForDrain = [];
    for (const resolve of waiting) resolve();
  }

  #closed(error?: Error): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#lingerTimer);
    this.#input?.close();
    this.#input = undefined;
    const waiting = this.#waitingForDrain;
    this.#waitingForDrain = [];
    for (const resolve of waiting) resolve();
    this.#events.closed(error);
  }
}
