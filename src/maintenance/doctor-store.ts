/** doctor: the partitions, backups.db, and what lies about on them. One listing of each folder, no backup is opened. */
import fs from 'node:fs';
import path from 'node:path';
import type { Config, PartitionConfig } from '../config/config.ts';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { tryLock, unlock } from '../platform/file-lock.ts';
import { isHeldLockFile, isLockFile } from '../platform/file-lock-file.ts';
import { readOnlyReason } from '../platform/mounts.ts';
import { Catalog } from '../store/catalog.ts';
import { splitCompanion } from '../store/companions.ts';
import { STAGING_FOLDER } from '../store/data-file.ts';
import { useridOfDataFile } from '../store/partition.ts';
import { dataFoldersOn } from '../store/partition-folders.ts';
import { type DeletedBackup, isExpired, parseDeletedKey } from './delete.ts';
import { bytesText, CLOCK_REMEDY, CLOCK_SECONDS, type DoctorCheck, error, ok, warn } from './doctor-check.ts';
import { examineOwners } from './doctor-owners.ts';
import { statBackup } from './stat.ts';
import { verifyCatalog } from './verify-catalog.ts';

const LOW_SPACE_RATIO = 0.1;
const NO_SPACE_RATIO = 0.02;
/** A staged file is locked for as long as somebody works on it, but for a moment. */
const STALE_MS = 60_000;
/** Of one kind that are named one by one. */
const MAX_NAMED = 20;

export function* examineStore(config: Config): Generator<DoctorCheck, void> {
  const owner = fs.statSync(config.configDirectory, { throwIfNoEntry: false })?.uid;
  const devices = new Map<number, string>();
  const readable: PartitionConfig[] = [];
  for (const { name, path: folder } of config.partitions) {
    if (isForbidden(folder)) {
      const text = `partition ${name} (${folder}) cannot be read by user ${process.getuid!()}`;
      yield error('partitions', 'mode', text, 'Run this as root or as the user of the server');
      continue;
    }
    readable.push({ name, path: folder });
    const stat = fs.statSync(folder, { throwIfNoEntry: false });
    if (stat === undefined) {
      const remedy = 'Mount its disk, or make it; with the embedded configuration the first start does';
      yield error('partitions', 'folder', `partition ${name} (${folder}) does not exist`, remedy);
      continue;
    }
    const readOnly = readOnlyReason(folder);
    if (readOnly !== undefined) {
      const text = `nothing can be stored on partition ${name} (${folder}): ${readOnly}`;
      yield error(
        'partitions',
        'read-only',
        text,
        'See dmesg for why; check the disk, and mount it writable',
      );
    }
    yield* space(name, folder);
    if (owner !== undefined && stat.uid !== owner) {
      const text = `partition ${name} (${folder}) belongs to uid ${stat.uid}, configdirectory to uid ${owner}`;
      yield warn('partitions', 'owner', text, 'Give both to the user that the server runs as');
    }
    if ((stat.mode & 0o007) !== 0)
      yield warn(
        'partitions',
        'mode',
        `everybody on this machine can look into ${folder}`,
        `chmod o= ${folder}`,
      );
    const other = devices.get(stat.dev);
    if (other !== undefined) {
      const text = `partitions ${other} and ${name} are on the same filesystem, and fill it together`;
      yield warn('partitions', 'filesystem', text, 'Put them on disks of their own, or use one');
    } else devices.set(stat.dev, name);
  }
  yield* catalogAndFiles(config);
  if (owner !== undefined) yield* examineOwners(config, owner);
  for (const { name, path: folder } of readable) yield* leftovers(name, folder);
}

function isForbidden(folder: string): boolean {
  try {
    fs.accessSync(folder, fs.constants.R_OK | fs.constants.X_OK);
    return false;
  } catch (cause) {
    return hasErrno(cause, 'EACCES');
  }
}

