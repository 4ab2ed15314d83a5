/**
 * One client's byte stream in both directions, through TLS and COMPRESS DEFLATE as they are negotiated. What
 * the session does not take stays in the kernel: nothing is buffered here but the chunk at hand.
 */
import type net from 'node:net';
import tls from 'node:tls';
import zlib from 'node:zlib';
import { shareReceiveBuffer } from '../platform/shared-receive.ts';

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

/** Answers are short: a small window keeps a compressed connection at 20 kB instead of 270 kB. */
const DEFLATE_OPTIONS = { windowBits: 12, memLevel: 5, level: 6 };

export class Transport {
  readonly remoteAddress: string;
  bytesIn = 0;
  bytesOut = 0;
  /** performance.now() when bytes last moved in either direction. */
  lastProgressMs = performance.now();
  readonly #events: TransportEvents;
  readonly #socket: net.Socket;
  #stream: net.Socket | tls.TLSSocket;
  #inflate: zlib.InflateRaw | undefined;
  #deflate: zlib.DeflateRaw | undefined;
  #isClosed = false;
  #isHandshaking = false;
  #waitingForDrain: (() => void)[] = [];
  #lingerTimer: NodeJS.Timeout | undefined;
  #detach: () => void = () => {};
  /** Takes what the plain socket receives. */
  #receive: (bytes: Uint8Array) => void = () => {};
  /** The plain socket emits no 'data' but calls #receive. */
  readonly sharesReceiveBuffer: boolean;

  /** @param isTight whether memory is short: then little is read at a time */
  constructor(socket: net.Socket, events: TransportEvents, isTight: () => boolean) {
    this.#socket = socket;
    this.#stream = socket;
    this.#events = events;
    this.remoteAddress = socket.remoteAddress ?? 'unknown';
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 60_000);
    this.sharesReceiveBuffer = shareReceiveBuffer(socket, (bytes) => this.#receive(bytes), isTight);
    this.#listen(socket);
  }

  get isTls(): boolean {
    return this.#stream !== this.#socket;
  }

  get isCompressed(): boolean {
    return this.#inflate !== undefined;
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
    return this.#stream.writableNeedDrain || this.#deflate?.writableNeedDrain === true;
  }

  pause(): void {
    (this.#inflate ?? this.#stream).pause();
  }

  resume(): void {
    (this.#inflate ?? this.#stream).resume();
  }

  /** Nothing is sent before flush(), unless it is much. */
  write(data: string | Uint8Array): void {
    if (this.#isClosed) return;
    const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : data;
    this.bytesOut += bytes.byteLength;
    if (this.#deflate !== undefined) {
      this.#deflate.write(bytes);
    } else {
      if (!this.#stream.writableCorked) this.#stream.cork();
      this.#stream.write(bytes);
    }
  }

  /** Sends what was written. */
  flush(): void {
    if (this.#isClosed) return;
    if (this.#deflate !== undefined) this.#deflate.flush(zlib.constants.Z_SYNC_FLUSH);
    else if (this.#stream.writableCorked) this.#stream.uncork();
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
        this.#listen(stream);
        resolve();
      });
    });
  }

  /** From the next byte on both directions are raw deflate. `early`: what the client has sent of that already. */
  startCompression(early: Uint8Array): void {
    const stream = this.#stream;
    const inflate = zlib.createInflateRaw();
    const deflate = zlib.createDeflateRaw(DEFLATE_OPTIONS);
    this.#detach();
    inflate.on('data', (bytes: Uint8Array) => this.#events.data(bytes));
    inflate.on('drain', () => stream.resume());
    for (const side of [inflate, deflate]) side.on('error', (error) => this.destroy(error));
    deflate.on('data', (bytes: Uint8Array) => {
      if (!stream.write(bytes)) deflate.pause();
    });
    deflate.on('drain', () => this.#drained());
    this.#listen(stream, {
      data: (bytes) => {
        // It is inflated later, in another thread, when the buffer may hold something else.
        if (!inflate.write(Buffer.from(bytes))) stream.pause();
      },
      // A client that closes does not end its deflate stream: that is an end, and no error.
      end: () => inflate.flush(zlib.constants.Z_SYNC_FLUSH, () => this.#events.ended()),
      drain: () => deflate.resume(),
    });
    this.#inflate = inflate;
    this.#deflate = deflate;
    if (early.byteLength > 0) inflate.write(early);
    stream.resume();
  }

  /** Sends what was written and closes. */
  end(): void {
    if (this.#isClosed || this.#lingerTimer !== undefined) return;
    if (this.#deflate !== undefined) {
      this.#deflate.flush(zlib.constants.Z_SYNC_FLUSH, () => this.#stream.end());
    } else {
      this.flush();
      this.#stream.end();
    }
    // Reads and drops what still comes: closing with unread bytes would reset the connection and could cost
    // the client our last answer.
    this.#detach();
    this.#listen(this.#stream, { data: () => {}, end: () => {}, drain: () => this.#deflate?.resume() });
    this.#stream.resume();
    this.#lingerTimer = setTimeout(() => this.destroy(), LINGER_MS);
    this.#lingerTimer.unref();
  }

  destroy(error?: Error): void {
    this.#stream.destroy();
    this.#socket.destroy();
    this.#closed(error);
  }

  #listen(
    stream: net.Socket,
    to: { data: (bytes: Uint8Array) => void; end: () => void; drain?: () => void } = {
      data: (bytes) => this.#events.data(bytes),
      end: () => this.#events.ended(),
    },
  ): void {
    const received = (bytes: Uint8Array): void => {
      this.bytesIn += bytes.byteLength;
      this.lastProgressMs = performance.now();
      to.data(bytes);
    };
    const isShared = this.sharesReceiveBuffer && stream === this.#socket;
    this.#receive = isShared ? received : () => {};
    const listeners: [string, (value: never) => void][] = [
      ...(isShared ? [] : ([['data', received]] as [string, (value: never) => void][])),
      ['end', to.end],
      ['error', (error: Error) => this.destroy(error)],
      ['close', () => this.#closed()],
      [
        'drain',
        () => {
          to.drain?.();
          this.#drained();
        },
      ],
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
    this.#inflate?.destroy();
    this.#deflate?.destroy();
    const waiting = this.#waitingForDrain;
    this.#waitingForDrain = [];
    for (const resolve of waiting) resolve();
    this.#events.closed(error);
  }
}
