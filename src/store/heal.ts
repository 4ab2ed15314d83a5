/**
 * Taking note of what the data file has lost, so that the next sync brings it again (docs/architecture.md,
 * healing). What is noted stands in the data file first, like every other change: a DAMAGE note for each chunk and
 * a HEAL note for each mailbox that is to be sent again.
 */
import { createHash } from 'node:crypto';
import { printFileHeader, printString } from '../csync/encoder.ts';
import { BackupError } from '../platform/errors.ts';
import { readContent } from './chunk/reader.ts';
import type { BackupIndex, ChunkRow, MessageLocation, NewMessage } from './index/backup-index.ts';
import {
  damagedChunks,
  loseMessage,
  mailboxesUnderHeal,
  mailboxesWith,
  noteDamagedChunk,
} from './index/damage.ts';
import { mailboxByUniqueid } from './index/queries.ts';
import { messagesInOrder } from './messages-in-order.ts';
import { writeNote } from './notes.ts';
import type { OpenChunk } from './open-chunk.ts';
import { restateSmall } from './restate.ts';
import { scriptText } from './script-text.ts';
import { readMessage } from './stored-message.ts';

export interface Losses {
  /**
   * Messages that may be lost: each is read again before it is given up. One that can be read though no line of a damaged
   * chunk brings it as it is, so that an index made anew would not have it, is stored again.
   */
  guids: readonly string[];
  /** UNIQUEIDs of mailboxes whose state, or that of messages in them, is lost. */
  uniqueids: readonly string[];
  /** Offsets of chunks in which something is damaged. */
  chunkOffsets: readonly number[];
  /** Where sound copies of some of the messages lie. */
  copies?: readonly CopyPlace[];
}

/** Place of a message in the content of a chunk. */
export interface CopyPlace {
  guid: string;
  chunkId: number;
  lineOffset: number;
  contentOffset: number;
  size: number;
}

export interface NotedLosses {
  /** Messages that the backup lacks since. */
  guids: string[];
  /** UNIQUEIDs of mailboxes that are to be sent again since. */
  uniqueids: string[];
  /** Chunks that are known to be damaged since. */
  chunks: number;
  /** Messages that were stored again. */
  storedAgain: number;
}

/** A locked backup. */
export interface HealTarget {
  fd: number;
  path: string;
  userid: string;
  index: BackupIndex;
  /** The index was made anew since the losses were found: lines bring what it has. */
  isMadeAnew?: boolean;
  /** Nothing is pending in it. */
  ensureChunk(): OpenChunk;
  commit(): Promise<void>;
}

/** GUIDs in a note, so that a line stays short. */
const MAX_GUIDS_OF_NOTE = 1000;

/** Of messages that are stored again at a time: the chunk stays short enough. The next verify finds the others. */
const MAX_STORED_BYTES = 256 << 20;

/** @returns what is noted now; if it is nothing, nothing is written. */
export async function noteLosses(target: HealTarget, losses: Losses): Promise<NotedLosses> {
  const { index } = target;
  const lost = confirm(target, losses.guids);
  const chunks = hitChunks(target, losses);
  const offsets = new Map(chunks.map(({ id, offset }) => [id, offset]));
  for (const location of lost.values()) {
    if (location !== undefined) offsets.set(location.chunk.id, location.chunk.offset);
  }
  const unlisted = readableUnlisted(target, losses, lost);
  const copies = readableCopies(target, losses.copies ?? [], lost, unlisted);
  const marks = marksFor(index, lost.keys(), losses.uniqueids);
  const noted: NotedLosses = {
    guids: [...lost.keys()],
    uniqueids: [...marks.keys()],
    chunks: 0,
    storedAgain: 0,
  };
  const known = index.chunks().filter(({ id }) => offsets.has(id));
  // Chunks that are named have new damage; the note makes the file longer, too, by which whoever has it cached sees
  // that somebody else has changed the backup.
  if (known.length + lost.size + marks.size + copies.length === 0) return noted;

  const chunk = target.ensureChunk();
  // Before the notes: MESSAGE lines that nothing follows count for nothing.
  const again = storeAgain(target, chunk, [...unlisted.values()]);
  noted.storedAgain = again.length;
  const starts = index.chunks().map(({ offset }) => offset); // that of the notes is the last
  for (const { id, offset, tsStart } of known) {
    const end = starts[starts.indexOf(offset) + 1];
    const guids = [...lost].filter(([, location]) => location?.chunk.id === id).map(([guid]) => guid);
    for (let at = 0; at === 0 || at < guids.length; at += MAX_GUIDS_OF_NOTE) {
      const some = guids.slice(at, at + MAX_GUIDS_OF_NOTE).join(',');
      const value = `%(OFFSET ${offset} END ${end} START ${tsStart} GUIDS "${some}")`;
      writeNote(chunk, 'DAMAGE', { bytes: Buffer.from(value, 'latin1') });
    }
  }
  for (const uniqueid of marks.keys()) {
    const value = `%(UNIQUEID ${printString(uniqueid)})`;
    writeNote(chunk, 'HEAL', { bytes: Buffer.from(value, 'latin1') });
  }
  const ids = known.map(({ id }) => id);
  restateSmall(index, chunk, target.userid, ids, (script) => isScriptReadable(target, script));
  await chunk.syncStart(); // the index may grow out of its cache
  for (const { id } of known) if (noteDamagedChunk(index, id, chunk.peekLine().time)) noted.chunks++;
  for (const guid of lost.keys()) loseMessage(index, guid);
  for (const message of [...copies, ...again]) index.addMessage(message);
  for (const [uniqueid, guids] of marks) index.markForHeal(uniqueid, guids);
  await target.commit();
  return noted;
}

