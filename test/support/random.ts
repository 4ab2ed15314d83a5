/** Numbers that look random and are the same for the same seed (mulberry32 by Tommy Ettinger, public domain). */
export class Random {
  #state: number;

  constructor(seed: number | string) {
    this.#state = 0;
    for (const c of String(seed)) this.#state = (Math.imul(this.#state, 31) + c.charCodeAt(0)) >>> 0;
  }

  /** From 0 up to 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** A whole number from `low` to `high`, both included. */
  int(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  pick<T>(from: readonly T[]): T {
    return from[this.int(0, from.length - 1)]!;
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  bytes(length: number): Buffer {
    const out = Buffer.alloc(length);
    for (let i = 0; i < length; i++) out[i] = this.int(0, 255);
    return out;
  }
}

const SYLLABLES =
  'ba be bi bo da de di do ka ke ki ko la le li lo ma me mi mo na ne no ra re ri ro sa se so ta te to'.split(
    ' ',
  );

/** Words of a few syllables, about as compressible as written text. */
export function words(random: Random, count: number): string {
  const out: string[] = [];
  for (let i = 0; i < count; i++) {
    let word = '';
    for (let n = random.int(1, 4); n > 0; n--)
      word += SYLLABLES[Math.floor(SYLLABLES.length * random.next() ** 2)];
    out.push(word);
  }
  return out.join(' ');
}

/** An RFC 5322 message of about `size` bytes; with `attachment` most of it is base64 of random bytes. */
export function message(random: Random, size: number, attachment = false): Buffer {
  const id = random.int(0, 2 ** 32 - 1).toString(16);
  let text =
    `Message-ID: <${id}.${random.int(0, 1e9)}@example.net>\r\nDate: Mon, 01 Jan 2024 00:00:00 +0000\r\n` +
    `From: ${words(random, 1)} <a@example.net>\r\nTo: b@example.org\r\nSubject: ${words(random, 5)}\r\n\r\n`;
  if (attachment) {
    const encoded = random.bytes(Math.ceil((size * 3) / 4)).toString('base64');
    for (let i = 0; i < encoded.length; i += 76) text += `${encoded.slice(i, i + 76)}\r\n`;
  }
  while (text.length < size) text += `${words(random, 11)}\r\n`;
  return Buffer.from(text);
}
