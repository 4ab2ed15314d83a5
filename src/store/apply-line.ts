/** Between the parser of stored lines and the index: for commands as they arrive, and for history. */
import type { ScalarView } from '../csync/dlist-sax.ts';
import type { FileHeader } from '../csync/file-header.ts';
import { type LineEvents, LineParser, type LineStart as ParsedLine } from '../csync/line-parser.ts';
import type { ApplyObserver } from './index/apply-observer.ts';
import type { BackupIndex } from './index/backup-index.ts';
import type { LineApplier } from './index/line-applier.ts';
import type { ApplyOutcome } from './index/outcome.ts';
import { NOTE_KEY, NOTE_VERB, VALUE_KEY } from './notes.ts';
import type { LineStart } from './open-chunk.ts';
import type { PendingMessages } from './pending.ts';

/** Hands a parser's events on to an applier. */
class ApplierEvents implements LineEvents {
  readonly applier: LineApplier;
  /** Outcome of the last complete line. */
  outcome: ApplyOutcome | undefined;
  /** Why the last line was malformed. */
  problem: string | undefined;
  readonly #finish: (applier: LineApplier) => ApplyOutcome;

  constructor(applier: LineApplier, finish: (applier: LineApplier) => ApplyOutcome) {
    this.applier = applier;
    this.#finish = finish;
  }

  lineStart(line: ParsedLine): void {
    const { verb, command, time, offset: lineOffset } = line;
    this.applier.beginLine({ verb, command, time, lineOffset });
  }

  lineEnd(): void {
    this.outcome = this.#finish(this.applier);
  }

  malformed(line: { reason: string }): void {
    this.problem = line.reason;
  }

  beginList(offset: number): void {
    this.applier.beginList(offset);
  }

  beginKvlist(offset: number): void {
    this.applier.beginKvlist(offset);
  }

  end(offset: number): void {
    this.applier.end(offset);
  }

  key(key: string, offset: number): void {
    this.applier.key(key, offset);
  }

  scalar(value: ScalarView, offset: number): void {
    this.applier.scalar(value, offset);
  }

  file(file: FileHeader, contentOffset: number): void {
    this.applier.file(file, contentOffset);
  }
}

export interface FeedOptions {
  chunkId: number;
  line: LineStart;
  pending: PendingMessages;
  /** Take a MAILBOX although messages that it names are nowhere to be had. */
  acceptMissing: boolean;
  /** The line is one of ours, which says again what is known: it counts although it changes nothing. */
  isHistory?: boolean;
}

/** Applies the text of one command of a client, in pieces, inside the caller's savepoint. */
export class LineFeed {
  readonly #events: ApplierEvents;
  readonly #parser: LineParser;

  constructor(index: BackupIndex, options: FeedOptions) {
    const { chunkId, pending, acceptMissing, line, isHistory = false } = options;
    const applier = index.applier({ chunkId, live: !isHistory, pending });
    this.#events = new ApplierEvents(applier, () => applier.endLine({ acceptMissing }));
    this.#parser = new LineParser(this.#events);
    this.#parser.reset(line.lineOffset);
    this.#parser.push(Buffer.from(`${line.time} APPLY `, 'latin1'));
  }

  push(bytes: Uint8Array): void {
    this.#parser.push(bytes);
  }

  /** All text was pushed. */
  end(): ApplyOutcome {
    this.#parser.end();
    return (
      this.#events.outcome ?? {
        type: 'reject',
        code: 'IMAP_PROTOCOL_ERROR',
        text: this.#events.problem ?? 'the command is not complete',
      }
    );
  }
}

export interface LineReplayOptions {
  /** Told what lines say before it is applied. */
  observer?: ApplyObserver | undefined;
  /** Verbs of notes that change nothing. */
  ignoredNotes?: ReadonlySet<string> | undefined;
  /** Gets the verb of each note, and the line in which it stands. */
  onNote?: ((verb: string, line: ParsedLine) => void) | undefined;
}

