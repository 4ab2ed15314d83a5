import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';

export interface ClientOptions {
  hash: 'sha256' | 'sha1';
  user: string;
  password: string;
  nonce: string;
  authzid?: string;
  /** Flag of the GS2 header. */
  flag?: string;
}

/** The client's side of SCRAM, written from RFC 5802 and sharing no code with the server. */
export class ScramClient {
  readonly #options: ClientOptions;
  readonly #header: string;
  readonly #bare: string;
  #serverSignature = '';

  constructor(options: ClientOptions) {
    const escaped = (text: string) => text.replaceAll('=', '=3D').replaceAll(',', '=2C');
    this.#options = options;
    this.#header = `${options.flag ?? 'n'},${options.authzid === undefined ? '' : `a=${escaped(options.authzid)}`},`;
    this.#bare = `n=${escaped(options.user)},r=${options.nonce}`;
  }

  first(): string {
    return this.#header + this.#bare;
  }

  final(serverFirst: string): string {
    const { hash, password } = this.#options;
    const fields = new Map(serverFirst.split(',').map((field) => [field[0], field.slice(2)]));
    const salt = Buffer.from(fields.get('s')!, 'base64');
    const salted = pbkdf2Sync(password, salt, Number(fields.get('i')), hash === 'sha256' ? 32 : 20, hash);
    const hmac = (key: Buffer, text: string) => createHmac(hash, key).update(text).digest();
    const clientKey = hmac(salted, 'Client Key');
    const storedKey = createHash(hash).update(clientKey).digest();
    const withoutProof = `c=${Buffer.from(this.#header).toString('base64')},r=${fields.get('r')}`;
    const signed = `${this.#bare},${serverFirst},${withoutProof}`;
    const signature = hmac(storedKey, signed);
    const proof = Buffer.from(clientKey.map((byte, index) => byte ^ signature[index]!));
    this.#serverSignature = hmac(hmac(salted, 'Server Key'), signed).toString('base64');
    return `${withoutProof},p=${proof.toString('base64')}`;
  }

  /** Whether the server knows the keys too. */
  verify(serverFinal: string): boolean {
    return serverFinal === `v=${this.#serverSignature}`;
  }
}
