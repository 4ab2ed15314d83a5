import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { dashboards } from '../../grafana/src/dashboards/index.ts';
import { ROOT } from '../../grafana/src/outputs.ts';

interface PanelModel {
  id: number;
  type: string;
  title: string;
  description: string;
  gridPos: { x: number; y: number; w: number; h: number };
  datasource?: unknown;
  targets?: { expr: string; legendFormat: string; refId: string; datasource: unknown }[];
  fieldConfig: {
    defaults: { unit: string; thresholds: { steps: { value: number | null; color: string }[] } };
    overrides?: unknown[];
  };
}

const all = Object.entries(dashboards()).map(([name, dashboard]) => ({
  name,
  dashboard,
  panels: (dashboard.panels as unknown as PanelModel[]).filter(({ type }) => type !== 'row'),
}));
const panels = all.flatMap((one) =>
  one.panels.map((panel) => ({ where: `${one.name}: ${panel.title}`, panel })),
);

test('there are the four', () => {
  expect(all.map(({ name }) => name)).toEqual(['overview', 'ingest', 'store', 'capacity']);
  expect(new Set(all.map(({ dashboard }) => dashboard.uid)).size).toBe(4);
  for (const one of all) expect(one.panels.length, one.name).toBeGreaterThan(12);
});

describe.each(panels)('$where', ({ panel }) => {
  const { unit, thresholds } = panel.fieldConfig.defaults;

  test('says what it is and what to do', () => {
    expect(panel.title.length).toBeGreaterThan(3);
    expect(panel.description).toMatch(/\.$/);
    expect(panel.description.length).toBeGreaterThan(60);
  });

  test('asks the Prometheus that was chosen', () => {
    for (const asked of [panel, ...panel.targets!])
      expect(asked.datasource).toEqual({ type: 'prometheus', uid: '$datasource' });
  });

  test('has thresholds that rise, from one that takes all', () => {
    const values = thresholds.steps.map(({ value }) => value);
    expect(values[0]).toBeNull();
    expect(values.slice(1)).toEqual(values.slice(1).toSorted((a, b) => a! - b!));
  });

  test('has the unit of what it shows', () => {
    for (const { expr } of panel.targets!) expect(unitsOf(expr), expr).toContain(unit);
  });

  test('names its series', () => {
    if (panel.type === 'table') return;
    for (const { expr, legendFormat } of panel.targets!) {
      expect(legendFormat).not.toBe('');
      // A legend that names a label which the query sums away would be empty.
      const by = /\b(?:sum|max|min|count) by \(([^)]*)\)/.exec(expr)?.[1];
      if (by === undefined) continue;
      const named = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label);
      for (const label of named) expect(by.split(', ')).toContain(label);
    }
  });
});

test('options, commands and log lines that descriptions name exist', () => {
  const read = (page: string): string => readFileSync(path.join(ROOT, 'docs', page), 'utf8');
  const pages = {
    options: read('configuration.md'),
    commands: read('commands.md'),
    operations: read('operations.md'),
  };
  const missing: string[] = [];
  let count = 0;
  const look = (words: string, isThere: boolean): void => {
    count++;
    if (!isThere) missing.push(words);
  };
  for (const { panel } of panels) {
    for (const [option] of panel.description.matchAll(/backup_[a-z_]+/g))
      look(option, pages.options.includes(`### ${option}\n`));
    for (const [, command] of panel.description.matchAll(/csync-backup ([a-z]+)/g))
      look(command!, new RegExp(`^### csync-backup ${command}\\b`, 'm').test(pages.commands));
    for (const [, words] of panel.description.matchAll(/(?:search the log for|log\.) "([^"]+)"/gi))
      look(words!, pages.operations.includes(`\`${words}\``));
  }
  expect(missing).toEqual([]);
  expect(count).toBeGreaterThan(40);
});

test.each(all)('in $name panels lie beside each other, in the width there is', ({ dashboard }) => {
  const taken = new Set<string>();
  for (const { gridPos, title } of dashboard.panels as unknown as PanelModel[]) {
    expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        expect(taken.has(`${x} ${y}`), `${title} lies over another panel`).toBe(false);
        taken.add(`${x} ${y}`);
      }
    }
  }
});

test('panels in which some value is bad have a limit', () => {
  const without = panels.filter(
    ({ panel: { fieldConfig } }) =>
      fieldConfig.defaults.thresholds.steps.length === 1 && (fieldConfig.overrides ?? []).length === 0,
  );
  // How much there is of something, of which no amount is too much or too little by itself.
  expect(without.map(({ where }) => where)).toEqual([
    'overview: Alerts that fire',
    'overview: Syncs',
    'overview: Received',
    'overview: Backups by their verification',
    'overview: What runs',
    'ingest: Commands',
    'ingest: Bytes',
    'ingest: Messages',
    'ingest: Processors used',
    'ingest: Slabs',
    'store: Syncs, chunks, appends',
    'store: Written',
    'store: Found open',
    'store: Never verified',
    'store: Read by maintenance',
    'store: Backups dealt with',
    'store: Freed by compaction',
    'capacity: Free, and as foreseen a week before',
    'capacity: Growth of the backups',
    'capacity: Stored',
    'capacity: Size of a backup',
    'capacity: Processors, at the peak',
    'capacity: Received',
  ]);
});

/** Units that suit an expression, by the names in it, which end in theirs. */
function unitsOf(expr: string): string[] {
  const [first = ''] = /csync_backup_\w+|ALERTS|up\{/.exec(expr) ?? [];
  if (
    / \/ /.test(expr) &&
    !/deriv|\/ \(csync_backup_partition_backups|sum\(csync_backup_partition_stored/.test(expr)
  )
    return ['percentunit'];
  if (/^csync_backup_\w*timestamp_seconds/.test(first)) return ['s'];
  if (/thread_active_seconds|gc_seconds_sum/.test(first)) return ['percentunit'];
  if (/cpu_seconds|back_pressure_seconds|thread_cpu/.test(first)) return ['short'];
  if (/ \/ /.test(expr) && /partition_backups/.test(expr)) return ['bytes'];
  if (/ \/ /.test(expr)) return ['s'];
  if (/_seconds(_bucket)?$/.test(first)) return ['s'];
  if (/_seconds_count$/.test(first)) return ['ops'];
  if (/_bytes(_received)?(_total)?$/.test(first)) return /rate\(/.test(expr) ? ['Bps'] : ['bytes'];
  if (/\brate\(/.test(expr)) return /^3600 \*/.test(expr) ? ['short'] : ['ops', 'cps', 'reqps'];
  if (/_frozen$/.test(first)) return ['percentunit'];
  return ['short', 'none'];
}
