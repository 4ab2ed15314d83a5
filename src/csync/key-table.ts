import { latin1 } from './bytes.ts';

const SLOTS = 512;
/** Slots that are looked at for one key. */
const PROBES = 4;
/** Longer keys are rare and not worth a slot. */
const MAX_KEPT_BYTES = 32;

/**
 * Turns a key's bytes into its upper-case string. The few keys of the protocol come millions of times: each
 * has a slot, so that no string is made for one seen before.
 */
export class KeyTable {
  readonly #bytes: (Buffer | undefined)[] = new Array(SLOTS + PROBES).fill(undefined);
  readonly #names: string[] = new Array(SLOTS + PROBES).fill('');

  get(bytes: Uint8Array, from: number, to: number): string {
    if (to - from > MAX_KEPT_BYTES) return upperCase(latin1(bytes, from, to));
    let hash = to - from;
    for (let at = from; at < to; at++) hash = (Math.imul(hash, 31) + (bytes[at] as number)) | 0;
    const first = (hash ^ (hash >>> 9) ^ (hash >>> 18)) & (SLOTS - 1);
    let slot = first;
    for (; slot < first + PROBES; slot++) {
      const kept = this.#bytes[slot];
      if (kept === undefined) break;
      if (same(kept, bytes, from, to)) return this.#names[slot] as string;
    }
    // Where all are taken one key gives way: strange keys must not fill memory.
    if (slot === first + PROBES) slot = first;
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
