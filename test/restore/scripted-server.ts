import { readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import zlib from 'node:zlib';
import { endOfUnit } from '../support/wire-text.ts';

const TLS_DIR = path.join(import.meta.dirname, '..', 'fixtures', 'tls');
export const CERT = readFileSync(path.join(TLS_DIR, 'cert.pem'));
const KEY = readFileSync(path.join(TLS_DIR, 'key.pem'));

export const GREETING = '* SASL PLAIN\r\n* STARTTLS\r\n* COMPRESS DEFLATE\r\n* OK host test\r\n';

/** The server's side of one connection, as a test script works it: it sees exact bytes and says exact bytes. */
export class ScriptedPeer {
  #socket: net.Socket;
  #received = Buffer.alloc(0);
  #wake: () => void = () => {};
  #ended = false;
  #deflate: zlib.DeflateRaw | undefined;
  #inflate: zlib.InflateRaw | undefined;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    this.#listen(socket);
  }

  /** The client's next command with its literals and files, without the final CRLF; null at its end. */
  async command(): Promise<string | null> {
    for (;;) {
      const end = endOfUnit(this.#received, 0);
      if (end !== -1) {
        const unit = this.#received.toString('latin1', 0, end - 2);
        this.#received = this.#received.subarray(end);
        return unit;
      }
      if (this.#ended) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  send(text: string): void {
    const bytes = Buffer.from(text, 'latin1');
    if (this.#deflate === undefined) this.#socket.write(bytes);
    else {
      this.#deflate.write(bytes);
      this.#deflate.flush();
    }
  }

  startTls(): void {
    const plain = this.#socket;
    plain.removeAllListeners('data');
    const secureContext = tls.createSecureContext({ key: KEY, cert: CERT });
    this.#socket = new tls.TLSSocket(plain, { isServer: true, secureContext });
    this.#listen(this.#socket);
  }

  startCompression(): void {
    const deflate = zlib.createDeflateRaw();
    deflate.on('data', (bytes: Buffer) => this.#socket.write(bytes));
    this.#inflate = zlib.createInflateRaw();
    this.#inflate.on('data', (bytes: Buffer) => this.#take(bytes));
    this.#deflate = deflate;
  }

  /** Says this and closes in order behind it. */
  async finish(text: string): Promise<void> {
    this.send(text);
    const deflate = this.#deflate;
    if (deflate !== undefined) await new Promise<void>((resolve) => deflate.flush(() => resolve()));
    this.#socket.end();
  }

  close(): void {
    this.#socket.destroy();
  }

  #listen(socket: net.Socket): void {
    socket.on('data', (bytes: Buffer) => {
      if (this.#inflate === undefined) this.#take(bytes);
      else this.#inflate.write(bytes);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  #take(bytes: Buffer): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    this.#wake();
  }
}

/** Listens on a free port and lets `script` talk to each client. */
export class ScriptedServer {
  readonly #server: net.Server;
  readonly #peers: ScriptedPeer[] = [];
  /** What scripts threw. */
  readonly failures: unknown[] = [];

  private constructor(script: (peer: ScriptedPeer) => Promise<void>, secure: boolean) {
    const accept = (socket: net.Socket) => {
      const peer = new ScriptedPeer(socket);
      this.#peers.push(peer);
      script(peer).catch((error: unknown) => {
        this.failures.push(error);
        peer.close();
      });
    };
    this.#server = secure ? tls.createServer({ key: KEY, cert: CERT }, accept) : net.createServer(accept);
  }

  static async start(script: (peer: ScriptedPeer) => Promise<void>, secure = false): Promise<ScriptedServer> {
    const server = new ScriptedServer(script, secure);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get endpoint(): { host: string; port: number } {
    return { host: '127.0.0.1', port: (this.#server.address() as net.AddressInfo).port };
  }

  async stop(): Promise<void> {
    for (const peer of this.#peers) peer.close();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
