/** doctor: one backup: whether it is at rest, who has it, what is known to be wrong with it. Reads only. */
import fs from 'node:fs';
import { BackupError } from '../platform/errors.ts';
import { lockHolder } from '../platform/file-lock.ts';
import { commandOf, lockingProcesses } from '../platform/lock-holders.ts';
import { companions } from '../store/companions.ts';
import { indexPathOf, stagedPathOf } from '../store/data-file.ts';
import { BackupIndex } from '../store/index/backup-index.ts';
import { awaitedHeals, damagedChunks } from '../store/index/damage.ts';
import { bytesText, CLOCK_REMEDY, CLOCK_SECONDS, type DoctorCheck, error, ok, warn } from './doctor-check.ts';

const DAY_SECONDS = 86_400;

export function* examineBackup(dataPath: string): Generator<DoctorCheck, void> {
  const stat = fs.statSync(dataPath, { throwIfNoEntry: false });
  if (stat === undefined) {
    if (fs.existsSync(stagedPathOf(dataPath))) {
      yield ok(
        'backup',
        'file',
        `${dataPath} is still in the staging folder; whoever opens it finishes that`,
      );
      return;
    }
    const remedy = 'Mount its partition, or put the file back from a copy';
    yield error('backup', 'file', `${dataPath} does not exist`, remedy);
    return;
  }
  yield ok('backup', 'file', `${dataPath} has ${bytesText(stat.size)}`);
  yield lock(dataPath);
  yield* index(dataPath, stat.size);
  for (const { path: beside, kind } of companions(dataPath)) {
    if (kind === 'index' || beside.endsWith('-journal')) continue;
    const remedy =
      kind === 'kept'
        ? 'Remove it when you need it no more'
        : 'If nothing is running on the backup, run csync-backup reindex';
    yield warn(
      'backup',
      'beside',
      `${beside} lies beside it (${bytesText(fs.statSync(beside).size)})`,
      remedy,
    );
  }
}

function lock(dataPath: string): DoctorCheck {
  const fd = fs.openSync(dataPath, 'r');
  try {
    const holder = lockHolder(fd, 'shared');
    if (holder === undefined) return ok('backup', 'lock', 'nobody has it locked');
    const pid = holder || lockingProcesses(fs.fstatSync(fd))[0]?.pid;
    const who =
      pid === undefined ? 'a process that this user may not see' : `process ${pid} (${commandOf(pid)})`;
    return ok('backup', 'lock', `${who} has it locked`);
  } finally {
    fs.closeSync(fd);
  }
}

function* index(dataPath: string, size: number): Generator<DoctorCheck, void> {
  let opened: BackupIndex | undefined;
  try {
    opened = BackupIndex.open(indexPathOf(dataPath), { readonly: true, asItIs: true });
    yield* state(opened, size);
    yield* damage(opened);
  } catch (cause) {
    const code =
      cause instanceof BackupError ? (cause.cause as { code?: string } | undefined)?.code : undefined;
    if (code === 'SQLITE_READONLY_ROLLBACK') {
      yield ok(
        'backup',
        'index',
        'the index is in the middle of a change, or was when its program died: the next opening recovers it',
      );
      return;
    }
    const reason = cause instanceof BackupError ? cause.reason : String(cause);
    if (size === 0) yield ok('backup', 'index', 'nothing is stored in it yet');
    else
      yield warn(
        'backup',
        'index',
        `the index cannot be used (${reason})`,
        'Nothing is lost: the next sync makes it anew, or csync-backup reindex now',
      );
  } finally {
    opened?.close();
  }
}

function* state(opened: BackupIndex, size: number): Generator<DoctorCheck, void> {
  const known = opened.state();
  if (known === undefined) {
    yield ok(
      'backup',
      'index',
      "the index is Cyrus's; it is made anew when the server first opens the backup",
    );
    return;
  }
  const { committedEnd, lastTime } = known;
  if (committedEnd === size)
    yield ok('backup', 'index', `at rest: the index describes all ${opened.chunks().length} chunks`);
  else if (committedEnd < size) {
    const text = `${bytesText(size - committedEnd)} are not indexed yet: a session is at it, or was killed, or another program has appended`;
    yield ok('backup', 'index', `${text}; the next opening takes them in`);
  } else {
    const text = `the data file is ${bytesText(committedEnd - size)} shorter than its index says`;
    yield error(
      'backup',
      'index',
      text,
      'csync-backup verify says what is lost; the next sync brings it again',
    );
  }
  if (lastTime > 0) yield updated(lastTime);
  const unuserAt = opened.unuserAt();
  if (unuserAt !== undefined) {
    yield ok(
      'backup',
      'user',
      `the mail server deleted the user at ${new Date(unuserAt * 1000).toISOString()}`,
    );
  }
}

function updated(lastTime: number): DoctorCheck {
  const line = `last line of ${new Date(lastTime * 1000).toISOString()}`;
  const seconds = Date.now() / 1000 - lastTime;
  if (seconds >= -CLOCK_SECONDS)
    return ok('backup', 'updated', `${line}, ${Math.max(0, Math.floor(seconds / DAY_SECONDS))} days ago`);
  return warn('backup', 'updated', `${line}, which lies ahead of the clock`, CLOCK_REMEDY);
}

function* damage(opened: BackupIndex): Generator<DoctorCheck, void> {
  const chunks = damagedChunks(opened);
  const heal = awaitedHeals(opened);
  if (chunks.size > 0) {
    const text = `${chunks.size} chunks are known to be damaged (${[...chunks.keys()].slice(0, 5).join(', ')})`;
    yield warn('backup', 'damage', text, 'csync-backup verify says what is lost in them and not healed');
  }
  if (heal.size > 0) {
    const text = `${heal.size} mailboxes are to be sent again by the mail server`;
    yield warn('backup', 'heal', text, 'sync_client -u USER on the mail server, or wait for its next sync');
  }
  if (chunks.size + heal.size === 0) yield ok('backup', 'damage', 'no damage is known');
}
