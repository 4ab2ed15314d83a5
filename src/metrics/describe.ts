/** The tables of docs/metrics.md, from what is declared here: `csync-backup describe --metrics`. */
import { createCommandMetrics } from './command-metrics.ts';
import { createMetrics } from './registry.ts';
import { ShardMetrics } from './shard-metrics.ts';
import { TotalsMetric } from './totals-metric.ts';

/** What all metrics have; of prom-client's own the types do not show it. */
export interface MetricFacts {
  name: string;
  help: string;
  labelNames: readonly string[];
  type: string;
}

/** All metrics, by section of the page. */
export function metricGroups(): Map<string, MetricFacts[]> {
  const { registry, groups } = createMetrics();
  const sections = new Map(
    Object.entries(groups).map(([name, metrics]) => [name, Object.values(metrics).map(factsOf)]),
  );
  const others = new Set(registry.getMetricsAsArray());
  new ShardMetrics(registry);
  const ofShards = registry.getMetricsAsArray().filter((metric) => !others.has(metric));
  sections.set('store', ofShards.map(factsOf));
  sections.set('commands', Object.values(createCommandMetrics()).map(factsOf));
  return sections;
}

function factsOf(metric: object): MetricFacts {
  const { name, help, labelNames } = metric as MetricFacts;
  const type = metric instanceof TotalsMetric ? metric.type : metric.constructor.name.toLowerCase();
  return { name, help, labelNames, type };
}

export function metricsTable(metrics: readonly MetricFacts[]): string {
  const hasLabels = metrics.some(({ labelNames }) => labelNames.length > 0);
  const columns = (...cells: string[]) => `| ${cells.filter((_, i) => hasLabels || i !== 2).join(' | ')} |`;
  const rows = metrics.map(({ name, type, labelNames, help }) =>
    columns(`\`${name}\``, type, labelNames.map((label) => `\`${label}\``).join(', '), help),
  );
  const head = [columns('name', 'type', 'labels', 'help'), columns('---', '---', '---', '---')];
  return `${[...head, ...rows].join('\n')}\n`;
}

const BLOCK = /(<!-- metrics: ([a-z]+) -->\n)[\s\S]*?(?=<!-- end -->)/g;

/**
 * The page with its tables made anew: what stands between `<!-- metrics: NAME -->` and `<!-- end -->`.
 *
 * @throws Error for a name that is no group's
 */
export function withTables(page: string): string {
  const groups = metricGroups();
  return page.replace(BLOCK, (_, begin: string, name: string) => {
    const group = groups.get(name);
    if (group === undefined) throw new Error(`there are no metrics of the kind ${name}`);
    return `${begin}\n${metricsTable(group)}\n`;
  });
}
