import type { CredentialStore } from './credentials.ts';
import { PlainServer } from './plain.ts';
import type { SaslauthdClient } from './saslauthd.ts';
import { ScramServer } from './scram.ts';

/**
 * One exchange, from the server's side. Bytes are those of the mechanism itself: base64 and the lines of the
 * protocol around it are the caller's.
 */
export interface SaslServerMechanism {
  /**
   * Takes what the client sent; `null` is AUTHENTICATE without an initial response. Not to be called again
   * after `success` or `failure`.
   *
   * @throws BackupError when the credentials cannot be read or saslauthd cannot be asked: the client is not to blame
   */
  step(response: Uint8Array | null): Promise<SaslStep>;
}

export type SaslStep =
  | { type: 'challenge'; data: Uint8Array }
  /**
   * `user` is who the client acts as. `data` has to reach the client: a protocol whose success carries no data
   * (csync is one) sends it as a last challenge, which the client answers with an empty response.
   */
  | { type: 'success'; user: string; data?: Uint8Array }
  /** `reason` is for the log only; it would tell an attacker too much. */
  | { type: 'failure'; reason: string };

export interface SaslOptions {
  /** Users who may act as somebody else (a SASL authorization identity). */
  admins?: readonly string[];
}

/** The mechanism of this name, in any case of letters, or undefined if there is none such. */
export function createMechanism(
  name: string,
  credentials: CredentialStore,
  saslauthd?: SaslauthdClient,
  options: SaslOptions = {},
): SaslServerMechanism | undefined {
  const admins = options.admins ?? [];
  switch (name.toUpperCase()) {
    case 'SCRAM-SHA-256':
      return new ScramServer('sha256', credentials, { admins });
    case 'SCRAM-SHA-1':
      return new ScramServer('sha1', credentials, { admins });
    case 'PLAIN':
      return new PlainServer(credentials, saslauthd, { admins });
    default:
      return undefined;
  }
}
