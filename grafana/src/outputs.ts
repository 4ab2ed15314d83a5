/** Every file that is written from the code beside this one. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { dashboards } from './dashboards/index.ts';
import { ALERTS_FILE, alertRules, RECORDING_FILE, recordingRules, ruleTests } from './rules/files.ts';
import { ALERT_GROUPS, RECORDINGS } from './rules/index.ts';
import { alertSection, withSection } from './rules/page.ts';

export const ROOT = path.join(import.meta.dirname, '../..');

/** Contents by path below ROOT. */
export function outputs(): Map<string, string> {
  const page = readFileSync(path.join(ROOT, 'docs/metrics.md'), 'utf8');
  const pages = Object.entries(dashboards()).map(([name, dashboard]): [string, string] => [
    `grafana/dashboards/${name}.json`,
    `${JSON.stringify(dashboard, null, 2)}\n`,
  ]);
  return new Map([
    ...pages,
    [`grafana/rules/${ALERTS_FILE}`, alertRules(ALERT_GROUPS)],
    [`grafana/rules/${RECORDING_FILE}`, recordingRules(RECORDINGS)],
    ['grafana/rules/csync-backup.test.yml', ruleTests(ALERT_GROUPS, RECORDINGS)],
    ['docs/metrics.md', withSection(page, alertSection(ALERT_GROUPS, RECORDINGS))],
  ]);
}
