/**
 * How long a scrape of the metrics takes beside a store of many backups, against the same server with one: what it tells
 * is kept up to date beside, so that the two should be the same. And what clients notice of it: the time of small
 * updates while nobody scrapes, and while somebody does ten times a second. About 80 kB of disk for each user.
 *
 *     node bench/scrape.ts [--users 100000] [--linked]
 */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { ACCOUNT, type BackupServer, BackupSite } from '../test/support/backup-server.ts';
import { quantile } from './load/latency.ts';
import { LoadProcess } from './load/process.ts';
import { cloneStore } from './peer/clone-store.ts';

const SCRAPES = 300;
const UPDATES = 300;
const BESIDE_MS = 100;
const MAX_MS = 50;

type Row = Record<string, number>;

async function measure(options: { users: string; linked?: boolean }): Promise<void> {
  const users = Number(options.users);
  const site = await BackupSite.create({ backup_verify_every: 'off', backup_shards: '2' });
  const load = new LoadProcess();
  let server: BackupServer = await site.start();
  const restart = async () => {
    await server.stop();
    server = await site.start();
  };
  try {
    const target = { host: '127.0.0.1', port: site.port, ...ACCOUNT, store: site.dir };
    await load.run({ kind: 'small-users', target, users: 1 });
    await load.run({ kind: 'turns', target, users: 1, connections: 1 });
    await restart();
    await allKnown(site, 1);
    const table: Record<string, Row> = { '1 user': await scrapes(site) };
    await server.stop();
    cloneStore(site.partition, path.join(site.dir, 'conf', 'backups.db'), users, options);
    const startedMs = Date.now();
    server = await site.start();
    await allKnown(site, users);
    const knownSeconds = Math.round((Date.now() - startedMs) / 1000);
    table[`${users} users`] = await scrapes(site);
    const userid = 'updated';
    await load.run({ kind: 'grow', target, userid, bytes: 1_000_000 });
    const update = async (): Promise<Row> => {
      const { samplesMs = [] } = await load.run({ kind: 'small-updates', target, userid, count: UPDATES });
      return times(samplesMs, 'update');
    };
    await update();
    const alone = await update();
    const stop = scrapeBeside(site);
    const beside = await update();
    stop();
    process.stdout.write(`all ${users} were known ${knownSeconds} s after the first start\n`);
    console.table(table);
    console.table({ 'nobody scrapes': alone, 'ten scrapes a second': beside });
    if (table[`${users} users`]!['scrape p50 ms']! > MAX_MS) process.exitCode = 1;
  } finally {
    load.stop();
    await server.stop();
    site.remove();
  }
}

function times(samplesMs: readonly number[], what: string): Row {
  const sorted = samplesMs.toSorted((a, b) => a - b);
  const row: Row = {};
  for (const [name, share] of [
    ['p50', 0.5],
    ['p99', 0.99],
    ['max', 1],
  ] as const)
    row[`${what} ${name} ms`] = Number(quantile(sorted, share).toFixed(1));
  return row;
}

async function scrapes(site: BackupSite): Promise<Row> {
  const samplesMs: number[] = [];
  await get(site, '/metrics');
  const before = await cpuSeconds(site);
  for (let i = 0; i < SCRAPES; i++) {
    const start = performance.now();
    await get(site, '/metrics');
    samplesMs.push(performance.now() - start);
  }
  const cpuMs = (((await cpuSeconds(site)) - before) * 1000) / SCRAPES;
  const start = performance.now();
  await get(site, '/worst?n=20');
  const worstMs = performance.now() - start;
  const lines = (await get(site, '/metrics')).split('\n').length;
  const one = (value: number) => Number(value.toFixed(1));
  return { ...times(samplesMs, 'scrape'), 'CPU ms': one(cpuMs), '/worst ms': one(worstMs), lines };
}

/** @returns ends it */
function scrapeBeside(site: BackupSite): () => void {
  let isOver = false;
  void (async () => {
    while (!isOver) {
      await get(site, '/metrics');
      await sleep(BESIDE_MS);
    }
  })();
  return () => {
    isOver = true;
  };
}

async function cpuSeconds(site: BackupSite): Promise<number> {
  const text = await get(site, '/metrics');
  return [...text.matchAll(/^csync_backup_cpu_seconds_total\{.*\} (.*)$/gm)].reduce(
    (sum, [, value]) => sum + Number(value),
    0,
  );
}

async function allKnown(site: BackupSite, users: number): Promise<void> {
  for (;;) {
    const text = await get(site, '/metrics');
    if (
      text.includes(`csync_backup_backups{state="live"} ${users}\n`) &&
      text.includes('{state="unsurveyed"} 0\n')
    )
      return;
    await sleep(500);
  }
}

async function get(site: BackupSite, what: string): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${site.metricsPort}${what}`);
  if (!answer.ok) throw new Error(`${what}: ${answer.status}`);
  return await answer.text();
}

await new Command('scrape')
  .option('--users <number>', 'how many backups', '100000')
  .option('--linked', 'names of the same few files, which need no disk')
  .action(measure)
  .parseAsync();
