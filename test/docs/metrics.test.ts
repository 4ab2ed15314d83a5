import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { metricGroups, withTables } from '../../src/metrics/describe.ts';
import { createMetrics, PREFIX } from '../../src/metrics/registry.ts';
import { ShardMetrics } from '../../src/metrics/shard-metrics.ts';

const page = readFileSync(path.join(import.meta.dirname, '../../docs/metrics.md'), 'utf8');
const groups = metricGroups();
const all = [...groups.values()].flat();

test('the tables of docs/metrics.md are those of the registry; "npm run docs:metrics" writes them anew', () => {
  expect(page).toBe(withTables(page));
  const sections = [...page.matchAll(/<!-- metrics: ([a-z]+) -->/g)].map(([, name]) => name);
  expect(sections.toSorted()).toEqual([...groups.keys()].toSorted());
});

test('a table that is not as it should be would be noticed', () => {
  const block = '<!-- metrics: freezes -->\nold\n<!-- end -->';
  const made = withTables(block);
  expect(made).toContain('| `csync_backup_freezes_total` | counter | `end` | Freezes that have ended');
  expect(made).not.toContain('old');
  expect(() => withTables(block.replace('freezes', 'nonsense'))).toThrow('nonsense');
});

test('what is registered is in one group, and one only', async () => {
  const { registry } = createMetrics();
  new ShardMetrics(registry);
  const registered = (await registry.getMetricsAsJSON()).map(({ name }) => name);
  const grouped = [...groups].filter(([name]) => name !== 'commands').flatMap(([, metrics]) => metrics);
  expect(grouped.map(({ name }) => name).toSorted()).toEqual(registered.toSorted());
});

test('each label is explained in the section of its metric', () => {
  for (const [group, metrics] of groups) {
    const start = page.indexOf(`<!-- metrics: ${group} -->`);
    const section = page.slice(start, page.indexOf('\n## ', start));
    for (const { name, labelNames } of metrics) {
      for (const label of labelNames)
        expect(section, `${label} of ${name}`).toMatch(new RegExp(`^\\| [^|]*\`${label}\`[^|]* \\|`, 'm'));
    }
  }
});

test('every name that docs/metrics.md mentions is that of a metric', () => {
  const names = new Set(all.map(({ name }) => name));
  // Behind a colon it is part of the name of a recording rule.
  const mentioned = [...page.matchAll(/(?<![:\w])csync_backup_[a-z_]+/g)].map(([name]) =>
    name.replace(/_bucket$/, ''),
  );
  expect(mentioned.length).toBeGreaterThan(names.size);
  expect(mentioned.filter((name) => !names.has(name) && name !== PREFIX)).toEqual([]);
});

test('names and help follow the conventions of Prometheus', () => {
  for (const { name, help, type, labelNames } of all) {
    expect(name).toMatch(/^csync_backup_[a-z_]+$/);
    expect(help).toMatch(/\.$/);
    expect(name.endsWith('_total'), name).toBe(type === 'counter');
    expect(labelNames.filter((label) => /user|mailbox|client/.test(label))).toEqual([]);
  }
});
