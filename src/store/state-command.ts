/**
 * Every APPLY that changes state: its rows are applied inside a savepoint, then its text is committed. A
 * MAILBOX of any size passes through as a stream; a small command is applied before its text is written, so
 * that what is refused or changes nothing never reaches the file.
 */
import fs from 'node:fs';
import { printString } from '../csync/encoder.ts';
import type {
  ShardReply,
  StagedMessage,
  StoredVerb,
  SupplyRequest,
  TextPiece,
} from '../pipeline/messages.ts';
import { slabText } from '../pipeline/slabs.ts';
import { crashPoint } from '../platform/crash-points.ts';
import { LineFeed } from './apply-line.ts';
import { noteAgain } from './ask-again.ts';
import type { Backup } from './backup.ts';
import { isKnownToLack } from './index/lacking.ts';
import type { ApplyOutcome, Rejection } from './index/outcome.ts';
import {
  appendStagedMessages,
  eachBlock,
  exportPending,
  type LineText,
  type SpoolFile,
} from './line-text.ts';
import { appendPiece, type Command } from './message-command.ts';
import { noteValue, writeNote } from './notes.ts';
import type { LineStart, OpenChunk } from './open-chunk.ts';
import type { PendingMessage } from './pending.ts';
import type { StoreEnvironment } from './store-environment.ts';
import { commandWord } from './stored-verbs.ts';

const SAVEPOINT = 'command';
/** Missing messages that the main thread is asked for at a time: the lists travel between threads. */
const ASKED_AT_A_TIME = 25_000;
/** Of an EXPUNGE of our own. */
const UIDS_OF_LINE = 10_000;

type Verdict = NonNullable<Extract<ApplyOutcome, { type: 'ok' }>['verdict']>;

export class StateCommand implements Command {
  readonly #backup: Backup;
  readonly #env: StoreEnvironment;
  readonly #memory: SharedArrayBuffer;
  readonly #verb: StoredVerb;
  readonly #openSpool: (kind: string) => SpoolFile;
  #small: Uint8Array | undefined;
  #spooled: { path: string; offset: number; length: number } | undefined;
  #stream: { mark: ReturnType<OpenChunk['mark']>; line: LineStart; feed: LineFeed } | undefined;
  /** Messages of other people that were moved out of this file; the main thread keeps them for later. */
  #moved: StagedMessage[] = [];
  /** GUIDs that the client takes for stored: to take what it sends without them would lose them. */
  readonly #lost = new Set<string>();
  /** Of so many messages the client has said that it cannot read them. */
  #unsent = 0;

  constructor(
    backup: Backup,
    verb: StoredVerb,
    memory: SharedArrayBuffer,
    env: StoreEnvironment,
    openSpool: (kind: string) => SpoolFile,
  ) {
    this.#backup = backup;
    this.#verb = verb;
    this.#openSpool = openSpool;
    this.#memory = memory;
    this.#env = env;
  }

