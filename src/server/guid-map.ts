/**
 * A small map from GUID to a number, for what a session remembers about messages. It forgets the oldest
 * entries when it is full, and all maps together stay below one budget: a client that reserves without end
 * costs itself a resend, not the server its memory.
 */

import { randomBytes } from 'node:crypto';

const GUID_BYTES = 20;
const SLOT_BYTES = GUID_BYTES + 4;
const SMALLEST_SLOTS = 64;
/** Slots of one generation; two of them are kept. */
const LARGEST_SLOTS = 1 << 17;
const EMPTY = 0;

/** A client chooses the GUIDs that it reserves: unknown factors keep it from making all of them collide. */
const FACTORS = randomBytes(16);
const [F0, F1, S0, S1] = [0, 4, 8, 12].map((at) => FACTORS.readUInt32LE(at) | 1) as [
  number,
  number,
  number,
  number,
];

function hash(key: Buffer): number {
  const mixed = Math.imul(key.readUInt32LE(0) ^ S0, F0) ^ Math.imul(key.readUInt32LE(8) ^ S1, F1);
  return mixed ^ (mixed >>> 15);
}

/** Memory for all GUID maps of the process. */
export class GuidBudget {
  readonly #limitBytes: number;
  #usedBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  take(bytes: number): boolean {
    if (this.#usedBytes + bytes > this.#limitBytes) return false;
    this.#usedBytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes;
  }
}

/** Open addressing over typed arrays: 24 bytes a slot, nothing for the garbage collector to follow. */
class Generation {
  readonly slots: number;
  count = 0;
  readonly #keys: Buffer;
  readonly #values: Uint32Array;

  constructor(slots: number) {
    this.slots = slots;
    this.#keys = Buffer.alloc(slots * GUID_BYTES);
    this.#values = new Uint32Array(slots);
  }

  /** Slot of the key, or of the empty place where it belongs. */
  #find(key: Buffer): number {
    const mask = this.slots - 1;
    for (let slot = hash(key) & mask; ; slot = (slot + 1) & mask) {
      if (this.#values[slot] === EMPTY) return slot;
      const at = slot * GUID_BYTES;
      if (this.#keys.compare(key, 0, GUID_BYTES, at, at + GUID_BYTES) === 0) return slot;
    }
  }

  get(key: Buffer): number | undefined {
    const value = this.#values[this.#find(key)]!;
    return value === EMPTY ? undefined : value - 1;
  }

  set(key: Buffer, value: number): void {
    const slot = this.#find(key);
    if (this.#values[slot] === EMPTY) {
      this.count++;
      key.copy(this.#keys, slot * GUID_BYTES, 0, GUID_BYTES);
    }
    this.#values[slot] = value + 1;
  }

  copyTo(other: Generation): void {
    for (let slot = 0; slot < this.slots; slot++) {
      const value = this.#values[slot]!;
      if (value !== EMPTY)
        other.set(this.#keys.subarray(slot * GUID_BYTES, (slot + 1) * GUID_BYTES), value - 1);
    }
  }

  get isFull(): boolean {
    return this.count * 4 >= this.slots * 3;
  }
}

/** The GUID at hand, in bytes. */
const KEY = Buffer.alloc(GUID_BYTES);

export class GuidMap {
  /** Something that was stored is, or may be, remembered no longer. */
  hasForgotten = false;
  readonly #budget: GuidBudget;
  #current: Generation | undefined;
  #previous: Generation | undefined;

  constructor(budget: GuidBudget) {
    this.#budget = budget;
  }

  /** The number stored for this GUID (40 hex digits), if it is still remembered. */
  get(guid: string): number | undefined {
    if (this.#current === undefined) return undefined;
    KEY.write(guid, 'hex');
    return this.#current.get(KEY) ?? this.#previous?.get(KEY);
  }

  /** @param value 0 to 2^32 - 2 */
  set(guid: string, value: number): void {
    if (this.#current === undefined || this.#current.isFull) {
      if (!this.#grow()) {
        this.hasForgotten = true;
        return;
      }
    }
    KEY.write(guid, 'hex');
    this.#current!.set(KEY, value);
  }

  /** The same, unless something would have to be forgotten for it. @returns whether it is stored */
  setIfRoom(guid: string, value: number): boolean {
    if ((this.#current === undefined || this.#current.isFull) && !this.#enlarge()) return false;
    KEY.write(guid, 'hex');
    this.#current!.set(KEY, value);
    return true;
  }

  clear(): void {
    for (const generation of [this.#current, this.#previous]) this.#drop(generation);
    this.#current = undefined;
    this.#previous = undefined;
    this.hasForgotten = false;
  }

  /** Room for one more: twice the size while the budget allows it, then by forgetting the older half. */
  #grow(): boolean {
    if (this.#enlarge()) return true;
    const current = this.#current;
    if (current === undefined) return false;
    if (this.#previous !== undefined) this.hasForgotten = true;
    this.#drop(this.#previous);
    this.#previous = undefined;
    // Without room for a second generation the new one takes the place, and the share, of the current one.
    if (this.#budget.take(current.slots * SLOT_BYTES)) this.#previous = current;
    else this.hasForgotten = true;
    this.#current = new Generation(current.slots);
    return true;
  }

  #enlarge(): boolean {
    const current = this.#current;
    const slots = current === undefined ? SMALLEST_SLOTS : current.slots * 2;
    if (slots > LARGEST_SLOTS || !this.#budget.take(slots * SLOT_BYTES)) return false;
    const larger = new Generation(slots);
    current?.copyTo(larger);
    this.#drop(current);
    this.#current = larger;
    return true;
  }

  #drop(generation: Generation | undefined): void {
    if (generation !== undefined) this.#budget.give(generation.slots * SLOT_BYTES);
  }
}
