/** What a SCRAM server keeps of a password (RFC 5802, section 3), and its text form (RFC 5803). */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

export type ScramHash = 'sha256' | 'sha1';

export interface ScramKeys {
  hash: ScramHash;
  iterations: number;
  salt: Uint8Array;
  storedKey: Uint8Array;
  serverKey: Uint8Array;
}

export const SCRAM_NAMES: Record<ScramHash, 'SCRAM-SHA-256' | 'SCRAM-SHA-1'> = {
  sha256: 'SCRAM-SHA-256',
  sha1: 'SCRAM-SHA-1',
};

const KEY_BYTES: Record<ScramHash, number> = { sha256: 32, sha1: 20 };

/**
 * Each login costs the client this many HMACs. More than the 4096 that RFC 7677 asks for; well below the 65536
 * above which libsasl's client gives up.
 */
export const ITERATIONS = 10_000;

/** libsasl's client takes no more, and a file that asks for more would make each PLAIN login a load. */
const MAX_ITERATIONS = 65_536;
const SALT_BYTES = 16;

// Runs in libuv's threads: the event loop goes on meanwhile.
const derive = promisify(pbkdf2);

/** Keys of an already prepared password (see saslprep()), with a fresh salt unless one is given. */
export async function deriveKeys(
  hash: ScramHash,
  password: string,
  salt: Uint8Array = randomBytes(SALT_BYTES),
  iterations: number = ITERATIONS,
): Promise<ScramKeys> {
  const salted = await derive(password, salt, iterations, KEY_BYTES[hash], hash);
  const clientKey = hmac(hash, salted, 'Client Key');
  return {
    hash,
    iterations,
    salt,
    storedKey: digest(hash, clientKey),
    serverKey: hmac(hash, salted, 'Server Key'),
  };
}

/** True if this is the password that the keys were made from. Takes as long for a wrong one. */
export async function passwordMatches(keys: ScramKeys, password: string): Promise<boolean> {
  const derived = await deriveKeys(keys.hash, password, keys.salt, keys.iterations);
  return timingSafeEqual(derived.storedKey, keys.storedKey);
}

export function hmac(hash: ScramHash, key: Uint8Array, data: string): Uint8Array {
  return createHmac(hash, key).update(data).digest();
}

export function digest(hash: ScramHash, data: Uint8Array): Uint8Array {
  return createHash(hash).update(data).digest();
}

/** `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY`, all but the number in base64. */
export function printKeys(keys: ScramKeys): string {
  const [salt, stored, server] = [keys.salt, keys.storedKey, keys.serverKey].map(toBase64);
  return `${SCRAM_NAMES[keys.hash]}$${keys.iterations}:${salt}$${stored}:${server}`;
}

/** Undefined if the text is not what printKeys() writes. */
export function parseKeys(text: string): ScramKeys | undefined {
  const match =
    /^(SCRAM-SHA-256|SCRAM-SHA-1)\$([1-9][0-9]{0,5}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$/.exec(
      text,
    );
  if (!match) return undefined;
  const hash = match[1] === SCRAM_NAMES.sha256 ? 'sha256' : 'sha1';
  const iterations = Number(match[2]);
  const [salt, storedKey, serverKey] = match.slice(3).map((part) => fromBase64(part));
  if (!salt || storedKey?.length !== KEY_BYTES[hash] || serverKey?.length !== KEY_BYTES[hash])
    return undefined;
  return iterations > MAX_ITERATIONS ? undefined : { hash, iterations, salt, storedKey, serverKey };
}

export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

/** Undefined if the text is not base64 with its padding: Node's own decoder takes nearly everything. */
export function fromBase64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}
