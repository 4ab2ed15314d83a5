/** Sends messages into one mailbox: several at once where the server takes that, and without waiting in between. */
import { type CommandPart, type ImapClient, imapString, type Tagged } from '../../imap/client.ts';
import { BackupError } from '../../platform/errors.ts';
import type { RestoreReport } from '../report.ts';
import type { BackupSource, StoredRecord } from '../source.ts';
import { AppendedMessages } from './appended.ts';
import { printInternalDate } from './mailbox.ts';

/** Larger ones are read twice and never held: once to see that they are sound, once to be sent. */
const HELD_BYTES = 1024 * 1024;
const BATCH_BYTES = 1024 * 1024;
const BATCH_MESSAGES = 100;
/** Batches that are sent before the first of them is answered. */
const BATCHES_AHEAD = 3;
/** The same where each message is a command of its own. */
const COMMANDS_AHEAD = 64;

export interface AppendContext {
  client: ImapClient;
  source: BackupSource;
  report: RestoreReport;
  /** Internal name, for the report. */
  mailbox: string;
  /** At the server. */
  name: string;
  /** Flags as the server keeps them. */
  flagsOf(record: StoredRecord): string[];
}

interface Item {
  record: StoredRecord;
  size: number;
  content?: Buffer;
  hasNul: boolean;
}

/** Why the rest of a mailbox need not be tried. */
export class MailboxRefused extends Error {
  readonly reason: string;

  constructor(reason: string) {
    super(reason);
    this.reason = reason;
  }
}

export class Appender {
  readonly #o: AppendContext;
  readonly #appended: AppendedMessages;
  readonly #underWay: { items: Item[]; answered: Promise<Tagged> }[] = [];
  /** Annotations with which the server takes no message. */
  readonly #refusedEntries = new Set<string>();
  #batch: Item[] = [];
  #batchBytes = 0;

  constructor(context: AppendContext) {
    this.#o = context;
    this.#appended = new AppendedMessages(context);
  }