  async addPiece(piece: TextPiece, isOnly = false): Promise<void> {
    if (isOnly && piece.kind === 'bytes') {
      this.#small = piece.bytes;
      return;
    }
    if (commandWord(this.#verb) === 'NOTE') {
      this.#spoolPiece(piece);
      return;
    }
    const chunk = this.#backup.ensureChunk();
    if (this.#stream === undefined) {
      const mark = chunk.mark();
      const line = chunk.beginLine();
      await chunk.syncStart();
      this.#backup.index.savepoint(SAVEPOINT);
      this.#stream = { mark, line, feed: this.#newFeed(line, false) };
    }
    this.#stream.feed.push(
      piece.kind === 'bytes' ? piece.bytes : slabText(this.#memory, piece.slab, piece.rawLength),
    );
    appendPiece(chunk, piece, this.#memory);
  }

  async finish(): Promise<ShardReply> {
    if (this.#stream !== undefined) {
      const outcome = this.#stream.feed.end();
      if (outcome.type === 'ok' && this.#backup.ensureChunk().pending.strangers().length === 0) {
        return await this.#commit(outcome.verdict);
      }
      const text = outcome.type === 'reject' ? { bytes: Buffer.alloc(0) } : this.#spoolStream();
      this.abort();
      if (outcome.type === 'reject') return await this.#reject(outcome);
      return await this.#applyAndWrite(text, false, outcome.type === 'ok');
    }
    return await this.#applyAndWrite(this.#spooled ?? { bytes: this.#small! }, false, true);
  }

  /** The main thread found these messages; with them, or without what is still missing, decide. */
  async supply({ staged, lost, unsent }: SupplyRequest): Promise<ShardReply> {
    appendStagedMessages(this.#backup.ensureChunk(), staged);
    for (const guid of lost) this.#lost.add(guid);
    this.#unsent = unsent;
    return await this.#applyAndWrite(this.#waiting!, !(this.#needsMore && staged.length > 0), true);
  }

  abort(): void {
    if (this.#stream === undefined) return;
    const { index } = this.#backup;
    index.rollbackTo(SAVEPOINT);
    const chunk = this.#backup.ensureChunk();
    chunk.pending.unclaimAll();
    chunk.rollback(this.#stream.mark);
    this.#stream = undefined;
  }

  #waiting: LineText | undefined;
  /** More is missing than was asked for. */
  #needsMore = false;

  #newFeed(line: LineStart, acceptMissing: boolean): LineFeed {
    const chunk = this.#backup.ensureChunk();
    return new LineFeed(this.#backup.index, {
      chunkId: chunk.id,
      line,
      acceptMissing,
      pending: chunk.pending,
    });
  }

  /**
   * Applies the text, and if that is right appends and commits it.
   *
   * @param isLast the main thread has been asked for all missing messages already, or has none of them
   */
  async #applyAndWrite(text: LineText, isLast: boolean, mayMove: boolean): Promise<ShardReply> {
    const { index } = this.#backup;
    const chunk = this.#backup.ensureChunk();
    let outcome = this.#tryApply(text, chunk.peekLine(), false);
    if (outcome.type === 'need' && isLast) {
      const { uniqueid, guids, missingCount, stillMissing } = outcome;
      const lost = [...guids, ...stillMissing].filter((guid) => this.#lost.has(guid));
      // By all that are missing now: of more than MAX_MISSING the main thread was asked for some only.
      const isUnsent = missingCount + stillMissing.length <= this.#unsent;
      if (lost.length > 0 || !(isUnsent || index.isUnderHeal(uniqueid, guids)))
        return await this.#askForAll(uniqueid, guids.length > 0 ? guids : lost);
      this.#reportMissing(outcome, isUnsent);
      outcome = this.#tryApply(text, chunk.peekLine(), true);
    }
    if (outcome.type === 'need') {
      this.#waiting = text;
      const guids = [...outcome.guids, ...outcome.stillMissing].slice(0, ASKED_AT_A_TIME);
      this.#needsMore = outcome.missingCount + outcome.stillMissing.length > guids.length;
      return { code: 'NEED', text: '', guids };
    }
    if (outcome.type === 'reject') return await this.#reject(outcome);
    const strangers = chunk.pending.strangers();
    if (strangers.length > 0 && mayMove) {
      this.#undoApply();
      this.#moveStrangers(chunk, strangers);
      return await this.#applyAndWrite(text, isLast, false);
    }
    const { verdict } = outcome;
    const isNoted = verdict?.type === 'ask' || verdict?.type === 'again';
    // Messages that came again are read from here, and may not be cut off any more.
    if (!outcome.changed && !isNoted && !chunk.pending.hasClaimed) {
      index.release(SAVEPOINT);
      return { code: 'OK', text: '', ...this.#withMoved() };
    }
    if (!outcome.changed) {
      // Only what is noted about it is new, or where its messages are.
    } else if (outcome.command === 'NOTE') {
      writeNote(chunk, this.#verb, noteValue(text, this.#verb));
    } else {
      chunk.beginLine();
      eachBlock(text, (block) => chunk.appendText(block));
    }
    return await this.#commit(verdict);
  }

  /** The client was asked for all of the mailbox: what it does not send now it does not have, for now. */
  #reportMissing(
    { uniqueid, guids, stillMissing }: Extract<ApplyOutcome, { type: 'need' }>,
    isUnsent: boolean,
  ): void {
    const isAgain = isKnownToLack(this.#backup.index, uniqueid);
    const missing = isAgain ? guids : [...guids, ...stillMissing];
    const of = { userid: this.#backup.userid, uniqueid };
    if (missing.length > 0) {
      const facts = { ...of, guids: missing.slice(0, 20), count: missing.length };
      const { figures, log } = this.#env;
      figures.count('records_without_content_total', missing.length);
      if (isUnsent)
        log.warn(
          facts,
          'the mail server cannot read messages that it names: the client has sent NIL in their place',
        );
      else
        log.warn(
          facts,
          'the client names messages that it does not send, even after it was asked for the whole mailbox',
        );
    }
    if (isAgain && stillMissing.length > 0) {
      this.#env.log.info(
        { ...of, guids: stillMissing.slice(0, 20), count: stillMissing.length },
        'the client was asked again for messages that it names, and still does not send them',
      );
    }
  }

  async #reject({ code, text, heal }: Rejection): Promise<ShardReply> {
    if (heal !== undefined) {
      await this.#markForHeal(heal, []);
      this.#env.log.warn(
        { userid: this.#backup.userid, uniqueid: heal },
        'a mailbox is other than the mail server believes; the client is asked to send all of it again',
      );
    }
    return { code, text, ...this.#withMoved() };
  }

  /** Leaves the savepoint open if the outcome is ok, else undone. */
  #tryApply(text: LineText, line: LineStart, acceptMissing: boolean): ReturnType<LineFeed['end']> {
    this.#backup.ensureChunk().holdSpill('bytes' in text ? text.bytes.length : text.length);
    this.#backup.index.savepoint(SAVEPOINT);
    const feed = this.#newFeed(line, acceptMissing);
    eachBlock(text, (block) => feed.push(block));
    const outcome = feed.end();
    if (outcome.type === 'need') this.#backup.ensureChunk().pending.keepClaimed();
    if (outcome.type !== 'ok') this.#undoApply();
    return outcome;
  }

  #undoApply(): void {
    this.#backup.index.rollbackTo(SAVEPOINT);
    this.#backup.ensureChunk().pending.unclaimAll();
  }

  async #commit(verdict?: Verdict): Promise<ShardReply> {
    this.#backup.index.release(SAVEPOINT);
    if (verdict !== undefined) this.#actOn(verdict);
    this.#stream = undefined;
    crashPoint('index-applied');
    await this.#backup.commit();
    this.#reportHealed();
    crashPoint('before-ack');
    return { code: 'OK', text: '', ...this.#withMoved() };
  }

  #withMoved(): Pick<ShardReply, 'staged'> {
    return this.#moved.length > 0 ? { staged: this.#moved } : {};
  }

  /**
   * The backup lacks messages that it should have. IMAP_SYNC_CHECKSUM, and leaving the mailbox out of the next
   * answers to GET, makes the client send all of it again (see docs/architecture.md, healing).
   */
  async #askForAll(uniqueid: string, guids: readonly string[]): Promise<ShardReply> {
    // What was missing of parts before is not there the next time, either.
    await this.#markForHeal(uniqueid, [...(this.#backup.index.healMark(uniqueid) ?? []), ...guids]);
    this.#env.log.warn(
      { userid: this.#backup.userid, uniqueid, missing: guids.length },
      'the backup lacks messages of a mailbox; the client is asked to send all of it again',
    );
    return {
      code: 'IMAP_SYNC_CHECKSUM',
      text: `${guids.length} messages of this mailbox are not in the backup, send it again`,
      ...this.#withMoved(),
    };
  }

  async #markForHeal(uniqueid: string, guids: readonly string[]): Promise<void> {
    const chunk = this.#backup.ensureChunk();
    // The client does not send again what it has sent in this session, though it sends all of the mailbox.
    const strangers = chunk.pending.strangers();
    if (strangers.length > 0) this.#moveStrangers(chunk, strangers);
    this.#noteHeal(uniqueid, guids);
    await this.#backup.commit();
  }

