import net from 'node:net';
import tls from 'node:tls';
import zlib from 'node:zlib';
import { handshakeFault } from './client-tls.ts';
import { BackupError, type ErrorCode } from './errors.ts';
import type { UnitSplitter } from './unit-splitter.ts';

export interface Endpoint {
  host: string;
  port: number;
  /** TLS from the first byte. */
  tls?: boolean;
  /** For TLS, as of `authorities()`; the name is checked unless they say otherwise. */
  tlsOptions?: tls.ConnectionOptions;
  /** While an answer is due, the server has to say or take something within this time. */
  timeoutMs?: number;
  /** For error messages: what is being done, as `pull through`, and through whom. */
  tried: string;
  name: string;
  /** What to do where nothing better is known. */
  remedy?: string;
  /** What to do where nobody who is known here vouches for the certificate, behind `If it is the right server,`. */
  tlsRemedy?: string;
}

const DEFAULT_TIMEOUT_MS = 300_000;
const CONNECT_TIMEOUT_MS = 30_000;
const KEEPALIVE_MS = 60_000;
const CLOSED = 'it closed the connection';
const DEFAULT_REMEDY = 'Check that the server runs and can be reached';
const DEFAULT_TLS_REMEDY = 'have this machine know its authority (update-ca-certificates)';

/**
 * The transport of a csync, IMAP or ManageSieve client: a socket that may turn to TLS and to raw deflate, bytes out with
 * back-pressure, units in. Everything that goes wrong is a BackupError UNAVAILABLE.
 */
export class ClientConnection<S extends UnitSplitter> {
  readonly endpoint: Endpoint;
  /** Silence is no fault while nothing is awaited. */
  isAnswerDue: () => boolean = () => this.#waiting.length > 0;
  #socket: net.Socket;
  readonly #splitter: S;
  #deflate: zlib.DeflateRaw | undefined;
  #inflate: zlib.InflateRaw | undefined;
  #failure: BackupError | undefined;
  #waiting: (() => void)[] = [];
  #timeoutMs: number;

  private constructor(endpoint: Endpoint, splitter: S, socket: net.Socket) {
    this.endpoint = endpoint;
    this.#splitter = splitter;
    this.#socket = socket;
    this.#timeoutMs = endpoint.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#attach(socket);
  }

  /** Connects; the greeting has not been read yet. @throws BackupError UNAVAILABLE */
  static async open<S extends UnitSplitter>(endpoint: Endpoint, splitter: S): Promise<ClientConnection<S>> {
    const { host, port } = endpoint;
    const socket = net.connect({ host, port });
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    const connection = new ClientConnection(endpoint, splitter, socket);
    await connection.#event(socket, 'connect');
    if (endpoint.tls) await connection.startTls();
    return connection;
  }

  get secure(): boolean {
    return this.#socket instanceof tls.TLSSocket;
  }

  get compressed(): boolean {
    return this.#deflate !== undefined;
  }

  get isClosed(): boolean {
    return this.#failure !== undefined;
  }

  set timeoutMs(value: number) {
    this.#timeoutMs = value;
    this.#socket.setTimeout(value);
  }

  get timeoutMs(): number {
    return this.#timeoutMs;
  }

