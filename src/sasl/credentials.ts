import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { hasErrno } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import { type Credentials, checkMode, parseCredentials } from './credential-file.ts';
import { saslprep } from './saslprep.ts';
import { ITERATIONS, passwordMatches, type ScramHash, type ScramKeys } from './scram-keys.ts';

/** Keys to go through the exchange with; `known` is false if they belong to nobody. */
export interface FoundKeys {
  keys: ScramKeys;
  known: boolean;
}

interface Loaded {
  /** Identity of the file that was read; undefined: there was none. */
  version: string | undefined;
  credentials: Credentials;
  /** Of the password with which each user last logged in by PLAIN: macOf(). */
  proven: Map<string, Uint8Array>;
}

/**
 * The users of a credential file, for a running server. Each question looks whether the file has changed. A
 * file that is not there has no users.
 */
export class CredentialStore {
  readonly #file: string;
  /** While there is no file, decoys must at least stay the same. */
  readonly #secret = randomBytes(32);
  readonly #macKey = randomBytes(32);
  #loaded: Loaded | undefined;

  constructor(file: string) {
    this.#file = file;
  }

  /**
   * Keys of a prepared user name (see saslprep()). For a user that does not exist they are decoys, always the
   * same ones, so that no answer and no delay tells who exists.
   *
   * @throws BackupError if the file cannot be read
   */
  async scramKeys(user: string, hash: ScramHash): Promise<FoundKeys> {
    const { users, secret } = await this.#credentials();
    const keys = users.get(user)?.find((one) => one.hash === hash);
    return keys ? { keys, known: true } : { keys: decoyKeys(user, hash, secret), known: false };
  }

  /**
   * Whether this is the password of the prepared user name.
   *
   * @throws BackupError if the file cannot be read
   */
  async checkPassword(user: string, password: string): Promise<boolean> {
    const prepared = saslprep(password);
    const { credentials, proven } = await this.#current();
    const { users, secret } = credentials;
    const own = users.get(user);
    // A client comes with the same password hundreds of times an hour, and deriving keys takes 2 ms of CPU on purpose.
    // Who guesses never has the one that is known, and pays for each guess.
    const mac = this.#macOf(prepared ?? '');
    const known = proven.get(user);
    if (known !== undefined && timingSafeEqual(mac, known)) return true;
    const keys = own?.find((one) => one.hash === 'sha256') ?? own?.[0] ?? decoyKeys(user, 'sha256', secret);
    const matches = await passwordMatches(keys, prepared ?? '');
    if (!matches || own === undefined || prepared === undefined) return false;
    proven.set(user, mac);
    return true;
  }

  #macOf(password: string): Uint8Array {
    return createHmac('sha256', this.#macKey).update(password).digest();
  }

  async #credentials(): Promise<Credentials> {
    return (await this.#current()).credentials;
  }

  async #current(): Promise<Loaded> {
    try {
      const version = await this.#version();
      if (this.#loaded === undefined || this.#loaded.version !== version) this.#loaded = await this.#load();
      return this.#loaded;
    } catch (error) {
      throw ioError(error, 'read the credential file', this.#file);
    }
  }

  async #version(): Promise<string | undefined> {
    try {
      return identity(await stat(this.#file, { bigint: true }));
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  async #load(): Promise<Loaded> {
    let handle: FileHandle;
    try {
      handle = await open(this.#file);
    } catch (error) {
      if (!hasErrno(error, 'ENOENT')) throw error;
      return {
        version: undefined,
        credentials: { secret: this.#secret, users: new Map() },
        proven: new Map(),
      };
    }
    try {
      // Before reading: a change while it is read then shows as another version next time.
      const version = identity(await handle.stat({ bigint: true }));
      checkMode(await handle.stat(), this.#file);
      const credentials = parseCredentials(await handle.readFile('utf8'), this.#file);
      return { version, credentials, proven: new Map() };
    } finally {
      await handle.close();
    }
  }
}

function identity(stats: {
  dev: bigint;
  ino: bigint;
  size: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
}): string {
  return [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(' ');
}

/** Keys that look like anybody's and that no password fits. */
function decoyKeys(user: string, hash: ScramHash, secret: Uint8Array): ScramKeys {
  const bytes = (purpose: string) => createHmac(hash, secret).update(`${purpose}\0${hash}\0${user}`).digest();
  return {
    hash,
    iterations: ITERATIONS,
    salt: bytes('salt').subarray(0, 16),
    storedKey: bytes('stored'),
    serverKey: bytes('server'),
  };
}
