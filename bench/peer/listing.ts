/** How long `ctl_backups list -A` and `stat -A` take over a store of many small users. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { median } from '../load/latency.ts';
import { cloneStore } from './clone-store.ts';
import { MemoryWatch } from './process-tree.ts';
import type { Measured, Scenario } from './scenarios.ts';
import type { BenchServer } from './server.ts';

const RUNS = 3;

export function listing(users: number): Scenario {
  return {
    name: 'listing',
    async run(server, load) {
      await load.run({ kind: 'small-users', target: server.target, users: 1 });
      await load.run({ kind: 'turns', target: server.target, users: 1, connections: 1 });
      cloneStore(server.partition, path.join(server.target.store, 'conf', 'backups.db'), users);
      const measured: Measured = { jobs: {}, figures: {} };
      const peaks: number[] = [];
      for (const command of ['list', 'stat']) {
        const times: number[] = [];
        for (let i = 0; i < RUNS; i++) {
          const { elapsedMs, lines, peakBytes } = await run(server, [command, '-A']);
          if (lines !== users)
            throw new Error(`ctl_backups ${command} printed ${lines} lines for ${users} users`);
          times.push(elapsedMs);
          peaks.push(peakBytes);
        }
        measured.figures[`${command}Ms`] = median(times);
      }
      measured.figures.peakMegabytes = Math.max(...peaks) / 1e6;
      return measured;
    },
  };
}

/** Runs this server's ctl_backups. */
function run(server: BenchServer, args: string[]): Promise<ListingRun> {
  const { program, args: first, uid, gid } = server.ctlBackups;
  return runListing(program, [...first, ...args], { uid, gid });
}

export interface ListingRun {
  elapsedMs: number;
  lines: number;
  peakBytes: number;
}

/** Runs a program that prints a line for each backup. @throws Error unless it ends well */
export async function runListing(
  program: string,
  args: string[],
  user: { uid?: number; gid?: number } = {},
): Promise<ListingRun> {
  const begin = performance.now();
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], ...user });
  const memory = new MemoryWatch(child.pid!);
  let lines = 0;
  child.stdout.on('data', (bytes: Buffer) => {
    for (const byte of bytes) if (byte === 0x0a) lines++;
  });
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  const elapsedMs = performance.now() - begin;
  const peakBytes = memory.stop();
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with status ${status}`);
  return { elapsedMs, lines, peakBytes };
}
