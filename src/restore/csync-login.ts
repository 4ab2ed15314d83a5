import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { BackupError } from '../platform/errors.ts';
import { saslprep } from '../sasl/saslprep.ts';

const deriveKey = promisify(pbkdf2);

export interface Account {
  user: string;
  password: string;
  /** Whom to act for, where that is somebody else (the authorisation identity). */
  actAs?: string;
}

/** The client's side of one SASL exchange. */
export interface SaslClient {
  readonly mechanism: string;
  /** Sent with AUTHENTICATE. */
  readonly initial: Buffer;
  /** Answers a challenge. @throws BackupError CREDENTIALS_INVALID if the server does not prove who it is. */
  respond(challenge: Buffer): Promise<Buffer>;
  /** Whether an OK from the server may be believed now. */
  readonly complete: boolean;
}

const SCRAM_HASHES: Record<string, string> = { 'SCRAM-SHA-256': 'sha256', 'SCRAM-SHA-1': 'sha1' };
/** More rounds than any server asks for would only hang the client. */
const MAX_SCRAM_ROUNDS = 10_000_000;

/**
 * The strongest of the mechanisms that both sides have.
 * @param allowPlain whether the password itself may be sent
 * @param nonce for tests only
 * @throws BackupError CREDENTIALS_INVALID when none is left
 */
export function chooseMechanism(
  offered: readonly string[],
  account: Account,
  allowPlain: boolean,
  nonce = randomBytes(18).toString('base64'),
): SaslClient {
  for (const mechanism of Object.keys(SCRAM_HASHES)) {
    if (offered.includes(mechanism)) return new ScramClient(mechanism, account, nonce);
  }
  if (offered.includes('PLAIN') && allowPlain) return new PlainClient(account);
  throw new BackupError({
    code: 'CREDENTIALS_INVALID',
    tried: 'log in as',
    subject: account.user,
    reason: `the server offers ${offered.length > 0 ? offered.join(', ') : 'no mechanism'}`,
    remedy: offered.includes('PLAIN')
      ? 'Connect with TLS, or allow the password to be sent in clear'
      : 'Let the server offer SCRAM-SHA-256, SCRAM-SHA-1 or PLAIN',
  });
}

/** RFC 4616. */
class PlainClient implements SaslClient {
  readonly mechanism = 'PLAIN';
  readonly initial: Buffer;
  readonly complete = true;

  constructor(account: Account) {
    this.initial = Buffer.from(`${account.actAs ?? ''}\0${account.user}\0${account.password}`);
  }

  async respond(): Promise<Buffer> {
    return Buffer.alloc(0);
  }
}

/** RFC 5802 and RFC 7677, without channel binding. The server's proof comes as a last challenge. */
class ScramClient implements SaslClient {
  readonly mechanism: string;
  readonly initial: Buffer;
  complete = false;
  readonly #hash: string;
  readonly #account: Account;
  readonly #nonce: string;
  readonly #header: string;
  readonly #firstBare: string;
  #serverSignature: Buffer | undefined;

  constructor(mechanism: string, account: Account, nonce: string) {
    this.mechanism = mechanism;
    this.#hash = SCRAM_HASHES[mechanism]!;
    this.#account = { user: prepared(account.user, account), password: prepared(account.password, account) };
    this.#nonce = nonce;
    const actAs = account.actAs === undefined ? '' : `a=${escaped(prepared(account.actAs, account))}`;
    this.#header = `n,${actAs},`;
    this.#firstBare = `n=${escaped(this.#account.user)},r=${nonce}`;
    this.initial = Buffer.from(`${this.#header}${this.#firstBare}`);
  }

  async respond(challenge: Buffer): Promise<Buffer> {
    const text = challenge.toString();
    if (this.#serverSignature === undefined) return await this.#final(text);
    const proof = Buffer.from(/^v=([^,]*)/.exec(text)?.[1] ?? '', 'base64');
    if (proof.length !== this.#serverSignature.length || !timingSafeEqual(proof, this.#serverSignature)) {
      this.#fail(text.startsWith('e=') ? text.slice(2) : 'the server does not know the password');
    }
    this.complete = true;
    return Buffer.alloc(0);
  }

  async #final(serverFirst: string): Promise<Buffer> {
    const [, nonce, salt, rounds] = /^r=([^,]*),s=([^,]*),i=(\d{1,9})/.exec(serverFirst) ?? [];
    if (!nonce?.startsWith(this.#nonce) || nonce === this.#nonce)
      this.#fail('the nonce of the server does not extend ours');
    const iterations = Number(rounds);
    if (iterations < 1 || iterations > MAX_SCRAM_ROUNDS) this.#fail(`the server asks for ${rounds} rounds`);

    const length = createHash(this.#hash).digest().length;
    const salted = await deriveKey(
      this.#account.password,
      Buffer.from(salt!, 'base64'),
      iterations,
      length,
      this.#hash,
    );
    const clientKey = this.#hmac(salted, 'Client Key');
    const storedKey = createHash(this.#hash).update(clientKey).digest();
    const withoutProof = `c=${Buffer.from(this.#header).toString('base64')},r=${nonce}`;
    const authMessage = `${this.#firstBare},${serverFirst},${withoutProof}`;
    const signature = this.#hmac(storedKey, authMessage);
    const proof = clientKey.map((byte, at) => byte ^ signature[at]!);
    this.#serverSignature = this.#hmac(this.#hmac(salted, 'Server Key'), authMessage);
    return Buffer.from(`${withoutProof},p=${Buffer.from(proof).toString('base64')}`);
  }

  #hmac(key: Buffer, text: string): Buffer {
    return createHmac(this.#hash, key).update(text).digest();
  }

  #fail(reason: string): never {
    throw refused(this.#account, reason);
  }
}

function escaped(name: string): string {
  return name.replaceAll('=', '=3D').replaceAll(',', '=2C');
}

/** RFC 5802 prepares both, so that they are the same bytes however they were typed. */
function prepared(text: string, account: Account): string {
  const ready = saslprep(text);
  if (ready === undefined) throw refused(account, 'name or password is empty or holds control characters');
  return ready;
}

function refused(account: Account, reason: string): BackupError {
  return new BackupError({
    code: 'CREDENTIALS_INVALID',
    tried: 'log in as',
    subject: account.user,
    reason,
    remedy: 'Check the name, the password and that this is the right server',
  });
}
