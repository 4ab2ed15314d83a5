/** Gauges that are brought up to date when somebody looks. */
import { type ELDHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import type { Metrics } from '../metrics/registry.ts';
import { ShardMetrics } from '../metrics/shard-metrics.ts';
import type { DeflatePool } from '../pipeline/deflate-pool.ts';
import type { ShardPools } from '../pipeline/shard-pools.ts';
import type { SlabPool } from '../pipeline/slab-pool.ts';
import { SESSION_STATES, type Session } from './session.ts';

/** Shards that are deep in work must not hold up a scrape. */
const SHARD_TIMEOUT_MS = 2000;

export class ProcessMetrics {
  readonly #metrics: Metrics;
  readonly #shardMetrics: ShardMetrics;
  readonly #eventLoop: ELDHistogram = monitorEventLoopDelay({ resolution: 20 });
  #cpu = { user: 0, system: 0 };

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
    this.#shardMetrics = new ShardMetrics(metrics.registry);
    this.#eventLoop.enable();
    metrics.startTime.set(Date.now() / 1000 - process.uptime());
  }

  stop(): void {
    this.#eventLoop.disable();
  }

  async collect(
    pools: { shards: ShardPools; deflate: DeflatePool; slabs: SlabPool },
    sessions: Iterable<Session>,
  ): Promise<void> {
    const m = this.#metrics;
    const states = new Map<string, number>(SESSION_STATES.map((state) => [state, 0]));
    for (const { state } of sessions) states.set(state, states.get(state)! + 1);
    for (const [state, count] of states) m.sessions.set({ state }, count);

    m.slabs.set(pools.slabs.count);
    m.slabsFree.set(pools.slabs.freeCount);
    m.slabWaiters.set(pools.slabs.waitingCount);
    m.queueDepth.set({ pool: 'deflate' }, pools.deflate.queueSize);
    pools.shards.queueSizes.forEach((size, shard) => {
      m.queueDepth.set({ pool: `store${shard}` }, size);
    });

    for (const quantile of [0.5, 0.99, 1]) {
      const nanoseconds = this.#eventLoop.percentile(quantile * 100);
      m.eventLoopDelay.set({ quantile: String(quantile) }, nanoseconds / 1e9);
    }
    this.#eventLoop.reset();
    m.residentMemory.set(process.memoryUsage.rss());
    const cpu = process.cpuUsage();
    m.cpuSeconds.inc({ mode: 'user' }, (cpu.user - this.#cpu.user) / 1e6);
    m.cpuSeconds.inc({ mode: 'system' }, (cpu.system - this.#cpu.system) / 1e6);
    this.#cpu = cpu;

    this.#shardMetrics.update(await this.#askShards(pools.shards));
  }

  async #askShards(shards: ShardPools): ReturnType<ShardPools['stats']> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<[]>((resolve) => {
      timer = setTimeout(() => resolve([]), SHARD_TIMEOUT_MS);
    });
    const stats = await Promise.race([shards.stats(), timeout]);
    clearTimeout(timer);
    return stats;
  }
}
