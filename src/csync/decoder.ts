import { CR, LF, latin1, SP, TAB } from './bytes.ts';
import { CommandGatherer } from './command-gatherer.ts';
import type { DecoderEvents } from './decoder-events.ts';
import { parseDlist } from './dlist.ts';
import type { FileHeader } from './file-header.ts';
import { upperCase } from './key-table.ts';
import type { BadCommand, DecoderLimits } from './limits.ts';
import { DlistScanner, type ScalarKind, type ScanEvents, type ScanLimits } from './scanner.ts';
import { LineSkipper } from './skipper.ts';

import { TextRun } from './text-run.ts';
import { TokenBuffer } from './token-buffer.ts';

export type { DecoderEvents } from './decoder-events.ts';
export type { FileHeader } from './file-header.ts';
export { type BadCommand, DEFAULT_DECODER_LIMITS, type DecoderLimits } from './limits.ts';

const MAX_VERB_BYTES = 64;
const MAX_FIELD_BYTES = 4096;
const VERB = /^[A-Za-z_]+$/;
/** Verbs whose size grows with the mailbox; their text is a stream to everyone behind. */
const BULK_VERBS = new Set(['MAILBOX', 'LOCAL_MAILBOX', 'MESSAGE', 'RESERVE', 'EXPUNGE']);

const LINE = 0; // a line that is neither APPLY nor GET, or not known yet
const NAME = 1; // the word after APPLY or GET
const VALUE_SPACE = 2;
const VALUE = 3;
const VALUE_END = 4;
const SKIP = 5;

/** What is to happen once all text so far was taken; in this order. */
const MESSAGE_START = 1;
const MESSAGE_END = 2;
const LINE_DONE = 4;

/**
 * Push parser of a csync client's stream: no I/O, any split of the input, never more in memory than one value
 * of a field (4 KiB), one word, or a GET within its limits. Message bytes pass through `text` in runs as long
 * as they came, without being looked at. A command that is malformed or over a limit is skipped by counting
 * its literals, so that the connection goes on in step.
 */
export class Decoder {
  readonly #limits: DecoderLimits;
  readonly #events: DecoderEvents;
  readonly #scanLimits: ScanLimits;
  readonly #scanner: DlistScanner;
  readonly #skipper = new LineSkipper(true);
  readonly #gatherer: CommandGatherer;
  #state = LINE;
  #paused = false;
  #name = '';
  #isGet = false;
  /** Text of this command is being handed over. */
  #emitting = false;
  /** The command was refused for a limit; its grammar is still followed to its end. */
  #muted = false;
  /** A synchronising literal was announced: the client goes on when it is told to. */
  #clientWaits = false;
  #bulk = false;
  #lineBytes = 0;
  #sawCr = false;
  readonly #run: TextRun;
  /** Bytes that earlier pushes parsed and whose text was not taken. */
  #ahead = 0;
  #boundary = false;
  #actions = 0;
  #file: FileHeader | undefined;
  #topKind: 'list' | 'kvlist' = 'list';
  #fieldIsList = false;
  #fieldKey = '';
  /** Text of a GET. */
  readonly #gathered = new TokenBuffer();

