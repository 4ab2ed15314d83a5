/**
 * How long a scrape of the metrics takes beside a store of many backups, against the same server with one: the
 * figures of health are kept up to date beside, so that the two should be the same. About 80 kB of disk for each user.
 *
 *     node bench/scrape.ts [--users 100000]
 */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { ACCOUNT, type BackupServer, BackupSite } from '../test/support/backup-server.ts';
import { median } from './load/latency.ts';
import { LoadProcess } from './load/process.ts';
import { cloneStore } from './peer/clone-store.ts';

const SCRAPES = 50;
const MAX_MS = 50;

async function measure(options: { users: string }): Promise<void> {
  const users = Number(options.users);
  const site = await BackupSite.create({ backup_verify_every: 'off' });
  const load = new LoadProcess();
  let server = await site.start();
  try {
    const target = { host: '127.0.0.1', port: site.port, ...ACCOUNT, store: site.dir };
    await load.run({ kind: 'small-users', target, users: 1 });
    await load.run({ kind: 'turns', target, users: 1, connections: 1 });
    server = await restart(server);
    await allKnown(site, 1);
    const table = { '1 user': await scrapes(site) } as Record<string, Awaited<ReturnType<typeof scrapes>>>;
    await server.stop();
    cloneStore(site.partition, path.join(site.dir, 'conf', 'backups.db'), users);
    const startedMs = Date.now();
    server = await site.start();
    await allKnown(site, users);
    const knownSeconds = Math.round((Date.now() - startedMs) / 1000);
    const many = await scrapes(site);
    table[`${users} users`] = many;
    process.stdout.write(`all ${users} were known ${knownSeconds} s after the first start\n`);
    console.table(table);
    if (many['metrics ms'] > MAX_MS) process.exitCode = 1;
  } finally {
    load.stop();
    await server.stop();
    site.remove();
  }

  async function restart(running: BackupServer): Promise<BackupServer> {
    await running.stop();
    return await site.start();
  }
}

async function scrapes(site: BackupSite) {
  return {
    'metrics ms': await timed(site, '/metrics'),
    'worst?n=20 ms': await timed(site, '/worst?n=20'),
    'lines of metrics': (await get(site, '/metrics')).split('\n').length,
  };
}

/** Median, after one to warm up. */
async function timed(site: BackupSite, what: string): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i <= SCRAPES; i++) {
    const start = performance.now();
    await get(site, what);
    times.push(performance.now() - start);
  }
  return Number(median(times.slice(1)).toFixed(1));
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
  .action(measure)
  .parseAsync();
