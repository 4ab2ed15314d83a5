import type { ConnectionOptions } from 'node:tls';
import { textOf } from '../csync/dlist.ts';
import { printFileHeader, printKvlist, printList, printString } from '../csync/encoder.ts';
import { BackupError } from '../platform/errors.ts';

import type { AnswerPiece } from './csync-answers.ts';
import { type CsyncConnection, type CsyncEndpoint, openCsyncConnection } from './csync-connection.ts';
import { type Account, chooseMechanism } from './csync-login.ts';
import {
  type CsyncFinal,
  type CsyncLine,
  CsyncRefusal,
  type CsyncReply,
  isImapNotice,
  parseFinal,
  parseImapFinal,
  parseLine,
  unexpected,
} from './csync-reply.ts';

/** A message to be sent; `content` yields exactly `size` bytes. */
export interface OutgoingMessage {
  guid: string;
  size: number;
  content: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

export interface ConnectOptions extends CsyncEndpoint {
  account: Account;
  /** Use STARTTLS where the server offers it, and fail where it does not. */
  startTls?: boolean;
  tlsOptions?: ConnectionOptions;
  /** Send the password itself without TLS where the server has no SCRAM. */
  allowPlaintext?: boolean;
  /** Ask for COMPRESS DEFLATE where it is offered; zlib level 1 to 9. */
  compressLevel?: number;
}

/** What the server offered in its last greeting. */
export interface Greeting {
  saslMechanisms: string[];
  /** But for SASL, upper case: `STARTTLS`, `COMPRESS DEFLATE`; from imapd `X-REPLICATION` and more. */
  capabilities: string[];
  text: string;
}

/** Most files of one APPLY MESSAGE, as sync_client limits it. */
export const MAX_MESSAGES_PER_COMMAND = 1024;

/**
 * A client of the csync protocol, stop and wait as sync_client: one command, then its reply. Text is given
 * and returned with one byte per character. It speaks to sync_server, to backup servers and to imapd, where the same
 * commands are IMAP commands with a tag and `SYNC` before their names: which of them it is the greeting tells.
 */
export class CsyncClient {
  readonly #connection: CsyncConnection;
  #greeting: Greeting = { saslMechanisms: [], capabilities: [], text: '' };
  #isImap = false;
  /** Of the last command to imapd. */
  #tag = 'S0';
  /** Inside an APPLY MESSAGE. */
  #isSending = false;

  private constructor(connection: CsyncConnection) {
    this.#connection = connection;
  }

  /** Connects and reads the greeting; nobody is logged in yet. */
  static async open(endpoint: CsyncEndpoint): Promise<CsyncClient> {
    const client = new CsyncClient(await openCsyncConnection(endpoint));
    await client.#closeOnError(() => client.#readGreeting());
    return client;
  }

