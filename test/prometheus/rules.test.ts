/** Prometheus's own tool over the rules: it can read them, and each alert fires when it should and only then. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { ALERTS, RECORDINGS } from '../../grafana/src/rules/index.ts';
import { ROOT } from '../support/backup-server.ts';
import { promtool, requirePrometheus } from './harness/prometheus.ts';

const RULES = 'grafana/rules/csync-backup';

beforeAll(requirePrometheus);

test('promtool takes the rules, all of them', () => {
  const { status, output } = promtool('check', 'rules', `${RULES}.alerts.yml`, `${RULES}.recording.yml`);
  expect(status, output).toBe(0);
  const found = [...output.matchAll(/SUCCESS: (\d+) rules found/g)].map(([, count]) => Number(count));
  expect(found).toEqual([ALERTS.length, RECORDINGS.length]);
});

test('each alert fires at what it is for and is quiet at what looks alike, each recording gives its value', () => {
  const { status, output } = promtool('test', 'rules', `${RULES}.test.yml`);
  expect(status, output).toBe(0);
  const tests = readFileSync(path.join(ROOT, `${RULES}.test.yml`), 'utf8');
  for (const { name } of ALERTS) {
    expect(tests).toContain(`- name: "${name} fires"`);
    expect(tests).toContain(`- name: "${name} stays quiet"`);
  }
  for (const { record } of RECORDINGS) expect(tests).toContain(`- name: "${record}"`);
});

test('promtool takes the configuration that the documentation gives', () => {
  const { status, output } = promtool('check', 'config', '--syntax-only', 'grafana/prometheus.yml');
  expect(status, output).toBe(0);
});
