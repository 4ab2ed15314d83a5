/**
 * Applies stored lines to an index: those of clients as they come, and those of data files when an index is
 * brought up to date or made anew. It takes the parser's events as they come and holds no more than one
 * RECORD. It works inside the caller's transaction; unless the outcome is `ok` the caller undoes what it did.
 */

import type { DlistSaxEvents, ScalarView } from '../../csync/dlist-sax.ts';
import type { FileHeader } from '../../csync/file-header.ts';
import type { StoredVerb } from '../../pipeline/messages.ts';
import { commandWord } from '../stored-verbs.ts';
import type { ApplyObserver } from './apply-observer.ts';
import type { BackupIndex } from './backup-index.ts';
import { MailboxLine } from './mailbox-line.ts';
import { type ApplyOutcome, badParameters } from './outcome.ts';
import type { PendingMessageSource } from './record-store.ts';
import { SmallLine } from './small-line.ts';
import { VERBS } from './verbs.ts';

export interface ApplierOptions {
  chunkId: number;
  /**
   * True for a request of a client: SINCE_* must fit, messages must be there. False for history, of which
   * everything is taken that can be.
   */
  live: boolean;
  /** Messages that are in the chunk but not in the index yet. */
  pending?: PendingMessageSource;
  /** Told what lines say before it is applied. */
  observer?: ApplyObserver | undefined;
}

export interface LineHead {
  /** Upper-case, without `LOCAL_`. */
  verb: string;
  command: string;
  /** In seconds. */
  time: number;
  /** Of the line in the chunk's content. */
  lineOffset: number;
}

/** Files of a MESSAGE line; entered when the line is complete. */
class MessageLine implements DlistSaxEvents {
  readonly files: { file: FileHeader; contentOffset: number }[] = [];

  file(file: FileHeader, contentOffset: number): void {
    this.files.push({ file, contentOffset });
  }
  beginList(): void {}
  beginKvlist(): void {}
  end(): void {}
  key(): void {}
  scalar(): void {}
}

export class LineApplier implements DlistSaxEvents {
  readonly #index: BackupIndex;
  readonly #options: ApplierOptions;
  readonly #small = new SmallLine();
  readonly #messages = new MessageLine();
  #mailbox: MailboxLine | undefined;
  #head: LineHead = { verb: '', command: '', time: 0, lineOffset: 0 };
  #sink: DlistSaxEvents = this.#small;

  constructor(index: BackupIndex, options: ApplierOptions) {
    this.#index = index;
    this.#options = options;
  }

  /** Begins a line; the events of its value follow, then `endLine`. A line that is broken off just ends. */
  beginLine(head: LineHead): void {
    this.#head = head;
    if (head.verb === 'MAILBOX') {
      const { chunkId, live, pending, observer } = this.#options;
      this.#mailbox ??= new MailboxLine(this.#index, { chunkId, live, pending, observer });
      this.#mailbox.begin(head.time);
      this.#sink = this.#mailbox;
    } else if (head.verb === 'MESSAGE') {
      this.#messages.files.length = 0;
      this.#sink = this.#messages;
    } else {
      this.#small.begin();
      this.#sink = this.#small;
    }
  }

  beginList(offset: number): void {
    this.#sink.beginList(offset);
  }

  beginKvlist(offset: number): void {
    this.#sink.beginKvlist(offset);
  }

  end(offset: number): void {
    this.#sink.end(offset);
  }

  key(key: string, offset: number): void {
    this.#sink.key(key, offset);
  }

  scalar(value: ScalarView, offset: number): void {
    this.#sink.scalar(value, offset);
  }

  file(file: FileHeader, contentOffset: number): void {
    this.#sink.file(file, contentOffset);
  }

  /**
   * The line is complete. After `need` the missing messages may be entered (`addMessage`, or made pending) and
   * the line ended again. `acceptMissing` takes a MAILBOX whose messages are not here.
   */
  endLine(options: { acceptMissing?: boolean } = {}): ApplyOutcome {
    const { verb } = this.#head;
    if (this.#sink === this.#mailbox) return this.#mailbox.finish(options.acceptMissing ?? false);
    if (verb === 'MESSAGE') return this.#enterMessages();
    const apply = VERBS.get(verb);
    if (apply === undefined) return this.#unknown();
    const { problem } = this.#small;
    if (problem !== undefined) return badParameters(`${verb}: ${problem}`);
    const { chunkId, live, observer } = this.#options;
    const { time, lineOffset } = this.#head;
    observer?.small(verb, this.#small);
    const changed = apply({ index: this.#index, line: this.#small, chunkId, live, time, lineOffset });
    if (typeof changed !== 'boolean') return { ...changed, text: `${verb}: ${changed.text}` };
    observer?.applied(changed);
    return { type: 'ok', changed, command: commandWord(verb as StoredVerb) };
  }

  #enterMessages(): ApplyOutcome {
    const { chunkId } = this.#options;
    const { lineOffset } = this.#head;
    for (const { file, contentOffset } of this.#messages.files) {
      this.#index.addMessage({ ...file, chunkId, lineOffset, contentOffset });
    }
    return { type: 'ok', changed: this.#messages.files.length > 0, command: 'APPLY' };
  }

  /** RESERVE, or what a later release may write: nothing of it is in an index. */
  #unknown(): ApplyOutcome {
    if (this.#options.live) return badParameters(`${this.#head.verb} is not known`);
    return { type: 'ok', changed: false, command: this.#head.command === 'APPLY' ? 'APPLY' : 'NOTE' };
  }
}