  /** Connects, secures the connection, logs in and compresses, as the options say. */
  static async connect(options: ConnectOptions): Promise<CsyncClient> {
    const client = await CsyncClient.open(options);
    await client.#closeOnError(async () => {
      if (options.startTls) await client.startTls();
      await client.login(options.account, options.allowPlaintext);
      if (options.compressLevel !== undefined && client.offers('COMPRESS DEFLATE')) {
        await client.compress(options.compressLevel);
      }
    });
    return client;
  }

  get greeting(): Greeting {
    return this.#greeting;
  }

  get compressed(): boolean {
    return this.#connection.compressed;
  }

  get secure(): boolean {
    return this.#connection.secure;
  }

  /** `host:port`, for messages. */
  get server(): string {
    const { host, port } = this.#connection.endpoint;
    return `${host.includes(':') ? `[${host}]` : host}:${port}`;
  }

  /** Whether it is an IMAP server. Log in, then see whether it offers `X-REPLICATION`. */
  get isImap(): boolean {
    return this.#isImap;
  }

  offers(capability: string): boolean {
    return this.#greeting.capabilities.includes(capability.toUpperCase());
  }

  /** STARTTLS; the server greets again behind it. */
  async startTls(): Promise<void> {
    await this.command('STARTTLS');
    await this.#connection.startTls();
    if (this.#isImap) await this.#askCapabilities();
    else await this.#readGreeting();
  }

  /** @throws BackupError CREDENTIALS_INVALID if the server refuses, or does not prove itself (SCRAM) */
  async login(account: Account, allowPlaintext = false): Promise<void> {
    const sasl = chooseMechanism(
      this.#greeting.saslMechanisms,
      account,
      allowPlaintext || this.#connection.secure,
    );
    const initial = sasl.initial.toString('base64');
    let reply: CsyncReply;
    if (this.#isImap && !this.offers('SASL-IR')) {
      reply = await this.request(`AUTHENTICATE ${sasl.mechanism}`);
      if (reply.status === '+') reply = await this.#respond(initial);
    } else {
      reply = await this.request(`AUTHENTICATE ${sasl.mechanism} ${initial}`);
    }
    while (reply.status === '+') {
      const answer = await sasl.respond(Buffer.from(reply.text, 'base64'));
      reply = await this.#respond(answer.toString('base64'));
    }
    if (reply.status === 'OK' && sasl.complete) {
      if (this.#isImap) await this.#askCapabilities();
      return;
    }
    const { host, port } = this.#connection.endpoint;
    throw new BackupError({
      code: reply.status === 'BYE' ? 'UNAVAILABLE' : 'CREDENTIALS_INVALID',
      tried: `log in as ${account.user}`,
      subject: `at ${host}:${port}`,
      reason:
        reply.status === 'OK'
          ? 'the server did not prove that it knows the password'
          : `the server answered ${reply.status} ${reply.text}`,
      remedy: 'Check name and password, and that the server lets this user in',
    });
  }

  async compress(level = 1): Promise<void> {
    await this.command('COMPRESS DEFLATE');
    this.#connection.startCompression(level);
  }

  /** Sends one command and reads its reply, whatever it is. CRLF is added. */
  async request(text: string | Iterable<string>, onLine?: (line: CsyncLine) => void): Promise<CsyncReply> {
    await this.#send(text);
    return await this.#finish(onLine);
  }

  /**
   * A command whose answer may be of any size: its lines are handed over in pieces, each valid until the next.
   */
  async requestPieces(text: string, onPiece: (piece: AnswerPiece) => void): Promise<CsyncFinal> {
    await this.#send(text);
    await this.#write('\r\n');
    await this.#connection.flush();
    for (let isInside = false; ; ) {
      const piece = await this.#connection.next((answer) => answer.nextPiece());
      if (!isInside && piece.isLast) {
        const final = this.#finalOf(piece.bytes);
        if (final !== undefined) return final;
        if (this.#isImap && isImapNotice(piece.bytes)) continue;
      }
      isInside = !piece.isLast;
      onPiece(piece);
    }
  }

  /**
   * As `request`, for a command that has to succeed.
   * @param onLine gets each line as it comes; they are then not kept
   * @throws CsyncRefusal
   */
  async command(text: string | Iterable<string>, onLine?: (line: CsyncLine) => void): Promise<CsyncLine[]> {
    const reply = await this.request(text, onLine);
    const shown = typeof text === 'string' ? text.slice(0, 60).replace(/[\r\n].*/s, '') : 'send a command';
    return this.#expectOk(reply, shown).lines;
  }

  /** `GET USER`, `GET META`, `GET FULLMAILBOX` and so on, of one name. */
  async get(what: string, name: string, onLine?: (line: CsyncLine) => void): Promise<CsyncLine[]> {
    return await this.command(`GET ${what} ${printString(name, OURS)}`, onLine);
  }

  async getMailboxes(mboxnames: readonly string[]): Promise<CsyncLine[]> {
    return await this.command(`GET MAILBOXES ${printStrings(mboxnames)}`);
  }

  /** As getMailboxes, of unique ids; servers older than Cyrus 3.6 may not know it. */
  async getUniqueids(uniqueids: readonly string[]): Promise<CsyncLine[]> {
    return await this.command(`GET UNIQUEIDS ${printStrings(uniqueids)}`);
  }

  /** Which of these messages the server lacks. */
  async reserve(
    partition: string,
    mboxnames: readonly string[],
    guids: readonly string[],
  ): Promise<string[]> {
    const fields = printKvlist([
      ['PARTITION', printString(partition, OURS)],
      ['MBOXNAME', printStrings(mboxnames)],
      ['GUID', printList(guids)],
    ]);
    const missing: string[] = [];
    for (const { name, value } of await this.command(`APPLY RESERVE ${fields}`)) {
      if (name !== 'MISSING' || value.kind !== 'list') continue;
      for (const item of value.items) missing.push(textOf(item) ?? '');
    }
    return missing;
  }

  /**
   * One APPLY MESSAGE with all of these messages.
   * @throws BackupError INTERNAL if a message does not have the size it claims; the connection is then of no more use
   */
  async sendMessages(partition: string, messages: readonly OutgoingMessage[]): Promise<void> {
    for (const message of messages) await this.addMessage(partition, message);
    await this.endMessages();
  }

  /**
   * Adds a message to the APPLY MESSAGE that is under way, or begins one. Nothing else may be asked before
   * endMessages().
   * @throws as sendMessages does
   */
  async addMessage(partition: string, message: OutgoingMessage): Promise<void> {
    let head = ' ';
    if (!this.#isSending) {
      this.#isSending = true;
      await this.#send('APPLY MESSAGE (');
      head = '';
    }
    await this.#write(`${head}${printFileHeader(partition, message.guid, message.size)}`);
    await this.#sendContent(message);
  }

  /** Ends the APPLY MESSAGE; without one nothing is done. @throws CsyncRefusal */
  async endMessages(): Promise<void> {
    if (!this.#isSending) return;
    this.#isSending = false;
    await this.#write(')');
    this.#expectOk(await this.#finish(), 'APPLY MESSAGE');
  }

  /** The server forgets what it holds open for this session. */
  async restart(): Promise<void> {
    await this.command('RESTART');
  }

  /** Says good-bye and closes the connection. */
  async exit(): Promise<void> {
    // imapd says BYE before its OK; nothing hangs on it.
    if (this.#isImap) await this.request('LOGOUT');
    else await this.command('EXIT');
    this.close();
  }

  /** Ends the connection at once. */
  close(): void {
    this.#connection.destroy();
  }

  async #sendContent(message: OutgoingMessage): Promise<void> {
    const { content, size, guid } = message;
    if (content instanceof Uint8Array) {
      if (content.length !== size) this.#wrongSize(guid, size, content.length);
      await this.#connection.write(content);
      return;
    }
    let sent = 0;
    for await (const bytes of content) {
      sent += bytes.length;
      if (sent > size) this.#wrongSize(guid, size, sent);
      await this.#connection.write(bytes);
    }
    if (sent !== size) this.#wrongSize(guid, size, sent);
  }

  /** The server would take what follows for the rest of the message: the connection cannot go on. */
  #wrongSize(guid: string, size: number, found: number): never {
    this.close();
    throw new BackupError({
      code: 'INTERNAL',
      tried: 'send message',
      subject: guid,
      reason: `it was announced with ${size} bytes, but its content has ${found > size ? 'at least ' : ''}${found}`,
      remedy: 'Connect again; the message changed while it was read',
    });
  }

  /** To imapd with its tag. CRLF is not added. */
  async #send(text: string | Iterable<string>): Promise<void> {
    let isFirst = this.#isImap;
    for (const piece of typeof text === 'string' ? [text] : text) {
      await this.#write(isFirst ? this.#tagged(piece) : piece);
      isFirst = false;
    }
  }

  #tagged(text: string): string {
    this.#tag = `S${Number(this.#tag.slice(1)) + 1}`;
    return `${this.#tag} ${/^(?:APPLY|GET|RESTORE|RESTART)\b/.test(text) ? 'SYNC' : ''}${text}`;
  }

  /** Of a login. */
  async #respond(text: string): Promise<CsyncReply> {
    await this.#write(text);
    return await this.#finish();
  }

  #expectOk(reply: CsyncReply, command: string): CsyncReply {
    if (reply.status === 'OK') return reply;
    throw new CsyncRefusal(reply, command, this.server);
  }

  #finalOf(unit: Buffer): CsyncFinal | undefined {
    return this.#isImap ? parseImapFinal(unit, this.#tag) : parseFinal(unit);
  }

  async #write(text: string): Promise<void> {
    await this.#connection.write(Buffer.from(text, 'latin1'));
  }

  async #finish(onLine?: (line: CsyncLine) => void): Promise<CsyncReply> {
    await this.#write('\r\n');
    await this.#connection.flush();
    const lines: CsyncLine[] = [];
    const final = await this.#readUnits((unit) => {
      if (this.#isImap && isImapNotice(unit)) return;
      const line = parseLine(unit);
      if (onLine === undefined) lines.push(line);
      else onLine(line);
    });
    return { ...final, lines };
  }

  async #readUnits(onLine: (unit: Buffer) => void): Promise<CsyncFinal> {
    for (;;) {
      const unit = await this.#connection.nextUnit();
      const final = this.#finalOf(unit);
      if (final !== undefined) return final;
      onLine(unit);
    }
  }

  async #readGreeting(): Promise<void> {
    const greeting: Greeting = { saslMechanisms: [], capabilities: [], text: '' };
    const final = await this.#readUnits((unit) => {
      if (!unit.toString('latin1', 0, 2).startsWith('* '))
        throw unexpected(unit, 'no csync server greets so');
      const words = unit.toString('latin1', 2).trim().toUpperCase().split(/ +/);
      if (words[0] === 'SASL') greeting.saslMechanisms.push(...words.slice(1));
      else greeting.capabilities.push(words.join(' '));
    });
    if (final.status !== 'OK') throw new CsyncRefusal(final, 'be greeted', this.server);
    greeting.text = final.text;
    this.#greeting = greeting;
    // A csync server has told its capabilities by now, in lines of their own.
    const isBare = greeting.saslMechanisms.length === 0 && greeting.capabilities.length === 0;
    if (!isBare || !/\bIMAP/i.test(final.text)) return;
    this.#isImap = true;
    const told = /\[CAPABILITY ([^\]]*)\]/i.exec(final.text)?.[1];
    if (told === undefined) await this.#askCapabilities();
    else this.#takeCapabilities(told);
  }

  async #askCapabilities(): Promise<void> {
    let told = '';
    await this.#send('CAPABILITY');
    await this.#write('\r\n');
    await this.#connection.flush();
    const final = await this.#readUnits((unit) => {
      told = /^\* CAPABILITY (.*)$/is.exec(unit.toString('latin1'))?.[1] ?? told;
    });
    if (final.status !== 'OK') throw new CsyncRefusal(final, 'CAPABILITY', this.server);
    this.#takeCapabilities(told);
  }

  /** In the words of csync. */
  #takeCapabilities(told: string): void {
    const words = told.trim().toUpperCase().split(/ +/);
    const names: Record<string, string> = {
      'COMPRESS=DEFLATE': 'COMPRESS DEFLATE',
      'X-SIEVE-MAILBOX': 'SIEVE-MAILBOX',
    };
    this.#greeting = {
      ...this.#greeting,
      saslMechanisms: words.filter((word) => word.startsWith('AUTH=')).map((word) => word.slice(5)),
      capabilities: words.filter((word) => !word.startsWith('AUTH=')).map((word) => names[word] ?? word),
    };
  }

  async #closeOnError(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      this.close();
      throw error;
    }
  }
}

const OURS = { nonSynchronising: true };

function printStrings(values: readonly string[]): string {
  return printList(values.map((value) => printString(value, OURS)));
}
