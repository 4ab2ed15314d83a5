/** Figures of many backups, in order, by several threads. */
import os from 'node:os';
import { createPool } from '../pipeline/late-pool.ts';
import { workerFile } from '../pipeline/worker-file.ts';
import { type BackupStat, type StatOptions, statBackup } from './stat.ts';

export interface StatTask {
  paths: string[];
  options: StatOptions;
}

/** More would wait for each other in the file system. */
const MAX_THREADS = 8;
/** Backups of one task: enough to make its way between the threads cheap. */
const BATCH = 256;
/** Up to this many it is faster without threads. */
const WITHOUT_THREADS = 400;
/** Batches for each thread that are under way: the next is there when one is done. */
const AHEAD = 2;

/** Of each backup its figures, in the order given. Holds a few batches, whatever the number of backups. */
export async function* statBackups<T extends { path: string }>(
  backups: Iterable<T>,
  options: StatOptions,
): AsyncGenerator<[T, BackupStat], void> {
  const source = backups[Symbol.iterator]();
  const first = take(source, WITHOUT_THREADS + 1);
  if (first.length <= WITHOUT_THREADS) {
    for (const backup of first) yield [backup, statBackup(backup.path, options)];
    return;
  }
  const threads = Math.min(os.availableParallelism(), MAX_THREADS);
  const pool = createPool<StatTask, BackupStat[]>({
    filename: workerFile('stat'),
    minThreads: threads,
    maxThreads: threads,
    atomics: 'disabled',
    recordTiming: false,
  });
  try {
    const running: { batch: T[]; stats: Promise<BackupStat[]> }[] = [];
    const start = (batch: T[]): void => {
      if (batch.length === 0) return;
      const stats = pool.run({ paths: batch.map(({ path }) => path), options });
      stats.catch(() => {}); // it is awaited below, perhaps after another that fails
      running.push({ batch, stats });
    };
    for (let at = 0; at < first.length; at += BATCH) start(first.slice(at, at + BATCH));
    for (;;) {
      while (running.length < threads * AHEAD) {
        const batch = take(source, BATCH);
        if (batch.length === 0) break;
        start(batch);
      }
      const next = running.shift();
      if (next === undefined) return;
      const stats = await next.stats;
      for (const [i, backup] of next.batch.entries()) yield [backup, stats[i]!];
    }
  } finally {
    await pool.destroy();
  }
}

function take<T>(source: Iterator<T>, count: number): T[] {
  const taken: T[] = [];
  while (taken.length < count) {
    const { value, done } = source.next();
    if (done) break;
    taken.push(value);
  }
  return taken;
}

/** What was expunged up to this time (seconds since 1970) goes with compaction; without retention, nothing does. */
export function retentionStart(retentionMs: number, now = Date.now()): number {
  return retentionMs > 0 ? Math.floor((now - retentionMs) / 1000) : -1;
}
