/** Random choices that a seed repeats. */

/** Mulberry32 (Tommy Ettinger, public domain): quick, and good enough to choose samples. */
export class DrillRandom {
  #state: number;

  /** @param seed any 32-bit number */
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to but not 1. */
  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** So many of them, each as likely as any other, in the order in which they came; memory is that of the sample. */
  sample<T>(all: Iterable<T>, count: number): T[] {
    const chosen: { at: number; one: T }[] = [];
    let at = 0;
    for (const one of all) {
      if (at < count) chosen.push({ at, one });
      else {
        const place = Math.floor(this.fraction() * (at + 1));
        if (place < count) chosen[place] = { at, one };
      }
      at++;
    }
    return chosen.sort((a, b) => a.at - b.at).map(({ one }) => one);
  }
}

/** One that nobody can foresee. */
export function newSeed(): number {
  return Math.floor(Math.random() * 2 ** 32);
}
