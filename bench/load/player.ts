import net from 'node:net';
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
  readonly #socket: net.Socket;
  readonly #splitter = new AnswerSplitter();
  readonly figures: PlayFigures = { bytes: 0, messages: 0, steps: 0, latenciesMs: {} };
  #wake: (() => void) | undefined;
  #failure: Error | undefined;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => {
      this.#splitter.push(bytes);
      this.#wake?.();
    });
    const end = (reason: string) => {
      this.#failure ??= new Error(reason);
      this.#wake?.();
    };
    socket.on('error', (error) => end(error.message));
    socket.on('close', () => end('the server closed the connection'));
  }

  /** Connects and logs in by PLAIN. */
  static async connect(target: Target): Promise<Player> {
    const player = new Player(net.connect({ host: target.host, port: target.port }));
    await player.#reply('greeting', undefined);
    const token = Buffer.from(`\0${target.user}\0${target.password}`).toString('base64');
    await player.play([{ verb: 'AUTHENTICATE', bytes: Buffer.from(`AUTHENTICATE PLAIN ${token}\r\n`) }]);
    return player;
  }

  /** Plays the steps; throws at the first reply that is not the expected one. */
  async play(steps: Iterable<Step>): Promise<void> {
    for (const step of steps) {
      const begin = performance.now();
      this.#socket.write(step.bytes);
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
