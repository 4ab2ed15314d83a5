import type { Dlist } from '../../src/csync/dlist.ts';
import type { DlistSaxEvents, ScalarView } from '../../src/csync/dlist-sax.ts';
import type { FileHeader } from '../../src/csync/file-header.ts';

/** One event with its offset, as a string that is easy to compare. */
export type SaxEvent = [event: string, offset: number];

/** Builds the tree of a value from its events alone, and notes where each event lay. */
export class SaxRecorder implements DlistSaxEvents {
  readonly values: Dlist[] = [];
  readonly events: SaxEvent[] = [];
  readonly #open: Dlist[] = [];
  readonly #keys: string[] = [];
  #content: Buffer[] | undefined;
  #file: FileHeader | undefined;

  beginList(offset: number): void {
    this.events.push(['(', offset]);
    this.#open.push({ kind: 'list', items: [] });
  }

  beginKvlist(offset: number): void {
    this.events.push(['%(', offset]);
    this.#open.push({ kind: 'kvlist', entries: [] });
  }

  end(offset: number): void {
    this.events.push([')', offset]);
    const value = this.#open.pop();
    if (value === undefined) throw new Error('end without a beginning');
    this.#add(value);
  }

  key(key: string, offset: number): void {
    this.events.push([`key ${key}`, offset]);
    this.#keys.push(key);
  }

  scalar(value: ScalarView, offset: number): void {
    this.events.push([`${value.kind} ${value.held ? value.latin1() : value.size}`, offset]);
    if (value.isNil) this.#add({ kind: 'nil' });
    else if (!value.held) this.#add({ kind: 'atom', value: Buffer.from(`${value.size} bytes`) });
    else this.#add({ kind: value.kind === 'flag' ? 'flag' : 'atom', value: value.copy() });
  }

  file(file: FileHeader, contentOffset: number): void {
    this.events.push([`file ${file.partition} ${file.guid} ${file.size}`, contentOffset]);
    this.#file = file;
    this.#content = [];
  }

  fileBytes(bytes: Uint8Array, start: number, end: number): void {
    this.#content?.push(Buffer.from(bytes.subarray(start, end)));
  }

  fileEnd(): void {
    const content = Buffer.concat(this.#content ?? []);
    if (this.#file === undefined || content.length !== this.#file.size) throw new Error('not the file');
    this.#add({ kind: 'file', partition: this.#file.partition, guid: this.#file.guid, content });
    this.#file = undefined;
  }

  #add(value: Dlist): void {
    const parent = this.#open.at(-1);
    if (parent === undefined) this.values.push(value);
    else if (parent.kind === 'list') parent.items.push(value);
    else if (parent.kind === 'kvlist') parent.entries.push([this.#keys.pop() ?? '?', value]);
  }
}