/**
 * Applies lines of history. One that cannot be applied is undone by itself and changes nothing: there is nobody
 * to tell, and what the lines after it say still holds.
 */
export class LineReplay extends ApplierEvents {
  constructor(index: BackupIndex, chunkId: number, options: LineReplayOptions = {}) {
    const savepoint = 'replay';
    super(index.applier({ chunkId, live: false, observer: options.observer }), (applier) => {
      const outcome = applier.endLine({ acceptMissing: true });
      if (outcome.type === 'ok') index.release(savepoint);
      else index.rollbackTo(savepoint);
      return outcome;
    });
    this.#begin = () => index.savepoint(savepoint);
    this.#undo = () => index.rollbackTo(savepoint);
    this.#keep = () => index.release(savepoint);
    this.#ignoredNotes = options.ignoredNotes;
    this.#onNote = options.onNote;
  }

  readonly #ignoredNotes: ReadonlySet<string> | undefined;
  readonly #onNote: LineReplayOptions['onNote'];

  readonly #begin: () => void;
  readonly #undo: () => void;
  readonly #keep: () => void;
  /** Where in a RESERVE line the parser is; LINE in any other. */
  #place: Place = LINE;
  #depth = 0;
  #head: ParsedLine | undefined;

  override lineStart(line: ParsedLine): void {
    this.#begin();
    this.#head = line;
    this.#place = line.verb === NOTE_VERB ? WRAPPER : LINE;
    if (this.#place === LINE) super.lineStart(line);
  }

  override lineEnd(): void {
    if (this.#place === LINE || this.#place === TAIL) super.lineEnd();
    else this.#keep();
  }

  override malformed(line: { reason: string; started: boolean }): void {
    if (line.started) this.#undo();
    super.malformed(line);
  }

  override key(key: string, offset: number): void {
    if (this.#place === LINE || (this.#place === VALUE && this.#depth > 0)) super.key(key, offset);
    else if (this.#place === INSIDE) this.#place = key === NOTE_KEY ? NOTE : OTHER;
    else if (this.#place === NOTED) this.#place = key === VALUE_KEY ? VALUE : OTHER;
  }

  override scalar(value: ScalarView, offset: number): void {
    if (this.#place === NOTE) {
      const { time, offset: lineOffset } = this.#head!;
      const verb = value.latin1().toUpperCase();
      this.#onNote?.(verb, this.#head!);
      this.applier.beginLine({ verb, command: 'NOTE', time, lineOffset });
      this.#place = this.#ignoredNotes?.has(verb) ? OTHER : NOTED;
    } else if (this.#place === LINE || this.#place === VALUE) {
      super.scalar(value, offset);
      if (this.#place === VALUE && this.#depth === 0) this.#place = TAIL;
    }
  }

  override beginKvlist(offset: number): void {
    if (this.#place === WRAPPER) this.#place = INSIDE;
    else if (this.#enters()) super.beginKvlist(offset);
  }

  override beginList(offset: number): void {
    if (this.#enters()) super.beginList(offset);
  }

  #enters(): boolean {
    if (this.#place === VALUE) this.#depth++;
    return this.#place === LINE || this.#place === VALUE;
  }

  override end(offset: number): void {
    if (this.#place === LINE) super.end(offset);
    if (this.#place !== VALUE) return;
    super.end(offset);
    if (--this.#depth === 0) this.#place = TAIL;
  }
}

const LINE = 0;
const WRAPPER = 1;
const INSIDE = 2;
const NOTE = 3;
const NOTED = 4;
const VALUE = 5;
const TAIL = 6;
/** A RESERVE of Cyrus's backupd: it changes nothing. */
const OTHER = 7;
type Place =
  | typeof LINE
  | typeof WRAPPER
  | typeof INSIDE
  | typeof NOTE
  | typeof NOTED
  | typeof VALUE
  | typeof TAIL
  | typeof OTHER;
