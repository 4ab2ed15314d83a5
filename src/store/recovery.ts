/**
 * Opening a backup so that its index can be trusted: at once if both files are as we left them, else by mending
 * what a crash, a power failure or another program left. docs/crash-safety.md has the table of cases.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fdatasync, syncDirectory, writeAllSync } from '../platform/durable.ts';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { ResumableSha1 } from '../platform/sha1.ts';
import type { TrustedFiles } from './backup.ts';
import { decodeMemberHeader, MAX_HEADER_BYTES } from './chunk/member.ts';
import { readContent } from './chunk/reader.ts';
import { hashRange, type ScannedMember, scanMembers } from './chunk/scan.ts';
import { ChunkWriter } from './chunk/writer.ts';
import type { DataFile } from './data-file.ts';
import { BackupIndex, type IndexState } from './index/backup-index.ts';
import { measureMember, replayMember } from './replay.ts';
import type { StoreEnvironment } from './store-environment.ts';

/** End of the last segment and the final block of a finished chunk; CRC-32 and length follow. */
const FINISHED_END = Buffer.from([0x00, 0x00, 0xff, 0xff, 0x03, 0x00]);
const FOOTER_BYTES = 8;

/**
 * Opens what belongs to a locked data file.
 *
 * @throws BackupError IO_ERROR or NO_SPACE when the files cannot be read or mended.
 */
export async function openTrusted(
  file: DataFile,
  userid: string,
  env: StoreEnvironment,
): Promise<TrustedFiles> {
  const size = file.size();
  if (size === 0) {
    removeIndex(file.indexPath);
    const index = BackupIndex.open(file.indexPath, { create: true });
    return { file, index, fileSha1: ResumableSha1.create(), fileEnd: 0, lastTime: 0 };
  }
  const opened = tryOpenIndex(file.indexPath);
  try {
    const state = opened?.state();
    const files = opened && state && (await tryTrust(file, opened, state, userid, env));
    if (files !== undefined) return files;
  } catch (error) {
    // A torn index shows itself only when the page is read.
    if (!isCorruptIndex(error)) throw error;
    env.log.warn({ userid, path: file.indexPath, err: error }, 'the index is damaged');
  }
  opened?.close();
  return await rebuild(file, userid, env);
}

