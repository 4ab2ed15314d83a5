/**
 * Looks at messages of one chunk after the other, in the order in which they lie there. One that was read to its end is
 * checked against its GUID: what is damaged can inflate to something else without an error.
 */
import { createHash, type Hash } from 'node:crypto';
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
    for (const [message, { guid, contentOffset, size }] of messages.entries()) {
      try {
        const facts = searchPlace(cursor, { guid, contentOffset: contentOffset!, size }, matcher);
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
  { guid, contentOffset, size }: { guid: string; contentOffset: number; size: number },
  matcher: ContentMatcher,
): MessageFacts | undefined {
  const search = new MessageSearch(matcher);
  const sha1 = createHash('sha1');
  cursor.seek(contentOffset);
  for (let left = size; left > 0; ) {
    const piece = cursor.next();
    if (piece.length === 0) throw new Unread('the chunk ends inside it');
    const bytes = piece.subarray(0, left);
    left -= bytes.length;
    if (!search.push(bytes)) return search.finish();
    sha1.update(bytes);
  }
  if (sha1.digest('hex') !== guid) throw new Unread(NOT_ITSELF);
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
  let current: { message: number; search: MessageSearch; sha1: Hash; goesOn: boolean } | undefined;
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
      if (message === undefined) return;
      current = { message, search: new MessageSearch(matcher), sha1: createHash('sha1'), goesOn: true };
    },
    fileBytes: (bytes, start, end) => {
      if (!current?.goesOn) return;
      const piece = bytes.subarray(start, end);
      current.goesOn = current.search.push(piece);
      current.sha1.update(piece);
    },
    fileEnd: () => {
      if (current === undefined) return;
      const { message, search, sha1, goesOn } = current;
      const { guid } = messages[message]!;
      current = undefined;
      wanted.delete(guid);
      const facts = search.finish();
      if (goesOn && sha1.digest('hex') !== guid) results.push({ message, reason: NOT_ITSELF });
      else if (facts !== undefined) results.push({ message, facts });
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

const NOT_ITSELF = 'its bytes are damaged: they are not those of its GUID';

/** A message is not where the index says, or not itself. */
class Unread extends Error {}

function reasonOf(error: unknown): string {
  if (error instanceof Unread) return error.message;
  if (error instanceof BackupError && error.code === 'CHUNK_CORRUPT') return error.reason;
  throw error;
}
