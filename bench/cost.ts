/**
 * What a small update costs against the size of the backup and against the number of users in the store, which ought to
 * be nothing: CPU of the server, time from connect to the OK of RESTART, and memory. Writes the figures as JSON, of which
 * bench/plot-cost.ts makes the picture in docs/performance.md.
 *
 *     node bench/cost.ts [--quick] [--json FILE] [--keep]
 *
 * The full sizes need 12 GB of disk and a quarter of an hour.
 */
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { Command } from 'commander';
import type { JobResult } from './load/jobs.ts';
import { median, quantile } from './load/latency.ts';
import { LoadProcess } from './load/process.ts';
import { commit, type MachineFacts, machineFacts } from './micro/machine.ts';
import { startOurs } from './peer/ours.ts';
import { MemoryWatch, treeCpuSeconds } from './peer/process-tree.ts';
import { storedBytes } from './peer/scenarios.ts';
import type { BenchServer } from './peer/server.ts';

export interface CostPoint {
  /** Bytes of the data file, or users in the store. */
  size: number;
  cpuMsPerUpdate: number;
  medianMs: number;
  p95Ms: number;
  /** Of the server, the most so far: it is the same one for all sizes. */
  peakMegabytes: number;
  /** The same with the process that verifies a backup now and then: the more users, the sooner there is one. */
  peakWithMaintenanceMegabytes: number;
}

export interface CostReport {
  at: string;
  commit: string;
  facts: MachineFacts;
  load: number;
  bytes: CostPoint[];
  users: CostPoint[];
}

interface Sizes {
  bytes: number[];
  users: number[];
  updates: number;
}

const FULL: Sizes = {
  bytes: [1e6, 10e6, 100e6, 1e9, 10e9],
  users: [100, 1000, 10_000, 100_000],
  updates: 400,
};
const QUICK: Sizes = { bytes: [1e6, 10e6, 100e6], users: [100, 1000], updates: 60 };
/** Before each point, and before the first of a server, which has to compile what it runs. */
const WARM_UP_UPDATES = 20;
const FIRST_WARM_UP_UPDATES = 1000;
/** Users that are made with one job: their mail is in the memory of the client meanwhile. */
const FILL_USERS = 500;
const FILL_CONNECTIONS = 4;
/** Users of the largest store that are updated. */
const UPDATED_USERS = 1000;

async function measureCost({
  quick,
  json,
  keep,
}: {
  quick?: boolean;
  json: string;
  keep?: boolean;
}): Promise<void> {
  const sizes = quick ? QUICK : FULL;
  const load = new LoadProcess();
  try {
    const bytes = await withServer(keep, (server) => againstBytes(server, load, sizes));
    const users = await withServer(keep, (server) => againstUsers(server, load, sizes));
    const at = new Date().toISOString();
    const report: CostReport = {
      at,
      commit: commit(),
      facts: machineFacts(),
      load: loadavg()[0]!,
      bytes,
      users,
    };
    console.table(bytes);
    console.table(users);
    writeFileSync(json, `${JSON.stringify(report, rounded, 1)}\n`);
  } finally {
    load.stop();
  }
}

function rounded(_: string, value: unknown): unknown {
  return typeof value === 'number' ? Number(value.toPrecision(4)) : value;
}

async function withServer<T>(
  keep: boolean | undefined,
  use: (server: BenchServer) => Promise<T>,
): Promise<T> {
  const server = await startOurs({ keep: keep === true });
  try {
    return await use(server);
  } finally {
    await server.stop();
  }
}

/** One user, whose mail grows from size to size. */
async function againstBytes(
  server: BenchServer,
  load: LoadProcess,
  { bytes, updates }: Sizes,
): Promise<CostPoint[]> {
  const points: CostPoint[] = [];
  const { target, partition } = server;
  const memory = new MemoryWatch(server.pid);
  await load.run({ kind: 'grow', target, userid: 'warm', bytes: 2e5 });
  await load.run({ kind: 'small-updates', target, userid: 'warm', count: FIRST_WARM_UP_UPDATES });
  const before = storedBytes(partition).data;
  const storedNow = (): number => storedBytes(partition).data - before;
  for (const size of bytes) {
    for (let stored = storedNow(); stored < 0.98 * size; stored = storedNow()) {
      await load.run({ kind: 'grow', target, userid: 'grown', bytes: Math.max((size - stored) / 0.7, 2e5) });
    }
    const job = { kind: 'small-updates' as const, target, userid: 'grown' };
    await load.run({ ...job, count: WARM_UP_UPDATES });
    points.push(await pointOf(size, server, memory, updates, () => load.run({ ...job, count: updates })));
  }
  memory.stop();
  return points;
}

/** One store, to which users are added; updates of them are spread over all. */
async function againstUsers(
  server: BenchServer,
  load: LoadProcess,
  { users, updates }: Sizes,
): Promise<CostPoint[]> {
  const points: CostPoint[] = [];
  const { target } = server;
  const memory = new MemoryWatch(server.pid);
  let made = 0;
  for (const size of users) {
    while (made < size) {
      const to = Math.min(size, made + FILL_USERS);
      // Of a small store all users are updated.
      const keepEvery = Math.max(1, Math.floor(size / UPDATED_USERS));
      await load.run({
        kind: 'fill-users',
        target,
        from: made,
        to,
        connections: FILL_CONNECTIONS,
        keepEvery,
      });
      made = to;
      process.stderr.write(`\r${made} users `);
    }
    process.stderr.write('\n');
    const job = { kind: 'random-updates' as const, target };
    await load.run({ ...job, count: points.length === 0 ? FIRST_WARM_UP_UPDATES : WARM_UP_UPDATES });
    points.push(await pointOf(size, server, memory, updates, () => load.run({ ...job, count: updates })));
  }
  memory.stop();
  return points;
}

async function pointOf(
  size: number,
  { pid }: BenchServer,
  memory: MemoryWatch,
  updates: number,
  run: () => Promise<JobResult>,
): Promise<CostPoint> {
  const before = treeCpuSeconds(pid);
  const { samplesMs } = await run();
  const cpuMsPerUpdate = ((treeCpuSeconds(pid) - before) * 1e3) / updates;
  const sorted = [...samplesMs!].sort((a, b) => a - b);
  const point = {
    size,
    cpuMsPerUpdate,
    medianMs: median(sorted),
    p95Ms: quantile(sorted, 0.95),
    peakMegabytes: memory.peakOfRootBytes / 1e6,
    peakWithMaintenanceMegabytes: memory.peakBytes / 1e6,
  };
  process.stderr.write(`${size}: ${cpuMsPerUpdate.toFixed(2)} ms of CPU, ${point.medianMs.toFixed(2)} ms\n`);
  return point;
}

if (import.meta.main)
  await new Command('cost')
    .description('What an update costs against the size of the backup and the number of users.')
    .option('--quick', 'small sizes, a minute')
    .option('--json <file>', 'where to write the figures', 'bench/cost.json')
    .option('--keep', 'leave the stores behind')
    .action(measureCost)
    .parseAsync();
