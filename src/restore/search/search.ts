/**
 * Finding messages in a backup. What the index can tell is asked first; the headers, and where they are wanted the
 * texts, of the messages that are left are read in the order of the data file, each segment once, by threads that are
 * a few tasks ahead. No index of words is kept: docs/restore.md says what this costs.
 */

import { BackupError } from '../../platform/errors.ts';
import type { SegmentStart } from '../../store/chunk/writer.ts';
import type { SearchedChunk, SearchResult, SearchTask } from '../../store/search/chunk-search.ts';
import {
  type ContentConditions,
  ContentMatcher,
  type MessageFacts,
  MessageSearch,
  needsContent,
} from '../../store/search/message-search.ts';
import type { Selection } from '../selection.ts';
import type { BackupSource, StoredMailbox, StoredRecord } from '../source.ts';
import { type Candidate, Candidates } from './candidates.ts';
import { SearchPool } from './search-pool.ts';

/** What the index can tell; times in seconds since 1970. */
export interface IndexConditions {
  /** Internal date at or after, and before. */
  since: number | undefined;
  before: number | undefined;
  /** Bytes: more than, and less than. */
  larger: number | undefined;
  smaller: number | undefined;
  /** In lower case, all of which it has, and none of which it has. */
  flags: string[];
  withoutFlags: string[];
}

export interface SearchOptions {
  /** In which mailboxes, and whether among what is deleted. */
  selection: Selection;
  index: IndexConditions;
  content: ContentConditions;
  /** Who reads; by default as many threads as the size of the backup is worth. It is stopped at the end. */
  pool?: SearchPool;
  /** Gets sizes of messages that are done with. */
  onProgress?(bytes: number): void;
  /** Gets the sum of the sizes of all that will be looked at. */
  onTotal?(bytes: number): void;
}

export interface Hit {
  mailbox: StoredMailbox;
  message: Candidate;
  /** Null where the backup has no content of it and none was asked for. */
  facts: MessageFacts | null;
}

/** A message of which it cannot be said whether it is one that is looked for. */
export interface Unread {
  mailbox: StoredMailbox;
  message: Candidate;
  kind: 'damaged' | 'absent';
  reason: string;
}

export type Found = ({ type: 'hit' } & Hit) | ({ type: 'unread' } & Unread);

/** What a thread is given at once. */
const TASK_BYTES = 16 << 20;
const TASK_MESSAGES = 1000;
/** Where no texts are looked for, no more of a message is read, as a rule. */
const HEAD_BYTES = 64 * 1024;

/** In the order in which the messages came into the backup, each with all mailboxes that it is in. */
export async function* searchBackup(
  source: BackupSource,
  options: SearchOptions,
): AsyncGenerator<Found, void> {
  const mailboxes: StoredMailbox[] = [];
  const candidates = new Candidates(source.backup.index);
  const pool = options.pool ?? new SearchPool(source.backup.sizeBytes);
  const running: { group: Group; results: Promise<SearchResult[]> }[] = [];
  try {
    const bytes = collect(source, options, mailboxes, candidates);
    options.onTotal?.(bytes);
    const groups = new Groups(source, options.content);
    const start = (group: Group): void => {
      const results = pool.run(group.task);
      results.catch(() => {}); // awaited when its turn comes; another may fail first
      running.push({ group, results });
    };
    const again = new SecondLook(source, options.content);
    for (const candidate of candidates.inFileOrder()) {
      if (candidate.place === undefined) {
        const [mailbox, message] = [mailboxes[candidate.mailbox]!, candidate];
        const found = needsContent(options.content) ? again.lookAt(candidate.guid) : { facts: null };
        if (found !== undefined) yield foundAs(found, mailbox, message);
        continue;
      }
      const full = groups.add(candidate);
      if (full === undefined) continue;
      start(full);
      if (running.length > 2 * pool.threads) yield* foundIn(running.shift()!, mailboxes, again, options);
    }
    const last = groups.take();
    if (last !== undefined) start(last);
    while (running.length > 0) yield* foundIn(running.shift()!, mailboxes, again, options);
  } finally {
    await Promise.allSettled(running.map(({ results }) => results));
    await pool.stop();
    candidates.close();
  }
}

/**
 * @returns the sum of the sizes of what it has put among the candidates
 * @throws BackupError NOT_FOUND for a mailbox that the backup does not have
 */
function collect(
  source: BackupSource,
  { selection, index }: SearchOptions,
  mailboxes: StoredMailbox[],
  candidates: Candidates,
): number {
  let bytes = 0;
  for (const mailbox of source.mailboxes({ deleted: true })) {
    const wanted = selection.ofMailbox(mailbox);
    if (wanted === undefined) continue;
    const number = mailboxes.push(mailbox) - 1;
    for (const record of source.records(mailbox, { expunged: wanted.expunged })) {
      if (!wanted.takes(record) || !fits(record, index)) continue;
      candidates.add(number, record);
      bytes += record.size ?? 0;
    }
  }
  const missing = selection.unmatched();
  if (missing.length === 0) return bytes;
  throw new BackupError({
    code: 'NOT_FOUND',
    tried: 'search in',
    subject: missing.join(', '),
    reason: `the backup ${source.path} has no such mailbox`,
    remedy: 'See csync-backup show mailboxes for their names, and give --deleted for those that are gone',
  });
}

function fits(record: StoredRecord, conditions: IndexConditions): boolean {
  const { since, before, larger, smaller, flags, withoutFlags } = conditions;
  const { internaldate, size = 0 } = record;
  if (since !== undefined && internaldate < since) return false;
  if (before !== undefined && internaldate >= before) return false;
  if (larger !== undefined && size <= larger) return false;
  if (smaller !== undefined && size >= smaller) return false;
  if (flags.length === 0 && withoutFlags.length === 0) return true;
  const has = record.flags.map((flag) => flag.toLowerCase());
  return flags.every((flag) => has.includes(flag)) && !withoutFlags.some((flag) => has.includes(flag));
}