  /** To be committed. */
  #noteHeal(uniqueid: string, guids: readonly string[]): void {
    this.#backup.index.markForHeal(uniqueid, guids);
    const value = Buffer.from(`%(UNIQUEID ${printString(uniqueid)})`, 'latin1');
    writeNote(this.#backup.ensureChunk(), 'HEAL', { bytes: value });
    this.#env.figures.count('heals_requested_total');
  }

  /**
   * What is noted about a checksum that differs is committed together with the MAILBOX. The client is told OK in any
   * case: after a second IMAP_SYNC_CHECKSUM it would compare record by record, and renumber or fetch what only the
   * backup has.
   */
  #actOn(verdict: Verdict): void {
    const { figures, log } = this.#env;
    const { uniqueid, mboxname, type } = verdict;
    const { index, userid } = this.#backup;
    const what = { userid, mailbox: mboxname, uniqueid };
    if (type === 'again') {
      noteAgain(index, this.#backup.ensureChunk(), userid, verdict, this.#env);
    } else if (type === 'gone') {
      this.#expunge(mboxname, uniqueid, verdict.uids);
      log.info(
        { ...what, uids: verdict.uids.slice(0, 20), count: verdict.uids.length },
        'a mailbox has come as a whole without messages that it had; they count as expunged',
      );
    } else if (type === 'unusable') {
      figures.count('checksums_unusable_total');
      log.info(
        what,
        'the checksum of a mailbox does not fit though all of it has come; what differs later will not be seen by it',
      );
    } else {
      figures.count('checksum_mismatches_total');
      if (type === 'differs') return;
      this.#noteHeal(uniqueid, []);
      log.warn(
        what,
        'a mailbox is not as the mail server has it, by its checksum; the next sync is to bring all of it',
      );
    }
  }

