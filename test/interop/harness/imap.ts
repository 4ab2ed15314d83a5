import net from 'node:net';
import { endOfUnit } from '../../support/wire-text.ts';

/** A message as a mail server shows it. */
export interface ImapMessage {
  uid: number;
  flags: string[];
  /** Internal date as the server writes it. */
  date: string;
  body: Buffer;
}

/** A small IMAP client (RFC 3501, LITERAL+): one command at a time. */
export class ImapClient {
  readonly #socket: net.Socket;
  #received: Buffer = Buffer.alloc(0);
  #wake: (() => void) | undefined;
  #ended = false;
  #tag = 0;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on('data', (bytes) => {
      this.#received = Buffer.concat([this.#received, bytes]);
      this.#wake?.();
    });
    for (const event of ['end', 'close', 'error']) {
      socket.on(event, () => {
        this.#ended = true;
        this.#wake?.();
      });
    }
  }

  /** Logs in as `user` by the admin's right to act for others, or as the admin. */
  static async login(
    port: number,
    admin: { user: string; password: string },
    user = '',
  ): Promise<ImapClient> {
    const socket = net.connect(port, '127.0.0.1');
    const client = new ImapClient(socket);
    await client.#unit();
    const token = Buffer.from(`${user}\0${admin.user}\0${admin.password}`).toString('base64');
    await client.command(`AUTHENTICATE PLAIN ${token}`);
    return client;
  }

  /** Sends a command, with literals where a part is a Buffer, and returns the untagged answers. */
  async command(...parts: (string | Buffer)[]): Promise<Buffer[]> {
    const tag = `a${++this.#tag}`;
    const out: Buffer[] = [Buffer.from(`${tag} `)];
    for (const part of parts) {
      if (typeof part === 'string') out.push(Buffer.from(part));
      else out.push(Buffer.from(`{${part.length}+}\r\n`), part);
    }
    this.#socket.write(Buffer.concat([...out, Buffer.from('\r\n')]));
    const untagged: Buffer[] = [];
    for (;;) {
      const unit = await this.#unit();
      const line = unit.toString('latin1');
      if (line.startsWith(`${tag} OK`)) return untagged;
      if (line.startsWith(`${tag} `)) throw new Error(`IMAP ${String(parts[0]).slice(0, 100)}: ${line}`);
      untagged.push(unit);
    }
  }

  append(folder: string, body: Buffer, flags: string[] = [], date?: string): Promise<Buffer[]> {
    const when = date === undefined ? '' : ` "${date}"`;
    return this.command(`APPEND "${folder}" (${flags.join(' ')})${when} `, body);
  }

  /** Names of all folders, as the user names them, but those that only have children. */
  async folders(): Promise<string[]> {
    const lines = await this.command('LIST "" "*"');
    return lines.flatMap((line) => {
      const [, flags, name] = /^\* LIST \(([^)]*)\) "\/" "?(.*?)"?\r\n$/.exec(line.toString()) ?? [];
      return name === undefined || /\\(?:noselect|nonexistent)/i.test(flags!) ? [] : [name];
    });
  }

  /** All messages of a folder. */
  async messages(folder: string): Promise<ImapMessage[]> {
    await this.command(`EXAMINE "${folder}"`);
    const answers = await this.command('UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])');
    await this.command('UNSELECT');
    return answers.flatMap((unit) => {
      const line = unit.toString('latin1');
      const head = /^\* \d+ FETCH \(.*?BODY\[\] \{(\d+)\}\r\n/.exec(line);
      if (head === null) return [];
      const start = head[0].length;
      const body = unit.subarray(start, start + Number(head[1]));
      const items = head[0] + line.slice(start + body.length);
      const flags = /FLAGS \(([^)]*)\)/
        .exec(items)![1]!
        .split(' ')
        .filter((f) => f !== '');
      const date = /INTERNALDATE "([^"]*)"/.exec(items)![1]!;
      return [{ uid: Number(/UID (\d+)/.exec(items)![1]), flags, date, body: Buffer.from(body) }];
    });
  }

  async logout(): Promise<void> {
    await this.command('LOGOUT');
    this.#socket.destroy();
  }

  async #unit(): Promise<Buffer> {
    for (;;) {
      const end = endOfUnit(this.#received, 0);
      if (end !== -1) {
        const unit = this.#received.subarray(0, end);
        this.#received = this.#received.subarray(end);
        return unit;
      }
      if (this.#ended) throw new Error('IMAP: connection lost');
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
