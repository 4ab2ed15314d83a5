/**
 * What verify (and whoever cannot read a message) does about damage: takes note of it in the backup, so that the
 * next sync of its mailboxes brings again what is lost. Nothing is removed from the data file.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Logger } from 'pino';
import { bootTag } from '../platform/boot.ts';
import { crashPoint } from '../platform/crash-points.ts';
import type { DeflateEngine } from '../platform/deflate.ts';
import { createLogger } from '../platform/log.ts';
import type { ResumableSha1 } from '../platform/sha1.ts';
import type { TrustedFiles } from '../store/backup.ts';
import { DiskSync } from '../store/disk-sync.ts';
import { ownerOf } from '../store/former-users.ts';
import { type Losses, type NotedLosses, noteLosses } from '../store/heal.ts';
import { awaitedHeals } from '../store/index/damage.ts';
import { rebaseHashes } from '../store/index/rebase.ts';
import { OpenChunk } from '../store/open-chunk.ts';
import { useridOfDataFile } from '../store/partition.ts';
import { openTrusted } from '../store/recovery.ts';
import { ShardFigures } from '../store/shard-figures.ts';
import { openLockedData } from './locked-data.ts';
import type { VerifyReport } from './verify.ts';

export interface HealOptions {
  dataPath: string;
  /** For the log. */
  userid?: string | undefined;
  losses: Losses;
  /** Compresses the notes. */
  engine: DeflateEngine;
  /** Wait for the lock. */
  wait?: boolean;
  log?: Logger;
}

/** Whether verify has found anything to take note of. */
export function isToBeNoted({ losses, isIndexLost, ok }: VerifyReport): boolean {
  const count = losses.guids.length + losses.uniqueids.length + losses.chunkOffsets.length;
  return count > 0 || (isIndexLost && !ok);
}

/**
 * healBackup() for what verifyBackup() has found; undefined if there is nothing to take note of.
 *
 * @throws BackupError as healBackup() does
 */
export async function noteVerified(
  report: VerifyReport,
  options: Omit<HealOptions, 'losses' | 'dataPath'>,
): Promise<HealReport | undefined> {
  if (!isToBeNoted(report)) return undefined;
  return await healBackup({ ...options, dataPath: report.path, losses: report.losses });
}

export interface HealReport extends NotedLosses {
  /** The index was made anew before. */
  isMadeAnew: boolean;
  /** Mailboxes that clients are asked for now, those that they were asked for before included. */
  pendingMailboxes: number;
}

/**
 * An index that cannot be trusted is made anew, and marked so that everything is sent again; the old one is kept under
 * another name, since it may know of states whose lines are lost.
 *
 * @throws BackupError LOCKED, NOT_FOUND, PERMISSION_DENIED, NO_SPACE or IO_ERROR; nothing is noted then, or all of it.
 */
export async function healBackup(options: HealOptions): Promise<HealReport> {
  const { dataPath, userid = dataPath, losses, engine } = options;
  const log = options.log ?? createLogger('silent');
  const file = await openLockedData(dataPath, options.wait ?? false);
  const figures = new ShardFigures();
  let files: TrustedFiles | undefined;
  let indexFd: number | undefined;
  try {
    const env = { engine, bootTag: bootTag(), figures, log, config: { backupKeepPrevious: true } };
    files = await openTrusted(file, userid, env);
    const { index, fileEnd, lastTime } = files;
    indexFd = fs.openSync(file.indexPath, 'r+');
    let fileSha1: ResumableSha1 = files.fileSha1;
    if (losses.chunkOffsets.length > 0) {
      fileSha1 = rebaseHashes(file.fd, index, fileEnd) ?? fileSha1;
      crashPoint('heal-rebased');
    }
    let chunk: OpenChunk | undefined;
    const noted = await noteLosses(
      {
        fd: file.fd,
        path: dataPath,
        userid: ownerOf(options.userid ?? useridOfDataFile(path.basename(dataPath)) ?? ''),
        index,
        isMadeAnew: files.rebuilt !== undefined,
        ensureChunk: () => {
          chunk ??= new OpenChunk({
            fd: file.fd,
            path: dataPath,
            indexFd: indexFd!,
            index,
            fileSha1,
            fileEnd,
            lastTime,
            engine,
            bootTag: env.bootTag,
            durability: 'ack',
            disk: new DiskSync(),
            figures,
          });
          return chunk;
        },
        commit: async () => await chunk?.commit(),
      },
      losses,
    );
    await chunk?.finish();
    const isMadeAnew = files.rebuilt !== undefined;
    return { ...noted, isMadeAnew, pendingMailboxes: awaitedHeals(index).size };
  } finally {
    files?.index.close();
    if (indexFd !== undefined) fs.closeSync(indexFd);
    file.close();
  }
}
