/** Looking for texts in text that comes in pieces, whatever case, spacing and composition of characters. */
import { isAscii } from './charset.ts';

/** A text that is looked for. */
export class TextPattern {
  readonly #pattern: RegExp;
  /** Characters that are no ASCII can be written in more than one way. */
  readonly #composes: boolean;
  readonly length: number;

  constructor(text: string) {
    const composed = text.normalize('NFC').trim();
    this.length = composed.length;
    this.#composes = !isAscii(composed);
    const words = composed.split(/\s+/).map((word) => word.replaceAll(/[\\^$.*+?()[\]{}|/]/g, '\\$&'));
    this.#pattern = new RegExp(words.join('\\s+'), this.#composes ? 'iu' : 'i');
  }

  isIn(text: string): boolean {
    const composed = this.#composes && !isAscii(text) ? text.normalize('NFC') : text;
    return this.#pattern.test(composed);
  }
}

/** Which of some texts were found, in any of the pieces of any of the readers that share it. */
export class WantedTexts {
  readonly #missing: Set<TextPattern>;
  /** Characters in which a text that begins at the first ends, unless there are very many blanks in it. */
  readonly reach: number;

  constructor(texts: readonly TextPattern[]) {
    this.#missing = new Set(texts);
    this.reach = Math.max(0, ...texts.map(({ length }) => 2 * length)) + MAX_BLANKS;
  }

  /** All were found. */
  get isDone(): boolean {
    return this.#missing.size === 0;
  }

  lookAt(text: string): void {
    for (const pattern of this.#missing) if (pattern.isIn(text)) this.#missing.delete(pattern);
  }
}

/** Between words, where a text comes in two pieces. */
const MAX_BLANKS = 1000;

/** One stream of text. */
export class TextFinder {
  readonly #wanted: WantedTexts;
  /** The end of what was looked at, in which a text may begin that the next piece ends. */
  #tail = '';

  constructor(wanted: WantedTexts) {
    this.#wanted = wanted;
  }

  push(text: string): void {
    if (text === '' || this.#wanted.isDone) return;
    const whole = this.#tail === '' ? text : this.#tail + text;
    this.#wanted.lookAt(whole);
    this.#tail = whole.slice(-this.#wanted.reach);
  }

  /** No text goes on behind this. */
  finish(): void {
    this.#tail = '';
  }
}
