import { readFileSync } from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';

export interface FakeImapOptions {
  tls?: { cert: string; key: string };
  /** TLS from the first byte. */
  implicit?: boolean;
  /** What it answers to XBACKUP: untagged lines, and the end of the tagged one. */
  xbackup?(pattern: string, channel: string | undefined): { lines: string[]; tagged: string };
  password?: string;
  /** Sent in clear together with the answer to STARTTLS. */
  injected?: string;
}

/** An IMAP server that knows login, STARTTLS and XBACKUP, and keeps the lines that it is sent. */
export class FakeImap {
  readonly port: number;
  readonly received: string[] = [];
  connections = 0;
  readonly #server: net.Server;
  readonly #o: FakeImapOptions;
  readonly #sockets = new Set<net.Socket>();

  private constructor(server: net.Server, o: FakeImapOptions) {
    this.#server = server;
    this.#o = o;
    this.port = (server.address() as net.AddressInfo).port;
  }

  static async start(o: FakeImapOptions): Promise<FakeImap> {
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const imap = new FakeImap(server, o);
    server.on('connection', (socket) => imap.#accept(socket));
    return imap;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(socket: net.Socket): void {
    this.connections++;
    this.#sockets.add(socket);
    socket.on('error', () => {});
    this.#serve(this.#o.implicit ? this.#secure(socket) : socket, '* OK fake ready\r\n');
  }

  #secure(socket: net.Socket): tls.TLSSocket {
    const { cert, key } = this.#o.tls!;
    const secure = new tls.TLSSocket(socket, {
      isServer: true,
      cert: readFileSync(cert),
      key: readFileSync(key),
    });
    return secure.on('error', () => {});
  }

  #serve(stream: net.Socket, greeting: string): void {
    stream.write(greeting);
    let rest = '';
    let tag = '';
    stream.on('data', (bytes: Buffer) => {
      const lines = (rest + bytes.toString('latin1')).split('\r\n');
      rest = lines.pop()!;
      for (const line of lines) {
        this.received.push(line);
        const [word = '', command = '', ...args] = line.split(' ');
        if (command === 'STARTTLS' && this.#o.tls !== undefined) {
          stream.removeAllListeners('data');
          stream.write(`${word} OK go\r\n${this.#o.injected ?? ''}`);
          this.#serve(this.#secure(stream), '');
          return;
        }
        if (command === 'AUTHENTICATE') {
          tag = word;
          stream.write('+ \r\n');
        } else if (command === '') {
          const given = Buffer.from(word, 'base64').toString().split('\0')[2];
          stream.write(`${tag} ${given === (this.#o.password ?? 'secret') ? 'OK in' : 'NO wrong'}\r\n`);
        } else if (command === 'XBACKUP' && this.#o.xbackup !== undefined) {
          const { lines: answers, tagged } = this.#o.xbackup(args[0]!.replaceAll('"', ''), args[1]);
          stream.write(`${answers.map((one) => `* ${one}\r\n`).join('')}${word} ${tagged}\r\n`);
        } else if (command === 'LOGOUT') stream.end(`* BYE\r\n${word} OK bye\r\n`);
        else stream.write(`${word} BAD Unrecognized command\r\n`);
      }
    });
  }
}
