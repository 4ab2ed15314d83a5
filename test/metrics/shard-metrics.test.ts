import { describe, expect, test } from 'vitest';
import { LATENCY_BOUNDS } from '../../src/metrics/bounds.ts';
import { HistogramTotals } from '../../src/metrics/histogram-totals.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { ShardMetrics } from '../../src/metrics/shard-metrics.ts';
import { SHARD_FIGURES } from '../../src/metrics/store-figures.ts';

async function value(metrics: ReturnType<typeof createMetrics>, name: string): Promise<number | undefined> {
  const metric = await metrics.registry.getSingleMetric(`csync_backup_store_${name}`)?.get();
  return metric?.values[0]?.value;
}

describe('ShardMetrics', () => {
  test('adds up what the shards say, and survives the restart of one', async () => {
    const metrics = createMetrics();
    const shards = new ShardMetrics(metrics.registry);
    shards.update(0, { values: { recoveries_total: 3, open_backups: 2 }, histograms: {} });
    shards.update(1, { values: { recoveries_total: 1, open_backups: 5 }, histograms: {} });
    expect(await value(metrics, 'recoveries_total')).toBe(4);
    expect(await value(metrics, 'open_backups')).toBe(7);
    shards.update(0, { values: { recoveries_total: 1, open_backups: 0 }, histograms: {} });
    expect(await value(metrics, 'recoveries_total')).toBe(5);
    expect(await value(metrics, 'open_backups')).toBe(5);
  });

  test('exports a figure that nobody has declared', async () => {
    const metrics = createMetrics();
    const shards = new ShardMetrics(metrics.registry);
    const odd = new HistogramTotals(LATENCY_BOUNDS);
    for (const seconds of [0.001, 3]) odd.observe(seconds);
    const histograms = { odd_seconds: odd.numbers as Float64Array };
    shards.update(0, { values: { odd_things_total: 2, oddness: 7 }, histograms });
    const text = await metrics.registry.metrics();
    expect(text).toContain('# TYPE csync_backup_store_odd_things_total counter');
    expect(text).toContain('csync_backup_store_odd_things_total 2');
    expect(text).toContain('# TYPE csync_backup_store_oddness gauge');
    expect(text).toContain('csync_backup_store_odd_seconds_count 2');
  });

  test('histograms of several shards are one, and a shard that begins anew takes nothing away', async () => {
    const metrics = createMetrics();
    const shards = new ShardMetrics(metrics.registry);
    const told = (...seconds: number[]) => {
      const totals = new HistogramTotals(LATENCY_BOUNDS);
      for (const one of seconds) totals.observe(one);
      return { values: {}, histograms: { sync_seconds: totals.numbers as Float64Array } };
    };
    shards.update(0, told(0.001, 0.25));
    shards.update(1, told(0.25));
    shards.update(0, told(0.001, 0.25, 100));
    shards.update(1, told(0.0015));
    const text = await metrics.registry.metrics();
    const series = (name: string) => Number(text.match(new RegExp(`store_sync_seconds_${name} (.*)`))?.[1]);
    expect(series('count')).toBe(5);
    expect(series('sum')).toBeCloseTo(0.001 + 0.25 + 0.25 + 100 + 0.0015);
    const buckets = [0.0005, 0.001, 0.002, 0.2, 0.5, 30].map((le) => series(`bucket{le="${le}"}`));
    expect(buckets).toEqual([0, 1, 2, 2, 4, 4]);
    expect(text).toContain('csync_backup_store_sync_seconds_bucket{le="+Inf"} 5');
  });

  test('of ages the highest is shown', async () => {
    const metrics = createMetrics();
    const shards = new ShardMetrics(metrics.registry);
    for (const [shard, seconds] of [7, 3].entries())
      shards.update(shard, { values: { index_lag_seconds: seconds, index_lag_bytes: 10 }, histograms: {} });
    expect(await value(metrics, 'index_lag_seconds')).toBe(7);
    expect(await value(metrics, 'index_lag_bytes')).toBe(20);
  });

  test('every listed figure is there before the first shard has said anything', async () => {
    const metrics = createMetrics();
    new ShardMetrics(metrics.registry);
    const text = await metrics.registry.metrics();
    for (const [name, { type }] of Object.entries(SHARD_FIGURES))
      expect(text).toContain(`# TYPE csync_backup_store_${name} ${type}`);
  });

  test('names and help follow the conventions of Prometheus', async () => {
    const metrics = createMetrics();
    new ShardMetrics(metrics.registry);
    for (const { name, help, type } of await metrics.registry.getMetricsAsJSON()) {
      expect(name).toMatch(/^csync_backup_[a-z_]+$/);
      expect(help).toMatch(/\.$/);
      expect(name.endsWith('_total'), name).toBe(String(type) === 'counter');
    }
  });
});
