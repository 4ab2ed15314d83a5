/**
 * How long it takes to list a store of many small backups and to show their figures, and the memory that it needs.
 * Makes the store from one user, whom a load pushes to our server; then every command is run once to warm up and
 * three times measured. About 80 kB of disk for each user.
 *
 *     node bench/listing.ts [--users 100000] [--linked] [--keep]
 */
import path from 'node:path';
import { Command } from 'commander';
import { median } from './load/latency.ts';
import { LoadProcess } from './load/process.ts';
import { cloneStore } from './peer/clone-store.ts';
import { runListing } from './peer/listing.ts';
import { startOurs } from './peer/ours.ts';

const CLI = path.join(import.meta.dirname, '..', 'src', 'cli');
const RUNS = 3;
const MAX_SECONDS = 10;
const MAX_PEAK_BYTES = 300e6;

const COMMANDS: readonly (readonly [title: string, entry: string, ...args: string[]])[] = [
  ['csync-backup list', 'launch.cjs', 'list'],
  ['csync-backup stat -A', 'launch.cjs', 'stat', '-A'],
  ['ctl_backups -V list', 'compat/ctl_backups.cjs', '-V', 'list'],
  ['ctl_backups list', 'compat/ctl_backups.cjs', 'list'],
  ['ctl_backups stat -A', 'compat/ctl_backups.cjs', 'stat', '-A'],
];

async function measure(options: { users: string; keep?: boolean; linked?: boolean }): Promise<void> {
  const users = Number(options.users);
  const load = new LoadProcess();
  const server = await startOurs({ keep: options.keep === true });
  try {
    await load.run({ kind: 'small-users', target: server.target, users: 1 });
    await load.run({ kind: 'turns', target: server.target, users: 1, connections: 1 });
    const bytes = cloneStore(
      server.partition,
      path.join(server.target.store, 'conf', 'backups.db'),
      users,
      options,
    );
    const table: Record<string, Record<string, number | string>> = {};
    for (const [title, entry, ...args] of COMMANDS) {
      const argv = [path.join(CLI, entry), ...args, '-C', path.join(server.target.store, 'imapd.conf')];
      const runs = [];
      for (let i = 0; i <= RUNS; i++) runs.push(await runListing(process.execPath, argv));
      if (runs.some(({ lines }) => lines !== users)) throw new Error(`${title} did not print ${users} lines`);
      const seconds = median(runs.slice(1).map(({ elapsedMs }) => elapsedMs)) / 1e3;
      const peak = Math.max(...runs.map(({ peakBytes }) => peakBytes));
      const isMet = seconds <= MAX_SECONDS && peak <= MAX_PEAK_BYTES;
      if (!isMet) process.exitCode = 1;
      table[title] = {
        s: seconds.toFixed(2),
        'peak MB': Math.round(peak / 1e6),
        target: isMet ? 'met' : 'MISSED',
      };
    }
    process.stdout.write(
      `${users} users, ${(bytes / 1e9).toFixed(1)} GB, at most ${MAX_SECONDS} s and 300 MB\n`,
    );
    console.table(table);
  } finally {
    load.stop();
    await server.stop();
  }
}

await new Command('listing')
  .option('--users <number>', 'how many backups', '100000')
  .option('--linked', 'names of the same few files, which need no disk')
  .option('--keep', 'leave the store behind')
  .action(measure)
  .parseAsync();
