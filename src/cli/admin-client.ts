/** Asking the running server through its admin socket. */
import fs from 'node:fs';
import net from 'node:net';
import { loadConfig } from '../config/load.ts';
import { BackupError, type ErrorCode, hasErrno } from '../platform/errors.ts';
import { type AdminAnswer, type AdminRequest, socketAddress } from '../server/admin/protocol.ts';
import type { ConfigFlag } from './config-option.ts';
import { printUserid } from './userid-text.ts';

/** A server that answers nothing for so long is taken for hung; freezing may take its time. */
const SILENCE_MS = 15 * 60_000;
/** Questions that wait for nothing. */
const AT_ONCE = new Set(['status', 'sessions', 'maintenance', 'thaw', 'resume']);
const AT_ONCE_SILENCE_MS = 30_000;
const MAX_LINE_BYTES = 16 << 20;

/** Fields of an answer; which there are says its type. */
export type Fields = Record<string, unknown>;

/**
 * Sends one request to the server of this configuration.
 *
 * @param onAnswer gets the lines before the last
 * @returns the last line
 * @throws BackupError UNAVAILABLE when no server runs, TIMED_OUT, PERMISSION_DENIED, or what the server says
 */
export async function askServer(
  flags: ConfigFlag,
  request: AdminRequest,
  onAnswer: (answer: Fields) => void = () => {},
  silenceMs = AT_ONCE.has(request.command) ? AT_ONCE_SILENCE_MS : SILENCE_MS,
): Promise<Fields> {
  const { adminSocket, file } = loadConfig({ file: flags.config, anyPartitions: true });
  if (adminSocket === undefined) throw unavailable(file, 'backup_admin_socket is off', 'Set it and restart');
  const socket = await connect(adminSocket);
  socket.setTimeout(silenceMs, () => socket.destroy(timedOut(adminSocket, silenceMs)));
  socket.write(`${JSON.stringify(request)}\n`);
  try {
    for await (const answer of answers(socket)) {
      if (answer.type === 'done') return answer;
      if (answer.type === 'error') throw new ServerError(String(answer.code), String(answer.message));
      onAnswer(answer);
    }
  } catch (error) {
    if (error instanceof BackupError) throw error;
    throw unavailable(
      adminSocket,
      `the connection broke (${String(error)})`,
      'Look at the log of the server',
    );
  } finally {
    socket.destroy();
  }
  throw unavailable(adminSocket, 'the server closed the connection', 'Look at the log of the server');
}

/** An error that the server reported: its own words, with its code and exit status. */
class ServerError extends BackupError {
  constructor(code: string, message: string) {
    super({ code: code as ErrorCode, tried: '', subject: '', reason: message, remedy: '' });
    this.message = message;
  }
}

async function* answers(socket: net.Socket): AsyncGenerator<AdminAnswer & Fields> {
  let rest = '';
  for await (const text of socket.setEncoding('utf8')) {
    rest += text as string;
    const lines = rest.split('\n');
    rest = lines.pop()!;
    if (rest.length > MAX_LINE_BYTES) throw new Error('a line of the answer is too long');
    for (const line of lines) yield JSON.parse(line, forPeople) as AdminAnswer & Fields;
  }
}

/** Userids travel as the program keeps them, a character a byte. */
function forPeople(key: string, value: unknown): unknown {
  if (/^(?:userid|after)$/.test(key) && typeof value === 'string') return printUserid(value);
  if (/^(?:users|faulty|unknown)$/.test(key) && Array.isArray(value)) return value.map(printUserid);
  return value;
}

async function connect(socketPath: string): Promise<net.Socket> {
  let fd: number | undefined;
  try {
    const reached = socketAddress(socketPath, (folder) => fs.openSync(folder, 'r'));
    fd = reached.fd;
    return await new Promise((resolve, reject) => {
      const socket = net.connect(reached.address);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        socket.on('error', () => {}); // shows itself where the answer is read
        resolve(socket);
      });
    });
  } catch (error) {
    if (hasErrno(error, 'ENOENT') || hasErrno(error, 'ECONNREFUSED') || hasErrno(error, 'ENOTDIR'))
      throw unavailable(
        socketPath,
        'no server runs with this configuration',
        'Start it (systemctl start csync-backup, or csync-backup serve), or name its configuration with -C',
      );
    if (hasErrno(error, 'EACCES') || hasErrno(error, 'EPERM')) {
      throw new BackupError({
        code: 'PERMISSION_DENIED',
        tried: 'connect to',
        subject: socketPath,
        reason: 'only root and the user of the server may',
        remedy: 'Run the command as one of them',
        cause: error,
      });
    }
    throw unavailable(socketPath, String(error), 'Look at the log of the server');
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

function timedOut(subject: string, silenceMs: number): BackupError {
  return new BackupError({
    code: 'TIMED_OUT',
    tried: 'ask the server through',
    subject,
    reason: `it has not answered for ${silenceMs / 1000} seconds`,
    remedy:
      'It hangs, was stopped, or waits for a disk: look at its state (ps, dmesg). Restarting it loses nothing that was acknowledged',
  });
}

function unavailable(subject: string, reason: string, remedy: string): BackupError {
  return new BackupError({ code: 'UNAVAILABLE', tried: 'ask the server through', subject, reason, remedy });
}
