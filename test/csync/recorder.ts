import { type BadCommand, Decoder, type DecoderEvents, type DecoderLimits } from '../../src/csync/decoder.ts';
import { printDlist } from '../../src/csync/encoder.ts';
import type { FileHeader } from '../../src/csync/file-header.ts';
import { DEFAULT_DECODER_LIMITS } from '../../src/csync/limits.ts';

/** What came of one line of a client, in a form that does not depend on how the bytes were split. */
export type Recorded =
  | {
      kind: 'apply';
      verb: string;
      text: string;
      fields: [string, string | null][];
      items: [string, string | null][];
      messages: (FileHeader & { offset: number; end: number })[];
    }
  | { kind: 'abort'; verb: string; reason: BadCommand }
  | { kind: 'get'; name: string; value: string }
  | { kind: 'command'; word: string; args: string[]; sent: string }
  | { kind: 'line'; text: string }
  | { kind: 'continuation' }
  | { kind: 'bad'; reason: BadCommand };

export interface RecorderOptions {
  limits?: Partial<DecoderLimits>;
  /** How much of an offered run to take; all by default. */
  take?: (length: number) => number;
  /** Pause in every event. */
  pause?: boolean;
}

/** Feeds a decoder as a socket would, and checks that its events come in an order that means something. */
export class Recorder implements DecoderEvents {
  readonly log: Recorded[] = [];
  readonly decoder: Decoder;
  readonly #options: RecorderOptions;
  #open: Extract<Recorded, { kind: 'apply' }> | undefined;
  #text: Buffer[] = [];
  #length = 0;
  #message: (FileHeader & { offset: number; end: number }) | undefined;
  #paused = false;

  constructor(options: RecorderOptions = {}) {
    this.#options = options;
    this.decoder = new Decoder({ ...DEFAULT_DECODER_LIMITS, ...options.limits }, this);
  }

  /** Pushes all pieces and, after each, what the decoder left. */
  feed(pieces: Iterable<Uint8Array>): this {
    let waiting: Uint8Array = new Uint8Array(0);
    for (const piece of pieces) {
      waiting = waiting.length === 0 ? piece : Buffer.concat([waiting, piece]);
      for (;;) {
        const at = this.push(waiting, 0, waiting.length);
        if (at < 0 || at > waiting.length) throw new Error(`position ${at} of ${waiting.length}`);
        waiting = waiting.subarray(at);
        if (waiting.length === 0) break;
      }
    }
    return this;
  }

  push(bytes: Uint8Array, start: number, end: number): number {
    this.#paused = false;
    return this.decoder.push(bytes, start, end);
  }

  end(): this {
    this.#paused = false;
    this.decoder.end();
    if (this.#open !== undefined) throw new Error('a command is still open');
    return this;
  }

  applyStart(verb: string): void {
    if (this.#open !== undefined) throw new Error('applyStart within a command');
    this.#open = { kind: 'apply', verb, text: '', fields: [], items: [], messages: [] };
    this.#text = [];
    this.#length = 0;
    this.#message = undefined;
    this.#pause();
  }

  text(bytes: Uint8Array, start: number, end: number): number {
    this.#mustBeOpen();
    if (end <= start) throw new Error('an empty run');
    const take = this.#options.take?.(end - start) ?? end - start;
    this.#text.push(Buffer.from(bytes.subarray(start, start + take)));
    this.#length += take;
    if (this.#options.pause) this.decoder.pause();
    return take;
  }

  messageStart(file: FileHeader): void {
    if (this.#message !== undefined) throw new Error('messageStart within a message');
    this.#message = { ...file, offset: this.#length, end: -1 };
    this.#mustBeOpen().messages.push(this.#message);
    this.#pause();
  }

  messageEnd(): void {
    if (this.#message === undefined) throw new Error('messageEnd without a message');
    this.#message.end = this.#length;
    if (this.#message.end - this.#message.offset !== this.#message.size) throw new Error('not the message');
    this.#message = undefined;
    this.#pause();
  }

  field(key: string, value: string | null): void {
    this.#mustBeOpen().fields.push([key, value]);
    this.#pause();
  }

  item(key: string, value: string | null): void {
    this.#mustBeOpen().items.push([key, value]);
    this.#pause();
  }

  applyEnd(): void {
    const open = this.#mustBeOpen();
    if (this.#message !== undefined) throw new Error('applyEnd within a message');
    open.text = Buffer.concat(this.#text).toString('latin1');
    this.log.push(open);
    this.#open = undefined;
    this.#pause();
  }

  applyAbort(reason: BadCommand): void {
    this.log.push({ kind: 'abort', verb: this.#mustBeOpen().verb, reason });
    this.#open = undefined;
    this.#pause();
  }

  get(name: string, value: Parameters<DecoderEvents['get']>[1]): void {
    this.#push({ kind: 'get', name, value: printDlist(value) });
  }

  command(word: string, args: string[], sent: string): void {
    if (word === 'AUTHENTICATE') this.decoder.expectLine();
    this.#push({ kind: 'command', word, args, sent });
  }

  line(text: string): void {
    this.#push({ kind: 'line', text });
  }

  continuation(): void {
    this.log.push({ kind: 'continuation' });
    this.#pause();
  }

  bad(reason: BadCommand): void {
    this.#push({ kind: 'bad', reason });
  }

  #push(recorded: Recorded): void {
    if (this.#open !== undefined) throw new Error(`${recorded.kind} within APPLY ${this.#open.verb}`);
    this.log.push(recorded);
    this.#pause();
  }

  #mustBeOpen(): Extract<Recorded, { kind: 'apply' }> {
    if (this.#open === undefined) throw new Error('an event outside of APPLY');
    return this.#open;
  }

  /** After a pause no event may come before the next push, but for the rest of the text that was parsed. */
  #pause(): void {
    if (this.#paused) throw new Error('an event after a pause');
    if (!this.#options.pause) return;
    this.#paused = true;
    this.decoder.pause();
  }
}

export function decode(bytes: Uint8Array | string, options?: RecorderOptions): Recorded[] {
  return new Recorder(options).feed([toBytes(bytes)]).end().log;
}

/** The stream in pieces of `size` bytes. */
export function* inPieces(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

export function toBytes(text: Uint8Array | string): Uint8Array {
  return typeof text === 'string' ? Buffer.from(text, 'latin1') : text;
}
