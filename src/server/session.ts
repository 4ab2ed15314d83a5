/**
 * One connection: reads commands as they come, carries out one at a time, and holds what the client has begun.
 * What is not wanted yet is not read; what the client does not take is not produced.
 */
import type net from 'node:net';
import { setTimeout } from 'node:timers/promises';
import type { SecureContext } from 'node:tls';
import { DEFAULT_DECODER_LIMITS, Decoder } from '../csync/decoder.ts';
import type { SlabHolder } from '../pipeline/slab-pool.ts';
import { crashPoint } from '../platform/crash-points.ts';
import { CommandText } from './command-text.ts';
import type { ServerContext } from './context.ts';
import { Dispatcher } from './dispatcher.ts';
import { greeting } from './greeting.ts';
import { OpenBackups } from './open-backups.ts';
import { Routing } from './routing.ts';
import type { SessionFacts } from './session-facts.ts';
import { SessionGate } from './session-gate.ts';
import { Transport } from './transport.ts';

/** What a client may send ahead before it has logged in: more is no csync client. */
const MAX_EARLY_BYTES = 16 * 1024;
/** Who has not logged in by then is no client; it must not take a place from one. */
const LOGIN_TIMEOUT_MS = 60_000;
/** A command that stands still for this long gives its memory back if others wait for it. */
const STALLED_MS = 2000;

export interface Login {
  user: string;
  /** One of `admins`: everybody else may do nothing. */
  isAdmin: boolean;
}

export const SESSION_STATES = ['handshake', 'login', 'idle', 'receiving', 'waiting', 'busy'] as const;
export type SessionState = (typeof SESSION_STATES)[number];

export class Session implements SlabHolder {
  readonly id: number;
  readonly server: ServerContext;
  readonly transport: Transport;
  readonly backups: OpenBackups;
  readonly routing: Routing;
  readonly gate = new SessionGate();
  login: Login | undefined;
  isTlsFromStart = false;
  loginFailures = 0;
  slabsHeld = 0;
  /** Resolves when everything of the session is released. */
  readonly ended: Promise<void>;
  readonly #decoder: Decoder;
  readonly #dispatcher: Dispatcher;
  readonly #startedMs = performance.now();
  #input: Uint8Array | undefined;
  #inputAt = 0;
  #inputEnded = false;
  /** A command is being carried out. */
  #busy = true;
  #waitsForRoom = false;
  #closing: { bye: string | undefined; reason: string } | undefined;
  #finishing = false;
  #stopWhenIdle: string | undefined;
  #lineWaiter: ((line: string | undefined) => void) | undefined;
  #lastCommandMs = performance.now();
  #syncStartedMs: number | undefined;
  #verb: string | undefined;
  /** The last RESTART, while what it ended is still being finished. */
  #restarting: Promise<void> | undefined;
  #commandNumber = 0;
  #countedBytesIn = 0;
  #countedBytesOut = 0;
  readonly #counts = { commands: 0, messages: 0, messageBytes: 0 };
  #resolveEnded: () => void = () => {};

