/**
 * A histogram of the registry whose numbers come from elsewhere: from other threads, which keep HistogramTotals, or
 * from counting things that are there now. prom-client's own can only be told of one observation after the other.
 */
import type { Metric, Registry } from 'prom-client';

interface Series {
  labels: Record<string, string>;
  numbers: Float64Array;
}

export class TotalsMetric<L extends string = string> {
  readonly name: string;
  readonly help: string;
  readonly type = 'histogram';
  readonly labelNames: readonly L[];
  readonly bounds: readonly number[];
  readonly #series = new Map<string, Series>();

  constructor(o: {
    name: string;
    help: string;
    bounds: readonly number[];
    labelNames: readonly L[];
    registers: Registry[];
  }) {
    ({ name: this.name, help: this.help, bounds: this.bounds, labelNames: this.labelNames } = o);
    // Of a metric the registry asks no more than name and get().
    for (const registry of o.registers) registry.registerMetric(this as unknown as Metric<L>);
    if (o.labelNames.length === 0) this.#of({} as Record<L, string>);
  }

  /** @param numbers as in HistogramTotals */
  set(labels: Record<L, string>, numbers: ArrayLike<number>): void {
    this.#of(labels).numbers.set(numbers);
  }

  add(labels: Record<L, string>, numbers: ArrayLike<number>): void {
    const sums = this.#of(labels).numbers;
    for (let i = 0; i < sums.length; i++) sums[i]! += numbers[i] ?? 0;
  }

  remove(labels: Record<L, string>): void {
    this.#series.delete(this.#key(labels));
  }

  async get() {
    return {
      name: this.name,
      help: this.help,
      type: this.type,
      values: [...this.#series.values()].flatMap((series) => this.#values(series)),
      aggregator: 'sum',
    };
  }

  #values({ labels, numbers }: Series) {
    let count = 0;
    const buckets = [...this.bounds, '+Inf'].map((le, i) => {
      count += numbers[i]!;
      return { metricName: `${this.name}_bucket`, labels: { le, ...labels }, value: count };
    });
    return [
      ...buckets,
      { metricName: `${this.name}_sum`, labels, value: numbers.at(-1)! },
      { metricName: `${this.name}_count`, labels, value: count },
    ];
  }

  #of(labels: Record<L, string>): Series {
    const key = this.#key(labels);
    let series = this.#series.get(key);
    if (series === undefined) {
      series = { labels, numbers: new Float64Array(this.bounds.length + 2) };
      this.#series.set(key, series);
    }
    return series;
  }

  #key(labels: Record<L, string>): string {
    return this.labelNames.map((name) => labels[name]).join('\n');
  }
}
