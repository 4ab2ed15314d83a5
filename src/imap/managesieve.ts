/** A ManageSieve client (RFC 5804). */
import type { SaslExchange } from './client.ts';
import { type ImapConnection, type ImapEndpoint, openImapConnection } from './connection.ts';
import { readTokens, type Token } from './tokens.ts';

const QUOTE = 0x22;

export interface SieveAnswer {
  status: 'OK' | 'NO' | 'BYE';
  /** Upper-case response code such as `QUOTA/MAXSIZE`; '' for none. */
  code: string;
  codeArguments: Token[];
  /** For people, UTF-8. */
  text: string;
  /** The lines before it. */
  lines: Token[][];
}

export interface SieveScriptName {
  /** One character a byte, UTF-8. */
  name: string;
  isActive: boolean;
}

export class ManageSieveClient {
  readonly connection: ImapConnection;
  /** By upper-case name. */
  capabilities = new Map<string, string>();

  private constructor(connection: ImapConnection) {
    this.connection = connection;
  }

  /** Connects and reads what the server can do. @throws BackupError UNAVAILABLE */
  static async connect(endpoint: ImapEndpoint): Promise<ManageSieveClient> {
    const limits = { ...endpoint.limits, literalsInStatus: true };
    const client = new ManageSieveClient(await openImapConnection({ ...endpoint, limits }));
    try {
      await client.#greeting();
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  get mechanisms(): string[] {
    return (this.capabilities.get('SASL') ?? '').split(' ').filter((name) => name !== '');
  }

  async startTls(): Promise<SieveAnswer> {
    const answer = await this.command('STARTTLS');
    if (answer.status !== 'OK') return answer;
    await this.connection.startTls();
    // It says by itself what it can do now.
    await this.#greeting();
    return answer;
  }

  async authenticate(sasl: SaslExchange): Promise<SieveAnswer> {
    await this.#say(`AUTHENTICATE "${sasl.mechanism}" "${sasl.initial.toString('base64')}"\r\n`);
    for (;;) {
      const bytes = await this.connection.nextUnit();
      const unit = readTokens(bytes);
      const answer = answerOf(bytes, unit, []);
      if (answer === undefined) {
        const challenge = Buffer.from(String(unit[0] ?? ''), 'base64');
        await this.#say(`"${(await sasl.respond(challenge)).toString('base64')}"\r\n`);
        continue;
      }
      const [data] = answer.codeArguments;
      if (answer.status === 'OK' && answer.code === 'SASL' && typeof data === 'string') {
        await sasl.respond(Buffer.from(data, 'base64'));
      }
      if (answer.status !== 'OK' || sasl.complete) return answer;
      throw this.connection.fail('it says OK before it has proved who it is', 'CREDENTIALS_INVALID');
    }
  }

  async scripts(): Promise<SieveScriptName[]> {
    const { lines } = await this.command('LISTSCRIPTS');
    return lines.map(([name, active]) => ({
      name: String(name),
      isActive: String(active).toUpperCase() === 'ACTIVE',
    }));
  }

  async script(name: string): Promise<Buffer | undefined> {
    const { status, lines } = await this.command(`GETSCRIPT ${sieveString(name)}`);
    const text = lines[0]?.[0];
    return status === 'OK' && typeof text === 'string' ? Buffer.from(text, 'latin1') : undefined;
  }

  async put(name: string, text: Buffer): Promise<SieveAnswer> {
    return await this.command(
      `PUTSCRIPT ${sieveString(name)} {${text.length}+}\r\n${text.toString('latin1')}`,
    );
  }

  async activate(name: string): Promise<SieveAnswer> {
    return await this.command(`SETACTIVE ${sieveString(name)}`);
  }

  /** @param text one character a byte */
  async command(text: string): Promise<SieveAnswer> {
    await this.#say(`${text}\r\n`);
    return await this.#answer();
  }

  async logout(): Promise<void> {
    this.connection.timeoutMs = 2000;
    await this.command('LOGOUT').catch(() => {
      // It is as good as gone.
    });
    this.close();
  }

  close(): void {
    this.connection.destroy();
  }

  async #greeting(): Promise<void> {
    const { status, text, lines } = await this.#answer();
    if (status !== 'OK') throw this.connection.error(`it greets with "${text}"`);
    this.capabilities = new Map(
      lines.map(([name, value]) => [String(name).toUpperCase(), String(value ?? '')]),
    );
  }

  async #say(text: string): Promise<void> {
    await this.connection.write(Buffer.from(text, 'latin1'));
  }

  async #answer(): Promise<SieveAnswer> {
    const lines: Token[][] = [];
    for (;;) {
      const bytes = await this.connection.nextUnit();
      const unit = readTokens(bytes);
      const answer = answerOf(bytes, unit, lines);
      if (answer !== undefined) return answer;
      lines.push(unit);
    }
  }
}

/** Undefined if it is not the end of an answer. */
function answerOf(bytes: Buffer, unit: Token[], lines: Token[][]): SieveAnswer | undefined {
  const [word, ...rest] = unit;
  // A script may be called OK, but its name comes in quotes.
  const status = typeof word === 'string' && bytes[0] !== QUOTE ? word.toUpperCase() : '';
  if (status !== 'OK' && status !== 'NO' && status !== 'BYE') return undefined;
  const code = Array.isArray(rest[0]) ? rest.shift() : undefined;
  const [name, ...codeArguments] = Array.isArray(code) ? code : [];
  const text = typeof rest[0] === 'string' ? Buffer.from(rest[0], 'latin1').toString('utf8').trim() : '';
  return { status, code: String(name ?? '').toUpperCase(), codeArguments, text, lines };
}

function sieveString(text: string): string {
  if (!/[\r\n\0]/.test(text) && text.length <= 1024) return `"${text.replaceAll(/[\\"]/g, '\\$&')}"`;
  return `{${text.length}+}\r\n${text}`;
}
