/**
 * Speed of restoring one user into files: MB of mail a second, CPU, peak memory, beside `cp -r` and `sync` of the same
 * files in the same run, which is what a disk and a file system take for them.
 *
 *     node bench/restore.ts [--megabytes N] [--mixed] [--store DIR] [TARGET...]
 *
 * TARGETs are maildir eml mbox tar json; all of them unless said otherwise. With `--mixed` the mailboxes came a few
 * messages at a time in turn, as those of a user who is backed up while mail comes in, and not one after the other.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { Command } from 'commander';
import { LoadProcess } from './load/process.ts';
import { LAUNCH, startOurs } from './peer/ours.ts';
import { runTool } from './peer/tools.ts';

const TARGETS = ['maildir', 'eml', 'mbox', 'tar', 'json'] as const;
const AVERAGE_MESSAGE_BYTES = 110_000;
/** What the load calls its first user. */
const USER = 'push0';
const MIXED_ROUNDS = 40;

interface Options {
  megabytes: string;
  mixed?: boolean;
  store?: string;
}

interface Row {
  'MB/s': number;
  'of cp': number;
  'CPU s/GB': number;
  'peak MB': number;
}

async function makeStore(megabytes: number, isMixed: boolean): Promise<string> {
  const server = await startOurs({ keep: true });
  const load = new LoadProcess();
  const messages = Math.ceil((megabytes * 1e6) / AVERAGE_MESSAGE_BYTES);
  try {
    const { target } = server;
    if (isMixed) await load.run({ kind: 'rounds', target, userid: USER, messages, rounds: MIXED_ROUNDS });
    else await load.run({ kind: 'first-push', target, connections: 1, users: 1, messages });
  } finally {
    await server.stop();
    load.stop();
  }
  return server.target.store;
}

function copySeconds(from: string, to: string): number {
  spawnSync('sync');
  const begin = performance.now();
  const copied = spawnSync('cp', ['-r', from, to]);
  if (copied.status !== 0) throw new Error(copied.stderr.toString());
  spawnSync('sync', ['-f', to]);
  return (performance.now() - begin) / 1e3;
}

function sizeOf(file: string): number {
  const stats = statSync(file);
  if (!stats.isDirectory()) return stats.size;
  return readdirSync(file).reduce((sum, name) => sum + sizeOf(path.join(file, name)), 0);
}

async function run(chosen: string[], options: Options): Promise<void> {
  const made = options.store === undefined;
  const store = options.store ?? (await makeStore(Number(options.megabytes), options.mixed === true));
  process.stderr.write(`store: ${store}\n`);
  const folder = mkdtempSync(path.join(tmpdir(), 'csync-bench-restore-'));
  const table: Record<string, Row> = {};
  try {
    for (const target of chosen.length === 0 ? TARGETS : chosen) {
      const out = path.join(folder, target);
      const args = [LAUNCH, 'restore', '-u', USER, '--to', `${target}:${out}`, '--in-place', '--no-settings'];
      spawnSync('sync');
      const { elapsedMs, cpuSeconds, peakBytes } = await runTool(
        process.execPath,
        [...args, '-C', path.join(store, 'imapd.conf')],
        {},
      );
      const megabytes = sizeOf(out) / 1e6;
      const cp = copySeconds(out, `${out}.copy`);
      for (const done of [out, `${out}.copy`]) rmSync(done, { recursive: true });
      table[target] = {
        'MB/s': Math.round(megabytes / (elapsedMs / 1e3)),
        'of cp': Number((cp / (elapsedMs / 1e3)).toFixed(2)),
        'CPU s/GB': Number((cpuSeconds / (megabytes / 1e3)).toFixed(2)),
        'peak MB': Math.round(peakBytes / 1e6),
      };
    }
  } finally {
    rmSync(folder, { recursive: true });
    if (made) rmSync(store, { recursive: true });
  }
  console.table(table);
  console.log(`load ${loadavg()[0]!.toFixed(1)}`);
}

await new Command('restore')
  .argument('[targets...]')
  .option('--megabytes <count>', 'mail of the user', '1000')
  .option('--mixed', 'mailboxes that came in turn')
  .option('--store <folder>', 'one of a server that was kept, with its user push0')
  .action(run)
  .parseAsync();
