/** Between the parser of stored lines and the index: for commands as they arrive, and for history. */
import type { ScalarView } from '../csync/dlist-sax.ts';
import type { FileHeader } from '../csync/file-header.ts';
import { type LineEvents, LineParser, type LineStart as ParsedLine } from '../csync/line-parser.ts';
import type { StoredVerb } from '../pipeline/messages.ts';
import type { BackupIndex } from './index/backup-index.ts';
import type { LineApplier } from './index/line-applier.ts';
import type { ApplyOutcome } from './index/outcome.ts';
import type { LineStart } from './open-chunk.ts';
import type { PendingMessages } from './pending.ts';
import { commandWord } from './stored-verbs.ts';

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
  verb: StoredVerb;
  line: LineStart;
  pending: PendingMessages;
  /** Take a MAILBOX although messages that it names are nowhere to be had. */
  acceptMissing: boolean;
}

/** Applies the text of one command of a client, in pieces, inside the caller's savepoint. */
export class LineFeed {
  readonly #events: ApplierEvents;
  readonly #parser: LineParser;

  constructor(index: BackupIndex, options: FeedOptions) {
    const { chunkId, pending, acceptMissing, line, verb } = options;
    const applier = index.applier({ chunkId, live: true, pending });
    this.#events = new ApplierEvents(applier, () => applier.endLine({ acceptMissing }));
    this.#parser = new LineParser(this.#events);
    this.#parser.reset(line.lineOffset);
    this.#parser.push(Buffer.from(`${line.time} ${commandWord(verb)} `, 'latin1'));
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

/**
 * Applies lines of history. One that cannot be applied is undone by itself and changes nothing: there is nobody
 * to tell, and what the lines after it say still holds.
 */
export class LineReplay extends ApplierEvents {
  constructor(index: BackupIndex, chunkId: number) {
    const savepoint = 'replay';
    super(index.applier({ chunkId, live: false }), (applier) => {
      const outcome = applier.endLine({ acceptMissing: true });
      if (outcome.type === 'ok') index.release(savepoint);
      else index.rollbackTo(savepoint);
      return outcome;
    });
    this.#begin = () => index.savepoint(savepoint);
    this.#undo = () => index.rollbackTo(savepoint);
  }

  readonly #begin: () => void;
  readonly #undo: () => void;

  override lineStart(line: ParsedLine): void {
    this.#begin();
    super.lineStart(line);
  }

  override malformed(line: { reason: string; started: boolean }): void {
    if (line.started) this.#undo();
    super.malformed(line);
  }
}