  /** The handshake. What the server had sent behind its word that it is ready is nobody's: it is refused. */
  async startTls(): Promise<void> {
    const plain = this.#socket;
    plain.removeAllListeners();
    plain.setTimeout(0);
    if (this.#splitter.pendingBytes > 0) this.#fail('it sent text in clear before the TLS handshake');
    if (this.#failure !== undefined) throw this.#failure;
    const { host, tlsOptions } = this.endpoint;
    const secure = tls.connect({ socket: plain, servername: serverName(host), host, ...tlsOptions });
    this.#socket = secure;
    this.#attach(secure, true);
    await this.#event(secure, 'secureConnect');
    secure.removeAllListeners();
    this.#attach(secure);
  }

  /** COMPRESS DEFLATE has been answered with OK: both ways are raw deflate streams from now on (RFC 4978). */
  startCompression(level: number): void {
    const deflate = zlib.createDeflateRaw({ level });
    // A server that closes does not end its deflate stream: that is an end, and no error.
    const inflate = zlib.createInflateRaw({ finishFlush: zlib.constants.Z_SYNC_FLUSH });
    deflate.on('data', (bytes: Buffer) => this.#socket.write(bytes));
    inflate.on('data', (bytes: Buffer) => this.#received(bytes));
    inflate.on('end', () => this.#fail(CLOSED));
    inflate.on('error', (error) => this.#fail(`it sent what is no deflate stream (${error.message})`));
    this.#deflate = deflate;
    this.#inflate = inflate;
  }

  /** Hands bytes to the transport and waits while its buffers are full. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const deflate = this.#deflate;
    if (deflate !== undefined) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
        deflate.write(bytes, () => resolve());
      });
      if (this.#socket.writableNeedDrain) await this.#drained();
    } else if (!this.#socket.write(bytes)) await this.#drained();
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** What was written is on its way: the deflate stream keeps nothing back. */
  async flush(): Promise<void> {
    const deflate = this.#deflate;
    if (deflate !== undefined) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
        deflate.flush(zlib.constants.Z_SYNC_FLUSH, () => resolve());
      });
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** The next line with its literals, without CRLF. */
  async nextUnit(): Promise<Buffer> {
    return await this.next((splitter) => splitter.next());
  }

  /** What `take` finds in what has come, as soon as that is enough. */
  async next<T>(take: (splitter: S) => T | undefined): Promise<T> {
    for (;;) {
      const found = this.#take(take);
      if (found !== undefined) return found;
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Ends the connection at once. */
  destroy(): void {
    this.#fail('it was closed');
  }

  /** The connection is of no use any more. */
  fail(reason: string, code?: ErrorCode, remedy?: string): BackupError {
    this.#fail(reason, code, remedy);
    return this.#failure!;
  }

  /** An error about this server; the connection goes on. */
  error(reason: string, code: ErrorCode = 'UNAVAILABLE', remedy?: string, cause?: unknown): BackupError {
    return new BackupError({
      code,
      tried: this.endpoint.tried,
      subject: this.endpoint.name,
      reason,
      remedy: remedy ?? this.endpoint.remedy ?? DEFAULT_REMEDY,
      cause,
    });
  }

  #take<T>(take: (splitter: S) => T | undefined): T | undefined {
    try {
      return take(this.#splitter);
    } catch (error) {
      if (!(error instanceof BackupError)) throw error;
      throw this.fail(error.reason, 'UNAVAILABLE', error.remedy);
    }
  }

  async #drained(): Promise<void> {
    while (this.#failure === undefined && this.#socket.writableNeedDrain) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async #event(socket: net.Socket, name: string): Promise<void> {
    let seen = false;
    socket.once(name, () => {
      seen = true;
      this.#wake();
    });
    const timer = setTimeout(() => this.#fail('it does not answer'), CONNECT_TIMEOUT_MS);
    while (!seen && this.#failure === undefined) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    clearTimeout(timer);
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** @param isHandshake what fails is TLS, as long as this is so */
  #attach(socket: net.Socket, isHandshake = false): void {
    const failed = (error: Error) => {
      if (!isHandshake) return this.#fail(error.message, 'UNAVAILABLE', remedyOf(error), error);
      const { host, tlsRemedy = DEFAULT_TLS_REMEDY } = this.endpoint;
      const { reason, remedy } = handshakeFault(error, host, tlsRemedy);
      this.#fail(`no TLS with it: ${reason}`, 'UNAVAILABLE', remedy, error);
    };
    socket.on('data', (bytes: Buffer) => {
      if (this.#inflate === undefined) this.#received(bytes);
      else this.#inflate.write(bytes);
    });
    socket.on('drain', () => this.#wake());
    socket.on('error', failed);
    socket.on('close', () => {
      // What it said before it closed may still be on its way through the inflater.
      if (this.#inflate === undefined || this.#failure !== undefined) failed(new Error(CLOSED));
      else this.#inflate.end();
    });
    socket.setTimeout(this.#timeoutMs);
    socket.on('timeout', () => {
      if (this.isAnswerDue()) this.#fail(`it says nothing for ${this.#timeoutMs / 1000} seconds`);
    });
  }

  #received(bytes: Buffer): void {
    this.#splitter.push(bytes);
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #fail(reason: string, code?: ErrorCode, remedy?: string, cause?: unknown): void {
    this.#failure ??= this.error(reason, code, remedy, cause);
    this.#socket.destroy();
    this.#deflate?.destroy();
    this.#inflate?.destroy();
    this.#wake();
  }
}

function remedyOf(error: Error): string | undefined {
  const { code: errno } = error as NodeJS.ErrnoException;
  if (errno === 'ENOTFOUND' || errno === 'EAI_AGAIN') return 'Check the name of the host';
  if (errno === 'ECONNREFUSED') return 'Check the port, and that the server runs';
  return undefined;
}

/** Server names in TLS are host names; addresses are not sent. */
function serverName(host: string): string | undefined {
  return net.isIP(host) === 0 ? host : undefined;
}
