/** Batches of records into an index and out of it: a transaction as a session makes it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { GeneratedMailbox } from '../../src/cli/generated-user.ts';
import { DlistSax } from '../../src/csync/dlist-sax.ts';
import { answer } from '../../src/store/index/answers.ts';
import { BackupIndex, type NewMessage } from '../../src/store/index/backup-index.ts';
import type { Benchmark, Prepared, Size } from './benchmark.ts';
import { bigMailbox, mailboxCommand, mailboxValue } from './mailbox-text.ts';

const RECORDS: Record<Size, number> = { small: 1000, full: 50_000 };
const PIECE_BYTES = 64 << 10;
const TIME = 1_704_100_000;
const LINE_OFFSET = 29;

/** An index file in a folder of its own. */
class Scratch {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'csync-bench-index-'));
  index: BackupIndex;
  #made = 0;

  constructor() {
    this.index = this.#create();
  }

  /** Another, empty one. */
  renew(): void {
    this.index.close();
    rmSync(path.join(this.folder, String(this.#made)));
    this.index = this.#create();
  }

  close(): void {
    this.index.close();
    rmSync(this.folder, { recursive: true });
  }

  #create(): BackupIndex {
    return BackupIndex.open(path.join(this.folder, String(++this.#made)), { create: true });
  }
}

/** No two chunks of an index begin at the same place. */
let chunks = 0;

function apply(
  index: BackupIndex,
  value: Buffer,
  messages: ReadonlyMap<string, NewMessage> | undefined,
): void {
  index.begin();
  const chunkId = index.startChunk({ offset: chunks++, tsStart: TIME, fileSha1: '' });
  const claim = (guid: string): NewMessage | undefined => {
    const message = messages?.get(guid);
    return message && { ...message, chunkId };
  };
  const applier = index.applier({ chunkId, live: true, pending: { claim } });
  const sax = new DlistSax(applier);
  applier.beginLine({ verb: 'MAILBOX', command: 'APPLY', time: TIME, lineOffset: LINE_OFFSET });
  sax.begin(0);
  for (let at = 0; at < value.length; at += PIECE_BYTES) {
    sax.push(value, at, Math.min(value.length, at + PIECE_BYTES));
  }
  const outcome = applier.endLine();
  if (outcome.type !== 'ok' || !outcome.changed) throw new Error(`not applied: ${JSON.stringify(outcome)}`);
  index.commit();
}

function pendingOf(mailbox: GeneratedMailbox): ReadonlyMap<string, NewMessage> {
  return new Map(
    mailbox.records.map(({ guid, size }, at) => {
      const place = { partition: 'default', chunkId: 0, lineOffset: LINE_OFFSET, size };
      return [guid, { ...place, guid, contentOffset: 100 + at * (size + 80) }];
    }),
  );
}

function added(size: Size): Prepared {
  const mailbox = bigMailbox(RECORDS[size]);
  const value = mailboxValue(mailboxCommand(mailbox));
  const pending = pendingOf(mailbox);
  const scratch = new Scratch();
  return {
    items: mailbox.records.length,
    before: () => scratch.renew(),
    run: () => apply(scratch.index, value, pending),
    close: () => scratch.close(),
  };
}

/** Other flags and modseqs of all records, and back. */
function updated(size: Size): Prepared {
  const mailbox = bigMailbox(RECORDS[size]);
  const scratch = new Scratch();
  apply(scratch.index, mailboxValue(mailboxCommand(mailbox)), pendingOf(mailbox));
  const values = ['\\Deleted', '\\Draft'].map((flag, i) => {
    for (const record of mailbox.records)
      Object.assign(record, { flags: [flag], modseq: 100_000 * (i + 1) + record.uid });
    return mailboxValue(mailboxCommand(mailbox));
  });
  let runs = 0;
  return {
    items: mailbox.records.length,
    run: () => apply(scratch.index, values[runs++ % 2]!, undefined),
    close: () => scratch.close(),
  };
}

function listed(size: Size): Prepared {
  const mailbox = bigMailbox(RECORDS[size]);
  const scratch = new Scratch();
  apply(scratch.index, mailboxValue(mailboxCommand(mailbox)), pendingOf(mailbox));
  const { mboxname, records } = mailbox;
  return {
    items: records.length,
    run() {
      let bytes = 0;
      for (const piece of answer(scratch.index, { what: 'FULLMAILBOX', mboxname })!) bytes += piece.length;
      if (bytes < records.length * 100) throw new Error('the answer is too short');
    },
    close: () => scratch.close(),
  };
}

export const INDEXING: readonly Benchmark[] = [
  { name: 'index-new', clock: 'thread', calibrations: { sqlite: 2, javascript: 1 }, prepare: added },
  { name: 'index-update', clock: 'thread', calibrations: { sqlite: 2, javascript: 1 }, prepare: updated },
  { name: 'index-fullmailbox', clock: 'thread', calibrations: { sqlite: 2, javascript: 1 }, prepare: listed },
];
