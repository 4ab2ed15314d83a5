/**
 * The admin socket: a Unix socket of mode 0600 in the configuration directory. Whoever may write to it may ask, but
 * only root and the server's own user, where the kernel says who it is (SO_PEERCRED). A lock file beside it says
 * whether a server is there, so that a socket which a killed server left behind is not taken for one.
 */
import fs from 'node:fs';
import net from 'node:net';
import { isMainThread } from 'node:worker_threads';
import type { Logger } from 'pino';
import { BackupError } from '../../platform/errors.ts';
import { lockHolder, tryLock, unlock } from '../../platform/file-lock.ts';
import { ioError } from '../../platform/io-error.ts';
import { peerCredentials } from '../../platform/peer-credentials.ts';
import { type AdminAnswer, type AdminRequest, MAX_REQUEST_BYTES, socketAddress } from './protocol.ts';

const MAX_CONNECTIONS = 32;
/** A client that has not sent its request by then is cut off. */
const REQUEST_TIMEOUT_MS = 10_000;
const FILE_MODE = 0o600;

/** Sends a line; resolves when the client has taken enough of those before. */
export type Send = (answer: AdminAnswer) => Promise<void>;

/** Carries out one request. What it returns is in the line of type `done`; a BackupError becomes one of type `error`. */
export type AdminHandler = (
  request: AdminRequest,
  by: string,
  send: Send,
) => Promise<Record<string, unknown>>;

export class AdminSocket {
  readonly path: string;
  readonly #log: Logger;
  readonly #handle: AdminHandler;
  readonly #server: net.Server;
  readonly #connections = new Set<net.Socket>();
  #lockFd: number | undefined;

  constructor(o: { path: string; log: Logger; handle: AdminHandler }) {
    this.path = o.path;
    this.#log = o.log;
    this.#handle = o.handle;
    this.#server = net.createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** @throws BackupError UNAVAILABLE when another server has the socket, or why it cannot be made */
  async listen(): Promise<void> {
    this.#lock();
    const { address, fd } = socketAddress(this.path, (folder) => fs.openSync(folder, 'r'));
    try {
      // Where locks are of another kind, or the lock file was removed, this still tells.
      if (await isAnswered(address)) throw taken(this.path, undefined);
      fs.rmSync(this.path, { force: true });
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', (error) => reject(ioError(error, 'listen on', this.path)));
        // Nobody else may connect before the mode is set. The umask is the process's: only the main thread can.
        const umask = isMainThread ? process.umask(0o777 & ~FILE_MODE) : undefined;
        this.#server.listen(address, resolve);
        if (umask !== undefined) process.umask(umask);
      });
    } catch (error) {
      this.#unlock();
      throw error;
    } finally {
      if (fd !== undefined) fs.closeSync(fd);
    }
    fs.chmodSync(this.path, FILE_MODE);
    this.#server.on('error', (error) =>
      this.#log.error({ err: error, code: 'IO_ERROR' }, 'cannot accept on the admin socket'),
    );
  }

  async stop(): Promise<void> {
    if (this.#lockFd === undefined) return;
    for (const socket of this.#connections) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    fs.rmSync(this.path, { force: true });
    this.#unlock();
  }

  #lock(): void {
    const file = `${this.path}.lock`;
    let fd: number;
    try {
      fd = fs.openSync(file, 'a', FILE_MODE);
    } catch (error) {
      throw ioError(error, 'open', file);
    }
    if (!tryLock(fd, 'exclusive')) {
      const holder = lockHolder(fd, 'exclusive');
      fs.closeSync(fd);
      throw taken(this.path, holder);
    }
    this.#lockFd = fd;
  }

  #unlock(): void {
    if (this.#lockFd === undefined) return;
    unlock(this.#lockFd);
    fs.closeSync(this.#lockFd);
    this.#lockFd = undefined;
  }

  #accept(socket: net.Socket): void {
    this.#connections.add(socket);
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('error', () => {}); // it went away; nothing is lost by that
    const peer = peerCredentials(socket);
    const by = peer === undefined ? 'an administrator' : `uid ${peer.uid}, pid ${peer.pid}`;
    if (peer !== undefined && peer.uid !== 0 && peer.uid !== process.geteuid?.()) {
      this.#log.warn({ ...peer, code: 'PERMISSION_DENIED' }, 'refused on the admin socket');
      const message = `uid ${peer.uid} may not use ${this.path}. Run the command as root or as the server's user`;
      socket.end(line({ type: 'error', code: 'PERMISSION_DENIED', message }));
      return;
    }
    socket.setTimeout(REQUEST_TIMEOUT_MS, () => socket.destroy());
    this.#readRequest(socket, (request) => {
      socket.setTimeout(0);
      void this.#answer(socket, request, by);
    });
  }

  #readRequest(socket: net.Socket, take: (request: Buffer) => void): void {
    let received = Buffer.alloc(0);
    const onData = (bytes: Buffer) => {
      received = Buffer.concat([received, bytes]);
      const end = received.indexOf('\n');
      if (end === -1 && received.length <= MAX_REQUEST_BYTES) return;
      socket.off('data', onData).off('end', onEnd);
      socket.resume(); // what follows is dropped
      take(end === -1 ? received : received.subarray(0, end));
    };
    const onEnd = () => socket.destroy(); // it says nothing more and has said nothing
    socket.on('data', onData).on('end', onEnd);
  }

  async #answer(socket: net.Socket, bytes: Buffer, by: string): Promise<void> {
    const send: Send = async (answer) => {
      if (socket.destroyed || socket.write(line(answer))) return;
      await new Promise<void>((resolve) => {
        const done = () => {
          socket.off('drain', done);
          socket.off('close', done);
          resolve();
        };
        socket.on('drain', done);
        socket.on('close', done);
      });
    };
    try {
      const request = parse(bytes);
      const result = await this.#handle(request, by, send);
      await send({ type: 'done', ...result });
    } catch (error) {
      if (!(error instanceof BackupError))
        this.#log.error({ err: error, code: 'INTERNAL' }, 'an admin command failed unexpectedly');
      const code = error instanceof BackupError ? error.code : 'INTERNAL';
      const message = error instanceof Error ? error.message : String(error);
      await send({ type: 'error', code, message });
    }
    socket.end();
  }
}

function taken(socketPath: string, holder: number | undefined): BackupError {
  return new BackupError({
    code: 'UNAVAILABLE',
    tried: 'listen on',
    subject: socketPath,
    reason: `another server has it${holder ? ` (process ${holder})` : ''}`,
    remedy: 'End that server, or give this one a configdirectory or backup_admin_socket of its own',
  });
}

/** Whether somebody listens there. */
function isAnswered(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(address, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

function line(answer: AdminAnswer): string {
  return `${JSON.stringify(answer)}\n`;
}

/** @throws BackupError BAD_COMMAND */
function parse(bytes: Buffer): AdminRequest {
  let value: unknown;
  try {
    if (bytes.length <= MAX_REQUEST_BYTES) value = JSON.parse(bytes.toString('utf8'));
  } catch {
    // reported below
  }
  if (typeof value === 'object' && value !== null && typeof (value as AdminRequest).command === 'string')
    return value as AdminRequest;
  throw new BackupError({
    code: 'BAD_COMMAND',
    tried: 'read',
    subject: 'the request',
    reason: `it is no line of JSON with a "command", of at most ${MAX_REQUEST_BYTES} bytes`,
    remedy: 'Use csync-backup of the same version as the server',
  });
}
