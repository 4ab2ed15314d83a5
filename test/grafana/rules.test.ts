import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { ALERTS, RECORDINGS } from '../../grafana/src/rules/index.ts';
import { anchors } from '../docs/anchors.ts';

const root = path.join(import.meta.dirname, '../..');
const operations = readFileSync(path.join(root, 'docs/operations.md'), 'utf8');

test('alerts and recordings have names of their own', () => {
  const names = [...ALERTS.map(({ name }) => name), ...RECORDINGS.map(({ record }) => record)];
  expect(names.length).toBeGreaterThan(40);
  expect(new Set(names).size).toBe(names.length);
  for (const { name } of ALERTS) expect(name).toMatch(/^CsyncBackup[A-Z]/);
});

test.each(ALERTS)('$name says what is wrong, what to do, and where to read on', (alert) => {
  expect(alert.summary).toMatch(/^[A-Zb].*[^.]$/);
  expect(alert.description).toMatch(/\.$/);
  expect(alert.description.length).toBeGreaterThan(40);
  const [page = '', anchor = ''] = alert.runbook.split('#');
  expect(['docs/operations.md', 'docs/metrics.md']).toContain(page);
  expect(existsSync(path.join(root, page))).toBe(true);
  expect(anchors(readFileSync(path.join(root, page), 'utf8'))).toContain(anchor);
});

test('what alerts say to look for in the log is in the table of log messages', () => {
  const quoted = ALERTS.flatMap(({ description }) => [...description.matchAll(/"([^"]+)"/g)]);
  expect(quoted.length).toBeGreaterThan(5);
  expect(quoted.map(([, words]) => words).filter((words) => !operations.includes(`\`${words}\``))).toEqual(
    [],
  );
});

test('every alert is named in the section that it leads to, or leads to one of many', () => {
  const general =
    /#(log-messages|it-does-not|the-disk|a-corrupt|a-backup-is|a-client|a-partition|snapshots|scraping|exit-statuses|commands)/;
  const special = ALERTS.filter(({ runbook }) => !general.test(runbook));
  expect(special.length).toBeGreaterThan(15);
  for (const { name, runbook } of special) {
    const [, anchor] = runbook.split('#');
    const section = operations.split(/^### /m).find((text) => anchors(`### ${text}`).has(anchor!));
    expect(section, name).toContain(`\`${name}\``);
  }
});