  constructor(limits: DecoderLimits, events: DecoderEvents) {
    this.#limits = limits;
    this.#events = events;
    this.#scanLimits = {
      maxWordBytes: limits.maxWordBytes,
      maxQuotedBytes: limits.maxQuotedBytes,
      maxLiteralBytes: limits.maxLiteralBytes,
      maxFileBytes: -1,
      maxDepth: limits.maxDepth,
      keepBytes: MAX_FIELD_BYTES,
    };
    this.#run = new TextRun((bytes, from, to) => this.#text(bytes, from, to));
    this.#scanner = new DlistScanner(this.#scanEvents(), this.#scanLimits);
    this.#gatherer = new CommandGatherer(limits.maxCommandBytes, this.#skipper);
  }

  /**
   * Makes push return after the event that is being handled. Only text that is parsed already may come in
   * between, and if all of it is taken the event that waited for it; to pause in `text` take less.
   */
  pause(): void {
    this.#paused = true;
    this.#scanner.stop();
  }

  /** The next line is a SASL response: it comes as `line`, whatever it holds. */
  expectLine(): void {
    this.#gatherer.expectLine();
  }

  /**
   * Decodes `bytes` from `start` to `end`. Returns the position up to which they were consumed; if that is not
   * `end` a handler paused: push the bytes from there again, with what follows them, when it can go on.
   */
  push(bytes: Uint8Array, start: number, end: number): number {
    this.#paused = false;
    this.#run.position = start;
    let pos = start + this.#ahead;
    if (pos > end) return this.#pushAgain(bytes, start, end);
    this.#ahead = 0;
    if (this.#boundary && !this.#settle(bytes, pos)) return this.#leave(pos);
    while (pos < end && !this.#paused) {
      pos = this.#step(bytes, pos, end);
      if (this.#boundary && (this.#paused || !this.#settle(bytes, pos))) return this.#leave(pos);
    }
    if (this.#emitting && !this.#paused) this.#run.flush(bytes, pos);
    return this.#leave(pos);
  }

  /** The stream has ended: a command that is under way is aborted. */
  end(): void {
    const open = this.#emitting && !this.#isGet;
    this.#nextLine();
    this.#gatherer.reset();
    if (open) this.#events.applyAbort({ kind: 'eof', text: 'the connection ended inside the command' });
  }

  #step(bytes: Uint8Array, pos: number, end: number): number {
    switch (this.#state) {
      case LINE:
        return this.#stepLine(bytes, pos, end);
      case NAME:
        return this.#stepName(bytes[pos] as number, pos);
      case VALUE_SPACE: {
        const byte = bytes[pos] as number;
        if (byte === SP || byte === TAB) return (this.#run.position = pos + 1);
        this.#state = VALUE;
        return pos;
      }
      case VALUE:
        return this.#stepValue(bytes, pos, end);
      case VALUE_END:
        return this.#stepValueEnd(bytes[pos] as number, pos);
      default: {
        const at = this.#skipper.push(bytes, pos, end);
        if (this.#skipper.done) this.#nextLine();
        return at;
      }
    }
  }

  #stepLine(bytes: Uint8Array, pos: number, end: number): number {
    const at = this.#gatherer.push(bytes, pos, end);
    const found = this.#gatherer.take();
    if (found === undefined) return at;
    switch (found.kind) {
      case 'value':
        this.#state = NAME;
        this.#isGet = found.word === 'GET';
        this.#name = '';
        break;
      case 'command':
        this.#events.command(found.word, found.args, found.sent);
        break;
      case 'line':
        this.#events.line(found.text);
        break;
      case 'continuation':
        this.#events.continuation();
        break;
      default:
        if (!this.#skipper.done) this.#state = SKIP;
        this.#events.bad(found.reason);
    }
    return at;
  }

  #stepName(byte: number, pos: number): number {
    if (byte === CR || byte === LF) {
      const text = `Missing required argument to ${this.#isGet ? 'Get' : 'Apply'}`;
      this.#refuse({ kind: 'malformed', text });
      this.#skip(0);
      return pos;
    }
    if (byte === SP || byte === TAB) {
      this.#run.position = pos + 1;
      if (this.#name !== '') this.#startValue();
      return pos + 1;
    }
    if (this.#name.length === MAX_VERB_BYTES) {
      this.#refuse({ kind: 'limit', text: 'the name of what to get or apply is too long' });
      this.#skip(0, 'word');
      return pos;
    }
    this.#name += String.fromCharCode(byte);
    return pos + 1;
  }

  #startValue(): void {
    if (!VERB.test(this.#name)) {
      this.#refuse({ kind: 'malformed', text: 'the name of what to get or apply is malformed' });
      this.#skip(0);
      return;
    }
    const name = upperCase(this.#name);
    this.#name = name;
    this.#state = VALUE_SPACE;
    this.#lineBytes = 0;
    this.#sawCr = false;
    this.#muted = false;
    this.#bulk = !this.#isGet && BULK_VERBS.has(name);
    this.#scanLimits.maxFileBytes = !this.#isGet && name === 'MESSAGE' ? this.#limits.maxMessageBytes : -1;
    this.#scanner.reset();
    this.#emitting = true;
    if (this.#isGet) return;
    this.#run.insert(Buffer.from(`${name.replace(/^LOCAL_/, '')} `, 'latin1'));
    this.#events.applyStart(name);
  }

  #stepValue(bytes: Uint8Array, pos: number, end: number): number {
    const at = this.#scanner.push(bytes, pos, end);
    this.#lineBytes += at - pos;
    if (!this.#paused) this.#checkLimits();
    const failure = this.#scanner.failure;
    if (failure !== undefined) {
      this.#refuse({ kind: failure.kind, text: failure.text });
      if (failure.refused) this.#nextLine();
      else this.#skip(failure.literalBytes, failure.inside);
      return at;
    }
    if (this.#scanner.done) this.#state = VALUE_END;
    if (this.#clientWaits) {
      this.#clientWaits = false;
      if (this.#muted) this.#nextLine();
      else this.#events.continuation();
    }
    return at;
  }

  #checkLimits(): void {
    if (this.#bulk || this.#muted) return;
    const { literalBytes, items } = this.#scanner;
    const { maxLineBytes, maxLiteralBytes, maxItems } = this.#limits;
    let what: string;
    if (this.#lineBytes - literalBytes > maxLineBytes) what = `is longer than ${maxLineBytes} bytes`;
    else if (literalBytes > maxLiteralBytes) what = `has more than ${maxLiteralBytes} bytes of literals`;
    else if (items > maxItems) what = `has more than ${maxItems} values`;
    else return;
    this.#refuse({ kind: 'limit', text: `the command ${what}` });
    this.#muted = true;
  }

  #stepValueEnd(byte: number, pos: number): number {
    // A handler may have paused at the last value.
    this.#checkLimits();
    if (byte === CR && !this.#sawCr) {
      this.#sawCr = true;
      return pos + 1;
    }
    if (byte !== LF) {
      this.#refuse({ kind: 'malformed', text: 'something follows the value' });
      this.#skip(0);
      return pos;
    }
    if (this.#muted) {
      this.#nextLine();
    } else {
      if (!this.#sawCr) this.#run.lastByte = 'after CR';
      this.#actions |= LINE_DONE;
      this.#boundary = true;
    }
    return pos + 1;
  }

  /** Reports the command as bad, once; nothing more of its text is handed over. */
  #refuse(reason: BadCommand): void {
    const wasApply = this.#emitting && !this.#isGet;
    const reported = this.#muted;
    this.#forgetText();
    if (reported) return;
    if (wasApply) this.#events.applyAbort(reason);
    else this.#events.bad(reason);
  }

  #forgetText(): void {
    this.#emitting = false;
    this.#run.reset();
    this.#boundary = false;
    this.#actions = 0;
    this.#ahead = 0;
    this.#gathered.release();
  }

  #skip(literalBytes: number, inside?: 'word' | 'file header'): void {
    this.#skipper.begin(literalBytes, inside);
    this.#state = SKIP;
  }

  #nextLine(): void {
    this.#forgetText();
    this.#state = LINE;
    this.#muted = false;
    this.#clientWaits = false;
  }

  /** Less came again than was parsed before: only hand over its text. */
  #pushAgain(bytes: Uint8Array, start: number, end: number): number {
    this.#run.flushAgain(bytes, end);
    this.#ahead -= this.#run.position - start;
    return this.#run.position;
  }

  #leave(pos: number): number {
    if (!this.#emitting) return pos;
    this.#ahead = pos - this.#run.position;
    return this.#run.position;
  }

  /** Hands over all text up to `pos` and does what waits for that; false if the text was not all taken. */
  #settle(bytes: Uint8Array, pos: number): boolean {
    if (!this.#run.flush(bytes, pos)) return false;
    const actions = this.#actions;
    if ((actions & MESSAGE_START) !== 0 && this.#file !== undefined) {
      this.#actions &= ~MESSAGE_START;
      this.#events.messageStart(this.#file);
      if (this.#paused && this.#actions !== 0) return false;
    }
    this.#boundary = false;
    this.#actions = 0;
    if ((actions & MESSAGE_END) !== 0) this.#events.messageEnd();
    if ((actions & LINE_DONE) !== 0) this.#lineDone();
    return true;
  }

  #lineDone(): void {
    if (!this.#isGet) {
      this.#nextLine();
      this.#events.applyEnd();
      return;
    }
    const value = parseDlist(this.#gathered.bytes.subarray(0, this.#gathered.length - 2));
    this.#nextLine();
    this.#events.get(this.#name, value);
  }

  #text(bytes: Uint8Array, from: number, to: number): number {
    if (!this.#isGet) return this.#events.text(bytes, from, to);
    this.#gathered.append(bytes, from, to);
    return to - from;
  }

  /** Stops the scanner where text has to be handed over before anything else happens. */
  #atBoundary(): void {
    if (!this.#emitting) return;
    this.#boundary = true;
    this.#scanner.stop();
  }

  #scanEvents(): ScanEvents {
    return {
      begin: (kind) => {
        if (this.#scanner.depth === 1) this.#topKind = kind;
        else if (this.#scanner.depth === 2) this.#fieldIsList = kind === 'list';
      },
      end: () => {},
      key: (bytes, from, to) => {
        if (this.#scanner.depth === 1) this.#fieldKey = upperCase(latin1(bytes, from, to));
      },
      scalar: (kind, bytes, from, to, size) => {
        if (this.#scanner.depth <= 2 && to - from === size) this.#scalar(kind, bytes, from, to);
      },
      plus: () => {
        if (this.#emitting) this.#run.lastByte = 'left out';
        this.#atBoundary();
      },
      bareLf: () => {
        if (this.#emitting) this.#run.lastByte = 'after CR';
        this.#atBoundary();
      },
      literal: (_size, synchronising) => {
        if (!synchronising) return;
        this.#clientWaits = true;
        this.#scanner.stop();
      },
      file: (file) => {
        this.#file = file;
        if (this.#emitting) this.#actions |= MESSAGE_START;
        this.#atBoundary();
      },
      fileBytes: () => {},
      fileEnd: () => {
        if (this.#emitting) this.#actions |= MESSAGE_END;
        this.#atBoundary();
      },
    };
  }

  #scalar(kind: ScalarKind, bytes: Uint8Array, from: number, to: number): void {
    if (this.#isGet || this.#muted) return;
    const depth = this.#scanner.depth;
    const isField = depth === 0 || (depth === 1 && this.#topKind === 'kvlist');
    if (isField) {
      const value = kind === 'nil' ? null : latin1(bytes, from, to);
      this.#events.field(depth === 0 ? '' : this.#fieldKey, value);
    } else if (
      this.#events.item !== undefined &&
      (depth === 1 || (this.#topKind === 'kvlist' && this.#fieldIsList))
    ) {
      this.#events.item(depth === 1 ? '' : this.#fieldKey, kind === 'nil' ? null : latin1(bytes, from, to));
    }
  }
}
