import net from 'node:net';
import tls from 'node:tls';
import zlib from 'node:zlib';
import { BackupError } from '../platform/errors.ts';
import { type AnswerPiece, AnswerSplitter } from './csync-answers.ts';

export interface CsyncEndpoint {
  host: string;
  port: number;
  /** TLS from the first byte. */
  tls?: boolean;
  /** For TLS; without it the system's authorities are asked and the name is checked. */
  tlsOptions?: tls.ConnectionOptions;
  /** The server has to say or take something within this time. */
  timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 300_000;
const CLOSED = 'it closed the connection';

/**
 * The transport of a csync client: a socket that may turn to TLS and to raw deflate, bytes out with
 * back-pressure, units (AnswerSplitter) in. Everything that goes wrong is a BackupError UNAVAILABLE.
 */
export class CsyncConnection {
  readonly endpoint: CsyncEndpoint;
  #socket: net.Socket;
  #splitter = new AnswerSplitter();
  #deflate: zlib.DeflateRaw | undefined;
  #inflate: zlib.InflateRaw | undefined;
  #failure: BackupError | undefined;
  #waiting: (() => void)[] = [];

  private constructor(endpoint: CsyncEndpoint, socket: net.Socket) {
    this.endpoint = endpoint;
    this.#socket = socket;
    this.#attach(socket);
  }

  /** Connects; the greeting has not been read yet. */
  static async open(endpoint: CsyncEndpoint): Promise<CsyncConnection> {
    const { host, port } = endpoint;
    const socket = endpoint.tls
      ? tls.connect({ host, port, servername: serverName(host), ...endpoint.tlsOptions })
      : net.connect({ host, port });
    socket.setNoDelay(true);
    const connection = new CsyncConnection(endpoint, socket);
    await connection.#event(socket, endpoint.tls ? 'secureConnect' : 'connect');
    return connection;
  }

  get secure(): boolean {
    return this.#socket instanceof tls.TLSSocket;
  }

  get compressed(): boolean {
    return this.#deflate !== undefined;
  }

  /** STARTTLS has been answered with OK: the handshake. What the server had sent behind the OK is refused. */
  async startTls(): Promise<void> {
    const plain = this.#socket;
    plain.removeAllListeners();
    if (this.#splitter.pendingBytes > 0) {
      this.#fail('it sent text in clear behind the OK to STARTTLS');
      throw this.#failure!;
    }
    const secure = tls.connect({
      socket: plain,
      servername: serverName(this.endpoint.host),
      host: this.endpoint.host,
      ...this.endpoint.tlsOptions,
    });
    this.#socket = secure;
    this.#attach(secure);
    await this.#event(secure, 'secureConnect');
  }

  /** COMPRESS DEFLATE has been answered with OK: both ways are raw deflate streams from now on (RFC 4978). */
  startCompression(level: number): void {
    const deflate = zlib.createDeflateRaw({ level });
    // A server that closes does not end its deflate stream: that is an end, and no error.
    const inflate = zlib.createInflateRaw({ finishFlush: zlib.constants.Z_SYNC_FLUSH });
    deflate.on('data', (bytes: Buffer) => this.#socket.write(bytes));
    inflate.on('data', (bytes: Buffer) => this.#take(bytes));
    inflate.on('end', () => this.#fail(CLOSED));
    inflate.on('error', (error) => this.#fail(`it sent what is no deflate stream (${error.message})`));
    this.#deflate = deflate;
    this.#inflate = inflate;
  }

  /** Hands bytes to the transport and waits while its buffers are full. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#deflate === undefined) {
      if (!this.#socket.write(bytes)) await this.#drained();
      return;
    }
    const deflate = this.#deflate;
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve);
      deflate.write(bytes, () => resolve());
    });
    if (this.#socket.writableNeedDrain) await this.#drained();
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
    for (;;) {
      const unit = this.#splitter.next();
      if (unit !== undefined) return unit;
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** The next unit, a long one in pieces (AnswerSplitter.nextPiece). */
  async nextPiece(): Promise<AnswerPiece> {
    for (;;) {
      const piece = this.#splitter.nextPiece();
      if (piece !== undefined) return piece;
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Ends the connection at once. */
  destroy(): void {
    this.#fail('the connection was closed on this side');
  }

  async #drained(): Promise<void> {
    while (this.#failure === undefined && this.#socket.writableNeedDrain) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #event(socket: net.Socket, name: string): Promise<void> {
    let seen = false;
    socket.once(name, () => {
      seen = true;
      this.#wake();
    });
    while (!seen && this.#failure === undefined) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  #attach(socket: net.Socket): void {
    socket.on('data', (bytes: Buffer) => {
      if (this.#inflate === undefined) this.#take(bytes);
      else this.#inflate.write(bytes);
    });
    socket.on('drain', () => this.#wake());
    socket.on('error', (error) => this.#fail(error.message, error));
    socket.on('close', () => {
      // What it said before it closed may still be on its way through the inflater.
      if (this.#inflate === undefined || this.#failure !== undefined) this.#fail(CLOSED);
      else this.#inflate.end();
    });
    socket.setTimeout(this.endpoint.timeoutMs ?? DEFAULT_TIMEOUT_MS, () => {
      // Between commands nobody waits for the server.
      if (this.#waiting.length > 0) this.#fail('it did not answer in time');
    });
  }

  #take(bytes: Buffer): void {
    this.#splitter.push(bytes);
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #fail(reason: string, cause?: unknown): void {
    const { host, port } = this.endpoint;
    this.#failure ??= new BackupError({
      code: 'UNAVAILABLE',
      tried: 'talk to the csync server',
      subject: `${host}:${port}`,
      reason,
      remedy: 'Check that it runs and can be reached, then try again',
      cause,
    });
    this.#socket.destroy();
    this.#deflate?.destroy();
    this.#inflate?.destroy();
    this.#wake();
  }
}

/** Server names in TLS are host names; addresses are not sent. */
function serverName(host: string): string | undefined {
  return net.isIP(host) === 0 ? host : undefined;
}
