/**
 * Entering members of a data file into its index: what mending the end of a file and making an index anew have in
 * common.
 */
import fs from 'node:fs';
import { fdatasync, writeAllSync } from '../platform/durable.ts';
import { hasErrno } from '../platform/errors.ts';
import { ResumableSha1 } from '../platform/sha1.ts';
import { hashRange } from './chunk/hash-range.ts';
import { endsAsFinished, TRAILER_BYTES } from './chunk/member.ts';
import { contentEnd, type ScannedMember } from './chunk/scan.ts';
import { ChunkWriter } from './chunk/writer.ts';
import type { DataFile } from './data-file.ts';
import type { BackupIndex, IndexState } from './index/backup-index.ts';
import { damagedChunks, mailboxesLacking, markLost, noteDamagedChunk } from './index/damage.ts';
import { isHidden } from './index/parts.ts';
import { mailboxes } from './index/queries.ts';
import { fromBlob } from './index/sql-text.ts';
import type { ReadMember } from './member-source.ts';
import { type DamagedMessage, measureMember, type ReplayedMember, replayMember } from './replay.ts';
import type { StoreEnvironment } from './store-environment.ts';

/** What recovery needs of its surroundings. */
export type RecoveryEnvironment = Pick<StoreEnvironment, 'engine' | 'bootTag' | 'figures' | 'log'> & {
  config: Pick<StoreEnvironment['config'], 'backupKeepPrevious'>;
};

/** What of the data file could not be read. */
export interface Damage {
  /** Members that are not whole, other than a last one that was never finished. */
  chunks: number;
  /** Of messages whose bytes are not what their GUIDs say. */
  guids: string[];
}

/** The end of a data file that counts for nothing any more, or cannot be read, and lies beside it now. */
export interface PutAside {
  path: string;
  /** Where it was in the data file, in bytes. */
  from: number;
  /** Whole messages in it that nothing behind them says to be anybody's. */
  messages: number;
}

export interface AppliedMembers {
  state: IndexState;
  /** The last member was finished, but for its trailer: to be written when the index is safe. */
  needsTrailer: boolean;
  damage: Damage;
  putAside: PutAside | undefined;
}

const SECONDS_OF_DAY = 86_400;

/**
 * Enters the members into the index, inside the caller's transaction; an unfinished last one is cut behind
 * its last line that counts. Its trailer is still to be written, when the index is safe.
 *
 * @param described up to where in the file something was committed, by an older index; null: perhaps up to its end.
 *   Such a last member may have been finished once, and been cut off since: if content of it counts for nothing any more,
 *   since the lines that claimed it are gone, all of it is put aside
 */
export async function applyMembers(
  file: DataFile,
  index: BackupIndex,
  members: AsyncIterable<ReadMember> | Iterable<ReadMember>,
  known: ReadonlyMap<number, number>,
  before: IndexState,
  env: RecoveryEnvironment,
  described: number | null = 0,
): Promise<AppliedMembers> {
  let state = before;
  const damage: Damage = { chunks: 0, guids: [] };
  /** Chunks that are not whole, and whole ones in which messages are damaged. */
  const torn: number[] = [];
  const hit: number[] = [];
  let needsTrailer = false;
  let putAside: PutAside | undefined;
  /** The last whole one: whoever comes next has its bytes hashed already. */
  let latest: ScannedMember | undefined;
  const size = file.size();
  for await (const { member, condensed } of members) {
    if (member.end === size && isTorn(file.fd, member)) {
      const o = { known, before: state, damage, env, described };
      const { finished, aside } = finishLast(file, index, { member, condensed }, o);
      putAside = aside;
      needsTrailer = finished !== undefined;
      state = finished ?? afterMembers(member.offset, member.fileSha1State, state.lastTime);
      latest = undefined;
      await fdatasync(file.fd);
      break;
    }
    if (member.state !== 'complete') {
      env.log.error(
        { path: file.path, offset: member.offset, end: member.end, reason: member.reason },
        'a chunk of the backup is damaged; what is whole in it was indexed',
      );
      env.figures.count('damaged_chunks_total');
      damage.chunks++;
    }
    const length = contentEnd(member);
    const id = enterChunk(index, member, known, length);
    const damaged = replayMember(file.fd, member, member.contentLength, index, id, { condensed });
    if (damaged.length > 0) noteDamage(file, member, damaged, damage, env);
    if (member.state !== 'complete') torn.push(id);
    else if (damaged.length > 0) hit.push(id);
    index.endChunk(id, {
      tsEnd: member.lastTime,
      length,
      dataSha1: member.contentSha1,
    });
    latest = member;
    const lastTime = Math.max(state.lastTime, believableTime(member));
    state = afterMembers(member.end, member.fileSha1State, lastTime);
  }
  if (latest !== undefined) {
    const sha1 = ResumableSha1.load(latest.fileSha1State);
    state.fileSha1State = hashRange(file.fd, latest.offset, latest.end, sha1).save();
  }
  // What a DAMAGE note behind it speaks of was looked into: it says what was lost, and what of it has come since.
  const noted = damagedChunks(index);
  markDamage(index, { ...damage, chunks: torn.filter((id) => !noted.has(id)).length });
  if (torn.length > 0) for (const uniqueid of mailboxesLacking(index)) markLost(index, uniqueid, []);
  for (const id of [...torn, ...hit]) noteDamagedChunk(index, id, Math.floor(Date.now() / 1000));
  if (!needsTrailer) state.trailer = trailerAt(file, state.committedEnd);
  index.setState(state);
  return { state, needsTrailer, damage, putAside };
}

