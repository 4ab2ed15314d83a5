/**
 * An IMAP client (RFC 3501) for programs that know what they want to say: commands with literals that may be streams
 * and that may follow one another without waiting, answers as lines. It interprets status lines and CAPABILITY only.
 */
import { type ImapConnection, type ImapEndpoint, openImapConnection } from './connection.ts';

/** The line that ends a command. */
export interface Tagged {
  status: 'OK' | 'NO' | 'BAD';
  /** Upper-case response code such as `TRYCREATE`; '' for none. */
  code: string;
  /** What follows the code inside its brackets. */
  codeArguments: string;
  /** For people, without the code. */
  text: string;
}

/** A literal that is too large to be held in memory. */
export interface StreamedLiteral {
  size: number;
  /** Has the server say that it wants it before it is sent. */
  ask?: boolean;
  /** `~{n}` of RFC 3516, which may hold NUL. */
  binary?: boolean;
  pieces(): Iterable<Uint8Array>;
}

/** Text goes out as it is, one character a byte; a Buffer as a literal. */
export type CommandPart = string | Buffer | StreamedLiteral;

/** The client's side of a SASL exchange. */
export interface SaslExchange {
  readonly mechanism: string;
  readonly initial: Buffer;
  /** Answers a challenge. */
  respond(challenge: Buffer): Promise<Buffer>;
  readonly complete: boolean;
}

export interface CommandOptions {
  /** Gets the untagged lines while this is the oldest command under way, without `* `. */
  onUntagged?(unit: Buffer): void;
  /** Done at OK before anything more is read: what changes the transport. */
  onOk?(): Promise<void> | void;
}

interface Pending extends CommandOptions {
  tag: string;
  answered: Promise<Tagged>;
  resolve(tagged: Tagged): void;
  reject(error: unknown): void;
  isAnswered: boolean;
}

const TAGGED = /^(\S+) (OK|NO|BAD)\b ?(.*)$/is;
const CODE = /^\[([^\] ]+)(?: ([^\]]*))?\] ?(.*)$/s;
/** What a literal that is not asked for may have with LITERAL- (RFC 7888). */
const LITERAL_MINUS_BYTES = 4096;
const GATHERED_BYTES = 64 * 1024;

export class ImapClient {
  readonly connection: ImapConnection;
  /** Upper case. */
  capabilities = new Set<string>();
  #pending: Pending[] = [];
  #lastTag = 0;
  #sending: Promise<void> = Promise.resolve();
  #continuation: ((text: string) => void) | undefined;
  #failure: unknown;
  #bye: string | undefined;

  private constructor(connection: ImapConnection) {
    this.connection = connection;
    connection.isAnswerDue = () => this.#pending.length > 0;
  }

  /** Connects and reads the greeting. @throws BackupError UNAVAILABLE */
  static async connect(endpoint: ImapEndpoint): Promise<ImapClient> {
    const connection = await openImapConnection(endpoint);
    try {
      const greeting = (await connection.nextUnit()).toString('latin1');
      const status = /^\* (?:OK|PREAUTH)\b ?(.*)$/is.exec(greeting);
      if (status === null) throw connection.error(`it greets with "${greeting.slice(0, 200)}"`);
      const client = new ImapClient(connection);
      client.#capabilitiesIn(parseStatus(status[1]!));
      void client.#read();
      return client;
    } catch (error) {
      connection.destroy();
      throw error;
    }
  }

  has(capability: string): boolean {
    return this.capabilities.has(capability);
  }

  /** Whether it can be used no more. */
  get isClosed(): boolean {
    return this.#failure !== undefined || this.connection.isClosed;
  }

  /** One command. @throws BackupError UNAVAILABLE when the connection breaks; not for NO and BAD. */
  async command(parts: CommandPart | readonly CommandPart[], options?: CommandOptions): Promise<Tagged> {
    return await (await this.send(parts, options)).answered;
  }