  constructor(id: number, server: ServerContext, socket: net.Socket) {
    this.id = id;
    this.server = server;
    this.transport = new Transport(
      socket,
      {
        data: (bytes) => this.#data(bytes),
        ended: () => {
          this.#inputEnded = true;
          this.#pump();
        },
        closed: (error) =>
          this.close(undefined, error === undefined ? 'closed by the client' : error.message),
      },
      () => server.slabs.waitingCount > 0,
    );
    this.backups = new OpenBackups(id, server.shards, server.access);
    this.routing = new Routing(id, server.config.backupStagingPath, server.guidBudget);
    this.#dispatcher = new Dispatcher(this);
    const { maxWordBytes, maxQuotedBytes, maxLiteralBytes, maxMessageBytes } = server.config;
    const limits = {
      ...DEFAULT_DECODER_LIMITS,
      maxWordBytes,
      maxQuotedBytes,
      maxLiteralBytes,
      maxMessageBytes,
    };
    this.#decoder = new Decoder(limits, this.#dispatcher);
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  /** Greets the client, after a TLS handshake where the listener asks for one. */
  async start(tls: boolean): Promise<void> {
    this.isTlsFromStart = tls;
    const { secureContext } = this.server;
    if (tls && secureContext === undefined) this.transport.destroy(new Error('no certificate is configured'));
    if (!tls || (secureContext !== undefined && (await this.startTls(secureContext)))) this.greet();
    this.#idle();
  }

  /** @returns whether the handshake succeeded; the connection is closed otherwise */
  startTls(secureContext: SecureContext): Promise<boolean> {
    return this.transport.startTls(secureContext).then(
      () => true,
      () => false,
    );
  }

  greet(): void {
    this.transport.write(greeting(this));
    this.transport.flush();
  }

  get isClosing(): boolean {
    return this.#closing !== undefined;
  }

  get state(): SessionState {
    if (this.transport.isHandshaking) return 'handshake';
    if (this.#waitsForRoom) return 'waiting';
    if (this.#dispatcher.isReceiving && !this.#busy) return 'receiving';
    if (this.login === undefined) return 'login';
    return this.#busy ? 'busy' : 'idle';
  }

  nextCommandNumber(): number {
    return ++this.#commandNumber;
  }

  newText(): CommandText {
    const text = new CommandText({
      slabs: this.server.slabs,
      holder: this,
      deflate: this.server.deflate,
      onMismatch: () => this.server.metrics.guidMismatches.inc(),
    });
    text.onRoom = () => {
      this.#waitsForRoom = false;
      this.#pump();
    };
    return text;
  }

  /** Decodes no further until there is room for text. */
  waitForRoom(): void {
    this.#waitsForRoom = true;
  }

  countMessages(count: number, bytes: number): void {
    this.#counts.messages += count;
    this.#counts.messageBytes += bytes;
    this.server.metrics.messages.inc(count);
    this.server.metrics.messageBytes.inc(bytes);
  }

  /**
   * Carries out a command, with nothing else of this client going on meanwhile. Called by the dispatcher from
   * an event of the decoder.
   *
   * @param run gives the line that answers it, or undefined if it has answered itself
   */
  run(verb: string, run: () => Promise<string | undefined>): void {
    this.#busy = true;
    this.#decoder.pause();
    void this.#carryOut(verb, run);
  }

  async #carryOut(verb: string, run: () => Promise<string | undefined>): Promise<void> {
    const startedMs = performance.now();
    // The decoder has to return first, so that it is known where this command ends.
    await null;
    const { metrics, log } = this.server;
    this.#verb = verb;
    let line: string | undefined;
    try {
      if (/^(APPLY|GET)/.test(verb)) {
        this.#syncStartedMs ??= startedMs;
        await this.gate.enter();
      }
      line = await run();
    } catch (error) {
      log.error({ err: error, session: this.id, verb, code: 'INTERNAL' }, 'a command failed unexpectedly');
      line = 'NO IMAP_MAILBOX_LOCKED Internal error, try again later';
    }
    if (line !== undefined) {
      this.writeLine(line);
      crashPoint('after-ack');
      const result = /^(?:\S+ )?(?:NO (IMAP_\w+)|(OK|NO|BAD))/.exec(line);
      metrics.commands.inc({ verb, result: result?.[1] ?? result?.[2] ?? 'none' });
      metrics.ackSeconds.observe({ verb }, (performance.now() - startedMs) / 1000);
      if (line.startsWith('NO ') && result?.[1] !== 'IMAP_MAILBOX_NONEXISTENT') {
        const client = this.transport.remoteAddress;
        log.warn({ session: this.id, client, verb, code: result?.[1], answer: line }, 'refused');
      }
    }
    this.gate.leave();
    this.#verb = undefined;
    this.#counts.commands++;
    this.#countBytes();
    await this.transport.drained();
    this.#lastCommandMs = performance.now();
    this.#idle();
  }

  /** The command that is half received will be answered NO, so that nothing of it is left in the store. */
  async interrupt(why: string): Promise<void> {
    if (await this.#dispatcher.interrupt(why)) this.gate.leave();
  }

  /** What `csync-backup sessions` shows. */
  describe(nowMs: number): SessionFacts {
    return {
      id: this.id,
      client: this.transport.remoteAddress,
      login: this.login?.user ?? null,
      state: this.gate.isWaiting ? 'held' : this.state,
      command: this.#verb ?? null,
      users: this.backups.users,
      seconds: Math.round((nowMs - this.#startedMs) / 1000),
      quietSeconds: Math.round((nowMs - Math.max(this.#lastCommandMs, this.transport.lastProgressMs)) / 1000),
      ...this.#counts,
      bytesIn: this.transport.bytesIn,
      bytesOut: this.transport.bytesOut,
      tls: this.transport.isTls,
      compressed: this.transport.isCompressed,
    };
  }

  /** Writes an answer and sends it. */
  writeLine(line: string): void {
    this.transport.write(`${line}\r\n`);
    this.transport.flush();
  }

  /** Inside a command: the client's next line; undefined when it went away. */
  readLine(): Promise<string | undefined> {
    this.#decoder.expectLine();
    return new Promise((resolve) => {
      this.#lineWaiter = resolve;
      this.#busy = false;
      this.#pump();
    });
  }

  /** Makes a client wait that was refused, so that guessing and coming back in a loop cost it time. */
  pauseAfterFailure(): Promise<void> {
    return setTimeout(this.server.config.failedLoginPauseMs);
  }

  /** The line that readLine() waits for. */
  takeLine(line: string): void {
    const waiter = this.#lineWaiter;
    this.#lineWaiter = undefined;
    this.#busy = true;
    this.#decoder.pause();
    waiter?.(line);
  }

  /** Bytes that have come and are not decoded yet. */
  get #unread(): number {
    return this.#input === undefined ? 0 : this.#input.length - this.#inputAt;
  }

  /** What the client has sent beyond the command at hand; it is taken out of the stream. */
  takeRest(): Uint8Array {
    const rest = this.#input?.subarray(this.#inputAt) ?? new Uint8Array(0);
    this.#input = undefined;
    return rest;
  }

  /** RESTART and EXIT: everything is finished and unlocked when this resolves. */
  async release(): Promise<void> {
    await this.#restarting;
    await this.#releaseNow();
  }

  /** What is asked of the session from now on is a new beginning; resolves when the old is finished. */
  async #releaseNow(): Promise<void> {
    const startedMs = this.#syncStartedMs;
    this.#syncStartedMs = undefined;
    await Promise.all([this.backups.releaseAll(), this.routing.clear()]);
    if (startedMs === undefined) return;
    this.server.metrics.syncs.inc();
    this.server.metrics.syncSeconds.observe((performance.now() - startedMs) / 1000);
  }

  /**
   * RESTART. Where every acknowledged change is synced already the client need not wait until chunk and index
   * are finished; the next one waits for the last, so that no more than one is under way. What the session
   * asks of these backups meanwhile stands behind it in their shards' queues.
   */
  async restart(): Promise<void> {
    await this.#restarting;
    if (this.backups.hasDeferred) await this.backups.flush();
    const released = this.#releaseNow();
    if (this.server.config.durability !== 'ack') return await released;
    this.#restarting = released.catch((error: unknown) => {
      this.server.log.error({ err: error, session: this.id, code: 'INTERNAL' }, 'cannot release a session');
    });
  }

  /** Ends the session when the command at hand is done, if there is one. */
  close(bye: string | undefined, reason: string): void {
    this.#closing ??= { bye, reason };
    const waiter = this.#lineWaiter;
    if (waiter !== undefined) {
      this.#lineWaiter = undefined;
      this.#busy = true;
      waiter(undefined);
    } else if (!this.#busy) void this.#finish();
  }

  /** The server stops: a command that has begun is still carried out. */
  stop(bye: string): void {
    this.#stopWhenIdle = bye;
    if (!this.#busy && !this.#dispatcher.isReceiving) this.close(bye, 'the server stops');
  }

  /** Looks whether something has taken too long. Called by the server, about once a second. */
  tick(nowMs: number): void {
    this.#countBytes();
    if (this.#closing !== undefined) return;
    const { syncTimeoutMs, idleReleaseMs } = this.server.config;
    const quietMs = nowMs - Math.max(this.#lastCommandMs, this.transport.lastProgressMs);
    const timeoutMs = this.login === undefined ? Math.min(syncTimeoutMs, LOGIN_TIMEOUT_MS) : syncTimeoutMs;
    if (this.transport.isHandshaking) {
      if (quietMs > timeoutMs) this.transport.destroy(new Error('the TLS handshake took too long'));
      return;
    }
    if (this.login === undefined && this.#unread > MAX_EARLY_BYTES) {
      this.transport.destroy(new Error('sent too much before it logged in'));
      return;
    }
    // Then it waits for us.
    if ((this.#busy && this.#lineWaiter === undefined && !this.transport.isClogged) || this.#waitsForRoom)
      return;
    if (quietMs > timeoutMs) {
      this.close('Idle for too long', 'idle');
      // A client that does not read cannot be told.
      if (this.transport.isClogged) this.transport.destroy();
      return;
    }
    if (this.#dispatcher.isReceiving) {
      if (quietMs > STALLED_MS && this.server.slabs.waitingCount > 0) this.#giveMemoryBack();
    } else if (!this.#busy && quietMs > STALLED_MS && this.backups.hasDeferred) {
      void this.#meanwhile(() => this.backups.flush());
    } else if (!this.#busy && quietMs > idleReleaseMs && !this.backups.isEmpty && !this.backups.hasPending) {
      void this.#meanwhile(() => this.backups.releaseAll());
    }
  }

  /** Does something of its own while the client is quiet. */
  async #meanwhile(work: () => Promise<void>): Promise<void> {
    this.#busy = true;
    await work();
    this.#idle();
  }

  #giveMemoryBack(): void {
    if (this.#dispatcher.flushEarly()) return;
    this.close('The command stands still', 'stalled in a command while others wait for memory');
  }

  #data(bytes: Uint8Array): void {
    const rest = this.#input?.subarray(this.#inputAt);
    this.#input = rest === undefined ? bytes : Buffer.concat([rest, bytes]);
    this.#inputAt = 0;
    this.#pump();
    if (this.#input !== bytes) return;
    // What was not taken must outlive the buffer in which it came.
    this.#input = Buffer.from(bytes.subarray(this.#inputAt));
    this.#inputAt = 0;
  }

  #pump(): void {
    try {
      while (this.#input !== undefined && !this.#busy && !this.#waitsForRoom && this.#closing === undefined) {
        this.#inputAt = this.#decoder.push(this.#input, this.#inputAt, this.#input.length);
        if (this.#inputAt === this.#input.length) this.#input = undefined;
      }
    } catch (error) {
      // It must cost this connection only.
      this.server.log.error(
        { err: error, session: this.id, code: 'INTERNAL' },
        'decoding failed unexpectedly',
      );
      this.transport.destroy();
      return;
    }
    if (this.#input !== undefined) this.transport.pause();
    else if (!this.transport.isClosed) this.transport.resume();
    if (this.#inputEnded && this.#input === undefined && !this.#busy && !this.#waitsForRoom)
      this.close(undefined, 'closed by the client');
  }

  /** A command is done, or there was none: what comes next? */
  #idle(): void {
    this.#busy = false;
    if (this.#stopWhenIdle !== undefined && !this.#dispatcher.isReceiving)
      this.#closing ??= { bye: this.#stopWhenIdle, reason: 'the server stops' };
    if (this.#closing !== undefined) void this.#finish();
    else this.#pump();
  }

  async #finish(): Promise<void> {
    if (this.#finishing) return;
    this.#finishing = true;
    this.#busy = true;
    this.#input = undefined;
    const { bye, reason } = this.#closing!;
    try {
      await this.#dispatcher.abort();
      this.gate.leave();
      await this.release();
    } catch (error) {
      this.server.log.error({ err: error, session: this.id, code: 'INTERNAL' }, 'cannot release a session');
    }
    if (bye !== undefined) this.writeLine(`* BYE ${bye}`);
    this.transport.end();
    this.#countBytes();
    const { users, count } = this.backups.seen;
    this.server.log.info(
      {
        session: this.id,
        client: this.transport.remoteAddress,
        login: this.login?.user,
        users,
        userCount: count,
        ...this.#counts,
        bytesIn: this.transport.bytesIn,
        bytesOut: this.transport.bytesOut,
        durationMs: Math.round(performance.now() - this.#startedMs),
        tls: this.transport.isTls,
        compressed: this.transport.isCompressed,
        reason,
      },
      'session ended',
    );
    this.#resolveEnded();
  }

  #countBytes(): void {
    const { bytesIn, bytesOut } = this.transport;
    this.server.metrics.bytesIn.inc(bytesIn - this.#countedBytesIn);
    this.server.metrics.bytesOut.inc(bytesOut - this.#countedBytesOut);
    this.#countedBytesIn = bytesIn;
    this.#countedBytesOut = bytesOut;
  }
}
