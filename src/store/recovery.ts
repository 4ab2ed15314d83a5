/**
 * Opening a backup so that its index can be trusted: at once if both files are as we left them, else by mending
 * what a crash, a power failure or another program left. docs/crash-safety.md has the table of cases.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import type { Config } from '../config/config.ts';
import { BackupError } from '../platform/errors.ts';
import { ResumableSha1 } from '../platform/sha1.ts';
import { applyMembers, type RecoveryEnvironment, writeTrailer } from './apply-members.ts';
import type { TrustedFiles } from './backup.ts';
import { decodeMemberHeader, MAX_HEADER_BYTES } from './chunk/member.ts';
import { readContent } from './chunk/reader.ts';
import { condensedBytes } from './condensed.ts';
import type { DataFile } from './data-file.ts';
import { BackupIndex, type IndexState } from './index/backup-index.ts';
import { type ReadMember, readHere } from './member-source.ts';
import {
  describedEnd,
  type FoundByRebuild,
  keepPrevious,
  rebuildIndex,
  removeIndex,
  syncPath,
} from './rebuild.ts';
import { settleSwap } from './swap.ts';

/** Of the tail of a file, while it is not known yet whether its index can be trusted. */
const MAX_CONDENSED_BYTES = 16 << 20;

/** What opening needs of its surroundings. */
export type OpenEnvironment = RecoveryEnvironment & { config: Pick<Config, 'backupKeepPrevious'> };

/**
 * Opens what belongs to a locked data file.
 *
 * @throws BackupError IO_ERROR or NO_SPACE when the files cannot be read or mended.
 */
export async function openTrusted(
  file: DataFile,
  userid: string,
  env: OpenEnvironment,
): Promise<TrustedFiles> {
  const size = file.size();
  if (size === 0) {
    settleSwap(file.path);
    const rebuilt = keepIfLost(file, userid, env);
    removeIndex(file.indexPath);
    const index = BackupIndex.open(file.indexPath, { create: true });
    const nothing = { file, index, fileSha1: ResumableSha1.create(), fileEnd: 0, lastTime: 0 };
    return { ...nothing, ...(rebuilt && { rebuilt }) };
  }
  settleSwap(file.path);
  const opened = tryOpenIndex(file.indexPath);
  try {
    const state = opened?.state();
    const files = opened && state && (await tryTrust(file, opened, state, userid, env));
    if (files !== undefined) return files;
  } catch (error) {
    // A torn index shows itself only when the page is read.
    if (!isCorruptIndex(error)) {
      opened?.close(); // with its transaction, which would keep everybody out
      throw error;
    }
    env.log.warn({ userid, path: file.indexPath, err: error }, 'the index is damaged');
  }
  opened?.close();
  return await rebuild(file, userid, env);
}

/** A new backup has no content yet. An empty file that is not new has lost all of it, and its index knows what it was. */
function keepIfLost(file: DataFile, userid: string, env: OpenEnvironment): FoundByRebuild | undefined {
  const described = describedEnd(file.indexPath);
  if (described === undefined || described === 0) return undefined;
  const keptIndex = keepPrevious(file.indexPath, true);
  env.figures.count('index_rebuilds_total');
  const facts = { userid, path: file.path, sizeBytes: 0, indexedBytes: described, target: keptIndex };
  env.log.error(facts, 'the end of the data file is lost; the index that describes it is kept');
  return { damage: { chunks: 0, guids: [] }, putAside: undefined, lostBytes: described, keptIndex };
}

/** The files as they are, or mended where that is enough; undefined if the index must be made anew. */
async function tryTrust(
  file: DataFile,
  index: BackupIndex,
  state: IndexState,
  userid: string,
  env: OpenEnvironment,
): Promise<TrustedFiles | undefined> {
  const size = file.size();
  if (size >= state.committedEnd) {
    const isOfFile = hasTrailer(file, state);
    if (isOfFile && size === state.committedEnd) return trusted(file, index, state);
    // What goes on behind it was begun when the trailer stood there: the index is another file's, or an older one's.
    if (!isOfFile && size > state.committedEnd) return undefined;
  }
  // Under another boot the end may be garbled: only the trailer, or what was before it too.
  const isGarbled = size === state.committedEnd;
  if (isGarbled ? lastChunkIsWhole(file, index) : missesOnlyTrailer(file, index, state, size, env)) {
    await writeTrailer(file, state);
    env.figures.count('recoveries_total');
    env.log.info({ userid, path: file.path }, 'the last chunk lacked its trailer, which was written');
    return trusted(file, index, state);
  }
  return size > state.committedEnd ? await mendTail(file, index, state, userid, env) : undefined;
}

/** Whether the content of the last chunk is what the index says. */
function lastChunkIsWhole(file: DataFile, index: BackupIndex): boolean {
  const last = index.chunks().at(-1);
  if (last === undefined || last.length === null) return false;
  const sha1 = createHash('sha1');
  try {
    for (const block of readContent(file.fd, { offset: last.offset }, 0, last.length)) sha1.update(block);
  } catch (error) {
    if (error instanceof BackupError && error.code === 'CHUNK_CORRUPT') return false;
    throw error;
  }
  return sha1.digest('hex') === last.dataSha1;
}