async function* foundIn(
  { group, results }: { group: Group; results: Promise<SearchResult[]> },
  mailboxes: readonly StoredMailbox[],
  again: SecondLook,
  { onProgress }: SearchOptions,
): AsyncGenerator<Found, void> {
  for (const result of await results) {
    const copies = group.copies[result.message]!;
    const found = 'facts' in result ? result : again.lookAt(copies[0]!.guid);
    if (found === undefined) continue;
    for (const message of copies) yield foundAs(found, mailboxes[message.mailbox]!, message);
  }
  onProgress?.(group.bytes);
}

type Look = { facts: MessageFacts | null } | Pick<Unread, 'kind' | 'reason'>;

function foundAs(found: Look, mailbox: StoredMailbox, message: Candidate): Found {
  if ('facts' in found) return { type: 'hit', mailbox, message, facts: found.facts };
  return { type: 'unread', mailbox, message, kind: found.kind, reason: found.reason };
}

/** Messages that are not where the index says, or are damaged there: restore may find them elsewhere. */
class SecondLook {
  readonly #source: BackupSource;
  readonly #matcher: ContentMatcher;

  constructor(source: BackupSource, conditions: ContentConditions) {
    this.#source = source;
    this.#matcher = new ContentMatcher(conditions);
  }

  /** @returns undefined if it is not what is looked for */
  lookAt(guid: string): Look | undefined {
    const search = new MessageSearch(this.#matcher);
    try {
      let goesOn = true;
      // To the end: only there it is known whether the message is what its GUID says.
      for (const piece of this.#source.content(guid)) goesOn = goesOn && search.push(piece);
    } catch (error) {
      if (!(error instanceof BackupError)) throw error;
      const { code, reason } = error;
      if (code !== 'CHUNK_CORRUPT' && code !== 'NOT_FOUND') throw error;
      return { kind: code === 'NOT_FOUND' ? 'absent' : 'damaged', reason };
    }
    const facts = search.finish();
    return facts && { facts };
  }
}

/** What a thread does, and whose messages those are. */
interface Group {
  task: SearchTask;
  /** For each message of the task all its places in mailboxes. */
  copies: Candidate[][];
  /** Sum of the sizes of `copies`. */
  bytes: number;
}

/** Messages that lie side by side. */
class Groups {
  readonly #source: BackupSource;
  readonly #conditions: ContentConditions;
  #group: Group | undefined;
  #chunkId: number | undefined;
  #lastGuid = '';
  #toRead = 0;

  constructor(source: BackupSource, conditions: ContentConditions) {
    this.#source = source;
    this.#conditions = conditions;
  }

  /** @returns a group that is full; this candidate is in the next */
  add(candidate: Candidate): Group | undefined {
    const isCopy = this.#group !== undefined && candidate.guid === this.#lastGuid;
    const { chunkId, chunkOffset, contentOffset } = candidate.place!;
    // A chunk that has to be read line by line is read once.
    const isWhole = contentOffset === undefined && chunkId === this.#chunkId;
    const isMuch = this.#toRead >= TASK_BYTES || (this.#group?.copies.length ?? 0) >= TASK_MESSAGES;
    const isFull = isMuch && !isCopy && !isWhole;
    const full = isFull ? this.take() : undefined;
    if (this.#group === undefined) {
      const { fd, path } = this.#source.backup;
      this.#group = { task: { fd, path, chunks: [], conditions: this.#conditions }, copies: [], bytes: 0 };
    }
    const group = this.#group;
    const size = candidate.size ?? 0;
    group.bytes += size;
    if (isCopy) {
      group.copies.at(-1)!.push(candidate);
      return full;
    }
    if (chunkId !== this.#chunkId) {
      this.#chunkId = chunkId;
      group.task.chunks.push({ offset: chunkOffset, starts: [], messages: [] });
    }
    group.task.chunks.at(-1)!.messages.push({ guid: candidate.guid, contentOffset, size });
    group.copies.push([candidate]);
    this.#chunkIds[group.task.chunks.length - 1] = chunkId;
    this.#lastGuid = candidate.guid;
    this.#toRead += this.#conditions.texts.length > 0 ? size : Math.min(size, HEAD_BYTES);
    return full;
  }
  #chunkIds: number[] = [];

  /** What there is by now. */
  take(): Group | undefined {
    const group = this.#group;
    group?.task.chunks.forEach((chunk, at) => {
      chunk.starts = this.#startsOf(this.#chunkIds[at]!, chunk);
    });
    this.#group = undefined;
    this.#chunkId = undefined;
    this.#chunkIds = [];
    this.#toRead = 0;
    return group;
  }

  /** Segments from that of the first message on. */
  #startsOf(chunkId: number, { messages }: SearchedChunk): SegmentStart[] {
    const [first, last] = [messages[0]?.contentOffset, messages.at(-1)];
    if (first === undefined || last?.contentOffset === undefined) return [];
    const { index } = this.#source.backup;
    const before = index.segmentBefore(chunkId, first);
    const rows = index
      .statement(SELECT_STARTS, 'raw')
      .all(chunkId, first, last.contentOffset + last.size) as [number, number][];
    const starts = rows.map(([contentOffset, fileOffset]) => ({ contentOffset, fileOffset }));
    return before === undefined ? starts : [before, ...starts];
  }
}

const SELECT_STARTS = `SELECT content_offset, file_offset FROM cb_segment
  WHERE chunk_id = ? AND content_offset > ? AND content_offset <= ? ORDER BY content_offset`;
