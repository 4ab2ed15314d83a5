/** An index in a temporary folder that lines are applied to as the store does it, and what can be seen of it. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { LineParser } from '../../../src/csync/line-parser.ts';
import type { ReadQuery } from '../../../src/pipeline/messages.ts';
import { answer } from '../../../src/store/index/answers.ts';
import { BackupIndex, type NewMessage } from '../../../src/store/index/backup-index.ts';
import type { LineApplier } from '../../../src/store/index/line-applier.ts';
import type { ApplyOutcome } from '../../../src/store/index/outcome.ts';
import {
  annotations,
  intermediates,
  mailboxes,
  mailboxMessages,
  messages,
  quotas,
  seenStates,
  sieveScripts,
  subscriptions,
} from '../../../src/store/index/queries.ts';
import { readLine, type Value } from '../../support/dlist-text.ts';

const SHA1_OF_NOTHING = 'da39a3ee5e6b4b0d3255bfef95601890afd80709';

export interface HistoryLine {
  time: number;
  command: string;
  /** `VERB value`, without CRLF. */
  text: string;
}

export interface ApplyOptions {
  time?: number;
  acceptMissing?: boolean;
  /** What the server finds when the line needs messages; then the line is ended again. */
  supply?: string[];
  /** Bytes handed to the parser at a time. */
  step?: number;
}

export class IndexRig {
  readonly folder = fs.mkdtempSync(path.join(os.tmpdir(), 'csync-index-'));
  readonly path = path.join(this.folder, 'anne_aaaaaa.index');
  index: BackupIndex;
  chunkId = 0;
  /** Lines that changed something, in order. */
  readonly history: HistoryLine[] = [];
  readonly pending = new Map<string, NewMessage>();
  #time = 1_700_000_000;
  #offset = 29;

  constructor() {
    this.index = BackupIndex.open(this.path, { create: true });
    this.startChunk();
  }