function* space(name: string, folder: string): Generator<DoctorCheck, void> {
  const { bavail, blocks, bsize, ffree, files } = fs.statfsSync(folder);
  const text = `partition ${name} (${folder}) has ${bytesText(bavail * bsize)} of ${bytesText(blocks * bsize)} free`;
  const remedy = 'Compact, move backups (csync-backup move), or make the filesystem larger';
  if (bavail < NO_SPACE_RATIO * blocks) yield error('partitions', 'space', text, remedy);
  else if (bavail < LOW_SPACE_RATIO * blocks) yield warn('partitions', 'space', text, remedy);
  else yield ok('partitions', 'space', text);
  // Some filesystems have no fixed number of them, and say 0.
  if (files > 0 && ffree < LOW_SPACE_RATIO * files)
    yield warn(
      'partitions',
      'inodes',
      `partition ${name} has ${ffree} of ${files} inodes left`,
      'Each backup takes two, and each change one for a moment',
    );
}

const REMEDIES: Record<string, string> = {
  FILE_MISSING:
    'Mount its partition or put the file back; if it is gone for good: csync-backup reconstruct --prune --apply',
  FILE_NOT_IN_CATALOG:
    'csync-backup reconstruct shows whose it is, and with --apply enters it if its user has no other',
  FILE_SHARED:
    'Find out whose it is (csync-backup show mailboxes -f FILE); csync-backup delete OTHER --now --yes takes the other entry out, the file stays',
  FILE_OUTSIDE: 'Add its partition to the configuration, or csync-backup move the backup',
};

function* catalogAndFiles(config: Config): Generator<DoctorCheck, void> {
  const catalog = new Catalog(config.backupDbPath);
  const seen = { entries: 0, expired: 0, ahead: [] as string[] };
  try {
    if (!fs.existsSync(config.backupDbPath)) {
      const text = `${config.backupDbPath} does not exist: the server knows no backups`;
      yield warn(
        'catalog',
        'file',
        text,
        'If there were backups, csync-backup reconstruct; else all is well',
      );
    }
    catalog.check();
    let count = 0;
    for (const { code, severity, text } of verifyCatalog(counted(catalog, config, seen), config)) {
      if (++count > MAX_NAMED) continue;
      const make = severity === 'fault' ? error : warn;
      yield make('catalog', code, text, REMEDIES[code] ?? 'See csync-backup verify -A');
    }
    if (count > MAX_NAMED) {
      const text = `${count - MAX_NAMED} more of these`;
      yield error('catalog', 'more', text, 'See csync-backup verify -A --quick for all');
    }
    if (count === 0)
      yield ok(
        'catalog',
        'file',
        `${config.backupDbPath} and the files of its ${seen.entries} entries agree`,
      );
  } catch (cause) {
    if (!(cause instanceof BackupError)) throw cause;
    const remedy = cause.code === 'CATALOG_CORRUPT' ? 'csync-backup reconstruct' : cause.remedy;
    yield error('catalog', cause.code, cause.message, remedy);
  } finally {
    catalog.close();
  }
  yield clock(seen.ahead);
  if (seen.expired > 0)
    yield warn(
      'catalog',
      'expired',
      `${seen.expired} deleted backups are past backup_retention`,
      'csync-backup delete --expired --yes',
    );
}

function* counted(
  catalog: Catalog,
  config: Config,
  seen: { entries: number; expired: number; ahead: string[] },
): Generator<[string, string], void> {
  const latest = Date.now() / 1000 + CLOCK_SECONDS;
  for (const [key, dataPath] of catalog.entries()) {
    seen.entries++;
    const deleted = parseDeletedKey(key);
    const backup: DeletedBackup | undefined = deleted && { key, dataPath, ...deleted };
    if (backup && isExpired(backup, { catalog, retentionMs: config.backupRetentionMs })) seen.expired++;
    if ((statBackup(dataPath, { locked: 'read' }).lastEnd ?? 0) > latest) seen.ahead.push(dataPath);
    yield [key, dataPath];
  }
}

function clock(ahead: readonly string[]): DoctorCheck {
  const now = new Date().toISOString();
  if (ahead.length === 0) return ok('system', 'clock', `it is ${now}, and no backup has a later line`);
  const text = `it is ${now}, but ${ahead.length} backups have later lines, ${ahead[0]} for one`;
  return warn('system', 'clock', text, CLOCK_REMEDY);
}

