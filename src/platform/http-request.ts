/** One HTTP request to somebody else's server, with a limit on its whole time and an answer that is not believed to be short. */
import fs from 'node:fs';
import type { Dispatcher } from 'undici';
import { BackupError } from './errors.ts';

export interface HttpRequest {
  /** http or https; user and password in it are sent as basic authentication. */
  url: URL;
  method: 'GET' | 'POST' | 'PUT';
  headers?: Record<string, string>;
  body?: string;
  /** For everything, from the look-up of the name to the end of the answer. */
  timeoutMs: number;
  /** PEM file of the authorities that vouch for the server; without it those of Node do. */
  caFile?: string;
  /** As a verb phrase, for errors: `push metrics to`. */
  tried: string;
  /** For errors: what the person can do. */
  remedy: string;
}

/** Of an answer that is an error so much is read, to be told. */
const MOST_READ_BYTES = 4096;
const MOST_SHOWN = 200;

/** The URL as it may be shown: without password, and without a path and query that may be as good as one. */
export function shownUrl(url: URL): string {
  return url.origin;
}

/**
 * Resolves when the server has answered with 2xx; a redirection is not followed.
 *
 * @throws BackupError TIMED_OUT; UNAVAILABLE when there is no connection or another answer; IO_ERROR for caFile
 */
export async function sendRequest(o: HttpRequest): Promise<void> {
  const { url, method, body, timeoutMs } = o;
  // Only those who send something need it in memory.
  const { Agent, request } = await import('undici');
  const ca = o.caFile === undefined ? undefined : readCa(o.caFile, o);
  const agent = new Agent({ connect: { timeout: timeoutMs, ca }, pipelining: 0 });
  const headers: Record<string, string> = { ...o.headers };
  if (url.username !== '' || url.password !== '') {
    const words = [url.username, url.password].map(decodeURIComponent).join(':');
    headers.authorization = `Basic ${Buffer.from(words).toString('base64')}`;
  }
  const target = new URL(url);
  target.username = '';
  target.password = '';
  try {
    const signal = AbortSignal.timeout(timeoutMs);
    const answer = await request(target, { method, body, headers, signal, dispatcher: agent });
    const text = await firstBytes(answer);
    if (answer.statusCode < 200 || answer.statusCode > 299)
      throw refused(o, `it answered ${answer.statusCode}${text === '' ? '' : `: ${text}`}`);
  } catch (error) {
    throw error instanceof BackupError ? error : explained(o, error);
  } finally {
    await agent.destroy();
  }
}

async function firstBytes({ body }: Dispatcher.ResponseData): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    chunks.push(chunk as Buffer);
    length += (chunk as Buffer).length;
    if (length >= MOST_READ_BYTES) break;
  }
  const text = Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\p{Cc}+/gu, ' ');
  return text.trim().slice(0, MOST_SHOWN);
}

function readCa(file: string, o: HttpRequest): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new BackupError({
      code: code === 'EACCES' ? 'PERMISSION_DENIED' : 'IO_ERROR',
      tried: `${o.tried} ${shownUrl(o.url)} with the authorities in`,
      subject: file,
      reason: message,
      remedy: 'Name a PEM file that can be read (tls_server_ca_file)',
      cause: error,
    });
  }
}

function explained(o: HttpRequest, error: unknown): BackupError {
  const { name, code } = error as NodeJS.ErrnoException;
  const isLate = name === 'TimeoutError' || code === 'UND_ERR_CONNECT_TIMEOUT';
  if (!isLate) return refused(o, error instanceof Error ? error.message : String(error), error);
  return new BackupError({
    code: 'TIMED_OUT',
    tried: o.tried,
    subject: shownUrl(o.url),
    reason: `it had not answered after ${o.timeoutMs / 1000} s`,
    remedy: o.remedy,
    cause: error,
  });
}

function refused(o: HttpRequest, reason: string, cause?: unknown): BackupError {
  const { tried, remedy } = o;
  return new BackupError({ code: 'UNAVAILABLE', tried, subject: shownUrl(o.url), reason, remedy, cause });
}