  /** The same, but back as soon as it is sent: others may be sent behind it. */
  async send(
    parts: CommandPart | readonly CommandPart[],
    options: CommandOptions = {},
  ): Promise<{ answered: Promise<Tagged> }> {
    const before = this.#sending;
    let done = (): void => {};
    this.#sending = new Promise((resolve) => {
      done = resolve;
    });
    await before;
    try {
      const pending = this.#newPending(options);
      const list: readonly CommandPart[] = isParts(parts) ? parts : [parts];
      await this.#write(pending, list);
      return { answered: pending.answered };
    } finally {
      done();
    }
  }

  async startTls(): Promise<Tagged> {
    // Whatever was said in clear about what it can do is nobody's word.
    return await this.command('STARTTLS', {
      onOk: async () => {
        this.capabilities = new Set();
        await this.connection.startTls();
      },
    });
  }

  async compress(level: number): Promise<Tagged> {
    return await this.command('COMPRESS DEFLATE', { onOk: () => this.connection.startCompression(level) });
  }

  /** @returns the answer; OK only if the exchange was complete */
  async authenticate(sasl: SaslExchange, sendInitial: boolean): Promise<Tagged> {
    const before = this.#sending;
    await before;
    const initial = sasl.initial.length === 0 ? '=' : sasl.initial.toString('base64');
    const pending = this.#newPending({});
    await this.#say(`${pending.tag} AUTHENTICATE ${sasl.mechanism}${sendInitial ? ` ${initial}` : ''}\r\n`);
    let mayStart = !sendInitial;
    for (;;) {
      const challenge = await this.#challenge(pending);
      if (challenge === undefined) break;
      let reply: string;
      try {
        reply = mayStart
          ? sasl.initial.toString('base64')
          : (await sasl.respond(Buffer.from(challenge, 'base64'))).toString('base64');
      } catch (error) {
        await this.#say('*\r\n');
        await pending.answered;
        throw error;
      }
      mayStart = false;
      await this.#say(`${reply}\r\n`);
    }
    const tagged = await pending.answered;
    if (tagged.status !== 'OK' || sasl.complete) {
      if (tagged.status === 'OK' && tagged.code !== 'CAPABILITY') this.capabilities = new Set();
      return tagged;
    }
    // Some servers put SCRAM's last word into the OK's code, others leave it out: then it has proved nothing.
    throw this.connection.fail('it says OK before it has proved who it is', 'CREDENTIALS_INVALID');
  }

  /** Fills `capabilities` if the server has not said them by itself. */
  async needCapabilities(): Promise<void> {
    if (this.capabilities.size === 0) await this.command('CAPABILITY');
  }

  close(): void {
    this.connection.destroy();
  }

  async logout(): Promise<void> {
    try {
      this.connection.timeoutMs = 2000;
      if (!this.isClosed) await this.command('LOGOUT');
    } catch {
      // It is as good as gone.
    }
    this.close();
  }

  #newPending(options: CommandOptions): Pending {
    if (this.#failure !== undefined) throw this.#failure;
    const { promise, resolve, reject } = Promise.withResolvers<Tagged>();
    // Whoever sent it may not look at the answer before the connection breaks.
    promise.catch(() => {});
    const tag = `P${++this.#lastTag}`;
    const pending: Pending = { ...options, tag, answered: promise, resolve, reject, isAnswered: false };
    this.#pending.push(pending);
    return pending;
  }

  async #write(pending: Pending, parts: readonly CommandPart[]): Promise<void> {
    const out = new Gatherer(this.connection);
    await out.add(`${pending.tag} `);
    for (const part of parts) {
      if (typeof part === 'string') {
        await out.add(part);
        continue;
      }
      const size = Buffer.isBuffer(part) ? part.length : part.size;
      const streamed = Buffer.isBuffer(part) ? undefined : part;
      const mayFollow = streamed?.ask !== true && this.#mayFollow(size);
      await out.add(`${streamed?.binary ? '~' : ''}{${size}${mayFollow ? '+' : ''}}\r\n`);
      if (!mayFollow) {
        await out.send();
        if ((await this.#challenge(pending, true)) === undefined) return;
      }
      if (Buffer.isBuffer(part)) await out.add(part);
      else {
        await out.send();
        await this.#stream(part);
      }
    }
    await out.add('\r\n');
    await out.send();
    await this.connection.flush();
  }

  async #stream({ pieces }: StreamedLiteral): Promise<void> {
    try {
      for (const piece of pieces()) await this.connection.write(Buffer.from(piece));
    } catch (error) {
      // In the middle of a literal there is no way back.
      this.connection.destroy();
      throw error;
    }
  }

  #mayFollow(size: number): boolean {
    return this.has('LITERAL+') || (this.has('LITERAL-') && size <= LITERAL_MINUS_BYTES);
  }

  async #say(text: string): Promise<void> {
    await this.connection.write(Buffer.from(text, 'latin1'));
    await this.connection.flush();
  }

  /** What the server says after `+`; undefined if it ends the command instead. */
  async #challenge(pending: Pending, flush = false): Promise<string | undefined> {
    const said = new Promise<string>((resolve) => {
      this.#continuation = resolve;
    });
    if (flush) await this.connection.flush();
    const first = await Promise.race([said, pending.answered.then(() => undefined)]);
    if (first === undefined) this.#continuation = undefined;
    return first;
  }

  async #read(): Promise<void> {
    try {
      for (;;) await this.#dispatch(await this.connection.nextUnit());
    } catch (error) {
      this.#failure =
        this.#bye === undefined || !this.connection.isClosed
          ? error
          : this.connection.error(`it says "${this.#bye}"`);
      for (const { reject } of this.#pending.splice(0)) reject(this.#failure);
    }
  }

  async #dispatch(unit: Buffer): Promise<void> {
    if (unit[0] === 0x2b) {
      const answer = this.#continuation;
      this.#continuation = undefined;
      if (answer === undefined) throw this.connection.fail('it asks for more where there is none');
      answer(unit.toString('latin1').slice(1).trimStart());
      return;
    }
    if (unit[0] === 0x2a && unit[1] === 0x20) {
      const line = unit.subarray(2);
      this.#untagged(line);
      return;
    }
    const text = unit.toString('latin1');
    const [, tag, status, rest] = TAGGED.exec(text) ?? [];
    const at = this.#pending.findIndex((pending) => pending.tag === tag);
    if (at === -1) throw this.connection.fail('its answer is none of IMAP');
    const [pending] = this.#pending.splice(at, 1) as [Pending];
    const tagged = { status: status!.toUpperCase() as Tagged['status'], ...parseStatus(rest!) };
    this.#capabilitiesIn(tagged);
    try {
      if (tagged.status === 'OK') await pending.onOk?.();
    } catch (error) {
      pending.reject(error);
      throw error;
    }
    pending.resolve(tagged);
  }

  #untagged(line: Buffer): void {
    const head = line.toString('latin1', 0, Math.min(line.length, 400));
    if (/^BYE\b/i.test(head)) this.#bye = head;
    else if (/^CAPABILITY /i.test(head)) this.#setCapabilities(line.toString('latin1').slice(11));
    else if (/^OK \[CAPABILITY /i.test(head))
      this.#capabilitiesIn(parseStatus(line.toString('latin1').slice(3)));
    this.#pending[0]?.onUntagged?.(line);
  }

  #capabilitiesIn({ code, codeArguments }: Omit<Tagged, 'status'>): void {
    if (code === 'CAPABILITY') this.#setCapabilities(codeArguments);
  }

  #setCapabilities(text: string): void {
    this.capabilities = new Set(
      text
        .toUpperCase()
        .split(' ')
        .filter((word) => word !== ''),
    );
  }
}

