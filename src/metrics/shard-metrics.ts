/** Brings the figures of the store shards into the registry, at each scrape. */
import { LATENCY_BOUNDS } from './bounds.ts';
import { Counter, Gauge, type Registry } from './prom-client.ts';
import { PREFIX } from './registry.ts';
import { SHARD_FIGURES, shardFigure } from './store-figures.ts';
import { TotalsMetric } from './totals-metric.ts';

/** What a shard says of itself; see ShardStats of the pipeline. */
export interface ShardSample {
  values: Record<string, number>;
  /** Numbers of HistogramTotals with LATENCY_BOUNDS. */
  histograms: Record<string, Float64Array>;
}

export class ShardMetrics {
  readonly #registry: Registry;
  readonly #counters = new Map<string, Counter>();
  readonly #gauges = new Map<string, Gauge>();
  readonly #histograms = new Map<string, TotalsMetric>();
  /** Counters and histograms as each shard last gave them. */
  readonly #before = new Map<string, number>();
  readonly #histogramsBefore = new Map<string, Float64Array>();
  readonly #gaugesOf = new Map<string, (number | undefined)[]>();

  constructor(registry: Registry) {
    this.#registry = registry;
    for (const [name, { type }] of Object.entries(SHARD_FIGURES)) {
      if (type === 'counter') this.#counter(name);
      else if (type === 'gauge') this.#gauge(name);
      else this.#histogram(name);
    }
  }

  /** What one shard says. Gauges of all shards are added up, but for ages, of which the highest counts. */
  update(shard: number, sample: ShardSample): void {
    for (const [name, value] of Object.entries(sample.values)) {
      if (shardFigure(name).type === 'gauge') this.#setGauge(shard, name, value);
      else this.#count(shard, name, value);
    }
    for (const [name, numbers] of Object.entries(sample.histograms)) this.#add(shard, name, numbers);
  }

  #setGauge(shard: number, name: string, value: number): void {
    const values = this.#gaugesOf.get(name) ?? [];
    values[shard] = value;
    this.#gaugesOf.set(name, values);
    const known = values.filter((one) => one !== undefined);
    this.#gauge(name).set(
      name.endsWith('_seconds') ? Math.max(...known) : known.reduce((sum, one) => sum + one, 0),
    );
  }

  #count(shard: number, name: string, value: number): void {
    const key = `${shard} ${name}`;
    const before = this.#before.get(key) ?? 0;
    // A thread that was replaced begins at zero again.
    this.#counter(name).inc(value >= before ? value - before : value);
    this.#before.set(key, value);
  }

  #add(shard: number, name: string, numbers: Float64Array): void {
    const key = `${shard} ${name}`;
    const before = this.#histogramsBefore.get(key);
    const isReplaced = before === undefined || numbers.some((number, i) => number < before[i]!);
    const added = isReplaced ? numbers : numbers.map((number, i) => number - before[i]!);
    this.#histogram(name).add({}, added);
    this.#histogramsBefore.set(key, numbers);
  }

  #counter(name: string): Counter {
    return this.#make(this.#counters, name, (o) => new Counter(o));
  }

  #gauge(name: string): Gauge {
    return this.#make(this.#gauges, name, (o) => new Gauge(o));
  }

  #histogram(name: string): TotalsMetric {
    return this.#make(
      this.#histograms,
      name,
      (o) => new TotalsMetric({ ...o, bounds: LATENCY_BOUNDS, labelNames: [] }),
    );
  }

  #make<M>(
    made: Map<string, M>,
    name: string,
    create: (o: { name: string; help: string; registers: Registry[] }) => M,
  ): M {
    let metric = made.get(name);
    if (metric === undefined) {
      metric = create({
        name: `${PREFIX}store_${name}`,
        help: shardFigure(name).help,
        registers: [this.#registry],
      });
      made.set(name, metric);
    }
    return metric;
  }
}
