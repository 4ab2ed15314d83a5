const MIN_BYTES = 128;
/** A larger buffer is given back between values: there may be ten thousand connections. */
const MAX_IDLE_BYTES = 4096;
const NOTHING = Buffer.alloc(0);

/** Gathers what comes in pieces: a token, one that holds escapes, the text of a GET. */
export class TokenBuffer {
  bytes: Buffer = NOTHING;
  length = 0;
  /** Some of the token lies here; one that came whole is read where it lies. */
  used = false;

  clear(): void {
    this.length = 0;
    this.used = false;
  }

  release(): void {
    this.clear();
    if (this.bytes.length > MAX_IDLE_BYTES) this.bytes = NOTHING;
  }

  append(bytes: Uint8Array, from: number, to: number): void {
    const length = this.length + to - from;
    if (length > this.bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(length, this.bytes.length * 2, MIN_BYTES));
      grown.set(this.bytes.subarray(0, this.length));
      this.bytes = grown;
    }
    this.bytes.set(bytes.subarray(from, to), this.length);
    this.length = length;
    this.used = true;
  }
}
