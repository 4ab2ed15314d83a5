/** The section of docs/metrics.md that lists the alerts. */
import path from 'node:path';
import type { Alert, AlertGroup, Recording, Severity } from './rule.ts';

export const BEGIN = '<!-- From here on written by `npm run grafana`. -->';
export const END = '<!-- Up to here written by `npm run grafana`. -->';

const SEVERITIES: [Severity, string][] = [
  ['critical', 'Wake somebody (`severity: critical`):'],
  ['warning', 'Look at it in the morning (`severity: warning`):'],
];

export function alertSection(groups: readonly AlertGroup[], recordings: readonly Recording[]): string {
  const alerts = groups.flatMap((group) => group.alerts);
  const tables = SEVERITIES.flatMap(([severity, heading]) => [
    heading,
    '',
    '| alert | expression | for | means | do | more |',
    '| --- | --- | --- | --- | --- | --- |',
    ...alerts.filter((alert) => alert.severity === severity).map(row),
    '',
  ]);
  return [
    ...tables,
    'Recorded, since alerts share it, or for those who keep it longer than the rest:',
    '',
    '| name | is |',
    '| --- | --- |',
    ...recordings.map(({ record, about }) => `| \`${record}\` | ${about} |`),
    '',
  ].join('\n');
}

function row(alert: Alert): string {
  const [page = '', anchor = ''] = alert.runbook.split('#');
  const link = `[${anchor.replaceAll('-', ' ')}](${path.basename(page)}#${anchor})`;
  const expr = alert.expr.replaceAll(/\s*\n\s*/g, ' ');
  const cells = [`\`${alert.name}\``, `\`${expr}\``, alert.for ?? '', alert.summary, alert.description, link];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

/** The page with the section put in place of the one that it has. */
export function withSection(page: string, section: string): string {
  const begin = page.indexOf(BEGIN);
  const end = page.indexOf(END);
  if (begin === -1 || end < begin)
    throw new Error('docs/metrics.md has lost the marks of its list of alerts');
  return `${page.slice(0, begin + BEGIN.length)}\n\n${section}\n${page.slice(end)}`;
}