/** No line is written with an earlier time than the last one's, so that of damaged text must not count for ever. */
function believableTime({ state, lastTime }: ScannedMember): number {
  return state !== 'complete' && lastTime > Date.now() / 1000 + SECONDS_OF_DAY ? 0 : lastTime;
}

function noteDamage(
  file: DataFile,
  { offset }: ScannedMember,
  damaged: readonly DamagedMessage[],
  damage: Damage,
  env: RecoveryEnvironment,
): void {
  const guids = damaged.map(({ guid }) => guid);
  env.log.error(
    { path: file.path, offset, guids: guids.slice(0, 20), count: guids.length },
    'messages of the backup are not what their GUIDs say; they count as missing',
  );
  for (const guid of guids) damage.guids.push(guid);
}

/**
 * What was lost is to be sent again: of a chunk nobody knows what was in it, so all mailboxes; of messages, those
 * that name them.
 */
export function markDamage(index: BackupIndex, damage: Damage): void {
  if (damage.chunks > 0) {
    for (const mailbox of mailboxes(index)) {
      if (mailbox.deleted === null && !isHidden(mailbox)) markLost(index, mailbox.uniqueid, []);
    }
    return;
  }
  const marks = new Map<string, string[]>();
  for (const guid of new Set(damage.guids)) {
    for (const name of index.statement(WHO_LACKS, 'pluck').all(guid) as Buffer[]) {
      const uniqueid = fromBlob(name);
      const guids = marks.get(uniqueid);
      if (guids === undefined) marks.set(uniqueid, [guid]);
      else guids.push(guid);
    }
  }
  for (const [uniqueid, guids] of marks) markLost(index, uniqueid, guids);
}

const WHO_LACKS = `SELECT DISTINCT CAST(b.uniqueid AS BLOB) FROM cb_record r JOIN mailbox b ON b.id = r.mailbox_id
  WHERE r.guid = ? AND r.expunged IS NULL AND r.replaced = 0 AND b.deleted IS NULL
    AND NOT EXISTS (SELECT 1 FROM message m WHERE m.guid = r.guid)
    AND NOT EXISTS (SELECT 1 FROM cb_heal h WHERE h.uniqueid = b.uniqueid AND h.part_uid IS NULL)`;

/**
 * Whether the last member of the file was never finished. A power failure can leave anything behind what was
 * synced, so damage there counts as the torn end of it; but a finished chunk that was damaged later must not be
 * cut. It ends as every chunk of ours does, with a flush, the empty final block and its trailer.
 */
export function isTorn(fd: number, member: ScannedMember): boolean {
  if (member.state !== 'corrupt') return member.state === 'unfinished';
  if (member.tail !== undefined) return false;
  // Pages that were never written are zeros.
  if (member.headerLength === 0) return startsWithZeros(fd, member.offset);
  if (member.bootTag === undefined || member.streamEnd !== undefined) return false;
  return !endsAsFinished(fd, member.end);
}

function startsWithZeros(fd: number, offset: number): boolean {
  const start = Buffer.alloc(16, 1);
  const length = fs.readSync(fd, start, 0, start.length, offset);
  return start.subarray(0, length).every((byte) => byte === 0);
}

function afterMembers(end: number, fileSha1State: Uint8Array, lastTime: number): IndexState {
  return { committedEnd: end, trailer: new Uint8Array(0), fileSha1State, lastTime };
}

/** The trailer that stands before `end`, if it is one of ours: by it the index is known later to be of this file. */
function trailerAt({ fd }: DataFile, end: number): Uint8Array {
  const trailer = Buffer.alloc(endsAsFinished(fd, end) ? TRAILER_BYTES : 0);
  fs.readSync(fd, trailer, 0, trailer.length, end - trailer.length);
  return trailer;
}

