import { latin1 } from './bytes.ts';

const SLOTS = 256;
/** Longer keys are rare and not worth a slot. */
const MAX_KEPT_BYTES = 32;

/**
 * Turns a key's bytes into its upper-case string. The few keys of the protocol come millions of times: each
 * has a slot, so that no string is made for one seen before.
 */
export class KeyTable {
  readonly #bytes: (Buffer | undefined)[] = new Array(SLOTS).fill(undefined);
  readonly #names: string[] = new Array(SLOTS).fill('');

  get(bytes: Uint8Array, from: number, to: number): string {
    const length = to - from;
    if (length > MAX_KEPT_BYTES) return upperCase(latin1(bytes, from, to));
    let hash = length;
    for (let at = from; at < to; at++) hash = (Math.imul(hash, 31) + (bytes[at] as number)) | 0;
    const slot = (hash ^ (hash >>> 8)) & (SLOTS - 1);
    const kept = this.#bytes[slot];
    if (kept !== undefined && same(kept, bytes, from, to)) return this.#names[slot] as string;
    const name = upperCase(latin1(bytes, from, to));
    this.#bytes[slot] = Buffer.from(bytes.subarray(from, to));
    this.#names[slot] = name;
    return name;
  }
}

function same(kept: Buffer, bytes: Uint8Array, from: number, to: number): boolean {
  if (kept.length !== to - from) return false;
  for (let at = 0; at < kept.length; at++) if (kept[at] !== bytes[from + at]) return false;
  return true;
}

/** Upper case of ASCII letters only: other bytes are not characters to us. */
export function upperCase(text: string): string {
  return text.replace(/[a-z]+/g, (letters) => letters.toUpperCase());
}