  /**
   * Takes a message on. What becomes of it is in the report, perhaps only after `finish`.
   *
   * @throws MailboxRefused if the server lets nothing into this mailbox; BackupError NO_SPACE if the user's quota is
   *   full, UNAVAILABLE if the connection breaks
   */
  async append(record: StoredRecord): Promise<void> {
    const item = this.#load(record);
    if (item === undefined) return;
    if (item.content === undefined) {
      await this.#send();
      await this.#sendItems([item]);
      return;
    }
    const batchLimit = this.#o.client.has('MULTIAPPEND') ? BATCH_MESSAGES : 1;
    if (this.#batchBytes + item.size > BATCH_BYTES) await this.#send();
    this.#batch.push(item);
    this.#batchBytes += item.size;
    if (this.#batch.length >= batchLimit) await this.#send();
  }

  /** Waits for all answers, and looks whether the server has what it was sent. @throws as append */
  async finish(): Promise<void> {
    await this.#send();
    while (this.#underWay.length > 0) await this.#settle();
    await this.#appended.verify();
  }

  /** Nothing more is sent; what is under way is waited for. */
  async abandon(): Promise<void> {
    this.#batch = [];
    await Promise.allSettled(this.#underWay.splice(0).map(({ answered }) => answered));
  }

  /** Undefined if the backup has lost it, which goes into the report. */
  #load(record: StoredRecord): Item | undefined {
    const { source } = this.#o;
    const size = source.findMessage(record.guid)?.size;
    try {
      if (size !== undefined && size > HELD_BYTES) {
        let hasNul = false;
        for (const piece of source.content(record.guid)) hasNul ||= piece.includes(0);
        return { record, size, hasNul };
      }
      const content = source.message(record.guid);
      return { record, size: content.length, content, hasNul: content.includes(0) };
    } catch (error) {
      if (!(error instanceof BackupError)) throw error;
      if (error.code !== 'CHUNK_CORRUPT' && error.code !== 'NOT_FOUND') throw error;
      this.#shortfall('damaged', record, error.reason);
      return undefined;
    }
  }

  async #send(): Promise<void> {
    const items = this.#batch;
    this.#batch = [];
    this.#batchBytes = 0;
    if (items.length > 0) await this.#sendItems(items);
  }

  async #sendItems(items: Item[]): Promise<void> {
    const { client } = this.#o;
    const limit = client.has('MULTIAPPEND') ? BATCHES_AHEAD : COMMANDS_AHEAD;
    while (this.#underWay.length >= limit) await this.#settle();
    const { answered } = await client.send(this.#command(items));
    // What was sent need not be kept: it can be read again.
    for (const item of items) delete item.content;
    this.#underWay.push({ items, answered });
  }

  #command(items: readonly Item[]): CommandPart[] {
    const parts: CommandPart[] = ['APPEND ', imapString(this.#o.name)];
    for (const item of items) {
      const { record } = item;
      const flags = this.#o.flagsOf(record);
      parts.push(
        `${flags.length > 0 ? ` (${flags.join(' ')})` : ''} "${printInternalDate(record.internaldate)}"`,
      );
      parts.push(...this.#annotations(record), ' ', this.#literal(item));
    }
    return parts;
  }

  /** RFC 5257, section 4.4: as sound as the message itself. */
  #annotations(record: StoredRecord): CommandPart[] {
    const { client, report } = this.#o;
    if (record.annotations.length === 0) return [];
    if (!client.has('ANNOTATE-EXPERIMENT-1')) {
      report.remark('the server keeps no annotations of messages: they are left out');
      return [];
    }
    const annotations = record.annotations.filter(({ entry }) => !this.#refusedEntries.has(entry));
    if (annotations.length === 0) return [];
    const parts: CommandPart[] = [' ANNOTATION ('];
    for (const [i, { entry, userid, value }] of annotations.entries()) {
      const attribute = userid === '' ? 'value.shared' : 'value.priv';
      parts.push(
        `${i > 0 ? ' ' : ''}${entry} (${attribute} `,
        value === null ? 'NIL' : imapString(value),
        ')',
      );
    }
    parts.push(')');
    return parts;
  }

  #literal({ record, size, content, hasNul }: Item): CommandPart {
    const binary = hasNul && this.#o.client.has('BINARY');
    if (content !== undefined && !binary) return content;
    const { source } = this.#o;
    const pieces = () => (content === undefined ? source.content(record.guid) : [content]);
    return { size, binary, ask: content === undefined, pieces };
  }

  /** The oldest that is under way. */
  async #settle(): Promise<void> {
    const { items, answered } = this.#underWay.shift()!;
    const answer = await answered;
    if (answer.status === 'OK') {
      this.#appended.add(
        items.map(({ record }) => record),
        answer,
      );
      for (const { size } of items) this.#o.report.restored(size);
      return;
    }
    if (items.length === 1 && items[0]!.record.annotations.length === 0)
      return this.#refuse(items[0]!, answer);
    // All of a batch or none: one by one it turns out which it is.
    for (const { record } of items) {
      const item = this.#load(record);
      if (item !== undefined) await this.#appendAlone(item);
    }
  }

  async #appendAlone(item: Item): Promise<void> {
    const { client, report } = this.#o;
    const { record } = item;
    let answer = await client.command(this.#command([item]));
    const entries = record.annotations
      .map(({ entry }) => entry)
      .filter((entry) => !this.#refusedEntries.has(entry));
    if (answer.status !== 'OK' && entries.length > 0 && client.has('ANNOTATE-EXPERIMENT-1')) {
      for (const entry of entries) this.#refusedEntries.add(entry);
      const first = answer;
      answer = await client.command(this.#command([item]));
      if (answer.status === 'OK') {
        report.remark(
          `the server takes no message with the annotation ${entries.join(', ')} (${first.text}): it is left out`,
        );
      } else for (const entry of entries) this.#refusedEntries.delete(entry);
    }
    if (answer.status !== 'OK') return this.#refuse(item, answer);
    this.#appended.add([record], answer);
    report.restored(item.size);
  }

  #refuse({ record, size }: Item, answer: Tagged): void {
    const { name, report } = this.#o;
    const { code, text } = answer;
    if (code === 'OVERQUOTA' || /over ?quota|quota exceeded/i.test(text)) {
      throw this.#o.client.connection.error(
        `the quota is full (${text}); message ${record.uid} of ${size} bytes did not fit into ${name}`,
        'NO_SPACE',
        'Raise the quota or make room, then run the same again with --yes (and --into FOLDER as before): ' +
          'what is there already is not added twice',
      );
    }
    if (code === 'NOPERM' || code === 'READ-ONLY' || /permission denied|read-only/i.test(text)) {
      throw new MailboxRefused(
        `the server lets nothing be added to ${name} (${text}); log in as one who has the right i there, which SETACL ` +
          'gives, or give --into FOLDER for another place',
      );
    }
    if (code === 'TRYCREATE' || code === 'NONEXISTENT') {
      throw new MailboxRefused(`${name} is not there any more: ${text}`);
    }
    this.#shortfall('refused', record, `the server says: ${code === '' ? '' : `[${code}] `}${text}`);
    report.passed(size);
  }

  #shortfall(kind: 'damaged' | 'refused', { uid, guid, size }: StoredRecord, reason: string): void {
    const { mailbox, report } = this.#o;
    report.shortfall({ kind, what: `message ${uid} of ${mailbox}`, mailbox, uid, guid, reason });
    if (kind === 'damaged') report.passed(size ?? 0);
  }
}
