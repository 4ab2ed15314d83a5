/** The server's side of SCRAM-SHA-256 and SCRAM-SHA-1 (RFC 5802, RFC 7677), without channel binding. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { authorize } from './authorize.ts';
import type { CredentialStore } from './credentials.ts';
import type { SaslServerMechanism, SaslStep } from './mechanism.ts';
import { saslprep } from './saslprep.ts';
import { digest, fromBase64, hmac, type ScramHash, type ScramKeys, toBase64 } from './scram-keys.ts';

export interface ScramOptions {
  admins: readonly string[];
  /** The server's part of the nonce: printable, without commas. For tests with the vectors of the RFCs. */
  nonce?: string;
}

const NONCE_BYTES = 18;
/** A response longer than this is an attack, not a login. */
const MAX_RESPONSE_BYTES = 4096;

type State =
  | { at: 'start' }
  | { at: 'proof'; first: ClientFirst; keys: ScramKeys; known: boolean; nonce: string; serverFirst: string }
  | { at: 'end' };

export class ScramServer implements SaslServerMechanism {
  readonly #hash: ScramHash;
  readonly #credentials: CredentialStore;
  readonly #options: ScramOptions;
  #state: State = { at: 'start' };

  constructor(hash: ScramHash, credentials: CredentialStore, options: ScramOptions) {
    this.#hash = hash;
    this.#credentials = credentials;
    this.#options = options;
  }

  async step(response: Uint8Array | null): Promise<SaslStep> {
    const state = this.#state;
    this.#state = { at: 'end' };
    if (response === null && state.at === 'start') {
      this.#state = state;
      return { type: 'challenge', data: new Uint8Array(0) };
    }
    const message = response && decode(response);
    if (typeof message !== 'string') return failure('malformed response');
    if (state.at === 'start') return this.#first(message);
    if (state.at === 'proof') return this.#proof(state, message);
    return failure('response after the end');
  }

  async #first(message: string): Promise<SaslStep> {
    const first = parseClientFirst(message);
    if (typeof first === 'string') return failure(first);
    const user = saslprep(first.user);
    if (user === undefined) return failure('user name with characters that SASLprep prohibits');
    const { keys, known } = await this.#credentials.scramKeys(user, this.#hash);
    const nonce = first.nonce + (this.#options.nonce ?? toBase64(randomBytes(NONCE_BYTES)));
    const serverFirst = `r=${nonce},s=${toBase64(keys.salt)},i=${keys.iterations}`;
    this.#state = { at: 'proof', first: { ...first, user }, keys, known, nonce, serverFirst };
    return { type: 'challenge', data: Buffer.from(serverFirst) };
  }

  #proof(state: State & { at: 'proof' }, message: string): SaslStep {
    const final = parseClientFinal(message);
    if (typeof final === 'string') return failure(final);
    const { first, keys, known } = state;
    if (final.binding !== toBase64(Buffer.from(first.gs2Header))) return failure('channel binding differs');
    if (final.nonce !== state.nonce) return failure('nonce differs');
    const authMessage = `${first.bare},${state.serverFirst},${final.withoutProof}`;
    const signature = hmac(keys.hash, keys.storedKey, authMessage);
    if (final.proof.length !== signature.length) return failure('proof of a wrong length');
    const clientKey = signature.map((byte, index) => byte ^ final.proof[index]!);
    // An unknown user is told apart only here, after the same work.
    const proven = timingSafeEqual(digest(keys.hash, clientKey), keys.storedKey);
    if (!known) return failure(`no such user: ${first.user}`);
    if (!proven) return failure(`wrong password for ${first.user}`);
    const user = authorize(first.user, first.authzid, this.#options.admins);
    if (user === undefined) return failure(`${first.user} may not act as ${first.authzid}`);
    const verifier = toBase64(hmac(keys.hash, keys.serverKey, authMessage));
    return { type: 'success', user, data: Buffer.from(`v=${verifier}`) };
  }
}

interface ClientFirst {
  /** `n,,` or `y,a=admin,`: comes back in the final message. */
  gs2Header: string;
  authzid: string;
  user: string;
  nonce: string;
  /** The message without the header, which is what gets signed. */
  bare: string;
}

/** The parts of a client-first-message, or what is wrong with it. */
export function parseClientFirst(message: string): ClientFirst | string {
  if (message.startsWith('p=')) return 'channel binding asked for, but none is offered';
  const match = /^(([ny]),(?:a=([^,]+))?,)(n=([^,]+),r=([^,]+)(?:,[A-Za-z]=[^,]*)*)$/.exec(message);
  if (!match) {
    return /^[ny],[^,]*,m=/.test(message) ? 'unknown mandatory extension' : 'malformed first message';
  }
  const [, gs2Header, , authzid, bare, user, nonce] = match;
  const names = [authzid ?? '', user!].map(unescapeName);
  if (names[0] === undefined || names[1] === undefined) return 'malformed name';
  if (!/^[\x21-\x7e]+$/.test(nonce!)) return 'malformed nonce';
  return { gs2Header: gs2Header!, authzid: names[0], user: names[1], nonce: nonce!, bare: bare! };
}

interface ClientFinal {
  binding: string;
  nonce: string;
  proof: Uint8Array;
  withoutProof: string;
}

/** The parts of a client-final-message, or what is wrong with it. */
export function parseClientFinal(message: string): ClientFinal | string {
  const match = /^(c=([A-Za-z0-9+/=]+),r=([^,]+)(?:,[A-Za-z]=[^,]*)*),p=([A-Za-z0-9+/=]+)$/.exec(message);
  const proof = match && fromBase64(match[4]!);
  if (!match || !proof) return 'malformed final message';
  return { withoutProof: match[1]!, binding: match[2]!, nonce: match[3]!, proof };
}

/** `=2C` is a comma and `=3D` an equals sign; any other `=` is an error. */
function unescapeName(text: string): string | undefined {
  if (/=(?!2C|3D)/.test(text)) return undefined;
  return text.replace(/=2C/g, ',').replace(/=3D/g, '=');
}

function decode(response: Uint8Array): string | undefined {
  if (response.length > MAX_RESPONSE_BYTES) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(response);
  } catch {
    return undefined;
  }
}

function failure(reason: string): SaslStep {
  return { type: 'failure', reason };
}
