import { CR } from './bytes.ts';

/** How the last byte of a run is to be written. */
export type LastByte =
  | 'as it came'
  /** The `+` of a literal's size. */
  | 'left out'
  /** A line feed that came without its carriage return. */
  | 'after CR';

const CR_BYTE = Buffer.of(CR);

/**
 * Hands over a command's text in runs as long as they came, to a taker that may take less than it is offered:
 * `position` says how far it got, and the next flush goes on there.
 */
export class TextRun {
  /** First position of the bytes at hand whose text was not taken yet. */
  position = 0;
  lastByte: LastByte = 'as it came';
  readonly #take: (bytes: Uint8Array, from: number, to: number) => number;
  #insert: Buffer | undefined;

  constructor(take: (bytes: Uint8Array, from: number, to: number) => number) {
    this.#take = take;
  }

  /** Forgets what was not taken. */
  reset(): void {
    this.#insert = undefined;
    this.lastByte = 'as it came';
  }

  /** Text that comes before the next run. */
  insert(text: Buffer): void {
    this.#insert = text;
  }

  /** Offers everything up to `to`; false if not all of it was taken. */
  flush(bytes: Uint8Array, to: number): boolean {
    if (this.#insert !== undefined) {
      const taken = this.#take(this.#insert, 0, this.#insert.length);
      this.#insert = taken < this.#insert.length ? this.#insert.subarray(taken) : undefined;
      if (this.#insert !== undefined) return false;
    }
    if (!this.#run(bytes, this.lastByte === 'as it came' ? to : to - 1)) return false;
    if (this.lastByte === 'after CR') {
      if (this.#take(CR_BYTE, 0, 1) === 0) return false;
      this.lastByte = 'as it came';
      return this.#run(bytes, to);
    }
    this.lastByte = 'as it came';
    this.position = to;
    return true;
  }

  /** Offers bytes up to `to`, the last of them as it came: some of what was offered before came again. */
  flushAgain(bytes: Uint8Array, to: number): void {
    const lastByte = this.lastByte;
    this.lastByte = 'as it came';
    this.flush(bytes, to);
    this.lastByte = lastByte;
  }

  #run(bytes: Uint8Array, to: number): boolean {
    if (this.position < to) this.position += this.#take(bytes, this.position, to);
    return this.position >= to;
  }
}
