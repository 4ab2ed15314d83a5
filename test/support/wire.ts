import net from 'node:net';
import tls from 'node:tls';
import zlib from 'node:zlib';
import { endOfUnit, isFinal, kindOf, summary } from './wire-text.ts';

/** What the server said to one command. */
export interface Answer {
  /** `* ` lines before the final one, latin1, with literals in them. */
  lines: string[];
  final: string;
  /** `OK`, `NO IMAP_MAILBOX_LOCKED`, `BAD`, ... */
  kind: string;
}

/** The peer went away before it had answered. */
export class ConnectionLost extends Error {}

/**
 * A csync client as bare as it can be, for tests that need to say exactly what goes over the wire: it sends
 * the bytes it is given and reads up to the final line. It knows nothing of the product's own code.
 */
export class CsyncWire {
  /** `* ` lines of the last greeting. */
  greeting: Answer = { lines: [], final: '', kind: '' };
  /** The socket to write to, before compression. */
  socket: net.Socket;
  #received: Buffer = Buffer.alloc(0);
  #ended = false;
  #wake: (() => void) | undefined;
  #deflate: zlib.DeflateRaw | undefined;
  #inflate: zlib.InflateRaw | undefined;

  constructor(socket: net.Socket) {
    this.socket = socket;
    this.#listen(socket);
  }

  /** Connects and reads the greeting. */
  static async connect(port: number, options: { tls?: boolean } = {}): Promise<CsyncWire> {
    const socket = options.tls
      ? tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
      : net.connect({ port, host: '127.0.0.1' });
    await new Promise<void>((resolve, reject) => {
      socket.once(options.tls ? 'secureConnect' : 'connect', () => resolve());
      socket.once('error', reject);
    });
    socket.setNoDelay(true);
    const wire = new CsyncWire(socket);
    wire.greeting = await wire.read();
    return wire;
  }

  /** Logs in by PLAIN; throws if that is refused. */
  async login(user = 'backup', password = 'secret'): Promise<this> {
    const token = Buffer.from(`\0${user}\0${password}`).toString('base64');
    const answer = await this.command(`AUTHENTICATE PLAIN ${token}`);
    if (answer.kind !== 'OK') throw new Error(`login: ${answer.final}`);
    return this;
  }

  /** Sends one command (CRLF is added) and reads its answer. */
  command(...parts: (string | Uint8Array)[]): Promise<Answer> {
    this.send(...parts, '\r\n');
    return this.read();
  }

  /** As `command`, but throws unless the answer is OK. */
  async ok(...parts: (string | Uint8Array)[]): Promise<Answer> {
    const answer = await this.command(...parts);
    if (answer.kind !== 'OK') throw new Error(`${String(parts[0]).slice(0, 200)}: ${answer.final}`);
    return answer;
  }

  send(...parts: (string | Uint8Array)[]): void {
    const bytes = Buffer.concat(parts.map((p) => (typeof p === 'string' ? Buffer.from(p, 'latin1') : p)));
    if (this.#deflate === undefined) this.socket.write(bytes);
    else {
      this.#deflate.write(bytes);
      this.#deflate.flush();
    }
  }

  /** Reads up to the next final line. */
  async read(): Promise<Answer> {
    const lines: string[] = [];
    for (;;) {
      const end = endOfUnit(this.#received, 0);
      if (end === -1) {
        if (this.#ended) throw new ConnectionLost(`connection lost, had ${JSON.stringify(lines.slice(-3))}`);
        await new Promise<void>((resolve) => (this.#wake = resolve));
        continue;
      }
      const unit = this.#received.subarray(0, end);
      this.#received = this.#received.subarray(end);
      if (isFinal(unit.toString('latin1', 0, Math.min(100, unit.length)))) {
        const final = unit.toString('latin1').replace(/\r?\n$/, '');
        return { lines, final, kind: kindOf(final) };
      }
      lines.push(unit.toString('latin1').replace(/\r?\n$/, ''));
    }
  }

  /** COMPRESS DEFLATE, then raw deflate both ways. */
  async compress(): Promise<void> {
    await this.ok('COMPRESS DEFLATE');
    this.#deflate = zlib.createDeflateRaw({ level: 6 });
    this.#deflate.on('data', (bytes: Buffer) => this.socket.write(bytes));
    // The stream is cut off, not ended, when the server closes: that is no error.
    this.#inflate = zlib.createInflateRaw({ finishFlush: zlib.constants.Z_SYNC_FLUSH });
    this.#inflate.on('data', (bytes: Buffer) => this.#take(bytes));
    for (const event of ['end', 'error']) this.#inflate.on(event, () => this.#end());
  }

  /** STARTTLS, the handshake and the second greeting. */
  async startTls(): Promise<void> {
    await this.ok('STARTTLS');
    const plain = this.socket;
    plain.removeAllListeners('data');
    const secure = tls.connect({ socket: plain, rejectUnauthorized: false });
    await new Promise<void>((resolve, reject) => {
      secure.once('secureConnect', () => resolve());
      secure.once('error', reject);
    });
    this.socket = secure;
    this.#listen(secure);
    this.greeting = await this.read();
  }

  /** Resolves when the server has closed the connection. */
  async closed(): Promise<void> {
    while (!this.#ended) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  destroy(): void {
    this.socket.destroy();
    this.#end();
  }

  #listen(socket: net.Socket): void {
    socket.on('data', (bytes) => {
      if (this.#inflate === undefined) this.#take(bytes);
      else this.#inflate.write(bytes);
    });
    for (const event of ['error', 'end', 'close']) {
      socket.on(event, () => {
        if (this.#inflate === undefined || socket.errored) this.#end();
        else if (!this.#inflate.writableEnded) this.#inflate.end();
      });
    }
  }

  #take(bytes: Buffer): void {
    this.#received = this.#received.length === 0 ? bytes : Buffer.concat([this.#received, bytes]);
    this.#wake?.();
  }

  #end(): void {
    this.#ended = true;
    this.#wake?.();
  }
}

/** A unit shortened for a failed assertion's text. */
export function shorten(unit: Buffer | string, width = 200): string {
  const text = summary(typeof unit === 'string' ? Buffer.from(unit, 'latin1') : unit);
  return text.length > width ? `${text.slice(0, width)}...[${text.length}]` : text;
}