/**
 * The chunks in which something is damaged. An index that was made anew since knows itself which are: that of which the
 * losses were found may have been another file's.
 */
function hitChunks({ index, isMadeAnew }: HealTarget, { chunkOffsets }: Losses): ChunkRow[] {
  const known = isMadeAnew ? damagedChunks(index) : undefined;
  return index
    .chunks()
    .filter(({ id, offset }) => chunkOffsets.includes(offset) && (known === undefined || known.has(id)));
}

/** Those of the messages that cannot be read, and where the index says they are. */
function confirm(
  { fd, path, index }: HealTarget,
  guids: readonly string[],
): Map<string, MessageLocation | undefined> {
  const lost = new Map<string, MessageLocation | undefined>();
  const found: MessageLocation[] = [];
  for (const guid of new Set(guids)) {
    if (index.messageId(guid) === undefined) continue;
    const location = index.findMessage(guid);
    if (location === undefined) lost.set(guid, undefined);
    else found.push(location);
  }
  for (const { location, isSound } of look({ fd, path, index }, found)) {
    if (!isSound) lost.set(location.guid, location);
  }
  return lost;
}

/** Longer ones are read by themselves, piece by piece. */
const MAX_WHOLE_BYTES = 4 << 20;

/** Reads messages in the order of the file: a chunk that has most of them is inflated once. */
function* look(
  { fd, path, index }: Pick<HealTarget, 'fd' | 'path' | 'index'>,
  locations: readonly MessageLocation[],
): Generator<{ location: MessageLocation; isSound: boolean; bytes: Uint8Array | undefined }, void> {
  const options = { fd, index, path, maxBytes: MAX_WHOLE_BYTES };
  for (const { location, bytes, damage } of messagesInOrder(locations, options)) {
    const isSound = bytes !== undefined || (damage === undefined && isReadable(fd, index, location, path));
    yield { location, isSound, bytes };
  }
}

export function isReadable(
  fd: number,
  index: BackupIndex,
  location: MessageLocation,
  path?: string,
): boolean {
  try {
    for (const _ of readMessage(fd, index, location, path)) {
      // Only whether it comes to its end matters.
    }
    return true;
  } catch (error) {
    if (error instanceof BackupError && error.code === 'CHUNK_CORRUPT') return false;
    throw error;
  }
}

/** Those of damaged chunks that are not lost, and where the index says they are. */
function readableUnlisted(
  { index, isMadeAnew = false }: HealTarget,
  { guids, chunkOffsets }: Losses,
  lost: ReadonlyMap<string, MessageLocation | undefined>,
): Map<string, MessageLocation> {
  const places = new Map<string, MessageLocation>();
  if (isMadeAnew) return places;
  for (const guid of guids) {
    const location = lost.has(guid) ? undefined : index.findMessage(guid);
    if (location !== undefined && chunkOffsets.includes(location.chunk.offset)) places.set(guid, location);
  }
  return places;
}

