import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import type { Job, JobResult } from '../load/jobs.ts';
import { median } from '../load/latency.ts';
import type { LoadProcess } from '../load/process.ts';
import { listing } from './listing.ts';
import { MemoryWatch, treeCpuSeconds } from './process-tree.ts';
import type { BenchServer } from './server.ts';

/** How much each scenario does. */
export interface Sizes {
  /**
   * What a server does before it is measured in push, turns and update, none of it counted: both are meant to run for months,
   * and a runtime that compiles what it runs often needs about a gigabyte of mail, or a thousand updates, to have done so.
   */
  warmUp: { pushMessages: number; turns: number; updatesMs: number };
  push: { users: number; messages: number };
  /** Sizes of the data file at which small updates are measured, ascending. */
  update: { sizes: number[] };
  turns: { users: number; connections: number[] };
  crowd: { connections: number; bytesPerUser: number };
  rolling: { connections: number; intervalMs: number; cycles: number };
  listing: { users: number };
  /** Of the data file over which tools are run. */
  tools: { bytes: number };
  /** Of the data file that is restored, and of each message. */
  restore: { bytes: number; messageBytes: number };
  /** Numbers of chunks, ascending, into which content of so many bytes is divided. */
  chunks: { counts: number[]; bytes: number };
}

/** Measured from the first byte on, as a server that was just started. */
export const FRESH: Sizes['warmUp'] = { pushMessages: 0, turns: 0, updatesMs: 0 };

export const FULL: Sizes = {
  warmUp: { pushMessages: 8000, turns: 2, updatesMs: 3000 },
  push: { users: 8, messages: 16_000 },
  update: { sizes: [10e6, 100e6, 1000e6] },
  turns: { users: 500, connections: [1, 4, 8] },
  crowd: { connections: 64, bytesPerUser: 5e6 },
  rolling: { connections: 1000, intervalMs: 10_000, cycles: 6 },
  listing: { users: 2000 },
  tools: { bytes: 1e9 },
  restore: { bytes: 60e6, messageBytes: 4096 },
  chunks: { counts: [10, 10_000], bytes: 200e6 },
};

export const QUICK: Sizes = {
  warmUp: FRESH,
  push: { users: 4, messages: 900 },
  update: { sizes: [5e6, 40e6] },
  turns: { users: 60, connections: [1, 4] },
  crowd: { connections: 16, bytesPerUser: 1e6 },
  rolling: { connections: 100, intervalMs: 2000, cycles: 3 },
  listing: { users: 1000 },
  tools: { bytes: 100e6 },
  restore: { bytes: 6e6, messageBytes: 4096 },
  chunks: { counts: [10, 1000], bytes: 50e6 },
};

/** Not counted, however fresh the server: caches are filled anew. */
const FIRST_UPDATES = 3;
/** So many times the updates before each size come before the first one. */
const WARM_UP_TIMES = 3;
/** How many small updates are measured: as many as this time allows, but not too few and not too many. */
const UPDATES_MS = 8000;
const UPDATES = { atLeast: 5, atMost: 400 };

/** backupd has a process for each connection. */
const MANY_PROCESSES_SAMPLE_MS = 1000;

/** A figure is a number with its unit in the name; jobs are kept whole for --json. */
export interface Measured {
  figures: Record<string, number>;
  jobs: Record<string, JobResult>;
}

export interface Scenario {
  name: string;
  /** With a certificate, for a server that can do something with it. */
  tls?: true;
  run(server: BenchServer, load: LoadProcess): Promise<Measured>;
}

export function scenarios(sizes: Sizes): Scenario[] {
  return [
    push(sizes, 1),
    push(sizes, 4),
    push(sizes, 1, 'tls-compress-1'),
    push(sizes, 4, 'tls-compress-4'),
    update(sizes),
    turns(sizes),
    crowd(sizes),
    rolling(sizes),
    listing(sizes.listing.users),
  ];
}

/** @param secured its name where connections turn to COMPRESS, and to TLS with a server that has it */
function push(
  { push: { users, messages }, warmUp: { pushMessages } }: Sizes,
  connections: number,
  secured?: string,
): Scenario {
  const name = secured ?? `push-${connections}`;
  return {
    name,
    ...(secured && { tls: true }),
    async run(server, load) {
      const watch = new Watch(server);
      const job = {
        kind: 'first-push' as const,
        target: { ...server.target, ...(secured && { startTls: server.hasTls, compress: true }) },
        connections,
        users,
      };
      if (pushMessages > 0) await load.run({ ...job, messages: pushMessages, from: users });
      const before = storedBytes(server.partition);
      const result = await watch.run(load, { ...job, messages });
      const stored = storedBytes(server.partition);
      return {
        jobs: { [name]: result },
        figures: {
          megabytes: result.bytes / 1e6,
          megabytesPerSecond: result.bytes / 1e3 / result.elapsedMs,
          cpuSecondsPerGigabyte: watch.cpuSeconds / (result.bytes / 1e9),
          peakMegabytes: watch.stop() / 1e6,
          dataMegabytes: (stored.data - before.data) / 1e6,
          indexMegabytes: (stored.index - before.index) / 1e6,
        },
      };
    },
  };
}