  startChunk(): void {
    this.index.begin();
    const offset = this.index.chunks().length * 1000;
    this.chunkId = this.index.startChunk({ offset, tsStart: this.#time, fileSha1: SHA1_OF_NOTHING });
  }

  /** A MESSAGE line: its messages are pending until a MAILBOX claims them. */
  message(...guids: string[]): void {
    const files = guids.map((guid) => `%{default ${guid} ${sizeOf(guid)}}\r\n${'x'.repeat(sizeOf(guid))}`);
    const line = { time: this.#time, command: 'APPLY', text: `MESSAGE (${files.join(' ')})` };
    this.pend(guids.map((guid) => ({ guid, size: sizeOf(guid) })));
    this.#keep(line);
  }

  /** Makes messages pending without a line for them. */
  pend(messages: { guid: string; size: number }[]): void {
    const { chunkId } = this;
    const lineOffset = this.#offset;
    for (const { guid, size } of messages) {
      const place = { chunkId, lineOffset, contentOffset: lineOffset + 100 };
      this.pending.set(guid, { guid, size, partition: 'default', ...place });
    }
  }

  /** A request of a client, in its own savepoint. */
  apply(text: string, options: ApplyOptions = {}): ApplyOutcome {
    const time = options.time ?? ++this.#time;
    this.#time = Math.max(time, this.#time);
    const claimed = new Set<string>();
    const applier = this.index.applier({
      chunkId: this.chunkId,
      live: true,
      pending: {
        claim: (guid) => {
          const message = this.pending.get(guid);
          if (message !== undefined) claimed.add(guid);
          return message;
        },
      },
    });
    this.index.savepoint('command');
    const line = { time, command: 'APPLY', text };
    const { acceptMissing = false, supply } = options;
    const outcome = feed(applier, line, this.#offset, options.step, () => {
      const first = applier.endLine({ acceptMissing });
      if (first.type !== 'need' || supply === undefined) return first;
      this.message(...supply);
      return applier.endLine({ acceptMissing });
    });
    if (outcome.type !== 'ok') {
      this.index.rollbackTo('command');
      return outcome;
    }
    this.index.release('command');
    if (outcome.changed) {
      this.#keep({ time, command: outcome.command, text });
      for (const [guid, message] of this.pending) if (!claimed.has(guid)) this.index.addMessage(message);
      this.pending.clear();
    }
    return outcome;
  }

  /** Our own note that a mailbox is to be sent again. */
  heal(uniqueid: string, guids: string[]): void {
    if (this.index.healMark(uniqueid) !== undefined && !this.index.isComingInParts(uniqueid)) return;
    this.index.markForHeal(uniqueid, guids);
    this.#keep({ time: this.#time, command: 'NOTE', text: `HEAL %(UNIQUEID ${uniqueid})` });
  }

  #keep(line: HistoryLine): void {
    this.history.push(line);
    this.#offset += lineLength(line);
  }

  /** The same history applied to an index of its own. */
  replayed(step?: number): IndexRig {
    const rig = new IndexRig();
    rig.replay(this.history, step);
    return rig;
  }

  /** Applies history; lines that cannot be applied are undone. */
  replay(lines: readonly HistoryLine[], step?: number): ApplyOutcome[] {
    const applier = this.index.applier({ chunkId: this.chunkId, live: false });
    return lines.map((line) => {
      this.index.savepoint('line');
      const outcome = feed(applier, line, this.#offset, step, () => applier.endLine());
      if (outcome.type === 'ok') this.index.release('line');
      else this.index.rollbackTo('line');
      this.#keep(line);
      return outcome;
    });
  }

  /** Commits, closes and opens again. */
  reopen(options: { readonly?: boolean } = {}): void {
    if (this.index.inTransaction) this.index.commit();
    this.index.close();
    this.index = BackupIndex.open(this.path, options);
    if (!options.readonly) this.startChunk();
  }

  remove(): void {
    this.index.close();
    fs.rmSync(this.folder, { recursive: true });
  }

  /** The answer as bytes, one character for each; undefined if there is none. */
  answer(query: ReadQuery): string | undefined {
    const pieces = answer(this.index, query);
    return pieces && [...pieces].map((piece) => piece.toString('latin1')).join('');
  }

  /** The answer's lines, parsed. */
  lines(query: ReadQuery): { name: string; value: Value }[] {
    return splitAnswer(this.answer(query) ?? '').map((line) => readLine(line));
  }
}

/** Cuts an answer into lines, literals in them counted past. */
export function splitAnswer(text: string): string[] {
  const lines: string[] = [];
  for (let start = 0; start < text.length; ) {
    let end = start;
    for (;;) {
      end = text.indexOf('\r\n', end);
      if (end === -1) throw new Error('an answer does not end in CRLF');
      const literal = /\{(\d+)\}$/.exec(text.slice(Math.max(start, end - 30), end));
      end += 2;
      if (literal === null) break;
      end += Number(literal[1]);
    }
    lines.push(text.slice(start, end - 2));
    start = end;
  }
  return lines;
}

/** All that an index says, but for row ids and the chunks in which lines lie. */
export function everything(index: BackupIndex): unknown {
  return {
    mailboxes: [...mailboxes(index)]
      .map(({ id, lastChunkId: _chunk, ...mailbox }) => ({
        ...mailbox,
        records: [...mailboxMessages(index, id)].map(({ lastChunkId, messageId, ...record }) => ({
          ...record,
          hasContent: messageId !== null,
        })),
      }))
      .sort(byText((mailbox) => mailbox.uniqueid)),
    main: index
      .statement(
        `SELECT b.uniqueid, r.uid, m.guid FROM mailbox_message r JOIN mailbox b ON b.id = r.mailbox_id
          JOIN message m ON m.id = r.message_id ORDER BY 1, 2`,
      )
      .all(),
    messages: [...messages(index)].map(({ guid, size }) => ({ guid, size })).sort(byText(({ guid }) => guid)),
    intermediates: intermediates(index),
    subscriptions: subscriptions(index).sort(),
    seen: seenStates(index).sort(byText((seen) => seen.uniqueid)),
    sieve: sieveScripts(index).sort(byText((script) => script.filename)),
    active: index.activeSieve(),
    quotas: quotas(index).sort(),
    annotations: annotations(index, '').sort(),
    unuserAt: index.unuserAt(),
    healing: index.statement('SELECT uniqueid, part_uid, hex(unsaid) FROM cb_heal ORDER BY 1').all(),
  };
}

function byText<T>(key: (item: T) => string): (a: T, b: T) => number {
  return (a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);
}

/** Size that a message of this GUID has in tests. */
export function sizeOf(guid: string): number {
  return 1 + (Number.parseInt(guid.slice(0, 2), 16) % 7);
}

/** The n-th GUID of the tests. */
export function guidOf(n: number): string {
  return n.toString(16).padStart(40, '0');
}

function lineLength({ time, command, text }: HistoryLine): number {
  return `${time} ${command} ${text}\r\n`.length;
}

function feed(
  applier: LineApplier,
  line: HistoryLine,
  offset: number,
  step: number | undefined,
  finish: () => ApplyOutcome,
): ApplyOutcome {
  let outcome: ApplyOutcome | undefined;
  let problem = 'the line is not complete';
  const parser = new LineParser({
    lineStart: ({ verb, command, time, offset: lineOffset }) =>
      applier.beginLine({ verb, command, time, lineOffset }),
    lineEnd: () => {
      outcome = finish();
    },
    malformed: ({ reason }) => {
      problem = reason;
    },
    beginList: (at) => applier.beginList(at),
    beginKvlist: (at) => applier.beginKvlist(at),
    end: (at) => applier.end(at),
    key: (key, at) => applier.key(key, at),
    scalar: (value, at) => applier.scalar(value, at),
    file: (file, at) => applier.file(file, at),
  });
  parser.reset(offset);
  const bytes = Buffer.from(`${line.time} ${line.command} ${line.text}\r\n`, 'latin1');
  for (let at = 0; at < bytes.length; at += step ?? bytes.length) {
    parser.push(bytes, at, Math.min(bytes.length, at + (step ?? bytes.length)));
  }
  parser.end();
  return outcome ?? { type: 'reject', code: 'IMAP_PROTOCOL_ERROR', text: problem };
}
