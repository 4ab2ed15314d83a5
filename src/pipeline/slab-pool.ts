/**
 * Who may fill which slab. The pool never grows: it is the ceiling of what clients can make the server hold.
 * Who finds no slab waits in line, with its socket paused, and nobody takes a second slab past somebody who
 * waits for a first one.
 */
import { createSlabMemory, slabCount } from './slabs.ts';

/** Whoever fills slabs: one per connection. */
export interface SlabHolder {
  /** Slabs that it fills or that are on their way to a shard. Kept by the pool. */
  slabsHeld: number;
}

interface Waiter {
  holder: SlabHolder;
  grant: (slab: number) => void;
  sinceMs: number;
}

export interface SlabPoolEvents {
  /** Somebody had to wait this long for a slab. */
  waited?(seconds: number): void;
}

/** A connection gets no more than this part of the slabs, so that a fast one leaves room for the next. */
const LARGEST_SHARE = 1 / 2;

/** Small commands are gathered outside the slabs; all connections together may hold this much there. */
export const SMALL_BUFFERS_BYTES = 8 * 1024 * 1024;

export class SlabPool {
  readonly memory: SharedArrayBuffer;
  readonly count: number;
  /** Last in, first out: slabs in use stay few, and untouched ones cost no memory. */
  readonly #free: number[] = [];
  readonly #waiters: Waiter[] = [];
  readonly #holders = new Set<SlabHolder>();
  readonly #events: SlabPoolEvents;
  #smallBytes = 0;

  constructor(count: number, events: SlabPoolEvents = {}) {
    this.memory = createSlabMemory(count);
    this.count = slabCount(this.memory);
    for (let slab = this.count - 1; slab >= 0; slab--) this.#free.push(slab);
    this.#events = events;
  }

  get freeCount(): number {
    return this.#free.length;
  }

  get waitingCount(): number {
    return this.#waiters.length;
  }

  /** A slab now, or undefined: then wait(). */
  tryTake(holder: SlabHolder): number | undefined {
    // Whoever waits while slabs are free has its share already.
    const share = this.#waiters.length > 0 ? this.#fairShare(1) : this.#largestShare();
    return this.#free.length > 0 && holder.slabsHeld < share ? this.#give(holder) : undefined;
  }

  /**
   * Stands in line; `grant` is called once, later, with the slab.
   *
   * @returns takes the holder out of the line again, if it still stands there
   */
  wait(holder: SlabHolder, grant: (slab: number) => void): () => void {
    const waiter: Waiter = { holder, grant, sinceMs: performance.now() };
    this.#waiters.push(waiter);
    return () => {
      const at = this.#waiters.indexOf(waiter);
      if (at >= 0) this.#waiters.splice(at, 1);
    };
  }

  release(holder: SlabHolder, slab: number): void {
    holder.slabsHeld--;
    if (holder.slabsHeld === 0) this.#holders.delete(holder);
    this.#free.push(slab);
    this.#serve();
  }

  /** Bytes of small commands that are held now. */
  get smallBytes(): number {
    return this.#smallBytes;
  }

  /** Room for `bytes` more of small commands; false when a slab must do instead. */
  takeSmall(bytes: number): boolean {
    if (this.#smallBytes + bytes > SMALL_BUFFERS_BYTES) return false;
    this.#smallBytes += bytes;
    return true;
  }

  releaseSmall(bytes: number): void {
    this.#smallBytes -= bytes;
  }

  #give(holder: SlabHolder): number {
    const slab = this.#free.pop()!;
    holder.slabsHeld++;
    this.#holders.add(holder);
    return slab;
  }

  #serve(): void {
    while (this.#free.length > 0 && this.#waiters.length > 0) {
      const fairShare = this.#fairShare();
      const at = this.#waiters.findIndex((waiter) => waiter.holder.slabsHeld < fairShare);
      // The rest wait for slabs of their own, which come back: nobody is starved by being passed over here.
      if (at < 0) return;
      const [waiter] = this.#waiters.splice(at, 1);
      this.#events.waited?.((performance.now() - waiter!.sinceMs) / 1000);
      waiter!.grant(this.#give(waiter!.holder));
    }
  }

  #largestShare(): number {
    return Math.max(1, Math.floor(this.count * LARGEST_SHARE));
  }

  /** What each may hold while somebody waits. One that holds slabs and waits counts twice, to keep this cheap. */
  #fairShare(newcomers = 0): number {
    const users = this.#holders.size + this.#waiters.length + newcomers;
    return Math.min(this.#largestShare(), Math.max(1, Math.ceil(this.count / users)));
  }
}