/** The data file of one user grows to each size; there small updates are timed from connect to RESTART. */
function update({ update: { sizes }, warmUp: { updatesMs } }: Sizes): Scenario {
  return {
    name: 'update',
    async run(server, load) {
      const measured: Measured = { jobs: {}, figures: {} };
      const watch = new Watch(server);
      // The first size is not to be measured of a server that still compiles what it runs.
      if (updatesMs > 0) {
        const warm = { target: server.target, userid: 'warm' };
        await load.run({ kind: 'grow', ...warm, bytes: 1e6 });
        await updatesFor(WARM_UP_TIMES * updatesMs, load, { kind: 'small-updates', ...warm });
      }
      for (const [at, size] of sizes.entries()) {
        // A user of its own for each size; mail is added until the file is as large.
        const userid = `sized${at}`;
        const before = storedBytes(server.partition).data;
        for (let stored = 0; stored < 0.98 * size; stored = storedBytes(server.partition).data - before) {
          const bytes = Math.max((size - stored) / 0.65, 1e6);
          await load.run({ kind: 'grow', target: server.target, userid, bytes });
        }
        const update = { kind: 'small-updates' as const, target: server.target, userid };
        const firstMs = await updatesFor(updatesMs, load, update);
        const affordable = Math.round(UPDATES_MS / firstMs);
        const count = Math.min(Math.max(affordable, UPDATES.atLeast), UPDATES.atMost);
        const result = await load.run({ ...update, count });
        measured.jobs[`update-${size / 1e6}`] = result;
        measured.figures[`updateAt${size / 1e6}MegabytesMs`] = median(result.samplesMs!);
      }
      measured.figures.peakMegabytes = watch.stop() / 1e6;
      return measured;
    },
  };
}

/**
 * Updates that nobody measures, for about as long.
 *
 * @returns the median of the first few, in ms
 */
async function updatesFor(
  ms: number,
  load: LoadProcess,
  update: { kind: 'small-updates'; target: BenchServer['target']; userid: string },
): Promise<number> {
  const first = await load.run({ ...update, count: FIRST_UPDATES });
  const firstMs = median(first.samplesMs!);
  const count = Math.round(ms / firstMs);
  if (count > 0) await load.run({ ...update, count });
  return firstMs;
}

function turns({ turns: { users, connections }, warmUp }: Sizes): Scenario {
  return {
    name: 'turns',
    async run(server, load) {
      const measured: Measured = { jobs: {}, figures: {} };
      const watch = new Watch(server);
      const created = await watch.run(load, { kind: 'small-users', target: server.target, users });
      measured.jobs['new-users'] = created;
      measured.figures.newUsersPerSecond = users / (created.elapsedMs / 1e3);
      const stored = storedBytes(server.partition);
      measured.figures.dataMegabytes = stored.data / 1e6;
      measured.figures.indexMegabytes = stored.index / 1e6;
      const turns = { kind: 'turns' as const, target: server.target, users };
      for (let turn = 0; turn < warmUp.turns; turn++) await load.run({ ...turns, connections: 1 });
      for (const count of connections) {
        const result = await watch.run(load, { ...turns, connections: count });
        measured.jobs[`turns-${count}`] = result;
        measured.figures[`updatesPerSecondOn${count}`] = users / (result.elapsedMs / 1e3);
        measured.figures[`cpuMsPerUpdateOn${count}`] = (watch.cpuSeconds * 1e3) / users;
      }
      measured.figures.peakMegabytes = watch.stop() / 1e6;
      return measured;
    },
  };
}

function crowd({ crowd: { connections, bytesPerUser } }: Sizes): Scenario {
  return {
    name: 'crowd',
    async run(server, load) {
      const watch = new Watch(server);
      const result = await watch.run(load, {
        kind: 'crowd',
        target: server.target,
        connections,
        bytesPerUser,
      });
      return {
        jobs: { crowd: result },
        figures: {
          megabytes: result.bytes / 1e6,
          megabytesPerSecond: result.bytes / 1e3 / result.elapsedMs,
          peakMegabytes: watch.stop() / 1e6,
        },
      };
    },
  };
}

/** Clients that stay connected, as those of a mail server that replicates all the time. */
function rolling({ rolling: { connections, intervalMs, cycles } }: Sizes): Scenario {
  return {
    name: 'rolling',
    async run(server, load) {
      const { target } = server;
      await load.run({ kind: 'small-users', target, users: connections });
      const watch = new Watch(server, MANY_PROCESSES_SAMPLE_MS);
      const result = await watch.run(load, { kind: 'rolling', target, connections, intervalMs, cycles });
      const updates = connections * cycles;
      return {
        jobs: { rolling: result },
        figures: {
          // An update that was refused, or a connection that was lost, has failed the job.
          updatesPerSecond: updates / (result.elapsedMs / 1e3),
          ackMedianMs: result.acks.medianMs,
          ackP99Ms: result.acks.p99Ms,
          ackMaxMs: result.acks.maxMs,
          lateP99Ms: result.late!.p99Ms,
          cpuMsPerUpdate: (watch.cpuSeconds * 1e3) / updates,
          peakMegabytes: watch.stop() / 1e6,
        },
      };
    },
  };
}

/** CPU of the latest job and the peak memory over all of them. */
class Watch {
  cpuSeconds = 0;
  readonly #server: BenchServer;
  readonly #memory: MemoryWatch;

  constructor(server: BenchServer, sampleMs?: number) {
    this.#server = server;
    this.#memory = new MemoryWatch(server.pid, sampleMs);
  }

  async run(load: LoadProcess, job: Job): Promise<JobResult> {
    const before = treeCpuSeconds(this.#server.pid);
    const result = await load.run(job);
    this.cpuSeconds = treeCpuSeconds(this.#server.pid) - before;
    return result;
  }

  stop(): number {
    return this.#memory.stop();
  }
}

/** What the partition holds: data files and indexes. */
export function storedBytes(partition: string): { data: number; index: number } {
  const stored = { data: 0, index: 0 };
  for (const name of readdirSync(partition, { recursive: true, encoding: 'utf8' })) {
    const stat = statSync(path.join(partition, name), { throwIfNoEntry: false });
    if (!stat?.isFile()) continue;
    stored[name.endsWith('.index') ? 'index' : 'data'] += stat.size;
  }
  return stored;
}
