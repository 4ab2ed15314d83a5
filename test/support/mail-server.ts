import { createHash } from 'node:crypto';
import net from 'node:net';
import zlib from 'node:zlib';
import { readTokens, type Token } from '../../src/imap/tokens.ts';
import { parseInternalDate } from '../../src/restore/imap/mailbox.ts';

export interface ServedMessage {
  uid: number;
  flags: string[];
  date: string;
  body: Buffer;
}

export interface MailServerOptions {
  /** What CAPABILITY says after IMAP4rev1. */
  capabilities?: string[];
  namespace?: string;
  separator?: string;
  permanentFlags?: string;
  /** Answers instead of doing it: `NO [NOPERM] no`. Without a return value it is done. */
  refuse?(command: string, name: string, message?: Buffer): string | undefined;
  /** Answers to MYRIGHTS. */
  rightsOf?(mailbox: string): string;
  setAcl?(mailbox: string, identifier: string, rights: string): void;
  /** How it stores what it is sent. */
  store?(message: Buffer): Buffer;
  /** Closes the connection when so many messages are there. */
  dieAt?: number;
  password?: string;
}

/** An IMAP server in this process that keeps its mail in memory, and does what the test says where servers differ. */
export class MailServer {
  readonly port: number;
  readonly mailboxes = new Map<string, ServedMessage[]>([['INBOX', []]]);
  readonly subscribed = new Set<string>();
  /** Commands without their tag, literals as `{n}`. */
  readonly log: string[] = [];
  o: MailServerOptions;
  #lastUid = 0;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  private constructor(server: net.Server, o: MailServerOptions) {
    this.#server = server;
    this.port = (server.address() as net.AddressInfo).port;
    this.o = o;
  }

  static async start(o: MailServerOptions = {}): Promise<MailServer> {
    const server = net.createServer({ noDelay: true });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const one = new MailServer(server, o);
    server.on('connection', (socket) => {
      one.#sockets.add(socket.on('error', () => {}));
      new Session(one, socket).start();
    });
    return one;
  }

  add(
    name: string,
    body: string | Buffer,
    date = '13-Sep-2020 12:26:40 +0000',
    flags: string[] = [],
  ): number {
    const uid = ++this.#lastUid;
    const bytes = typeof body === 'string' ? Buffer.from(body, 'latin1') : body;
    const messages = this.mailboxes.get(name) ?? [];
    messages.push({ uid, flags, date, body: bytes });
    this.mailboxes.set(name, messages);
    return uid;
  }

  get count(): number {
    return [...this.mailboxes.values()].reduce((sum, { length }) => sum + length, 0);
  }

  bodies(name: string): string[] {
    return (this.mailboxes.get(name) ?? []).map(({ body }) => body.toString('latin1'));
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Said OK to, with nothing done. */
const HARMLESS = /^(?:UNSELECT|COMPRESS|LSUB|[GS]ET(?:METADATA|QUOTA|ACL))$/;
const SYSTEM_FLAGS = '\\Answered \\Flagged \\Deleted \\Seen \\Draft';

class Session {
  readonly #server: MailServer;
  readonly #socket: net.Socket;
  #received = Buffer.alloc(0);
  #selected = '';
  /** Text of the command so far, literals in it, and what is missing of a literal. */
  #command = Buffer.alloc(0);
  #missing = 0;
  #sasl: string | undefined;
  #out: zlib.DeflateRaw | undefined;

  constructor(server: MailServer, socket: net.Socket) {
    this.#server = server;
    this.#socket = socket;
  }

  start(): void {
    this.#socket.on('data', (bytes) => this.#take(bytes));
    this.#say(`* OK [CAPABILITY ${this.#capabilities()}] ready`);
  }

  #capabilities(): string {
    return [
      'IMAP4rev1',
      ...(this.#server.o.capabilities ?? ['AUTH=PLAIN', 'SASL-IR', 'LITERAL+', 'UIDPLUS', 'UNSELECT']),
    ].join(' ');
  }

  #has(name: string): boolean {
    return this.#capabilities().split(' ').includes(name);
  }

  #say(line: string): void {
    const bytes = Buffer.from(`${line}\r\n`, 'latin1');
    if (this.#out === undefined) this.#socket.write(bytes);
    else {
      this.#out.write(bytes);
      this.#out.flush();
    }
  }

  #take(bytes: Buffer): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    while (!this.#socket.destroyed) {
      if (this.#missing > 0) {
        const part = this.#received.subarray(0, this.#missing);
        this.#command = Buffer.concat([this.#command, part]);
        this.#received = this.#received.subarray(part.length);
        this.#missing -= part.length;
        if (this.#missing > 0) return;
      }
      const end = this.#received.indexOf('\r\n');
      if (end === -1) return;
      const line = this.#received.subarray(0, end);
      this.#received = this.#received.subarray(end + 2);
      const literal = /~?\{(\d+)(\+?)\}$/.exec(line.toString('latin1'));
      this.#command = Buffer.concat([this.#command, line, Buffer.from(literal === null ? '' : '\r\n')]);
      if (literal !== null) {
        if (literal[2] === '') {
          if (this.#refusesLiteral(Number(literal[1]))) {
            this.#command = Buffer.alloc(0);
            continue;
          }
          this.#say('+ go on');
        }
        this.#missing = Number(literal[1]);
        continue;
      }
      const command = this.#command;
      this.#command = Buffer.alloc(0);
      this.#run(command);
    }
  }

  /** Servers may say NO to a literal before it is sent. */
  #refusesLiteral(size: number): boolean {
    const [tag, verb = ''] = this.#command.toString('latin1').split(' ');
    const answer = this.#server.o.refuse?.('LITERAL', verb, Buffer.alloc(0, String(size)));
    if (answer !== undefined) this.#say(`${tag} ${answer}`);
    return answer !== undefined;
  }

  #run(command: Buffer): void {
    const text = command.toString('latin1');
    if (this.#sasl !== undefined) {
      const tag = this.#sasl;
      this.#sasl = undefined;
      this.#say(`${tag} ${this.#check(text)}`);
      return;
    }
    this.#server.log.push(text.replace(/^\S+ /, '').split('\r\n', 1)[0]!.replace(/\+\}/, '}'));
    const [tag, verbToken, ...args] = readTokens(command) as [string, string, ...Token[]];
    let verb = verbToken.toUpperCase();
    if (verb === 'UID') verb = `UID ${String(args.shift()).toUpperCase()}`;
    const name = typeof args[0] === 'string' ? args[0] : '';
    const refused = verb === 'APPEND' ? undefined : this.#server.o.refuse?.(verb, name);
    const answer = refused ?? this.#carryOut(tag, verb, args, name) ?? 'OK done';
    if (answer !== 'UNSAID') this.#say(`${tag} ${answer}`);
    if (verb === 'LOGOUT') this.#socket.end();
    if (verb === 'COMPRESS') this.#compress();
    if (this.#server.count >= (this.#server.o.dieAt ?? Infinity)) this.#socket.destroy();
  }

  #carryOut(tag: string, verb: string, args: Token[], name: string): string | undefined {
    const { mailboxes, subscribed, o } = this.#server;
    if (verb === 'CAPABILITY') this.#say(`* CAPABILITY ${this.#capabilities()}`);
    else if (verb === 'LOGIN') return args[1] === (o.password ?? 'secret') ? undefined : 'NO wrong';
    else if (verb === 'AUTHENTICATE' && args[1] === undefined) {
      this.#sasl = tag;
      this.#socket.write('+ \r\n');
      return 'UNSAID';
    } else if (verb === 'AUTHENTICATE') return this.#check(String(args[1]));
    else if (verb === 'NAMESPACE') this.#say(`* NAMESPACE ${o.namespace ?? '(("" "/")) NIL NIL'}`);
    else if (verb === 'LIST') this.#say(`* LIST (\\NoSelect) "${o.separator ?? '/'}" ""`);
    else if (verb === 'LOGOUT') this.#say('* BYE');
    else if (verb === 'CREATE') {
      if (mailboxes.has(name)) return 'NO [ALREADYEXISTS] there';
      mailboxes.set(name, []);
    } else if (verb === 'SUBSCRIBE') subscribed.add(name);
    else if (verb === 'MYRIGHTS') this.#say(`* MYRIGHTS "${name}" ${o.rightsOf?.(name) ?? 'lrswipkxtea'}`);
    else if (verb === 'SETACL') o.setAcl?.(name, String(args[1]), String(args[2]));
    else if (verb === 'STATUS') {
      const messages = mailboxes.get(name);
      if (messages === undefined) return 'NO [NONEXISTENT] none';
      this.#say(`* STATUS "${name}" (MESSAGES ${messages.length})`);
    } else if (verb === 'SELECT') return this.#select(name);
    else if (verb === 'UID FETCH') this.#fetch(name, (args[1] as Token[]).map(String));
    else if (verb === 'APPEND') return this.#append(name, args.slice(1));
    else if (!HARMLESS.test(verb)) return 'BAD what?';
    return undefined;
  }

  #select(name: string): string {
    const messages = this.#server.mailboxes.get(name);
    if (messages === undefined) return 'NO [NONEXISTENT] none';
    this.#selected = name;
    this.#say(`* ${messages.length} EXISTS`);
    this.#say(`* OK [PERMANENTFLAGS (${this.#server.o.permanentFlags ?? `${SYSTEM_FLAGS} \\*`})] ok`);
    this.#say('* OK [UIDVALIDITY 7] ok');
    return this.#server.o.refuse?.('READ-ONLY', name) ?? 'OK [READ-WRITE] selected';
  }

  #fetch(set: string, items: string[]): void {
    const ranges = set
      .split(',')
      .map((part) => part.split(':').map((n) => (n === '*' ? Infinity : Number(n))));
    for (const { uid, date, body } of this.#server.mailboxes.get(this.#selected) ?? []) {
      if (!ranges.some(([low = 0, high = low]) => uid >= low && uid <= high)) continue;
      const values = items.map((item) => {
        const piece = /^BODY\.PEEK\[\]<(\d+)\.(\d+)>$/.exec(item);
        if (piece !== null) {
          const [from, length] = [Number(piece[1]), Number(piece[2])];
          return `BODY[]<${from}> ${literal(body.subarray(from, from + length))}`;
        }
        if (item === 'BODY.PEEK[HEADER]') {
          const end = /\r?\n\r?\n/.exec(body.toString('latin1'));
          return `BODY[HEADER] ${literal(body.subarray(0, end === null ? body.length : end.index + end[0].length))}`;
        }
        if (item === 'UID') return `UID ${uid}`;
        if (item === 'RFC822.SIZE') return `RFC822.SIZE ${body.length}`;
        if (item === 'DIGEST.SHA1') return `DIGEST.SHA1 ${createHash('sha1').update(body).digest('hex')}`;
        return `INTERNALDATE "${date}"`;
      });
      this.#say(`* ${uid} FETCH (${values.join(' ')})`);
    }
  }

  #append(name: string, args: Token[]): string {
    const { o, mailboxes } = this.#server;
    if (!mailboxes.has(name)) return 'NO [TRYCREATE] none';
    const messages: { flags: string[]; date: string; body: Buffer }[] = [];
    for (let i = 0; i < args.length; ) {
      const flags = Array.isArray(args[i]) ? (args[i++] as Token[]).map(String) : [];
      const date = String(args[i++]);
      if (Number.isNaN(parseInternalDate(date))) return 'BAD a date is wrong';
      messages.push({ flags, date, body: Buffer.from(String(args[i++]), 'latin1') });
    }
    if (messages.length > 1 && !this.#has('MULTIAPPEND')) return 'BAD one at a time';
    for (const { body } of messages) {
      const refused = o.refuse?.('APPEND', name, body);
      if (refused !== undefined) return refused;
    }
    const uids = messages.map(({ flags, date, body }) =>
      this.#server.add(name, o.store?.(body) ?? body, date, flags),
    );
    return this.#has('UIDPLUS') ? `OK [APPENDUID 7 ${uids[0]}:${uids.at(-1)}] done` : 'OK done';
  }

  #check(response: string): string {
    const given = Buffer.from(response, 'base64').toString().split('\0')[2];
    return given === (this.#server.o.password ?? 'secret') ? 'OK in' : 'NO [AUTHENTICATIONFAILED] wrong';
  }

  #compress(): void {
    const inflate = zlib.createInflateRaw();
    inflate.on('data', (bytes: Buffer) => this.#take(bytes));
    this.#socket.removeAllListeners('data').on('data', (bytes) => inflate.write(bytes));
    this.#out = zlib.createDeflateRaw();
    this.#out.on('data', (bytes: Buffer) => this.#socket.write(bytes));
  }
}

function literal(bytes: Buffer): string {
  return `{${bytes.length}}\r\n${bytes.toString('latin1')}`;
}
