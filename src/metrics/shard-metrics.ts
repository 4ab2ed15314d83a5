/** Brings the figures of the store shards into the registry, at each scrape. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { LATENCY_BUCKETS, PREFIX, SHARD_FIGURES, shardFigure } from './registry.ts';

/** What a shard says of itself; see ShardStats of the pipeline. */
export interface ShardSample {
  values: Record<string, number>;
  observations: Record<string, number[]>;
}

export class ShardMetrics {
  readonly #registry: Registry;
  readonly #counters = new Map<string, Counter>();
  readonly #gauges = new Map<string, Gauge>();
  readonly #histograms = new Map<string, Histogram>();
  /** Counters as each shard last gave them. */
  readonly #before = new Map<string, number>();

  constructor(registry: Registry) {
    this.#registry = registry;
    for (const [name, { type }] of Object.entries(SHARD_FIGURES)) {
      if (type === 'counter') this.#counter(name);
      else if (type === 'gauge') this.#gauge(name);
      else this.#histogram(name);
    }
  }

  /** @param samples by shard; undefined for one that did not answer */
  update(samples: readonly (ShardSample | undefined)[]): void {
    const gauges = new Map<string, number>();
    samples.forEach((sample, shard) => {
      if (sample === undefined) return;
      for (const [name, value] of Object.entries(sample.values)) {
        if (shardFigure(name).type === 'gauge') gauges.set(name, (gauges.get(name) ?? 0) + value);
        else this.#count(shard, name, value);
      }
      for (const [name, seconds] of Object.entries(sample.observations)) {
        const histogram = this.#histogram(name);
        for (const value of seconds) histogram.observe(value);
      }
    });
    for (const [name, value] of gauges) this.#gauge(name).set(value);
  }

  #count(shard: number, name: string, value: number): void {
    const key = `${shard} ${name}`;
    const before = this.#before.get(key) ?? 0;
    // A thread that was replaced begins at zero again.
    this.#counter(name).inc(value >= before ? value - before : value);
    this.#before.set(key, value);
  }

  #counter(name: string): Counter {
    return this.#make(this.#counters, name, (o) => new Counter(o));
  }

  #gauge(name: string): Gauge {
    return this.#make(this.#gauges, name, (o) => new Gauge(o));
  }

  #histogram(name: string): Histogram {
    return this.#make(this.#histograms, name, (o) => new Histogram({ ...o, buckets: LATENCY_BUCKETS }));
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