interface Pile {
  count: number;
  bytes: number;
  first: string;
}

const PILES: Record<string, [what: string, remedy: string]> = {
  torn: ['files with what recovery has cut off (.torn.*)', 'Remove them when nobody misses anything'],
  damaged: [
    'files with the bytes of damaged chunks, which compaction has taken out (.damaged.*)',
    'Remove them when nobody misses anything',
  ],
  corrupt: ['indexes that were found damaged (.index.corrupt.*)', 'Remove them: each was made anew'],
  previous: [
    'files that compaction and reindexing have replaced (backup_keep_previous)',
    'Remove those that you need no more',
  ],
  unfinished: [
    'unfinished work of compaction or reindexing',
    'If none is running: run csync-backup compact or reindex on the backup',
  ],
  index: ['indexes without a data file', 'Find the data file; if it is gone for good, remove them'],
  staged: ['staged files that nobody has locked', 'The next start of the server clears them up'],
  lock: ['lock files of processes that are no more (.lock)', 'Remove them: they keep nobody out'],
  unknown: ['files that are not ours', 'Move them somewhere else'],
};

function* leftovers(name: string, partition: string): Generator<DoctorCheck, void> {
  const piles = new Map<string, Pile>();
  const add = (kind: string, file: string) => {
    const bytes = fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    const pile = piles.get(kind);
    if (pile === undefined) piles.set(kind, { count: 1, bytes, first: file });
    else {
      pile.count++;
      pile.bytes += bytes;
    }
  };
  const staging = path.join(partition, STAGING_FOLDER);
  for (const staged of list(staging)) {
    const file = path.join(staging, staged);
    if (isLockFile(staged)) {
      if (!isHeldLockFile(file)) add('lock', file);
    } else if (isAbandoned(file)) add('staged', file);
  }
  for (const folder of fs.existsSync(partition) ? dataFoldersOn(partition) : []) {
    const names = list(path.join(partition, folder));
    const all = new Set(names);
    for (const each of names) {
      const file = path.join(partition, folder, each);
      if (isLockFile(each) && isHeldLockFile(file)) continue;
      const kind = kindOf(each, all);
      if (kind !== undefined) add(kind, file);
    }
  }
  for (const [kind, { count, bytes, first }] of piles) {
    const [what, remedy] = PILES[kind]!;
    yield warn(
      'files',
      kind,
      `partition ${name} has ${count} ${what}, ${bytesText(bytes)}, ${first} for one`,
      remedy,
    );
  }
  if (piles.size === 0) yield ok('files', 'leftovers', `nothing lies about on partition ${name}`);
}

function kindOf(name: string, all: ReadonlySet<string>): string | undefined {
  const split = splitCompanion(name);
  if (split !== undefined) {
    const { dataName, suffix } = split;
    if (suffix === '.index') return all.has(dataName) ? undefined : 'index';
    if (suffix === '.index-journal' && all.has(dataName)) return undefined; // somebody is at it
    if (suffix.startsWith('.torn.')) return 'torn';
    if (suffix.startsWith('.damaged.')) return 'damaged';
    if (suffix.startsWith('.index.corrupt.')) return 'corrupt';
    return /\.\d+$/.test(suffix) ? 'previous' : 'unfinished';
  }
  if (isLockFile(name)) return 'lock';
  return useridOfDataFile(name) === undefined ? 'unknown' : undefined;
}

function isAbandoned(staged: string): boolean {
  const stat = fs.statSync(staged, { throwIfNoEntry: false });
  if (stat === undefined || Date.now() - stat.ctimeMs < STALE_MS) return false;
  const fd = fs.openSync(staged, 'r+');
  try {
    if (!tryLock(fd, 'exclusive')) return false;
    unlock(fd);
    return true;
  } finally {
    fs.closeSync(fd);
  }
}

function list(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch (cause) {
    if (hasErrno(cause, 'ENOENT')) return [];
    throw cause;
  }
}
