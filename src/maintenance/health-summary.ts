/** Figures of all backups together, added up row by row. */
import { SHARED_USERID } from '../csync/mailbox-name.ts';
import type { HealthRow } from './health-state.ts';

const HOUR = 3600;
const DAY = 24 * HOUR;

/** Upper bounds of the histogram of ages, in seconds. */
export const AGE_BUCKETS = [
  600,
  HOUR,
  6 * HOUR,
  12 * HOUR,
  DAY,
  2 * DAY,
  3 * DAY,
  7 * DAY,
  14 * DAY,
  30 * DAY,
  90 * DAY,
  365 * DAY,
];
export const STALE_AFTER = { '1d': DAY, '2d': 2 * DAY, '7d': 7 * DAY, '30d': 30 * DAY } as const;

export interface PartitionFigures {
  backups: number;
  /** Of data files. */
  storedBytes: number;
  /** The same uncompressed. */
  contentBytes: number;
}

export interface HealthFigures {
  /** Of users who have not been deleted; all of `ages` and `stale` is about these. */
  backups: number;
  /** In which nothing has been stored yet, or nothing that could be read. */
  empty: number;
  /** Not looked at yet. */
  unsurveyed: number;
  /** Backups updated no longer ago than each of AGE_BUCKETS: cumulative. */
  ages: number[];
  stale: Record<keyof typeof STALE_AFTER, number>;
  partitions: Map<string, PartitionFigures>;
}

export class HealthSummary {
  readonly figures: HealthFigures;
  readonly #nowMs: number;
  readonly #partitions: { name: string; prefix: string }[];

  constructor(partitions: readonly { name: string; path: string }[], nowMs: number) {
    this.#nowMs = nowMs;
    this.#partitions = partitions.map(({ name, path }) => ({ name, prefix: `${path.replace(/\/+$/, '')}/` }));
    this.figures = {
      backups: 0,
      empty: 0,
      unsurveyed: 0,
      ages: AGE_BUCKETS.map(() => 0),
      stale: { '1d': 0, '2d': 0, '7d': 0, '30d': 0 },
      partitions: new Map(
        partitions.map(({ name }) => [name, { backups: 0, storedBytes: 0, contentBytes: 0 }]),
      ),
    };
  }

  add([userid, path, firstSeenMs, sizeBytes, contentBytes, updatedMs, contactedMs]: HealthRow): void {
    const { figures } = this;
    const partition = this.#partitions.find(({ prefix }) => path.startsWith(prefix));
    const sums = partition && figures.partitions.get(partition.name);
    if (sums !== undefined) {
      sums.backups++;
      sums.storedBytes += Math.max(0, sizeBytes);
      sums.contentBytes += contentBytes;
    }
    if (sizeBytes === -1) figures.unsurveyed++;
    // Deleted ones, and what is no user's, are not expected to change.
    if (userid.startsWith('%') && userid !== SHARED_USERID) return;
    figures.backups++;
    // Not known yet: said of it by `unsurveyed`, and no reason for an alert.
    if (sizeBytes === -1 && updatedMs === 0) return;
    if (updatedMs === 0) figures.empty++;
    const ageSeconds = updatedMs === 0 ? Number.POSITIVE_INFINITY : (this.#nowMs - updatedMs) / 1000;
    AGE_BUCKETS.forEach((bound, i) => {
      if (ageSeconds <= bound) figures.ages[i]!++;
    });
    if (userid === SHARED_USERID) return;
    const aliveMs = Math.max(updatedMs, contactedMs) || firstSeenMs;
    for (const [name, seconds] of Object.entries(STALE_AFTER))
      if (this.#nowMs - aliveMs > seconds * 1000) figures.stale[name as keyof typeof STALE_AFTER]++;
  }
}