/** Whether the trailer that the index names stands in the file where it says. */
function hasTrailer(file: DataFile, state: IndexState): boolean {
  const end = Buffer.alloc(state.trailer.length);
  fs.readSync(file.fd, end, 0, end.length, state.committedEnd - end.length);
  return end.equals(state.trailer);
}

/** SQLite found that the file is no sound database. */
export function isCorruptIndex(error: unknown): boolean {
  if (error instanceof BackupError) return error.code === 'INDEX_STALE';
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' && /^SQLITE_(?:CORRUPT|NOTADB|SCHEMA)/.test(code);
}

function trusted(file: DataFile, index: BackupIndex, state: IndexState): TrustedFiles {
  const fileSha1 = ResumableSha1.load(state.fileSha1State);
  return { file, index, fileSha1, fileEnd: state.committedEnd, lastTime: state.lastTime };
}

function tryOpenIndex(indexPath: string): BackupIndex | undefined {
  try {
    return BackupIndex.open(indexPath);
  } catch (error) {
    if (isCorruptIndex(error) || (error instanceof BackupError && error.code === 'NOT_FOUND')) {
      return undefined;
    }
    throw error;
  }
}

/** Killed under this boot after the index of the last chunk was committed, before its trailer was whole. */
function missesOnlyTrailer(
  file: DataFile,
  index: BackupIndex,
  state: IndexState,
  size: number,
  env: OpenEnvironment,
): boolean {
  if (size >= state.committedEnd || size < state.committedEnd - state.trailer.length) return false;
  const last = index.chunks().at(-1);
  return last !== undefined && isOfThisBoot(memberBootTag(file.fd, last.offset), env);
}

function memberBootTag(fd: number, offset: number): Uint8Array | undefined {
  const bytes = Buffer.alloc(MAX_HEADER_BYTES);
  const length = fs.readSync(fd, bytes, 0, bytes.length, offset);
  const header = decodeMemberHeader(bytes.subarray(0, length));
  return typeof header === 'string' ? undefined : header.bootTag;
}

function isOfThisBoot(tag: Uint8Array | undefined, env: OpenEnvironment): boolean {
  return tag !== undefined && Buffer.compare(tag, env.bootTag) === 0;
}

/** What lies behind the committed end. What does not fit into memory is read again when it is applied. */
function readTail(file: DataFile, { committedEnd, fileSha1State }: IndexState): ReadMember[] {
  const members: ReadMember[] = [];
  let heldBytes = 0;
  for (const read of readHere(file.fd, committedEnd, file.size(), ResumableSha1.load(fileSha1State))) {
    const bytes = read.condensed === undefined ? 0 : condensedBytes(read.condensed);
    const isHeld = heldBytes + bytes <= MAX_CONDENSED_BYTES;
    if (isHeld) heldBytes += bytes;
    members.push(isHeld ? read : { member: read.member, condensed: undefined });
  }
  return members;
}

/**
 * The file goes on behind what the index knows. Undefined if the index may be torn: the unfinished last member
 * was begun under another boot, so it was a power failure that ended it.
 */
async function mendTail(
  file: DataFile,
  index: BackupIndex,
  state: IndexState,
  userid: string,
  env: OpenEnvironment,
): Promise<TrustedFiles | undefined> {
  const members = readTail(file, state);
  const last = members.at(-1)!.member;
  if (last.state !== 'complete' && !isOfThisBoot(last.bootTag, env)) return undefined;
  // Damage there, or no chunk begins there at all, since the index is another file's.
  if (members.some(({ member }) => member !== last && member.state === 'corrupt')) return undefined;
  const known = new Map(index.chunks().map((chunk) => [chunk.offset, chunk.id]));
  index.setFullSync(true);
  index.begin();
  const tail = await applyMembers(file, index, members, known, state, env);
  index.commit();
  await syncPath(index.path);
  index.setFullSync(false);
  if (tail.needsTrailer) await writeTrailer(file, tail.state);
  env.figures.count('recoveries_total');
  env.log.warn(
    {
      userid,
      path: file.path,
      from: state.committedEnd,
      to: tail.state.committedEnd,
      members: members.length,
    },
    'recovered: what lay behind the committed end was indexed',
  );
  return trusted(file, index, tail.state);
}

async function rebuild(file: DataFile, userid: string, env: OpenEnvironment): Promise<TrustedFiles> {
  env.log.warn(
    { userid, path: file.path, sizeBytes: file.size() },
    'the index is missing or does not fit the data file; rebuilding it from the data file',
  );
  const rebuilt = await rebuildIndex(file, env);
  return { ...trusted(file, rebuilt.index, rebuilt.state), rebuilt };
}
