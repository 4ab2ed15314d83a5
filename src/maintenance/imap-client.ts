/**
 * As much of an IMAP client (RFC 3501, 3501bis STARTTLS, 4616 PLAIN) as it takes to log in and give one command
 * whose answers are lines: XBACKUP of Cyrus IMAP 3.0 to 3.10. Libraries take its `* OK USER anne` for a status of the
 * connection and show it to nobody.
 */
import { readFileSync } from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';
import type { PullServer } from '../config/pull-values.ts';
import { printPullServer } from '../config/pull-values.ts';
import { BackupError, type ErrorCode } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';

/** Connecting, TLS, login. */
const TIMEOUT_MS = 30_000;
/** imapd says nothing while it pushes a user, however long that takes; a dead one is found out by TCP. */
const COMMAND_TIMEOUT_MS = 6 * 3600_000;
const KEEPALIVE_MS = 60_000;
const MAX_LINE_BYTES = 64 * 1024;

export interface ImapAccess {
  server: PullServer;
  authname: string;
  password: string;
  /** PEM file of the authorities that vouch for the server; those of Node if absent. */
  caFile?: string;
}

/** The line that ends a command: `OK`, `NO` or `BAD`, and the text for people. */
export interface Tagged {
  status: string;
  text: string;
}

export class ImapClient {
  readonly #name: string;
  #socket: net.Socket;
  #received = '';
  #closed: Error | undefined;
  #wake: () => void = () => {};
  #lastTag = 0;

  private constructor(name: string, socket: net.Socket) {
    this.#name = name;
    this.#socket = socket;
    this.#listen();
  }

