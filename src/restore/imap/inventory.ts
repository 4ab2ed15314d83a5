import { createHash } from 'node:crypto';

const FIRST_CAPACITY = 1024;

/**
 * Messages of a mailbox, found by what a server says of them without being asked for the message: size and internal date,
 * and its SHA-1 where it tells that too. Each can be taken once: a message that stands twice in the backup has to stand
 * twice at the target.
 */
export class Inventory {
  #count = 0;
  #uids = new Uint32Array(FIRST_CAPACITY);
  #sizes = new Float64Array(FIRST_CAPACITY);
  #dates = new Float64Array(FIRST_CAPACITY);
  #digests = Buffer.alloc(0);
  #hasDigests = false;
  #isTaken = new Uint8Array(0);
  /** Positions by size and date, and by digest. */
  #bySize = new Uint32Array(0);
  #byDigest = new Uint32Array(0);
  #sortedDates = new Float64Array(0);

  get length(): number {
    return this.#count;
  }

  /** Whether the server has told the SHA-1 of each. */
  get hasDigests(): boolean {
    return this.#hasDigests;
  }

  /** @param digest SHA-1, 40 hex digits; given for all or for none */
  add(uid: number, size: number, date: number, digest?: string): void {
    if (this.#count === this.#uids.length) this.#grow();
    const at = this.#count++;
    this.#uids[at] = uid;
    this.#sizes[at] = size;
    this.#dates[at] = date;
    if (digest === undefined) return;
    this.#hasDigests = true;
    const wanted = this.#uids.length * 20;
    if (this.#digests.length < wanted) {
      const grown = Buffer.alloc(wanted);
      this.#digests.copy(grown);
      this.#digests = grown;
    }
    this.#digests.write(digest, at * 20, 20, 'hex');
  }

  /** All are in. */
  seal(): void {
    const [sizes, dates, uids] = [this.#sizes, this.#dates, this.#uids];
    this.#isTaken = new Uint8Array(this.#count);
    this.#bySize = Uint32Array.from({ length: this.#count }, (_, i) => i).sort(
      (a, b) => sizes[a]! - sizes[b]! || dates[a]! - dates[b]! || uids[a]! - uids[b]!,
    );
    this.#sortedDates = dates.slice(0, this.#count).sort();
    if (!this.#hasDigests) return;
    const keys = Float64Array.from({ length: this.#count }, (_, i) => this.#digests.readUIntBE(i * 20, 6));
    this.#byDigest = Uint32Array.from({ length: this.#count }, (_, i) => i).sort(
      (a, b) => keys[a]! - keys[b]! || this.#compareDigests(a, b) || uids[a]! - uids[b]!,
    );
  }

  /** Takes a message with this SHA-1. @returns false if there is none left */
  takeDigest(guid: string): boolean {
    if (!this.#hasDigests) return false;
    const wanted = Buffer.from(guid, 'hex');
    const order = this.#byDigest;
    let at = lowerBound(order.length, (i) => this.#digestAt(order[i]!).compare(wanted) < 0);
    for (; at < order.length && this.#digestAt(order[at]!).equals(wanted); at++) {
      const place = order[at]!;
      if (this.#isTaken[place] === 1) continue;
      this.#isTaken[place] = 1;
      return true;
    }
    return false;
  }

  /** UIDs of messages of this size and internal date that are not taken yet. */
  candidates(size: number, date: number): number[] {
    const found: number[] = [];
    for (const place of this.#places(size, date)) {
      if (this.#isTaken[place] === 0) found.push(this.#uids[place]!);
    }
    return found;
  }

  /** Whether any has this internal date. */
  hasDate(date: number): boolean {
    const dates = this.#sortedDates;
    return dates[lowerBound(dates.length, (i) => dates[i]! < date)] === date;
  }

  take(size: number, date: number, uid: number): void {
    for (const place of this.#places(size, date)) if (this.#uids[place] === uid) this.#isTaken[place] = 1;
  }

  *#places(size: number, date: number): Generator<number> {
    const order = this.#bySize;
    const [sizes, dates] = [this.#sizes, this.#dates];
    let at = lowerBound(
      order.length,
      (i) => sizes[order[i]!]! < size || (sizes[order[i]!] === size && dates[order[i]!]! < date),
    );
    for (; at < order.length; at++) {
      const place = order[at]!;
      if (sizes[place] !== size || dates[place] !== date) return;
      yield place;
    }
  }

  #digestAt(place: number): Buffer {
    return this.#digests.subarray(place * 20, place * 20 + 20);
  }

  #compareDigests(a: number, b: number): number {
    return this.#digestAt(a).compare(this.#digestAt(b));
  }

  #grow(): void {
    const capacity = this.#uids.length * 2;
    const [uids, sizes, dates] = [
      new Uint32Array(capacity),
      new Float64Array(capacity),
      new Float64Array(capacity),
    ];
    uids.set(this.#uids);
    sizes.set(this.#sizes);
    dates.set(this.#dates);
    [this.#uids, this.#sizes, this.#dates] = [uids, sizes, dates];
  }
}

/** Of 52 bits: which size and date, and which message. */
const MESSAGE_SPAN = 2 ** 20;

/**
 * Sizes and dates that different messages of the backup share: of those the header does not tell enough. Keeps 8 bytes
 * for each message; where hashes agree by chance a message is looked at more closely than it need be.
 */
export class Doubts {
  readonly #doubtful = new Set<number>();

  constructor(records: Iterable<{ size: number | undefined; internaldate: number; guid: string }>) {
    let keys = new Float64Array(FIRST_CAPACITY);
    let count = 0;
    for (const { size, internaldate, guid } of records) {
      if (count === keys.length) {
        const grown = new Float64Array(count * 2);
        grown.set(keys);
        keys = grown;
      }
      keys[count++] = placeOf(size ?? 0, internaldate) * MESSAGE_SPAN + Number.parseInt(guid.slice(0, 5), 16);
    }
    const sorted = keys.subarray(0, count).sort();
    for (let i = 1; i < count; i++) {
      const place = Math.floor(sorted[i]! / MESSAGE_SPAN);
      if (sorted[i] !== sorted[i - 1] && place === Math.floor(sorted[i - 1]! / MESSAGE_SPAN))
        this.#doubtful.add(place);
    }
  }

  has(size: number, date: number): boolean {
    return this.#doubtful.has(placeOf(size, date));
  }
}

function placeOf(size: number, date: number): number {
  return createHash('sha1').update(`${size}:${date}`).digest().readUInt32BE(0);
}

/** The first of `length` for which it does not hold. */
function lowerBound(length: number, isBefore: (i: number) => boolean): number {
  let [low, high] = [0, length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBefore(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
