import net from 'node:net';
import { ADMIN } from './cyrus-conf.ts';

/** Carries out ManageSieve commands (RFC 5804) for a user; throws at the first that is refused. */
export async function manageSieve(port: number, user: string, commands: string[]): Promise<void> {
  const session = await Session.open(port, user);
  for (const command of [...commands, 'LOGOUT']) await session.command(command);
  session.close();
}

/** `NAME[ ACTIVE]` and text of each script. */
export async function listScripts(port: number, user: string): Promise<string[]> {
  const session = await Session.open(port, user);
  const names = (await session.command('LISTSCRIPTS')).split('\r\n').filter((line) => line !== '');
  const scripts: string[] = [];
  for (const line of names.sort()) {
    scripts.push(`${line}: ${await session.command(`GETSCRIPT ${/^"[^"]*"/.exec(line)![0]}`)}`);
  }
  await session.command('LOGOUT');
  session.close();
  return scripts;
}

export function putScript(name: string, text: string): string {
  return `PUTSCRIPT "${name}" {${Buffer.byteLength(text)}+}\r\n${text}`;
}

class Session {
  readonly #socket: net.Socket;
  #received = '';
  #ended = false;
  #wake: () => void = () => {};

  private constructor(port: number) {
    this.#socket = net.connect(port, '127.0.0.1').setEncoding('utf8');
    this.#socket.on('data', (text) => {
      this.#received += String(text);
      this.#wake();
    });
    for (const event of ['end', 'error', 'close']) {
      this.#socket.on(event, () => {
        this.#ended = true;
        this.#wake();
      });
    }
  }

  static async open(port: number, user: string): Promise<Session> {
    const session = new Session(port);
    await session.#answer('(greeting)');
    const token = Buffer.from(`${user}\0${ADMIN.user}\0${ADMIN.password}`).toString('base64');
    await session.command(`AUTHENTICATE "PLAIN" "${token}"`);
    return session;
  }

  /** What came before the OK. */
  async command(text: string): Promise<string> {
    this.#socket.write(`${text}\r\n`);
    return await this.#answer(text.split('\r\n')[0]!);
  }

  close(): void {
    this.#socket.destroy();
  }

  async #answer(command: string): Promise<string> {
    for (;;) {
      const match = /^((?:(?!OK|NO|BYE).*\r\n)*?)(OK|NO|BYE)\b.*\r\n/.exec(this.#received);
      if (match !== null) {
        this.#received = this.#received.slice(match[0].length);
        if (match[2] !== 'OK') throw new Error(`ManageSieve ${command}: ${match[0]}`);
        return match[1]!;
      }
      if (this.#ended) throw new Error(`ManageSieve ${command}: connection lost after ${this.#received}`);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