/** A row for the chunk, with its segment starts, if the index has none. */
export function enterChunk(
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
 * @returns `finished`: undefined if nothing of it is worth keeping: the member is cut off
 */
function finishLast(
  file: DataFile,
  index: BackupIndex,
  { member, condensed }: ReadMember,
  o: {
    known: ReadonlyMap<number, number>;
    before: IndexState;
    damage: Damage;
    env: RecoveryEnvironment;
    described: number | null;
  },
): { finished: IndexState | undefined; aside: PutAside | undefined } {
  const { known, before, damage, env } = o;
  const { lines, wanted, cut, asideFrom } = lookAtLast(file.fd, { member, condensed }, o.described);
  env.log.warn(
    {
      path: file.path,
      chunk: member.offset,
      keptBytes: cut?.contentOffset ?? 0,
      droppedBytes: member.contentLength - (cut?.contentOffset ?? 0),
    },
    'the last chunk was not finished; its complete lines are kept',
  );
  let aside: PutAside | undefined;
  if (asideFrom !== undefined) {
    const { unclaimed: messages } = lines;
    aside = { path: keepTorn(file, asideFrom, messages, env), from: asideFrom, messages };
  }
  if (cut === undefined || wanted === 0) {
    fs.ftruncateSync(file.fd, member.offset);
    return { finished: undefined, aside };
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
  const damaged = replayMember(file.fd, member, cut.contentOffset, index, id, { condensed });
  if (damaged.length > 0) noteDamage(file, member, damaged, damage, env);
  const chunk = writer.finish();
  const lastTime = Math.max(before.lastTime, lines.lastTime);
  index.endChunk(id, { tsEnd: lastTime, length: chunk.length, dataSha1: chunk.dataSha1 });
  const finished = {
    committedEnd: chunk.fileEndAfterTrailer,
    trailer: chunk.trailer,
    fileSha1State: chunk.fileSha1StateAfterTrailer,
    lastTime,
  };
  return { finished, aside };
}

/**
 * What finishLast() makes of the last member.
 *
 * @returns `wanted`: content up to there counts; `cut`: where it can be cut for that; `asideFrom`: what is put aside
 *   begins there in the file; undefined if nothing is
 */
export function lookAtLast(
  fd: number,
  { member, condensed }: ReadMember,
  described: number | null,
): {
  lines: ReplayedMember;
  wanted: number;
  cut: ScannedMember['cuts'][number] | undefined;
  asideFrom: number | undefined;
} {
  const lines = measureMember(fd, member, member.contentLength, condensed);
  const wanted = member.bootTag === undefined ? lines.lineEnd : lines.stateEnd;
  const cut = member.cuts.findLast((place) => place.contentOffset <= wanted);
  const isDropped = member.contentLength > (cut?.contentOffset ?? 0);
  let asideFrom: number | undefined;
  const mayBeLost = described === null || described > (cut?.fileOffset ?? member.offset);
  // From its beginning, so that it can be read by itself.
  if (mayBeLost && isDropped) asideFrom = member.offset;
  else if (member.state === 'corrupt') asideFrom = cut?.fileOffset ?? member.offset;
  return { lines, wanted, cut, asideFrom };
}

/**
 * What is cut off may hold more than a torn write, so it is put aside where a person can look at it.
 *
 * @returns where
 */
function keepTorn(file: DataFile, from: number, messages: number, env: RecoveryEnvironment): string {
  const { target, out } = newBeside(`${file.path}.torn`);
  try {
    // Of root's making it would be in the way of the backup's owner.
    const [owner, own] = [fs.fstatSync(file.fd), fs.fstatSync(out)];
    if (owner.uid !== own.uid || owner.gid !== own.gid) fs.fchownSync(out, owner.uid, owner.gid);
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
  env.log.warn({ path: file.path, messages, from, target }, 'the damaged end of the backup was put aside');
  return target;
}

/** A file with the time appended to its name, and none that is there already. */
function newBeside(base: string): { target: string; out: number } {
  for (let seconds = Math.floor(Date.now() / 1000); ; seconds++) {
    const target = `${base}.${seconds}`;
    try {
      return { target, out: fs.openSync(target, 'ax', 0o600) };
    } catch (error) {
      if (!hasErrno(error, 'EEXIST')) throw error;
    }
  }
}

/** Writes the trailer of the last member, and syncs. */
export async function writeTrailer(file: DataFile, state: IndexState): Promise<void> {
  writeAllSync(file.fd, [state.trailer], state.committedEnd - state.trailer.length);
  await fdatasync(file.fd);
}