/** A MESSAGE line for each. @returns where they are then */
function storeAgain(
  { fd, path, index }: HealTarget,
  chunk: OpenChunk,
  locations: readonly MessageLocation[],
): NewMessage[] {
  const stored: NewMessage[] = [];
  let storedBytes = 0;
  for (const { location, isSound, bytes } of look({ fd, path, index }, locations)) {
    if (storedBytes > MAX_STORED_BYTES) break;
    if (!isSound) continue; // since it was looked at; the next verify finds it
    const { guid, partition, size } = location;
    const { lineOffset } = chunk.beginLine();
    chunk.appendText(Buffer.from(`MESSAGE (${printFileHeader(partition, guid, size)}`, 'latin1'));
    const contentOffset = chunk.contentLength;
    const pieces = bytes === undefined ? readMessage(fd, index, location, path) : [bytes];
    for (const piece of pieces) chunk.appendText(piece);
    chunk.appendText(Buffer.from(')\r\n', 'latin1'));
    stored.push({ guid, partition, size, chunkId: chunk.id, lineOffset, contentOffset });
    storedBytes += size;
  }
  return stored;
}

/** Those that can be read: what they are of is neither lost then nor to be stored again. */
function readableCopies(
  { fd, path, index }: HealTarget,
  places: readonly CopyPlace[],
  lost: Map<string, MessageLocation | undefined>,
  unlisted: Map<string, MessageLocation>,
): NewMessage[] {
  const copies: NewMessage[] = [];
  const found: MessageLocation[] = [];
  for (const { guid, chunkId, lineOffset, contentOffset, size } of places) {
    const at = lost.get(guid) ?? unlisted.get(guid);
    const chunk = index.chunk(chunkId);
    if (at !== undefined && chunk !== undefined)
      found.push({ ...at, chunk, lineOffset, contentOffset, size });
  }
  for (const { location, isSound } of look({ fd, path, index }, found)) {
    const { guid, partition, size, lineOffset, contentOffset } = location;
    if (!isSound || !(lost.has(guid) || unlisted.has(guid))) continue;
    copies.push({
      guid,
      partition,
      size,
      chunkId: location.chunk.id,
      lineOffset,
      contentOffset: contentOffset!,
    });
    lost.delete(guid);
    unlisted.delete(guid);
  }
  return copies;
}

function isScriptReadable(
  { fd, path, index }: HealTarget,
  { chunkId, lineOffset, guid }: { chunkId: number; lineOffset: number; guid: string },
): boolean {
  const { offset } = index.chunk(chunkId)!;
  const place = { offset, start: index.segmentBefore(chunkId, lineOffset), path };
  try {
    const text = scriptText(readContent(fd, place, lineOffset), lineOffset);
    return text !== undefined && createHash('sha1').update(text).digest('hex') === guid;
  } catch (error) {
    if (error instanceof BackupError && error.code === 'CHUNK_CORRUPT') return false;
    throw error;
  }
}

/** Mailboxes to be sent again, and the messages that are missing in each; none: it is not known which. */
function marksFor(
  index: BackupIndex,
  guids: Iterable<string>,
  uniqueids: readonly string[],
): Map<string, string[]> {
  const marks = new Map<string, string[]>();
  for (const guid of guids) {
    for (const uniqueid of mailboxesWith(index, guid)) {
      const missing = marks.get(uniqueid);
      if (missing === undefined) marks.set(uniqueid, [guid]);
      else missing.push(guid);
    }
  }
  for (const uniqueid of uniqueids) {
    const mailbox = mailboxByUniqueid(index, uniqueid);
    if (mailbox !== undefined && mailbox.deleted === null) marks.set(uniqueid, []);
  }
  for (const [uniqueid, marked] of mailboxesUnderHeal(index)) {
    const missing = marks.get(uniqueid);
    if (missing === undefined) continue;
    // A mark without GUIDs stands for any message. Of what comes in parts what has come may be what is lost.
    if (marked === 0 && !index.isComingInParts(uniqueid)) marks.delete(uniqueid);
    else if (marked === 0) marks.set(uniqueid, []);
    else if (missing.length > 0)
      marks.set(uniqueid, [...new Set([...missing, ...index.healMark(uniqueid)!])]);
  }
  return marks;
}
