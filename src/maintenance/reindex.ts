/**
 * `reindex`: makes the index of a backup anew from its data file alone, whoever wrote that. It is the rebuilding
 * that the server does by itself when an index cannot be trusted, on request and with threads that read ahead.
 */
import type { Logger } from 'pino';
import { bootTag } from '../platform/boot.ts';
import type { DeflateEngine } from '../platform/deflate.ts';
import { createLogger } from '../platform/log.ts';
import { ResumableSha1 } from '../platform/sha1.ts';
import { isTorn, lookAtLast, type PutAside, type RecoveryEnvironment } from '../store/apply-members.ts';
import type { DataFile } from '../store/data-file.ts';
import type { BackupIndex } from '../store/index/backup-index.ts';
import { awaitedHeals } from '../store/index/damage.ts';
import { type MemberReaders, readMembers } from '../store/member-source.ts';
import { describedEnd, type FoundByRebuild, rebuildIndex } from '../store/rebuild.ts';
import { ShardFigures } from '../store/shard-figures.ts';
import { openLockedData } from './locked-data.ts';

export interface ReindexOptions {
  dataPath: string;
  /** Compresses nothing but what has to be written again of a last chunk that was never finished. */
  engine: DeflateEngine;
  /** Keep the old index, with the time appended to its name (`backup_keep_previous`). */
  keepPrevious: boolean;
  /** Wait for the lock. */
  wait?: boolean;
  /** Only read: say what is damaged, and change nothing. */
  dryRun?: boolean;
  /** Threads for large backups; without them this thread does all. */
  readers?: MemberReaders;
  log?: Logger;
  /** Gets how many more bytes of the data file are done. */
  onProgress?(bytes: number): void;
}

export interface ReindexReport extends ReindexLosses {
  path: string;
  /** Of the data file. */
  sizeBytes: number;
  chunks: number;
  /** What the new index holds; null after a dry run. */
  mailboxes: number | null;
  messages: number | null;
  /** Mailboxes that clients will be asked to send again as a whole; null after a dry run. */
  mailboxesToHeal: number | null;
}

/** What shows when the index of a backup is made anew. */
export interface ReindexLosses {
  /** Chunks that are not whole; what can be read of them is indexed. */
  damagedChunks: number;
  /** Messages that are not what their GUIDs say, each time that they are stored; they count as missing. */
  damagedMessages: number;
  /** Bytes at the end of the data file of which the old index knows and that are gone. */
  lostBytes: number;
  /** What the old index is called now, if it is kept (FoundByRebuild). */
  keptIndex: string | null;
  /** The end of the data file that counts for nothing; null if there is none. After a dry run it is in its place. */
  putAside: (Omit<PutAside, 'path'> & { path: string | null }) | null;
}

export function lossesOf({ damage, lostBytes, keptIndex, putAside }: FoundByRebuild): ReindexLosses {
  return {
    damagedChunks: damage.chunks,
    damagedMessages: damage.guids.length,
    lostBytes,
    keptIndex: keptIndex ?? null,
    putAside: putAside ?? null,
  };
}

/** Whether anything that the backup had is not in it any more. */
export function isLossy(report: ReindexLosses): boolean {
  const { damagedChunks, damagedMessages, lostBytes, putAside } = report;
  return damagedChunks + damagedMessages + lostBytes > 0 || putAside !== null;
}

/** @throws BackupError LOCKED, NOT_FOUND, PERMISSION_DENIED, NO_SPACE or IO_ERROR; the old index is in place then. */
export async function reindexBackup(options: ReindexOptions): Promise<ReindexReport> {
  const file = await openLockedData(options.dataPath, options.wait ?? false);
  try {
    return options.dryRun ? await look(file, options) : await rebuild(file, options);
  } finally {
    file.close();
  }
}

async function rebuild(file: DataFile, options: ReindexOptions): Promise<ReindexReport> {
  const { readers, onProgress } = options;
  const rebuilt = await rebuildIndex(file, environment(options), {
    readers,
    onProgress: onProgress && ((bytes) => options.onProgress?.(bytes)),
  });
  const { index } = rebuilt;
  try {
    return {
      ...report(file, count(index, 'chunk')),
      ...lossesOf(rebuilt),
      mailboxes: count(index, 'mailbox'),
      messages: count(index, 'message'),
      mailboxesToHeal: awaitedHeals(index).size,
    };
  } finally {
    index.close();
  }
}

async function look(file: DataFile, { readers, onProgress }: ReindexOptions): Promise<ReindexReport> {
  const size = file.size();
  const described = describedEnd(file.indexPath);
  let end = size;
  let putAside: ReindexReport['putAside'] = null;
  let chunks = 0;
  let [damagedChunks, damagedMessages] = [0, 0];
  for await (const read of readMembers(file.fd, 0, size, ResumableSha1.create(), readers)) {
    const { member, condensed } = read;
    chunks++;
    if (member.end === size && isTorn(file.fd, member)) {
      const { asideFrom: from, cut, lines } = lookAtLast(file.fd, read, described ?? null);
      end = cut?.fileOffset ?? member.offset;
      if (from !== undefined) putAside = { path: null, from, messages: lines.unclaimed };
    } else if (member.state !== 'complete') damagedChunks++;
    damagedMessages += condensed?.verdicts.filter((verdict) => verdict === 0).length ?? 0;
    onProgress?.(member.end - member.offset);
  }
  const lostBytes = Math.max(0, (described ?? 0) - end);
  return { ...report(file, chunks), damagedChunks, damagedMessages, lostBytes, putAside };
}

function report(file: DataFile, chunks: number): ReindexReport {
  return {
    path: file.path,
    sizeBytes: file.size(),
    chunks,
    mailboxes: null,
    messages: null,
    damagedChunks: 0,
    damagedMessages: 0,
    mailboxesToHeal: null,
    lostBytes: 0,
    keptIndex: null,
    putAside: null,
  };
}

/** What recovery needs, for a tool: figures are for the metrics of the server only. */
export function environment(options: {
  engine: DeflateEngine;
  keepPrevious: boolean;
  log?: Logger;
}): RecoveryEnvironment {
  return {
    config: { backupKeepPrevious: options.keepPrevious },
    engine: options.engine,
    bootTag: bootTag(),
    figures: new ShardFigures(),
    log: options.log ?? createLogger('silent'),
  };
}

function count(index: BackupIndex, table: 'chunk' | 'mailbox' | 'message'): number {
  return index.statement(`SELECT count(*) FROM ${table}`, 'pluck').get() as number;
}
