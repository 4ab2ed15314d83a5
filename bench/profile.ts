/**
 * Where the server's time goes: starts it with `--cpu-prof` for every thread, puts a load on it, stops it, and makes one
 * page with a flame graph of all threads and two tables. docs/profiling.md says how to read them.
 *
 *     npm run profile -- [--load push|updates|new-users|crowd|secured] [--out FOLDER] [--top N]
 */
import { globSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Command, Option } from 'commander';
import type { Job, JobResult } from './load/jobs.ts';
import type { Target } from './load/player.ts';
import { LoadProcess } from './load/process.ts';
import { startOurs } from './peer/ours.ts';
import type { BenchServer } from './peer/server.ts';
import { makePage } from './profile/page.ts';
import { readProfiles, type ThreadProfile } from './profile/read.ts';
import { kindOf, makeTables, type Tables } from './profile/tables.ts';

interface ProfileOptions {
  load: keyof typeof LOADS;
  out: string;
  top: string;
  interval: string;
}

interface Load {
  text: string;
  tls?: true;
  jobs(target: Target): Job[];
  /** What seconds are divided by. */
  unit: { name: string; of(results: readonly JobResult[]): number };
}

const gigabytes = { name: 's/GB', of: (results: readonly JobResult[]) => results.at(-1)!.bytes / 1e9 };
const push = { connections: 2, users: 8, messages: 4000 };
const USERS = 500;
const ROUNDS = 6;

const LOADS = {
  push: {
    text: 'first push of 8 users, 470 MB of mixed mail, on 2 connections',
    jobs: (target: Target): Job[] => [{ kind: 'first-push', target, ...push }],
    unit: gigabytes,
  },
  secured: {
    text: 'the same through TLS and COMPRESS',
    tls: true,
    jobs: (target: Target): Job[] => [
      { kind: 'first-push', target: { ...target, startTls: true, compress: true }, ...push },
    ],
    unit: gigabytes,
  },
  updates: {
    text: `${USERS} users, ${ROUNDS} small updates each in turn, on 4 connections`,
    jobs: (target: Target): Job[] => [
      { kind: 'small-users', target, users: USERS },
      ...Array.from({ length: ROUNDS }, (): Job => ({ kind: 'turns', target, users: USERS, connections: 4 })),
    ],
    // The users have to be made first; that is a tenth of it, and counts as an update each.
    unit: { name: 'ms/update', of: () => (USERS * (ROUNDS + 1)) / 1e3 },
  },
  'new-users': {
    text: 'first push of 2,000 small users on one connection',
    jobs: (target: Target): Job[] => [{ kind: 'small-users', target, users: 2000 }],
    unit: { name: 'ms/user', of: () => 2 },
  },
  crowd: {
    text: '64 connections at once, 5 MB each',
    jobs: (target: Target): Job[] => [{ kind: 'crowd', target, connections: 64, bytesPerUser: 5e6 }],
    unit: gigabytes,
  },
} satisfies Record<string, Load>;

async function profile(options: ProfileOptions): Promise<void> {
  const { text, jobs, unit, ...load }: Load = LOADS[options.load];
  const out = path.resolve(options.out);
  mkdirSync(out, { recursive: true });
  const flags = ['--cpu-prof', `--cpu-prof-dir=${out}`, `--cpu-prof-interval=${options.interval}`];
  const before = new Set(profilesIn(out));
  const client = new LoadProcess();
  const results: JobResult[] = [];
  try {
    const server: BenchServer = await startOurs({ tls: load.tls === true, nodeFlags: flags });
    try {
      for (const job of jobs(server.target)) results.push(await client.run(job));
    } finally {
      // Each thread writes its profile when it ends.
      await server.stop();
    }
  } finally {
    client.stop();
  }
  const files = profilesIn(out).filter((file) => !before.has(file));
  if (files.length === 0) throw new Error(`no thread has written a profile into ${out}`);
  const threads = readProfiles(files);
  const page = path.join(out, `${options.load}.html`);
  writeFileSync(page, makePage(`${options.load}: ${text}`, threads));
  const units = unit.of(results);
  process.stdout.write(`${text}\n\n`);
  tellThreads(threads);
  tell(makeTables(threads, Number(options.top)), threads, unit.name, units);
  process.stdout.write(`\n${page}\n`);
}

function profilesIn(folder: string): string[] {
  return globSync(path.join(folder, '*.cpuprofile'));
}

function tellThreads(threads: readonly ThreadProfile[]): void {
  print(
    ['thread', 's', 'idle'],
    threads.map(({ name, totalUs, idleUs }) => [
      name,
      ((totalUs - idleUs) / 1e6).toFixed(2),
      `${Math.round((100 * idleUs) / totalUs)} %`,
    ]),
  );
}

function tell(
  { areas, functions }: Tables,
  threads: readonly ThreadProfile[],
  unit: string,
  units: number,
): void {
  const kinds = [...new Set(threads.map(({ name }) => kindOf(name)))];
  const sum = areas.reduce((total, one) => total + one.sum, 0);
  const per = (seconds: number | undefined): string =>
    seconds === undefined ? '' : (seconds / units).toFixed(2);
  print(
    [`${unit} by area`, ...kinds, 'all', 'share'],
    areas
      .filter((one) => one.sum > sum / 1000)
      .map((one) => [
        one.area,
        ...kinds.map((kind) => per(one.seconds[kind])),
        per(one.sum),
        percent(one.sum / sum),
      ]),
  );
  print(
    [`${unit} by function, itself`, 'where', 'thread', '', 'share'],
    functions.map(({ name, place, thread, seconds }) => [
      name,
      place,
      thread,
      per(seconds),
      percent(seconds / sum),
    ]),
  );
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

/** Columns of figures are aligned at the right. */
function print(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  const isFigure = (column: number): boolean => rows.every((row) => /^[\d.]*(?: %)?$/.test(row[column]!));
  const right = head.map((_, column) => isFigure(column));
  for (const row of all) {
    const cells = row.map((cell, at) => (right[at] ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!)));
    process.stdout.write(`${cells.join('  ').trimEnd()}\n`);
  }
  process.stdout.write('\n');
}

const loads = Object.entries<Load>(LOADS).map(([name, { text }]) => `${name}: ${text}`);
await new Command('profile')
  .description('Profile every thread of the server under a load.')
  .addOption(new Option('--load <name>', loads.join('; ')).choices(Object.keys(LOADS)).default('push'))
  .option('--out <folder>', 'for the page and the .cpuprofile files', 'bench/out')
  .option('--top <count>', 'functions to tell', '40')
  .option('--interval <microseconds>', 'between samples', '500')
  .action(profile)
  .parseAsync();