/** The files as they are, or mended where that is enough; undefined if the index must be made anew. */
async function tryTrust(
  file: DataFile,
  index: BackupIndex,
  state: IndexState,
  userid: string,
  env: StoreEnvironment,
): Promise<TrustedFiles | undefined> {
  const size = file.size();
  if (size === state.committedEnd && hasTrailer(file, state)) return trusted(file, index, state);
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

/** Whether the file ends with the trailer that the index names. */
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

/** What is cut off may hold more than a torn write, so it is put aside where a person can look at it. */
function keepTorn(file: DataFile, from: number, env: StoreEnvironment): void {
  const target = `${file.path}.torn.${Math.floor(Date.now() / 1000)}`;
  const out = fs.openSync(target, 'a', 0o600);
  try {
    const block = Buffer.allocUnsafe(1 << 20);
    for (let at = from; ; ) {
      const got = fs.readSync(file.fd, block, 0, block.length, at);
      if (got === 0) break;
      fs.writeSync(out, block, 0, got);
      at += got;
    }
    fs.fdatasyncSync(out);
  } finally {
    fs.closeSync(out);
  }
  env.log.warn({ path: file.path, from, target }, 'the damaged end of the backup was put aside');
}

function removeIndex(indexPath: string): void {
  fs.rmSync(indexPath, { force: true });
  fs.rmSync(`${indexPath}-journal`, { force: true });
}

/** Killed under this boot after the index of the last chunk was committed, before its trailer was whole. */
function missesOnlyTrailer(
  file: DataFile,
  index: BackupIndex,
  state: IndexState,
  size: number,
  env: StoreEnvironment,
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

function isOfThisBoot(tag: Uint8Array | undefined, env: StoreEnvironment): boolean {
  return tag !== undefined && Buffer.compare(tag, env.bootTag) === 0;
}

async function writeTrailer(file: DataFile, state: IndexState): Promise<void> {
  writeAllSync(file.fd, [state.trailer], state.committedEnd - state.trailer.length);
  await fdatasync(file.fd);
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
  env: StoreEnvironment,
): Promise<TrustedFiles | undefined> {
  const members = [
    ...scanMembers(file.fd, state.committedEnd, file.size(), {
      fileSha1: ResumableSha1.load(state.fileSha1State),
    }),
  ];
  const last = members.at(-1)!;
  if (last.state !== 'complete' && !isOfThisBoot(last.bootTag, env)) return undefined;
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

/** Makes the index anew from the data file alone and puts it in place of the old one when it is complete. */
async function rebuild(file: DataFile, userid: string, env: StoreEnvironment): Promise<TrustedFiles> {
  const size = file.size();
  env.log.warn(
    { userid, path: file.path, sizeBytes: size },
    'the index is missing or does not fit the data file; rebuilding it from the data file',
  );
  const fresh = `${file.indexPath}.new`;
  removeIndex(fresh);
  const index = BackupIndex.open(fresh, { create: true });
  const none: IndexState = {
    committedEnd: 0,
    trailer: new Uint8Array(0),
    fileSha1State: ResumableSha1.create().save(),
    lastTime: 0,
  };
  let tail: { state: IndexState; needsTrailer: boolean };
  try {
    index.begin();
    tail = await applyMembers(file, index, scanMembers(file.fd, 0, size), new Map(), none, env);
    index.commit();
  } finally {
    index.close();
  }
  await syncPath(fresh);
  keepPrevious(file.indexPath, env);
  fs.renameSync(fresh, file.indexPath);
  await syncDirectory(path.dirname(file.indexPath));
  if (tail.needsTrailer) await writeTrailer(file, tail.state);
  env.figures.count('index_rebuilds_total');
  return trusted(file, BackupIndex.open(file.indexPath), tail.state);
}

function keepPrevious(indexPath: string, env: StoreEnvironment): void {
  fs.rmSync(`${indexPath}-journal`, { force: true });
  if (!env.config.backupKeepPrevious) return;
  try {
    fs.renameSync(indexPath, `${indexPath}.${Math.floor(Date.now() / 1000)}`);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
}

async function syncPath(file: string): Promise<void> {
  const fd = fs.openSync(file, 'r+');
  try {
    await fdatasync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Enters the members into the index, inside the caller's transaction; an unfinished last one is cut behind
 * its last line that counts. Its trailer is still to be written, when the index is safe.
 */
async function applyMembers(
  file: DataFile,
  index: BackupIndex,
  members: Iterable<ScannedMember>,
  known: ReadonlyMap<number, number>,
  before: IndexState,
  env: StoreEnvironment,
): Promise<{ state: IndexState; needsTrailer: boolean }> {
  let state = before;
  let needsTrailer = false;
  const size = file.size();
  for (const member of members) {
    if (member.end === size && isTorn(file.fd, member)) {
      const finished = finishLast(file, index, member, known, state, env);
      needsTrailer = finished !== undefined;
      state = finished ?? afterMembers(member.offset, member.fileSha1State, state.lastTime);
      await fdatasync(file.fd);
      break;
    }
    if (member.state !== 'complete') {
      env.log.error(
        { path: file.path, offset: member.offset, end: member.end, reason: member.reason },
        'a chunk of the backup is damaged; what is whole in it was indexed',
      );
      env.figures.count('damaged_chunks_total');
    }
    const id = enterChunk(index, member, known, member.contentLength);
    replayMember(file.fd, member, member.contentLength, index, id);
    index.endChunk(id, {
      tsEnd: member.lastTime,
      length: member.contentLength,
      dataSha1: member.contentSha1,
    });
    const sha1 = hashRange(file.fd, member.offset, member.end, ResumableSha1.load(member.fileSha1State));
    state = afterMembers(member.end, sha1.save(), Math.max(state.lastTime, member.lastTime));
  }
  index.setState(state);
  return { state, needsTrailer };
}

/**
 * Whether the last member of the file was never finished. A power failure can leave anything behind what was
 * synced, so damage there counts as the torn end of it; but a finished chunk that was damaged later must not be
 * cut. It ends as every chunk of ours does, with a flush, the empty final block and its trailer.
 */
function isTorn(fd: number, member: ScannedMember): boolean {
  if (member.state !== 'corrupt') return member.state === 'unfinished';
  // Pages that were never written are zeros.
  if (member.headerLength === 0) return startsWithZeros(fd, member.offset);
  if (member.bootTag === undefined || member.streamEnd !== undefined) return false;
  const end = Buffer.alloc(FINISHED_END.length);
  fs.readSync(fd, end, 0, end.length, member.end - FOOTER_BYTES - end.length);
  return !end.equals(FINISHED_END);
}

function startsWithZeros(fd: number, offset: number): boolean {
  const start = Buffer.alloc(16, 1);
  const length = fs.readSync(fd, start, 0, start.length, offset);
  return start.subarray(0, length).every((byte) => byte === 0);
}

function afterMembers(end: number, fileSha1State: Uint8Array, lastTime: number): IndexState {
  return { committedEnd: end, trailer: new Uint8Array(0), fileSha1State, lastTime };
}

function enterChunk(
  index: BackupIndex,
  member: ScannedMember,
  known: ReadonlyMap<number, number>,
  limit: number,
): number {
  const { offset, firstTime: tsStart, fileSha1 } = member;
  const id = known.get(offset) ?? index.startChunk({ offset, tsStart, fileSha1 });
  for (const start of member.starts) {
    if (start.contentOffset < limit) index.addSegmentStart(id, start.contentOffset, start.fileOffset);
  }
  return id;
}

/**
 * The unfinished member at the end of the file. In one of ours, MESSAGE lines at its end that nothing claims
 * are cut: they promise nothing, and may be somebody else's. What Cyrus wrote keeps them.
 *
 * @returns undefined if nothing of it is worth keeping: the member is cut off.
 */
function finishLast(
  file: DataFile,
  index: BackupIndex,
  member: ScannedMember,
  known: ReadonlyMap<number, number>,
  before: IndexState,
  env: StoreEnvironment,
): IndexState | undefined {
  const lines = measureMember(file.fd, member, member.contentLength);
  const wanted = member.bootTag === undefined ? lines.lineEnd : lines.stateEnd;
  const cut = member.cuts.findLast((place) => place.contentOffset <= wanted);
  env.log.warn(
    {
      path: file.path,
      chunk: member.offset,
      keptBytes: cut?.contentOffset ?? 0,
      droppedBytes: member.contentLength - (cut?.contentOffset ?? 0),
    },
    'the last chunk was not finished; its complete lines are kept',
  );
  if (member.state === 'corrupt') keepTorn(file, cut?.fileOffset ?? member.offset, env);
  if (cut === undefined || wanted === 0) {
    fs.ftruncateSync(file.fd, member.offset);
    return undefined;
  }
  const writer = ChunkWriter.resume(
    {
      fd: file.fd,
      fileEnd: member.offset,
      fileSha1: ResumableSha1.load(member.fileSha1State),
      engine: env.engine,
      bootTag: member.bootTag ?? env.bootTag,
      path: file.path,
    },
    cut,
  );
  const id = enterChunk(index, member, known, cut.contentOffset);
  replayMember(file.fd, member, cut.contentOffset, index, id);
  const chunk = writer.finish();
  const lastTime = Math.max(before.lastTime, lines.lastTime);
  index.endChunk(id, { tsEnd: lastTime, length: chunk.length, dataSha1: chunk.dataSha1 });
  return {
    committedEnd: chunk.fileEndAfterTrailer,
    trailer: chunk.trailer,
    fileSha1State: chunk.fileSha1StateAfterTrailer,
    lastTime,
  };
}
