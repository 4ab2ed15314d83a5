/**
 * Draws the dashboards, since Grafana itself need not be there: from a Prometheus that one has, or from one that is
 * started beside a server of its own, which is kept busy meanwhile.
 *
 *     npm run grafana:pictures -- [--minutes 10] [--url http://127.0.0.1:9090 --instance NAME] [--to docs/pictures] [--png]
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { LoadedServer } from '../../../test/prometheus/harness/loaded-server.ts';
import { Prometheus, PrometheusApi } from '../../../test/prometheus/harness/prometheus.ts';
import { dashboards } from '../dashboards/index.ts';
import { ROOT } from '../outputs.ts';
import { JOB } from '../rules/rule.ts';
import { drawn } from './dashboard.ts';
import type { DashboardModel } from './model.ts';

const INSTANCE = 'backup.example.com';
const SCRAPE_S = 5;
/** Points of a line, so that pictures stay small. */
const POINTS = 75;

interface Options {
  minutes: string;
  url?: string;
  instance: string;
  to: string;
  png: boolean;
}

// What was started ends at the end of the process, if that is one in order.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130));

await new Command('grafana:pictures')
  .option('--minutes <number>', 'time to show, and to keep the server busy for', '10')
  .option('--url <url>', 'a Prometheus that there is, instead of a server and one of our own')
  .option('--instance <name>', 'server to show', INSTANCE)
  .option('--to <folder>', 'where the pictures go', path.join(ROOT, 'docs/pictures'))
  .option('--png', 'PNG too, by rsvg-convert', false)
  .action(main)
  .parseAsync();

async function main(o: Options): Promise<void> {
  const seconds = Number(o.minutes) * 60;
  if (o.url !== undefined) return await draw(new PrometheusApi(o.url), seconds, o);
  const loaded = await LoadedServer.start();
  const scraped = { job: JOB, instance: INSTANCE, port: loaded.site.metricsPort };
  const prometheus = await Prometheus.start({ scraped, everySeconds: SCRAPE_S });
  try {
    process.stderr.write(`${prometheus.url} for ${o.minutes} minutes\n`);
    await busy(loaded, prometheus.gatewayUrl, Date.now() + seconds * 1000);
    await draw(new PrometheusApi(prometheus.url), seconds, o);
  } finally {
    await prometheus.stop();
    await loaded.stop();
  }
}

/** Everything once, and then days in minutes: more and less to do in turn. */
async function busy(loaded: LoadedServer, gatewayUrl: string, untilMs: number): Promise<void> {
  await loaded.everything(gatewayUrl);
  for (let round = 0; Date.now() < untilMs; round++) {
    await loaded.turns(1 + (round % 8));
    if (round % 20 === 10) await loaded.largeMessages();
    if (round % 9 === 4) await loaded.mishaps();
    if (round % 30 === 20) await loaded.interruptMaintenance();
    if (round % 50 === 25) await loaded.freeze(4);
    if (round % 40 === 30) await loaded.maintain('verify');
    await sleep(500 + 1500 * (1 + Math.sin(round / 6)));
  }
}

async function draw(api: PrometheusApi, seconds: number, o: Options): Promise<void> {
  const to = Date.now() / 1000;
  const range = { from: to - seconds, to, step: Math.max(SCRAPE_S, seconds / POINTS) };
  const variables = {
    instance: o.instance,
    __rate_interval: `${Math.max(4 * SCRAPE_S, Math.round(seconds / POINTS) + SCRAPE_S)}s`,
    __range: `${Math.round(seconds)}s`,
    learn: '7d',
  };
  mkdirSync(o.to, { recursive: true });
  for (const [name, dashboard] of Object.entries(dashboards())) {
    const file = path.join(o.to, `${name}.svg`);
    writeFileSync(file, await drawn(dashboard as unknown as DashboardModel, { api, range, variables }));
    process.stdout.write(`${file}: ${Math.round(readFileSync(file).length / 1024)} kB\n`);
    if (o.png) convert(file);
  }
}

function convert(file: string): void {
  const { status, stderr } = spawnSync('rsvg-convert', ['-o', file.replace(/svg$/, 'png'), file], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`rsvg-convert (Debian: librsvg2-bin): ${stderr}`);
}
