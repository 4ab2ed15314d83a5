/** Looks at messages of one chunk after the other, in the order in which they lie there. */
import { type LineEvents, LineParser } from '../../csync/line-parser.ts';
import { BackupError } from '../../platform/errors.ts';
import { readContent } from '../chunk/reader.ts';
import type { SegmentStart } from '../chunk/writer.ts';
import { ContentCursor } from './content-cursor.ts';
import {
  type ContentConditions,
  ContentMatcher,
  type MessageFacts,
  MessageSearch,
} from './message-search.ts';

/** Messages of one chunk. */
export interface SearchedChunk {
  /** Of the member in the file. */
  offset: number;
  /** See ContentCursor. */
  starts: SegmentStart[];
  /** By `contentOffset`, unless it is unknown (undefined for all of them): Cyrus's index says only in which line. */
  messages: { guid: string; contentOffset: number | undefined; size: number }[];
}

/** For a thread: threads share descriptors. */
export interface SearchTask {
  fd: number;
  path: string;
  chunks: SearchedChunk[];
  conditions: ContentConditions;
}

/** A message that is looked for, or one that could not be read. `message`: its number among all of the task. */
export type SearchResult = { message: number } & ({ facts: MessageFacts } | { reason: string });

export function searchChunks({ fd, path, chunks, conditions }: SearchTask): SearchResult[] {
  const results: SearchResult[] = [];
  const matcher = new ContentMatcher(conditions);
  let first = 0;
  for (const chunk of chunks) {
    const isPlaced = chunk.messages.every(({ contentOffset }) => contentOffset !== undefined);
    const found = isPlaced ? searchPlaced(fd, path, chunk, matcher) : searchLines(fd, path, chunk, matcher);
    for (const result of found) results.push({ ...result, message: first + result.message });
    first += chunk.messages.length;
  }
  return results;
}

function* searchPlaced(
  fd: number,
  path: string,
  { offset, starts, messages }: SearchedChunk,
  matcher: ContentMatcher,
): Generator<SearchResult, void> {
  const cursor = new ContentCursor({ fd, path, offset, starts });
  try {
    for (const [message, { contentOffset, size }] of messages.entries()) {
      try {
        const facts = searchPlace(cursor, contentOffset!, size, matcher);
        if (facts !== undefined) yield { message, facts };
      } catch (error) {
        yield { message, reason: reasonOf(error) };
      }
    }
  } finally {
    cursor.end();
  }
}

function searchPlace(
  cursor: ContentCursor,
  contentOffset: number,
  size: number,
  matcher: ContentMatcher,
): MessageFacts | undefined {
  const search = new MessageSearch(matcher);
  cursor.seek(contentOffset);
  for (let left = size; left > 0; ) {
    const piece = cursor.next();
    if (piece.length === 0) throw new Unread('the chunk ends inside it');
    const bytes = piece.subarray(0, left);
    left -= bytes.length;
    if (!search.push(bytes)) break;
  }
  return search.finish();
}

/** The chunk is read line by line, as there is nothing that says where in their lines the messages lie. */
function searchLines(
  fd: number,
  path: string,
  { offset, messages }: SearchedChunk,
  matcher: ContentMatcher,
): SearchResult[] {
  const wanted = new Map(messages.map(({ guid }, message) => [guid, message]));
  const results: SearchResult[] = [];
  let reason = 'it is in no line of its chunk';
  let current: { message: number; search: MessageSearch; goesOn: boolean } | undefined;
  const nothing = (): void => {};
  const events: LineEvents = {
    lineStart: nothing,
    lineEnd: nothing,
    beginList: nothing,
    beginKvlist: nothing,
    end: nothing,
    key: nothing,
    scalar: nothing,
    malformed: () => {
      current = undefined;
    },
    file: ({ guid }) => {
      const message = wanted.get(guid);
      if (message !== undefined) current = { message, search: new MessageSearch(matcher), goesOn: true };
    },
    fileBytes: (bytes, start, end) => {
      if (current?.goesOn) current.goesOn = current.search.push(bytes.subarray(start, end));
    },
    fileEnd: () => {
      if (current === undefined) return;
      const { message, search } = current;
      const facts = search.finish();
      if (facts !== undefined) results.push({ message, facts });
      wanted.delete(messages[message]!.guid);
      current = undefined;
    },
  };
  const parser = new LineParser(events);
  parser.reset(0);
  try {
    for (const piece of readContent(fd, { offset, path })) {
      parser.push(piece);
      if (wanted.size === 0) break;
    }
  } catch (error) {
    reason = reasonOf(error);
  }
  for (const message of wanted.values()) results.push({ message, reason });
  return results.sort((a, b) => a.message - b.message);
}

/** A message is not where the index says. */
class Unread extends Error {}

function reasonOf(error: unknown): string {
  if (error instanceof Unread) return error.message;
  if (error instanceof BackupError && error.code === 'CHUNK_CORRUPT') return error.reason;
  throw error;
}