/** A quoted string, or a literal where it cannot be one. */
export function imapString(text: string): CommandPart {
  return /^[\x20-\x7e]{0,900}$/.test(text) ? quoted(text) : Buffer.from(text, 'latin1');
}

export function quoted(text: string): string {
  return `"${text.replaceAll(/[\\"]/g, '\\$&')}"`;
}

function parseStatus(rest: string): Omit<Tagged, 'status'> {
  const [, code, codeArguments, text] = CODE.exec(rest) ?? [];
  if (code === undefined) return { code: '', codeArguments: '', text: rest };
  return { code: code.toUpperCase(), codeArguments: codeArguments ?? '', text: text! };
}

/** Puts small pieces together before they go out. */
class Gatherer {
  readonly #connection: ImapConnection;
  #pieces: Buffer[] = [];
  #size = 0;

  constructor(connection: ImapConnection) {
    this.#connection = connection;
  }

  async add(piece: string | Buffer): Promise<void> {
    const bytes = typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece;
    this.#pieces.push(bytes);
    this.#size += bytes.length;
    if (this.#size >= GATHERED_BYTES) await this.send();
  }

  async send(): Promise<void> {
    const pieces = this.#pieces.splice(0);
    this.#size = 0;
    if (pieces.length > 0)
      await this.#connection.write(pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces));
  }
}

function isParts(parts: CommandPart | readonly CommandPart[]): parts is readonly CommandPart[] {
  return Array.isArray(parts);
}
