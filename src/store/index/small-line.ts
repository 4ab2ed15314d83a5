/** Gathers the value of a line that is no MAILBOX: one atom, or a flat list of named fields. */
import { createHash } from 'node:crypto';
import type { DlistSaxEvents, ScalarView } from '../../csync/dlist-sax.ts';
import type { FileHeader } from '../../csync/file-header.ts';
import { DlistText } from './dlist-text.ts';

const START = 0;
const FIELDS = 1;
const NESTED = 2;
const DONE = 3;

export class SmallLine implements DlistSaxEvents {
  /** The bare atom, as in `UNMAILBOX name`. */
  atom: string | undefined;
  /** Scalars of the kvlist by key; null for NIL. The first of two counts. */
  readonly fields = new Map<string, string | null>();
  /** Numbers in the list `UID`. */
  readonly uids: number[] = [];
  /** The value as dlist text. */
  readonly text = new DlistText();
  /** SHA-1 of the field CONTENT, in hex; undefined without one. */
  contentSha1: string | undefined;
  /** Why it cannot be applied. */
  problem: string | undefined;
  #state = START;
  #key = '';
  #depth = 0;

  begin(): void {
    this.atom = undefined;
    this.fields.clear();
    this.uids.length = 0;
    this.text.reset();
    this.contentSha1 = undefined;
    this.problem = undefined;
    this.#state = START;
  }

  beginKvlist(): void {
    this.text.beginKvlist();
    if (this.#state === START) this.#state = FIELDS;
    else this.#nest();
  }

  beginList(): void {
    this.text.beginList();
    if (this.#state === START) this.problem ??= 'its value is a list without names';
    this.#nest();
  }

  end(): void {
    this.text.end();
    if (this.#state === FIELDS) this.#state = DONE;
    else if (--this.#depth === 0) this.#state = FIELDS;
  }

  key(key: string): void {
    this.text.key(key);
    if (this.#state === FIELDS) this.#key = key;
  }

  scalar(value: ScalarView): void {
    if (!value.held) {
      this.problem ??= `a value of ${value.size} bytes is too long`;
      return;
    }
    if (this.#state === FIELDS && this.#key === 'CONTENT') {
      // A script is kept in the data file only.
      const { bytes, start, end } = value;
      this.contentSha1 ??= createHash('sha1').update(bytes.subarray(start, end)).digest('hex');
      return;
    }
    this.text.scalar(value);
    if (this.#state === START) {
      this.atom = value.isNil ? undefined : value.latin1();
    } else if (this.#state === FIELDS) {
      if (!this.fields.has(this.#key)) this.fields.set(this.#key, value.isNil ? null : value.latin1());
    } else if (this.#state === NESTED && this.#key === 'UID') {
      const uid = value.number();
      if (uid === undefined) this.problem ??= 'UID holds something that is no number';
      else this.uids.push(uid);
    }
  }

  file(_file: FileHeader): void {
    this.problem ??= 'it holds a file';
  }

  #nest(): void {
    if (this.#state !== NESTED) this.#depth = 0;
    this.#depth++;
    this.#state = NESTED;
  }
}