  /**
   * Connects, secures and logs in.
   *
   * @throws BackupError UNAVAILABLE if the server is not reached or cannot do TLS or its certificate is not good,
   *   CREDENTIALS_INVALID if it refuses the login, IO_ERROR or NOT_FOUND for the file of authorities
   */
  static async open(access: ImapAccess): Promise<ImapClient> {
    const { server, authname, password, caFile } = access;
    const name = printPullServer({ ...server, patterns: [] });
    const ca = caFile === undefined ? undefined : readCa(caFile);
    const secure: tls.ConnectionOptions = {
      ca,
      ...(net.isIP(server.host) ? {} : { servername: server.host }),
    };
    const { host, port } = server;
    const socket = net.connect({ host, port });
    socket.setKeepAlive(true, KEEPALIVE_MS);
    const client = new ImapClient(name, socket);
    try {
      if (server.security === 'tls') await client.#startTls({ ...secure, host });
      const greeting = await client.#line(TIMEOUT_MS);
      if (!/^\* OK\b/i.test(greeting)) throw client.#failed('UNAVAILABLE', `it greets with "${greeting}"`);
      if (server.security === 'starttls') {
        const { status, text } = await client.#command('STARTTLS', TIMEOUT_MS);
        if (status !== 'OK') {
          throw client.#failed(
            'UNAVAILABLE',
            `it offers no STARTTLS (${text})`,
            'Give it a certificate, or name the server with /tls or, on a network that you trust, /insecure',
          );
        }
        // What came in clear behind the answer is nobody's word.
        client.#received = '';
        await client.#startTls({ ...secure, host });
      }
      await client.#login(authname, password);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /**
   * Has the server push users, or shared mailboxes, whose names match the pattern.
   *
   * @param onLine gets each answer, such as `OK USER anne`, as it comes
   * @throws BackupError UNAVAILABLE when the connection breaks
   */
  xbackup(pattern: string, channel: string, onLine: (line: string) => void): Promise<Tagged> {
    const command = `XBACKUP ${quoted(pattern)}${channel === '' ? '' : ` ${channel}`}`;
    return this.#command(command, COMMAND_TIMEOUT_MS, (line) => {
      // Other untagged lines speak of mailboxes, alerts and the like.
      if (/^(?:OK|NO) (?:USER|MAILBOX) /i.test(line)) onLine(line);
    });
  }

  /** Whether it can be used no more. */
  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  close(): void {
    this.#closed ??= new Error('it was closed');
    this.#socket.destroy();
  }

  async logout(): Promise<void> {
    try {
      await this.#command('LOGOUT', 2000);
    } catch {
      // It is as good as gone.
    }
    this.close();
  }

  async #login(authname: string, password: string): Promise<void> {
    const response = Buffer.from(`\0${authname}\0${password}`).toString('base64');
    const { status, text } = await this.#command('AUTHENTICATE PLAIN', TIMEOUT_MS, undefined, response);
    if (status === 'OK') return;
    throw this.#failed(
      'CREDENTIALS_INVALID',
      `it refuses the login of ${authname} (${text})`,
      'Check user and password, and that the server takes PLAIN from an admin',
    );
  }

  /** @param continuation what is sent when the server asks for more */
  async #command(
    text: string,
    timeoutMs: number,
    onUntagged: (line: string) => void = () => {},
    continuation?: string,
  ): Promise<Tagged> {
    const tag = `P${++this.#lastTag}`;
    this.#socket.write(`${tag} ${text}\r\n`, 'latin1');
    for (;;) {
      const line = await this.#line(timeoutMs);
      const tagged = /^(\S+) (OK|NO|BAD)\b ?(.*)$/i.exec(line);
      if (tagged?.[1] === tag) return { status: tagged[2]!.toUpperCase(), text: tagged[3]! };
      if (line.startsWith(`${tag} `)) throw this.#failed('UNAVAILABLE', 'its answer is none of IMAP');
      if (line.startsWith('+')) this.#socket.write(`${continuation ?? '*'}\r\n`);
      else if (line.startsWith('* ')) onUntagged(line.slice(2));
      if (/^\* BYE\b/i.test(line)) throw this.#failed('UNAVAILABLE', `it says "${line.slice(2)}"`);
    }
  }

  async #line(timeoutMs: number): Promise<string> {
    for (;;) {
      const end = this.#received.indexOf('\n');
      if (end !== -1 && end <= MAX_LINE_BYTES) {
        const line = this.#received.slice(0, end).replace(/\r$/, '');
        this.#received = this.#received.slice(end + 1);
        return line;
      }
      if (this.#received.length > MAX_LINE_BYTES) {
        this.close();
        throw this.#failed('UNAVAILABLE', 'it sends a line without end');
      }
      if (this.#closed !== undefined) throw this.#failed('UNAVAILABLE', this.#closed.message);
      if (!(await this.#more(timeoutMs))) {
        this.close();
        throw this.#failed('UNAVAILABLE', `it says nothing for ${timeoutMs / 1000} seconds`);
      }
    }
  }

  /** @returns false on time-out */
  #more(timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timeoutMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on('data', (bytes: Buffer) => {
      this.#received += bytes.toString('latin1');
      this.#wake();
    });
    const closed = (error: Error) => {
      if (this.#socket !== socket) return;
      this.#closed ??= error;
      this.#wake();
    };
    socket.on('error', closed);
    socket.on('close', () => closed(new Error('it closed the connection')));
  }

  async #startTls(options: tls.ConnectionOptions & { host: string }): Promise<void> {
    const plain = this.#socket;
    await new Promise<void>((resolve, reject) => {
      if (!plain.connecting) return resolve();
      plain.setTimeout(TIMEOUT_MS, () => plain.destroy(new Error('it does not answer')));
      plain.once('connect', resolve).once('error', reject);
    }).catch((error: Error) => {
      throw this.#failed('UNAVAILABLE', error.message);
    });
    plain.setTimeout(0);
    plain.removeAllListeners('data');
    const socket = tls.connect({ ...options, socket: plain });
    this.#socket = socket;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('the TLS handshake takes too long')), TIMEOUT_MS);
      const failed = (error?: Error) => {
        clearTimeout(timer);
        reject(error ?? new Error('it closed the connection'));
      };
      socket.once('error', failed).once('close', failed);
      socket.once('secureConnect', () => {
        clearTimeout(timer);
        socket.off('error', failed).off('close', failed);
        resolve();
      });
    }).catch((error: Error) => {
      throw this.#failed(
        'UNAVAILABLE',
        `no TLS with it: ${error.message}`,
        'Check its certificate and its name; tls_server_ca_file names authorities of your own',
      );
    });
    this.#listen();
  }

  #failed(code: ErrorCode, reason: string, remedy?: string): BackupError {
    return new BackupError({
      code,
      tried: 'pull through',
      subject: this.#name,
      reason,
      remedy: remedy ?? 'Check that the IMAP server runs and can be reached',
    });
  }
}

function quoted(text: string): string {
  return `"${text.replaceAll(/[\\"]/g, '\\$&')}"`;
}

function readCa(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw ioError(error, 'read', file);
  }
}
