/**
 * Asks saslauthd, the password daemon of Cyrus SASL, over its socket. Request: login, password, service and
 * realm, each as a 16-bit big-endian length and as many bytes; answer: one such string that begins OK or NO
 * (lib/checkpw.c and saslauthd/ipc_unix.c of cyrus-sasl).
 */
import { connect } from 'node:net';
import { BackupError } from '../platform/errors.ts';

export interface SaslauthdOptions {
  /** Name under which the daemon looks up its rules (a PAM service, for one). */
  service?: string;
  timeoutMs?: number;
}

const MAX_STRING_BYTES = 0xffff;

export class SaslauthdClient {
  readonly #path: string;
  readonly #service: string;
  readonly #timeoutMs: number;

  constructor(socketPath: string, options: SaslauthdOptions = {}) {
    this.#path = socketPath;
    this.#service = options.service ?? 'csync';
    this.#timeoutMs = options.timeoutMs ?? 30_000;
  }

  /**
   * Whether the daemon takes this password. As in libsasl, what follows an `@` in the login is the realm.
   *
   * @throws BackupError UNAVAILABLE if there is no answer
   */
  async check(login: string, password: string): Promise<boolean> {
    const at = login.lastIndexOf('@');
    const [user, realm] = at < 0 ? [login, ''] : [login.slice(0, at), login.slice(at + 1)];
    const strings = [user, password, this.#service, realm].map((text) => Buffer.from(text));
    // Such a string cannot be a login; cutting it would ask for another one.
    if (strings.some((bytes) => bytes.length > MAX_STRING_BYTES || bytes.includes(0))) return false;
    const answer = await this.#ask(Buffer.concat(strings.flatMap((bytes) => [uint16(bytes.length), bytes])));
    return answer.startsWith('OK');
  }

  #ask(request: Buffer): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.#path);
      let answer = Buffer.alloc(0);
      const end = (settle: () => void): void => {
        socket.destroy();
        settle();
      };
      const fail = (reason: string, cause?: unknown): void =>
        end(() => reject(this.#unavailable(reason, cause)));
      socket.setTimeout(this.#timeoutMs, () => fail(`no answer within ${this.#timeoutMs / 1000} s`));
      socket.on('connect', () => socket.write(request));
      socket.on('error', (error) => fail(error.message, error));
      socket.on('close', () => fail('the connection was closed before the answer'));
      socket.on('data', (bytes) => {
        answer = Buffer.concat([answer, bytes]);
        if (answer.length < 2 || answer.length < 2 + answer.readUInt16BE(0)) return;
        const text = answer.subarray(2, 2 + answer.readUInt16BE(0)).toString('latin1');
        if (/^(OK|NO)/.test(text)) end(() => resolve(text));
        else fail('the answer is neither OK nor NO');
      });
    });
  }

  #unavailable(reason: string, cause: unknown): BackupError {
    return new BackupError({
      code: 'UNAVAILABLE',
      tried: 'check a password with saslauthd at',
      subject: this.#path,
      reason,
      remedy: 'Start saslauthd, or correct sasl_saslauthd_path or sasl_pwcheck_method',
      cause,
    });
  }
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
