/** Expressions that several dashboards have, each for the servers of the variable. */
import { HERE } from './page.ts';

/** Commands but logins, which are made to wait where they fail. */
export const NO_LOGINS = 'verb!="AUTHENTICATE"';

/** @param only a selector of series besides the servers */
export function rate(figure: string, only?: string): string {
  return `rate(csync_backup_${figure}{${[HERE, ...(only ? [only] : [])].join()}}[$__rate_interval])`;
}

/** Below which this share of what the histogram saw lay, for each value of the label `by` or for all. */
export function quantile(share: number, histogram: string, o: { by?: string; only?: string } = {}): string {
  const labels = [...(o.by ? [o.by] : []), 'le'].join(', ');
  return `histogram_quantile(${share}, sum by (${labels}) (${rate(`${histogram}_bucket`, o.only)}))`;
}

/** Queries of a graph with half, 90 and 99 % of the histogram. */
export function quantiles(histogram: string, only?: string) {
  return [0.5, 0.9, 0.99].map((share) => ({
    expr: quantile(share, histogram, only ? { only } : {}),
    legend: `${share * 100} %`,
  }));
}
