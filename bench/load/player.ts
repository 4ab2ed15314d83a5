import net from 'node:net';
import tls from 'node:tls';
import { constants, createInflateRaw, deflateRawSync } from 'node:zlib';
import { AnswerSplitter } from '../../src/restore/csync-answers.ts';
import { parseFinal } from '../../src/restore/csync-reply.ts';
import type { Step } from './session.ts';

export interface Target {
  host: string;
  port: number;
  user: string;
  password: string;
  /** Names the store behind the server: what was pushed to it is remembered under this name. */
  store: string;
  /** STARTTLS before the login, whoever the server says it is; COMPRESS DEFLATE behind it. */
  startTls?: boolean;
  compress?: boolean;
}

/** What zlib does unless told otherwise, and so sync_client. */
const DEFLATE_LEVEL = 6;

/** Deflates each step by itself, so that it is done before the clock runs; together they are one stream. */
export function pack(steps: Iterable<Step>): void {
  for (const step of steps) {
    step.packed ??= deflateRawSync(step.bytes, { level: DEFLATE_LEVEL, finishFlush: constants.Z_SYNC_FLUSH });
  }
}

/** What one connection saw. */
export interface PlayFigures {
  bytes: number;
  messages: number;
  steps: number;
  /** Milliseconds from the command's first byte to the last of its reply, by verb. */
  latenciesMs: Record<string, number[]>;
}

const SHOWN_BYTES = 120;

/**
 * One connection that writes prepared commands and waits for each reply, as sync_client does, with as little
 * work of its own as can be: replies are only counted up to their final line.
 */
export class Player {
  #socket: net.Socket;
  #isCompressed = false;
  readonly #splitter = new AnswerSplitter();
  readonly figures: PlayFigures = { bytes: 0, messages: 0, steps: 0, latenciesMs: {} };
  #wake: (() => void) | undefined;
  #failure: Error | undefined;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    this.#listen();
  }

  #listen(): void {
    this.#socket.on('data', (bytes: Buffer) => this.#received(bytes));
    this.#socket.on('error', (error) => this.#end(error.message));
    this.#socket.on('close', () => this.#end('the server closed the connection'));
  }

  #received(bytes: Buffer): void {
    this.#splitter.push(bytes);
    this.#wake?.();
  }

  #end(reason: string): void {
    this.#failure ??= new Error(reason);
    this.#wake?.();
  }

  /** The server greets again when the connection is secure. */
  async #startTls(): Promise<void> {
    await this.play([{ verb: 'STARTTLS', bytes: Buffer.from('STARTTLS\r\n') }]);
    this.#socket.removeAllListeners();
    this.#socket = tls.connect({ socket: this.#socket, rejectUnauthorized: false });
    this.#listen();
    await this.#reply('greeting behind STARTTLS', undefined);
  }

  async #compress(): Promise<void> {
    await this.play([{ verb: 'COMPRESS', bytes: Buffer.from('COMPRESS DEFLATE\r\n') }]);
    const inflate = createInflateRaw({ finishFlush: constants.Z_SYNC_FLUSH });
    inflate.on('data', (bytes: Buffer) => this.#received(bytes));
    inflate.on('error', (error) => this.#end(error.message));
    this.#socket.removeAllListeners('data').on('data', (bytes: Buffer) => inflate.write(bytes));
    this.#isCompressed = true;
  }

  /** Connects and logs in by PLAIN; secures and compresses the connection as the target says. */
  static async connect(target: Target): Promise<Player> {
    const player = new Player(net.connect({ host: target.host, port: target.port }));
    await player.#reply('greeting', undefined);
    if (target.startTls) await player.#startTls();
    const token = Buffer.from(`\0${target.user}\0${target.password}`).toString('base64');
    await player.play([{ verb: 'AUTHENTICATE', bytes: Buffer.from(`AUTHENTICATE PLAIN ${token}\r\n`) }]);
    if (target.compress) await player.#compress();
    return player;
  }

  /** Plays the steps; throws at the first reply that is not the expected one. */
  async play(steps: Iterable<Step>): Promise<void> {
    for (const step of steps) {
      if (this.#isCompressed) pack([step]);
      const begin = performance.now();
      this.#socket.write(this.#isCompressed ? step.packed! : step.bytes);
      await this.#reply(step.bytes.toString('latin1', 0, SHOWN_BYTES), step.answers);
      (this.figures.latenciesMs[step.verb] ??= []).push(performance.now() - begin);
      this.figures.bytes += step.bytes.length;
      this.figures.messages += step.messages ?? 0;
      this.figures.steps++;
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  async #reply(shown: string, answers: number | undefined): Promise<void> {
    for (let lines = 0; ; ) {
      const unit = this.#splitter.next();
      if (unit === undefined) {
        if (this.#failure !== undefined) throw new Error(`${shown}: ${this.#failure.message}`);
        await new Promise<void>((resolve) => (this.#wake = resolve));
        continue;
      }
      const final = parseFinal(unit);
      if (final === undefined) {
        lines++;
        continue;
      }
      if (final.status !== 'OK') throw new Error(`${shown}: ${unit.toString('latin1', 0, 400)}`);
      if (answers !== undefined && lines !== answers) {
        throw new Error(`${shown}: ${lines} lines came before the OK instead of ${answers}`);
      }
      return;
    }
  }
}
