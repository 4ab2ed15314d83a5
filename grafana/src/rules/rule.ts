/** What a rule is, and the cases that show when it fires. Prometheus's own files are written from these. */

export type Severity =
  /** Mail is not being backed up, or is being lost: wake somebody. */
  | 'critical'
  /** It can wait until the morning. */
  | 'warning';

/** Series by name and labels, with values in promtool's notation, one a minute: `0x10 1x20`. */
export type Series = Record<string, string>;

export interface Fires {
  /** Long enough for the alert's `for` to be over. */
  at: string;
  series: Series;
  /** What the alert is labelled with, besides its severity. */
  labels: Record<string, string>;
  /** What the template of `shows` gives in this case. */
  shown?: string;
}

export interface Quiet {
  at: string;
  /** Such as look alike. */
  series: Series;
}

export interface Alert {
  name: string;
  severity: Severity;
  expr: string;
  for?: string;
  /** What is wrong. */
  summary: string;
  /** Template of what Prometheus adds to the summary: how many, or where. */
  shows?: string;
  /** What to do. */
  description: string;
  /** Page and heading of docs/ that say more. */
  runbook: string;
  fires: Fires;
  /** Another reason. */
  firesToo?: Fires;
  quiet: Quiet;
}

export interface AlertGroup {
  name: string;
  /** As the heading over its alerts says it. */
  about: string;
  alerts: Alert[];
}

export interface Recording {
  /** `level:metric:operations`, as Prometheus recommends. */
  record: string;
  expr: string;
  /** What it is good for. */
  about: string;
  series: Series;
  /** What it gives at 30 minutes. */
  gives: { labels: Record<string, string>; value: number }[];
}

/** The job name that rules and dashboards take the scrape job to have. */
export const JOB = 'csync-backup';
export const PLACE = { instance: 'b1', job: JOB };

/** A series of server b1. */
export function series(name: string, labels: Record<string, string> = {}): string {
  const pairs = Object.entries({ ...PLACE, ...labels }).map(([key, value]) => `${key}="${value}"`);
  return `${name}{${pairs.join(',')}}`;
}