  #expunge(mboxname: string, uniqueid: string, uids: readonly number[]): void {
    const chunk = this.#backup.ensureChunk();
    for (let from = 0; from < uids.length; from += UIDS_OF_LINE) {
      const some = uids.slice(from, from + UIDS_OF_LINE).join(' ');
      const fields = `MBOXNAME ${printString(mboxname)} UNIQUEID ${printString(uniqueid)} UID (${some})`;
      const text = Buffer.from(`EXPUNGE %(${fields})\r\n`, 'latin1');
      const feed = this.#newFeed(chunk.beginLine(), false);
      feed.push(text);
      feed.end();
      chunk.appendText(text);
    }
  }

  #reportHealed(): void {
    for (const uniqueid of this.#backup.index.takeHealed()) {
      this.#env.figures.count('heals_completed_total');
      this.#env.log.info(
        { userid: this.#backup.userid, uniqueid },
        'a mailbox that was asked for as a whole has come',
      );
    }
  }

  /** A long note cannot be written as it comes, since a wrapper goes round it. */
  #spoolPiece(piece: TextPiece): void {
    const raw = piece.kind === 'bytes' ? piece.bytes : slabText(this.#memory, piece.slab, piece.rawLength);
    if (this.#spooled === undefined) {
      const spool = this.#openSpool('text');
      spool.close();
      this.#spooled = { path: spool.path, offset: 0, length: 0 };
    }
    fs.appendFileSync(this.#spooled.path, raw);
    this.#spooled.length += raw.length;
  }

  /** Copies the text of a streamed command back out of the file. */
  #spoolStream(): LineText {
    const chunk = this.#backup.ensureChunk();
    const { line } = this.#stream!;
    const length = chunk.contentLength - line.textOffset;
    const spool = this.#openSpool('text');
    try {
      const offset = spool.end;
      for (const block of chunk.read(line.textOffset, length)) spool.append(block);
      return { path: spool.path, offset, length };
    } finally {
      spool.close();
    }
  }

  /** Takes everything pending out of the file; what is this user's goes back in, the rest stays staged. */
  #moveStrangers(chunk: OpenChunk, list: readonly PendingMessage[]): void {
    const strangers = new Set(list.map((message) => message.guid));
    const spool = this.#openSpool('messages');
    const staged = exportPending(chunk, spool);
    spool.close();
    chunk.rollbackToCommitted();
    this.#moved.push(...staged.filter((message) => strangers.has(message.guid)));
    appendStagedMessages(
      chunk,
      staged.filter((message) => !strangers.has(message.guid)),
    );
    this.#env.figures.count('messages_moved_total', strangers.size);
  }
}
