import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import type { CsyncWire } from './wire.ts';

/** Logs in by SCRAM (RFC 5802) as Cyrus's client does: an empty line before the OK. Checks the server's proof. */
export async function loginByScram(
  wire: CsyncWire,
  mechanism: 'SCRAM-SHA-1' | 'SCRAM-SHA-256',
  user: string,
  password: string,
): Promise<void> {
  const hash = mechanism === 'SCRAM-SHA-1' ? 'sha1' : 'sha256';
  const hmac = (key: Buffer, text: string): Buffer => createHmac(hash, key).update(text).digest();
  const encode = (text: string): string => Buffer.from(text).toString('base64');
  const nonce = randomBytes(18).toString('base64');
  const bare = `n=${user},r=${nonce}`;

  const first = await wire.command(`AUTHENTICATE ${mechanism} ${encode(`n,,${bare}`)}`);
  if (first.kind !== '+') throw new Error(`${mechanism}: ${first.final}`);
  const challenge = Buffer.from(first.final.slice(2), 'base64').toString();
  const [, serverNonce, salt, iterations] = /^r=([^,]+),s=([^,]+),i=(\d+)/.exec(challenge)!;
  if (!serverNonce!.startsWith(nonce)) throw new Error(`${mechanism}: the server's nonce is not ours`);

  const length = hash === 'sha1' ? 20 : 32;
  const salted = pbkdf2Sync(password, Buffer.from(salt!, 'base64'), Number(iterations), length, hash);
  const clientKey = hmac(salted, 'Client Key');
  const storedKey = createHash(hash).update(clientKey).digest();
  const withoutProof = `c=biws,r=${serverNonce}`;
  const exchange = `${bare},${challenge},${withoutProof}`;
  const signature = hmac(storedKey, exchange);
  const proof = Buffer.from(clientKey.map((byte, i) => byte ^ signature[i]!));
  const second = await wire.command(encode(`${withoutProof},p=${proof.toString('base64')}`));
  if (second.kind !== '+') throw new Error(`${mechanism}: ${second.final}`);
  const verifier = hmac(hmac(salted, 'Server Key'), exchange).toString('base64');
  if (Buffer.from(second.final.slice(2), 'base64').toString() !== `v=${verifier}`) {
    throw new Error(`${mechanism}: the server does not know the password`);
  }
  const last = await wire.command('');
  if (last.kind !== 'OK') throw new Error(`${mechanism}: ${last.final}`);
}
