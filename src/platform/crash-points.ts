import { existsSync } from 'node:fs';

/**
 * Places where a test may have the process killed, to show that what was acknowledged survives. Each is a
 * step of the write order in docs/crash-safety.md. Nothing happens unless the environment names one:
 * `CSYNC_BACKUP_CRASH_AT=data-synced` at the first time that step is passed, `data-synced:3` at the third.
 * With `CSYNC_BACKUP_CRASH_WHEN=FILE` only passes while that file exists are counted.
 */

/** Every step, in the order in which an update passes them. */
export const CRASH_POINTS = [
  /** A segment of the command's text was written to the data file, not synced. */
  'segment-written',
  /** fdatasync of the data file has returned. */
  'data-synced',
  /** The command's rows are in the open transaction of the index. */
  'index-applied',
  /** A new backup's entry is in backups.db, the files are still in the staging folder. */
  'catalog-written',
  /** A new backup's files were renamed into their folder, the directories not yet synced. */
  'staging-renamed',
  /** All is done but the reply. */
  'before-ack',
  /** The reply was handed over to be sent. */
  'after-ack',
  /** The chunk's end was decided on: RESTART, EXIT, idle or full. */
  'chunk-finish',
  /** The index transaction of the chunk was committed, not synced. */
  'index-committed',
  /** fdatasync of the index has returned. */
  'index-synced',
  /** The chunk's trailer was written. */
  'trailer-written',
  /** The backup's lock was given up. */
  'released',
  /** A renamed user's catalog entry was moved. */
  'rename-user-catalog',
  /** Messages were copied to the session's staging file for another user. */
  'export-written',
] as const;

/** Every step of making an index anew, of compacting and of noting damage, in their order. */
export const MAINTENANCE_CRASH_POINTS = [
  /** The index's hashes of a damaged file are those of its bytes now; the damage is not noted yet. */
  'heal-rebased',
  /** A new index is complete and synced beside the old one. */
  'rebuild-synced',
  /** It has taken the old one's name, the directory not yet synced. */
  'rebuild-renamed',
  /** A chunk of the compacted data file was written, not synced. */
  'compact-chunk-written',
  /** Compacted data file and index are complete and synced, under names of their own. */
  'compact-synced',
  /** The old index was put aside: the backup has none. */
  'compact-index-aside',
  /** The compacted data file has taken its place. */
  'compact-data-renamed',
  /** The compacted index has taken its place. */
  'compact-index-renamed',
  /** What was replaced was removed, or kept. */
  'compact-done',
] as const;

/** Every step of moving, renaming and deleting a backup and of making the catalog anew, in their order. */
export const STORE_CRASH_POINTS = [
  /** The copy of the data file is complete, checked and synced in the staging folder of the other partition. */
  'move-data-copied',
  /** Its index is complete and synced in its final place. */
  'move-index-copied',
  /** The old data file has a second name in the staging folder of its partition. */
  'move-marked',
  /** The copy is the backup: catalog and names are on disk, the old files are still there. */
  'move-switched',
  /** The old data file has lost its name. */
  'move-old-unlinked',
  /** All that belonged to it is gone but the second name. */
  'move-old-gone',
  /** The backup belongs to the new userid, its mailboxes have the old names. */
  'rename-catalog',
  /** The RENAME lines are in the data file and its index. */
  'rename-lines',
  /** The backup is under its %DELETED. key. */
  'delete-aside',
  /** The data file of a backup that is being removed is in the staging folder. */
  'delete-staged',
  /** It is not in the catalog any more. */
  'delete-catalog',
  /** Its data file is removed. */
  'delete-unlinked',
  /** The deleted backup is under its userid again. */
  'undelete-catalog',
  /** The new catalog is complete and synced beside the old one. */
  'reconstruct-written',
  /** The old catalog has its second name. */
  'reconstruct-kept',
  /** The new catalog has taken its place. */
  'reconstruct-renamed',
] as const;

/** Every step of restoring into files, in their order. */
export const RESTORE_CRASH_POINTS = [
  /** A message is in a file of many, which is not complete. */
  'restore-message-written',
  /** A message was written under the name that it has until it is synced. */
  'restore-file-written',
  /** The files of a batch are synced, and have not got their names. */
  'restore-files-synced',
  /** One of them has got its name. */
  'restore-file-renamed',
  /** All have, but that is not synced. */
  'restore-files-renamed',
] as const;

export type CrashPoint =
  | (typeof CRASH_POINTS)[number]
  | (typeof MAINTENANCE_CRASH_POINTS)[number]
  | (typeof STORE_CRASH_POINTS)[number]
  | (typeof RESTORE_CRASH_POINTS)[number];

const wanted = parse(process.env.CSYNC_BACKUP_CRASH_AT);
const when = process.env.CSYNC_BACKUP_CRASH_WHEN;
let passes = 0;

/** Kills the process without any clean-up if the environment asks for it here; otherwise does nothing. */
export function crashPoint(name: CrashPoint): void {
  if (wanted === undefined || wanted.name !== name) return;
  if (when !== undefined && !existsSync(when)) return;
  if (++passes < wanted.pass) return;
  process.kill(process.pid, 'SIGKILL');
}

function parse(text: string | undefined): { name: CrashPoint; pass: number } | undefined {
  if (text === undefined || text === '') return undefined;
  const [name, pass] = text.split(':');
  const known = [
    ...CRASH_POINTS,
    ...MAINTENANCE_CRASH_POINTS,
    ...STORE_CRASH_POINTS,
    ...RESTORE_CRASH_POINTS,
  ];
  const point = known.find((candidate) => candidate === name);
  if (point === undefined || !/^[1-9]\d*$/.test(pass ?? '1')) {
    throw new Error(`CSYNC_BACKUP_CRASH_AT=${text}: allowed is one of ${known.join(' ')}, with :N`);
  }
  return { name: point, pass: Number(pass ?? '1') };
}
