import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Counter, Gauge, Histogram, type Metric } from 'prom-client';
import { expect, test } from 'vitest';
import { createMetrics, PREFIX } from '../../src/metrics/registry.ts';
import { ShardMetrics } from '../../src/metrics/shard-metrics.ts';
import { TotalsMetric } from '../../src/metrics/totals-metric.ts';

const page = readFileSync(path.join(import.meta.dirname, '../../docs/metrics.md'), 'utf8');

/** A metric as its row of the page says it. prom-client keeps help and labels, but its types do not show them. */
function row(metric: Metric): string {
  const { name, help, labelNames } = metric as Metric & { name: string; help: string; labelNames: string[] };
  const labels = labelNames.map((label) => `\`${label}\``).join(', ');
  return `| \`${name}\` | ${kind(metric)} | ${labels} | ${help} |`;
}

function kind(metric: Metric): string {
  if (metric instanceof Counter) return 'counter';
  if (metric instanceof Gauge) return 'gauge';
  if (metric instanceof Histogram || (metric as unknown) instanceof TotalsMetric) return 'histogram';
  throw new Error('a kind of metric that the page has no word for');
}

function registered(): Metric[] {
  const { registry } = createMetrics();
  new ShardMetrics(registry);
  return registry.getMetricsAsArray() as unknown as Metric[];
}

test('docs/metrics.md has the row of every metric, and rows of no others', () => {
  const rows = page
    .split('\n')
    .filter((line) => line.startsWith(`| \`${PREFIX}`) && line.split('|').length > 5);
  expect(rows.toSorted()).toEqual(registered().map(row).toSorted());
});

test('every name that docs/metrics.md mentions is that of a metric', () => {
  const names = new Set(registered().map((metric) => (metric as Metric & { name: string }).name));
  const mentioned = [...page.matchAll(/csync_backup_[a-z_]+/g)].map(([name]) => name.replace(/_bucket$/, ''));
  expect(mentioned.length).toBeGreaterThan(names.size);
  expect(mentioned.filter((name) => !names.has(name) && name !== PREFIX)).toEqual([]);
});
