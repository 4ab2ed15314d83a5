import net from 'node:net';
import { kindOf, splitUnits, summary } from '../../support/wire-text.ts';

/** A command that went through, with the final line of its answer. */
export interface Recorded {
  connection: number;
  /** Without the contents of literals. */
  command: string;
  /** `OK`, `NO IMAP_...`, or '' as long as there is no answer. */
  kind: string;
}

interface Pair {
  id: number;
  fromClient: Buffer[];
  fromServer: Buffer[];
}

/** Stands between a client and a csync server and keeps what goes through. */
export class RecordingProxy {
  readonly port: number;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  readonly #pairs: Pair[] = [];

  private constructor(server: net.Server) {
    this.#server = server;
    this.port = (server.address() as net.AddressInfo).port;
  }

  /**
   * Listens and passes on to `target`. Unless told to keep it, the offer of COMPRESS is taken out of the
   * greeting, so that all stays readable.
   */
  static async start(target: number, options: { keepCompress?: boolean } = {}): Promise<RecordingProxy> {
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const proxy = new RecordingProxy(server);
    server.on('connection', (client) => proxy.#connect(client, target, options.keepCompress === true));
    return proxy;
  }

  /** All commands of all connections, in order within each connection. */
  get commands(): Recorded[] {
    return this.#pairs.flatMap((pair) => {
      const finals = splitUnits(Buffer.concat(pair.fromServer))
        .units.map((unit) => unit.toString('latin1').replace(/\r?\n$/, ''))
        .filter((line) => !/^\* (?!BYE)/.test(line));
      return splitUnits(Buffer.concat(pair.fromClient)).units.map((unit, i) => ({
        connection: pair.id,
        command: summary(unit),
        kind: finals[i] === undefined ? '' : kindOf(finals[i]),
      }));
    });
  }

  /** The APPLY commands among them. */
  get applies(): string[] {
    return this.commands.filter((c) => c.command.startsWith('APPLY ')).map((c) => c.command.slice(6));
  }

  /** The greeting and all else that the server sent on a connection. */
  fromServer(connection: number): Buffer {
    return Buffer.concat(this.#pairs[connection]!.fromServer);
  }

  get connections(): number {
    return this.#pairs.length;
  }

  /** Forgets what went through; call it while no command is under way. */
  clear(): void {
    for (const pair of this.#pairs) {
      pair.fromClient = [];
      pair.fromServer = [];
    }
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #connect(client: net.Socket, target: number, keepCompress: boolean): void {
    const server = net.connect(target, '127.0.0.1');
    const pair: Pair = { id: this.#pairs.length, fromClient: [], fromServer: [] };
    this.#pairs.push(pair);
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      this.#sockets.add(socket);
      socket.on('error', () => {});
    }
    client.on('data', (bytes) => {
      pair.fromClient.push(bytes);
      server.write(bytes);
    });
    server.on('data', (bytes) => {
      const kept = keepCompress ? bytes : without(bytes, '* COMPRESS DEFLATE\r\n');
      pair.fromServer.push(kept);
      client.write(kept);
    });
    client.on('close', () => server.destroy());
    server.on('close', () => client.end());
  }
}

function without(bytes: Buffer, line: string): Buffer {
  const at = bytes.indexOf(line);
  return at === -1 ? bytes : Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + line.length)]);
}
