import { describe, expect, test } from 'vitest';
import { createMetrics, SHARD_FIGURES } from '../../src/metrics/registry.ts';
import { ShardMetrics } from '../../src/metrics/shard-metrics.ts';

async function value(metrics: ReturnType<typeof createMetrics>, name: string): Promise<number | undefined> {
  const metric = await metrics.registry.getSingleMetric(`csync_backup_store_${name}`)?.get();
  return metric?.values[0]?.value;
}

describe('ShardMetrics', () => {
  test('adds up what the shards say, and survives the restart of one', async () => {
    const metrics = createMetrics();
    const shards = new ShardMetrics(metrics.registry);
    shards.update([
      { values: { recoveries_total: 3, open_backups: 2 }, observations: {} },
      { values: { recoveries_total: 1, open_backups: 5 }, observations: {} },
    ]);
    expect(await value(metrics, 'recoveries_total')).toBe(4);
    expect(await value(metrics, 'open_backups')).toBe(7);
    shards.update([{ values: { recoveries_total: 1, open_backups: 0 }, observations: {} }, undefined]);
    expect(await value(metrics, 'recoveries_total')).toBe(5);
    expect(await value(metrics, 'open_backups')).toBe(0);
  });

  test('exports a figure that nobody has declared', async () => {
    const metrics = createMetrics();
    const shards = new ShardMetrics(metrics.registry);
    shards.update([
      { values: { odd_things_total: 2, oddness: 7 }, observations: { odd_seconds: [0.001, 3] } },
    ]);
    const text = await metrics.registry.metrics();
    expect(text).toContain('# TYPE csync_backup_store_odd_things_total counter');
    expect(text).toContain('csync_backup_store_odd_things_total 2');
    expect(text).toContain('# TYPE csync_backup_store_oddness gauge');
    expect(text).toContain('csync_backup_store_odd_seconds_count 2');
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
