/** A JSON document that is written as it comes, laid out as jansson lays it out with an indent of two. */
import { type Json, jsonText } from './text.ts';

export class JsonStream {
  readonly #print: (text: string) => void;
  /** Of each open array or object how it closes, and whether it has something in it. */
  readonly #open: { closer: string; filled: boolean }[] = [];

  /** `print` gets the pieces of the text. */
  constructor(print: (text: string) => void) {
    this.#print = print;
  }

  /** Begins an array, in an object under `key`. */
  array(key?: string): void {
    this.#begin(key, '[', ']');
  }

  object(key?: string): void {
    this.#begin(key, '{', '}');
  }

  /** A whole value, in an object under `key`. */
  value(value: Json, key?: string): void {
    this.#next(key);
    this.#print(jsonText(value, '  '.repeat(this.#open.length)));
  }

  /** Ends the array or object that was begun last. */
  end(): void {
    const { closer, filled } = this.#open.pop()!;
    this.#print(`${filled ? `\n${'  '.repeat(this.#open.length)}` : ''}${closer}`);
    if (this.#open.length === 0) this.#print('\n');
  }

  #begin(key: string | undefined, opener: string, closer: string): void {
    this.#next(key);
    this.#print(opener);
    this.#open.push({ closer, filled: false });
  }

  #next(key: string | undefined): void {
    const inside = this.#open.at(-1);
    if (inside === undefined) return;
    this.#print(`${inside.filled ? ',' : ''}\n${'  '.repeat(this.#open.length)}`);
    inside.filled = true;
    if (key !== undefined) this.#print(`${jsonText(key)}: `);
  }
}
