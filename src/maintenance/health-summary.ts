/** Figures of all backups together: one statement over the file of state, so that SQLite adds up and no row comes here. */
import { SHARED_USERID } from '../csync/mailbox-name.ts';
import { AGE_BOUNDS } from '../metrics/bounds.ts';
import type { HealthState } from './health-state.ts';

const DAY_MS = 86_400_000;

export const STALE_AFTER_MS = {
  '1d': DAY_MS,
  '2d': 2 * DAY_MS,
  '7d': 7 * DAY_MS,
  '30d': 30 * DAY_MS,
} as const;

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
  /** In which nothing has been stored yet, or nothing that could be read: they have no age. */
  empty: number;
  /** Not looked at yet. */
  unsurveyed: number;
  /** HistogramTotals with AGE_BOUNDS: how many were updated how long ago, in seconds. */
  ages: Float64Array;
  stale: Record<keyof typeof STALE_AFTER_MS, number>;
  partitions: Map<string, PartitionFigures>;
}

export interface NamedPartition {
  name: string;
  path: string;
}

/** Deleted ones, and what is no user's, are not expected to change. */
const LIVE = `(substr(userid, 1, 1) <> '%' OR userid = '${SHARED_USERID}')`;
/** Not known yet: said of it by `unsurveyed`, and no reason for an alert. */
const KNOWN = `(size <> -1 OR updated > 0)`;
const ALIVE_MS = 'iif(max(updated, contacted) > 0, max(updated, contacted), first_seen)';

/** One pass over all backups: 0.1 s for each 100,000. */
export function sumUpHealth(
  state: HealthState,
  partitions: readonly NamedPartition[],
  nowMs: number,
): HealthFigures {
  const count = (condition: string) => `count(*) FILTER (WHERE ${condition})`;
  const columns: Record<string, string> = {
    backups: count(LIVE),
    empty: count(`${LIVE} AND size <> -1 AND updated = 0`),
    unsurveyed: count('size = -1'),
    aged: count(`updated > 0 AND ${LIVE}`),
    ages: `coalesce(sum(max(0, @now - updated) / 1000.0) FILTER (WHERE updated > 0 AND ${LIVE}), 0)`,
  };
  const values: Record<string, number | string> = { now: nowMs };
  AGE_BOUNDS.forEach((bound, i) => {
    columns[`age${i}`] = count(`updated > 0 AND updated >= @now - ${bound * 1000} AND ${LIVE}`);
  });
  for (const [name, ms] of Object.entries(STALE_AFTER_MS)) {
    // The rarest first, as SQLite looks no further when it does not hold.
    columns[name] = count(
      `${ALIVE_MS} < @now - ${ms} AND ${KNOWN} AND ${LIVE} AND userid <> '${SHARED_USERID}'`,
    );
  }
  partitions.forEach(({ path }, i) => {
    const prefix = `${path.replace(/\/+$/, '')}/`;
    values[`from${i}`] = prefix;
    // The character behind a slash.
    values[`to${i}`] = `${prefix.slice(0, -1)}0`;
    const isIn = `path >= @from${i} AND path < @to${i}`;
    columns[`backups${i}`] = count(isIn);
    columns[`stored${i}`] = `coalesce(sum(max(0, size)) FILTER (WHERE ${isIn}), 0)`;
    columns[`content${i}`] = `coalesce(sum(content) FILTER (WHERE ${isIn}), 0)`;
  });
  const sums = state.sums(columns, values);
  return {
    backups: sums.backups!,
    empty: sums.empty!,
    unsurveyed: sums.unsurveyed!,
    ages: agesOf(sums),
    stale: Object.fromEntries(
      Object.keys(STALE_AFTER_MS).map((name) => [name, sums[name]]),
    ) as HealthFigures['stale'],
    partitions: new Map(
      partitions.map(({ name }, i) => [
        name,
        {
          backups: sums[`backups${i}`]!,
          storedBytes: sums[`stored${i}`]!,
          contentBytes: sums[`content${i}`]!,
        },
      ]),
    ),
  };
}

/** From counts up to each bound to counts of each bucket. */
function agesOf(sums: Record<string, number>): Float64Array {
  const within = [...AGE_BOUNDS.map((_, i) => sums[`age${i}`]!), sums.aged!];
  return Float64Array.from([...within.map((count, i) => count - (within[i - 1] ?? 0)), sums.ages!]);
}
