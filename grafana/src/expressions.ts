/** What is asked of Prometheus: the expressions of all panels and rules, and the series that they name. */
import { dashboards } from './dashboards/index.ts';
import { ALERTS, RECORDINGS } from './rules/index.ts';

export interface Expression {
  /** Dashboard and panel, or rule. */
  where: string;
  expr: string;
  /** As Grafana asks for it: once, or over time. */
  isInstant: boolean;
  /** Its value is of use only if there is one: not so that of an alert, which mostly has none. */
  isShown: boolean;
}

export function expressions(): Expression[] {
  return [...ofDashboards(), ...ofRules()];
}

export function ofDashboards(): Expression[] {
  return Object.entries(dashboards()).flatMap(([name, { panels = [], annotations }]) => [
    ...panels.flatMap((panel) => {
      if (!('targets' in panel)) return [];
      const targets = (panel.targets ?? []) as unknown as {
        expr: string;
        refId: string;
        instant?: boolean;
      }[];
      return targets.map(({ expr, refId, instant }) => ({
        where: `${name}: ${panel.title} ${refId}`,
        expr,
        isInstant: instant === true,
        isShown: true,
      }));
    }),
    ...(annotations?.list ?? []).map(({ name: mark, expr }) => ({
      where: `${name}: annotation ${mark}`,
      expr: expr ?? '',
      isInstant: false,
      isShown: false,
    })),
  ]);
}

export function ofRules(): Expression[] {
  return [
    ...ALERTS.map(({ name, expr }) => ({ where: name, expr, isInstant: true, isShown: false })),
    ...RECORDINGS.map(({ record, expr }) => ({ where: record, expr, isInstant: true, isShown: true })),
  ];
}

/** Grafana's variables, as it fills them in. */
export function filled(expr: string, values: Record<string, string>): string {
  return expr.replaceAll(/\$(\w+)/g, (variable, name: string) => values[name] ?? variable);
}

export interface Selector {
  /** The selector without a range. */
  text: string;
  metric: string;
  /** Labels that it asks for. */
  labels: string[];
}

/** What an expression picks out of all series: each metric's name with its matchers. */
export function selectors(expr: string): Selector[] {
  const found: Selector[] = [];
  const pattern = /(?<![\w:"])((?:instance|csync_backup_|up\b|ALERTS\b)[\w:]*)(\{[^}]*\})?(?!\w)/g;
  for (const [, metric = '', matchers = ''] of expr.matchAll(pattern)) {
    // `instance` alone is a label, and so is what stands right before an operator of a matcher.
    if (metric === 'instance') continue;
    const labels = [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"/g)].map(([, label]) => label!);
    found.push({ text: metric + matchers, metric, labels });
  }
  return found;
}

/** Labels of results: what is kept by aggregation, and what operators match on. */
export function groupedLabels(expr: string): string[] {
  const lists = [...expr.matchAll(/\b(?:by|on|without|ignoring|group_left)\s*\(([^)]*)\)/g)];
  return lists
    .flatMap(([, names = '']) => names.split(',').map((name) => name.trim()))
    .filter((name) => name !== '');
}
