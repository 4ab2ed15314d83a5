/**
 * Every expression of dashboards and rules, run by a real Prometheus that has scraped a real server to which everything
 * happened: a wrong name, label or value of a label leaves it without data, and that is an error here.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { dashboards } from '../../grafana/src/dashboards/index.ts';
import { type Expression, expressions, filled, selectors } from '../../grafana/src/expressions.ts';
import { drawn } from '../../grafana/src/pictures/dashboard.ts';
import type { DashboardModel } from '../../grafana/src/pictures/model.ts';
import { escaped } from '../../grafana/src/pictures/svg.ts';
import { JOB } from '../../grafana/src/rules/rule.ts';
import { LoadedServer } from './harness/loaded-server.ts';
import { Prometheus, PrometheusApi } from './harness/prometheus.ts';

const INSTANCE = 'backup.example.com';
/** As Grafana fills them in, but over as little time as there is. */
const VARIABLES = { instance: INSTANCE, __rate_interval: '20s', __range: '10m', learn: '7d' };
/** Rules are evaluated every 30 s, and a day's peak is looked for in steps of a minute. */
const AT_LEAST_S = 75;

/** What has no data after a minute, and why. */
const WITHOUT_DATA: Record<string, string> = {
  'capacity: Free, and as foreseen a week before B': 'needs data of a week ago',
  'capacity: Busiest thread, at its peak B': 'needs data of a day',
  'capacity: Processors, at the peak B': 'needs data of a day',
};

let loaded: LoadedServer;
let prometheus: Prometheus;
let api: PrometheusApi;
let range: { from: number; to: number; step: number };

beforeAll(async () => {
  loaded = await LoadedServer.start();
  const scraped = { job: JOB, instance: INSTANCE, port: loaded.site.metricsPort };
  // A scrape waits for store threads that are deep in work, for up to 2 s.
  prometheus = await Prometheus.start({ scraped, everySeconds: 3 });
  api = new PrometheusApi(prometheus.url);
  const from = Date.now() / 1000;
  // What counters are at before anything happens, or their first step would not be seen.
  while ((await api.query('csync_backup_store_recoveries_total')).length === 0) await sleep(200);
  await loaded.everything(prometheus.gatewayUrl);
  while (Date.now() / 1000 < from + AT_LEAST_S) {
    await loaded.turns(4);
    await sleep(1000);
  }
  range = { from, to: Date.now() / 1000, step: 2 };
}, 240_000);

afterAll(async () => {
  await prometheus?.stop();
  await loaded?.stop();
});

async function run({ expr, isInstant }: Expression) {
  const text = filled(expr, VARIABLES);
  return isInstant ? await api.query(text) : await api.queryRange(text, range);
}

test('each series that is named is scraped, with each label asked for', async () => {
  const names = new Set(await api.names());
  const missing = new Set<string>();
  for (const { where, expr } of expressions()) {
    for (const { text, metric } of selectors(filled(expr, VARIABLES))) {
      if (metric === 'ALERTS') continue;
      if (!names.has(metric)) missing.add(`${where}: ${metric}`);
      else if ((await api.queryRange(text, range)).length === 0) missing.add(`${where}: ${text}`);
    }
  }
  expect([...missing]).toEqual([]);
});

test('each expression of a dashboard or recording rule is answered with data', async () => {
  const all = expressions().filter(({ isShown }) => isShown);
  expect(all.length).toBeGreaterThan(110);
  const without: string[] = [];
  for (const expression of all) {
    const series = await run(expression);
    const numbers = series.flatMap(({ value, values = [] }) => [...values, ...(value ? [value] : [])]);
    if (!numbers.some(([, text]) => Number.isFinite(Number(text)))) without.push(expression.where);
  }
  expect(without.toSorted()).toEqual(Object.keys(WITHOUT_DATA).toSorted());
});

test('each expression of an alert is answered, and those fire that something was done for', async () => {
  const firing: string[] = [];
  for (const expression of expressions().filter(({ isShown }) => !isShown)) {
    if ((await run(expression)).length > 0) firing.push(expression.where);
  }
  // A damaged file and a kill -9.
  for (const alert of ['VerificationFaulty', 'Recoveries']) expect(firing).toContain(`CsyncBackup${alert}`);
  for (const alert of [
    'Down',
    'NotScraped',
    'NoSyncs',
    'DrillFailed',
    'StoreFailures',
    'PartitionFull',
    'Stale',
  ])
    expect(firing).not.toContain(`CsyncBackup${alert}`);
});

test('the servers to choose from are those that are scraped', async () => {
  for (const [name, { templating }] of Object.entries(dashboards())) {
    const definition = templating?.list?.find((variable) => variable.name === 'instance')?.definition ?? '';
    const [, metric = '', label = ''] = /^label_values\((\w+), (\w+)\)$/.exec(definition) ?? [];
    expect(await api.get(`label/${label}/values`, { 'match[]': metric }), name).toEqual([INSTANCE]);
  }
});

test.each(Object.entries(dashboards()))(
  'a picture of "%s" shows every panel, with its data',
  async (_, dashboard) => {
    const model = dashboard as unknown as DashboardModel;
    const svg = await drawn(model, { api, range, variables: VARIABLES });
    for (const { title } of model.panels) expect(svg).toContain(`>${escaped(title)}</text>`);
    expect(svg).not.toMatch(/NaN|undefined|No data|Infinity/);
  },
);

test('Prometheus evaluates all rules without an error', async () => {
  const { groups } = (await api.get('rules')) as {
    groups: { name: string; rules: { name: string; health: string; lastError?: string }[] }[];
  };
  const rules = groups.flatMap((group) => group.rules);
  expect(rules.length).toBeGreaterThan(40);
  expect(rules.filter(({ health, lastError }) => health !== 'ok' || lastError !== undefined)).toEqual([]);
});
