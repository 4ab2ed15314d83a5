/** PLAIN (RFC 4616) against the credential file and, where it is configured, saslauthd. */
import { authorize } from './authorize.ts';
import type { CredentialStore } from './credentials.ts';
import type { SaslServerMechanism, SaslStep } from './mechanism.ts';
import type { SaslauthdClient } from './saslauthd.ts';
import { saslprep } from './saslprep.ts';

/** The longest message of RFC 4616: three fields of 255 characters of four bytes, with two separators. */
const MAX_RESPONSE_BYTES = 3 * 255 * 4 + 2;

export class PlainServer implements SaslServerMechanism {
  readonly #credentials: CredentialStore;
  readonly #saslauthd: SaslauthdClient | undefined;
  readonly #admins: readonly string[];

  constructor(
    credentials: CredentialStore,
    saslauthd: SaslauthdClient | undefined,
    options: { admins: readonly string[] },
  ) {
    this.#credentials = credentials;
    this.#saslauthd = saslauthd;
    this.#admins = options.admins;
  }

  async step(response: Uint8Array | null): Promise<SaslStep> {
    if (response === null) return { type: 'challenge', data: new Uint8Array(0) };
    const fields = parsePlain(response);
    if (typeof fields === 'string') return { type: 'failure', reason: fields };
    const user = saslprep(fields.authcid);
    if (user === undefined) {
      return { type: 'failure', reason: 'user name with characters that SASLprep prohibits' };
    }
    if (!(await this.#accepts(user, fields.password))) {
      return { type: 'failure', reason: `wrong password or no such user: ${user}` };
    }
    const actsAs = authorize(user, fields.authzid, this.#admins);
    if (actsAs === undefined) return { type: 'failure', reason: `${user} may not act as ${fields.authzid}` };
    return { type: 'success', user: actsAs };
  }

  async #accepts(user: string, password: string): Promise<boolean> {
    // The same work whether or not there is such a user in the file: see decoyKeys().
    if (await this.#credentials.checkPassword(user, password)) return true;
    return this.#saslauthd === undefined ? false : this.#saslauthd.check(user, password);
  }
}

/** The parts of a PLAIN message, or what is wrong with it. */
export function parsePlain(
  response: Uint8Array,
): { authzid: string; authcid: string; password: string } | string {
  if (response.length > MAX_RESPONSE_BYTES) return 'response too long';
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(response);
  } catch {
    return 'response is not UTF-8';
  }
  const [authzid, authcid, password, ...more] = text.split('\0');
  if (!authcid || !password || more.length > 0) return 'malformed response';
  return { authzid: authzid!, authcid, password };
}
