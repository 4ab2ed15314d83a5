import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { expressions, groupedLabels, selectors } from '../../grafana/src/expressions.ts';
import { outputs, ROOT } from '../../grafana/src/outputs.ts';
import { RECORDINGS } from '../../grafana/src/rules/index.ts';
import { metricGroups } from '../../src/metrics/describe.ts';

/** Labels that Prometheus adds, or that functions need. */
const COMMON_LABELS = ['instance', 'job', 'le'];
/** Of the grouping key, with which commands push. */
const PUSHED_LABEL = 'task';
const PROMETHEUS_OWN: Record<string, string[]> = {
  up: [],
  ALERTS: ['alertname', 'alertstate', 'severity'],
};

test.each([...outputs()])('%s is as "npm run grafana" writes it', (file, text) => {
  expect(readFileSync(path.join(ROOT, file), 'utf8')).toBe(text);
});

test('every series that an expression names is one of the server, with labels that it has', () => {
  const known = series();
  const wrong: string[] = [];
  let count = 0;
  for (const { where, expr } of expressions()) {
    const named = selectors(expr);
    if (named.length === 0) wrong.push(`${where}: names nothing: ${expr}`);
    const labels = new Set(COMMON_LABELS);
    for (const { metric, labels: asked } of named) {
      count++;
      const has = known.get(metric);
      if (has === undefined) wrong.push(`${where}: there is no ${metric}`);
      for (const label of has ?? []) labels.add(label);
      for (const label of asked)
        if (![...COMMON_LABELS, ...(has ?? [])].includes(label))
          wrong.push(`${where}: ${metric} has no ${label}`);
    }
    for (const label of groupedLabels(expr))
      if (!labels.has(label)) wrong.push(`${where}: nothing has ${label}`);
  }
  expect(wrong).toEqual([]);
  expect(count).toBeGreaterThan(200);
});

test('no name slips through unseen', () => {
  for (const { where, expr } of expressions()) {
    const words = [...expr.matchAll(/csync_backup_\w+|instance(?:_\w+)?:\w+:\w+/g)].length;
    const inNames = [...expr.matchAll(/instance(?:_\w+)?:csync_backup_\w+/g)].length;
    expect(selectors(expr).filter(({ metric }) => !(metric in PROMETHEUS_OWN)).length, where).toBe(words);
    expect(inNames).toBeLessThanOrEqual(words);
  }
});

/** Names of series with the labels of each. */
function series(): Map<string, readonly string[]> {
  const all = new Map<string, readonly string[]>(Object.entries(PROMETHEUS_OWN));
  for (const [group, metrics] of metricGroups()) {
    for (const { name, labelNames, type } of metrics) {
      const labels = group === 'commands' ? [...labelNames, PUSHED_LABEL] : labelNames;
      const suffixes = type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
      for (const suffix of suffixes) all.set(name + suffix, labels);
    }
  }
  for (const { record, gives } of RECORDINGS) all.set(record, Object.keys(gives[0]!.labels));
  return all;
}
