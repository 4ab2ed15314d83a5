/**
 * `reindex`: makes the index of a backup anew from its data file alone, whoever wrote that. It is the rebuilding
 * that the server does by itself when an index cannot be trusted, on request and with threads that read ahead.
 */
import type { Logger } from 'pino';
import { bootTag } from '../platform/boot.ts';
import type { DeflateEngine } from '../platform/deflate.ts';
import { createLogger } from '../platform/log.ts';
import { ResumableSha1 } from '../platform/sha1.ts';
import { type Damage, isTorn, type RecoveryEnvironment } from '../store/apply-members.ts';
import type { DataFile } from '../store/data-file.ts';
import type { BackupIndex } from '../store/index/backup-index.ts';
import { type MemberReaders, readMembers } from '../store/member-source.ts';
import { rebuildIndex } from '../store/rebuild.ts';
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

export interface ReindexReport {
  path: string;
  /** Of the data file. */
  sizeBytes: number;
  chunks: number;
  /** What the new index holds; null after a dry run. */
  mailboxes: number | null;
  messages: number | null;
  /** Chunks that are not whole; what can be read of them is indexed. */
  damagedChunks: number;
  /** Messages that are not what their GUIDs say, each time that they are stored; they count as missing. */
  damagedMessages: number;
  /** Mailboxes that clients will be asked to send again as a whole; null after a dry run. */
  mailboxesToHeal: number | null;
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
  const { index, damage } = rebuilt;
  try {
    return {
      ...report(file, count(index, 'chunk'), damage),
      mailboxes: count(index, 'mailbox'),
      messages: count(index, 'message'),
      mailboxesToHeal: count(index, 'cb_heal'),
    };
  } finally {
    index.close();
  }
}

async function look(file: DataFile, { readers, onProgress }: ReindexOptions): Promise<ReindexReport> {
  const damage: Damage = { chunks: 0, guids: [] };
  const size = file.size();
  let chunks = 0;
  let damagedMessages = 0;
  for await (const { member, condensed } of readMembers(file.fd, 0, size, ResumableSha1.create(), readers)) {
    chunks++;
    if (member.state !== 'complete' && !(member.end === size && isTorn(file.fd, member))) damage.chunks++;
    damagedMessages += condensed?.verdicts.filter((verdict) => verdict === 0).length ?? 0;
    onProgress?.(member.end - member.offset);
  }
  return { ...report(file, chunks, damage), damagedMessages };
}

function report(file: DataFile, chunks: number, damage: Damage): ReindexReport {
  return {
    path: file.path,
    sizeBytes: file.size(),
    chunks,
    mailboxes: null,
    messages: null,
    damagedChunks: damage.chunks,
    damagedMessages: damage.guids.length,
    mailboxesToHeal: null,
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

function count(index: BackupIndex, table: 'chunk' | 'mailbox' | 'message' | 'cb_heal'): number {
  return index.statement(`SELECT count(*) FROM ${table}`, 'pluck').get() as number;
}
