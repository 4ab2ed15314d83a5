/** Gauges that are brought up to date when somebody looks. */
import {
  constants,
  type ELDHistogram,
  monitorEventLoopDelay,
  PerformanceObserver,
  performance,
} from 'node:perf_hooks';
import { type FilesystemSample, setFilesystems } from '../metrics/health-metrics.ts';
import type { Metrics } from '../metrics/registry.ts';
import { ShardMetrics } from '../metrics/shard-metrics.ts';
import type { DeflatePool } from '../pipeline/deflate-pool.ts';
import type { BackupChange } from '../pipeline/messages.ts';
import type { ShardPools } from '../pipeline/shard-pools.ts';
import type { SlabPool } from '../pipeline/slab-pool.ts';
import { SESSION_STATES, type Session } from './session.ts';

type Changes = Iterable<readonly [path: string, change: BackupChange]>;

const GC_KINDS: Record<number, string> = {
  [constants.NODE_PERFORMANCE_GC_MINOR]: 'minor',
  [constants.NODE_PERFORMANCE_GC_MAJOR]: 'major',
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'weak_callbacks',
};
/** A filesystem over a network that hangs must not hold up a scrape. */
const STATFS_TIMEOUT_MS = 1000;

/** Shards that are deep in work must not hold up a scrape. */
const SHARD_TIMEOUT_MS = 2000;

export class ProcessMetrics {
  readonly #metrics: Metrics;
  readonly #shardMetrics: ShardMetrics;
  readonly #eventLoop: ELDHistogram = monitorEventLoopDelay({ resolution: 20 });
  #cpu = { user: 0, system: 0 };

  readonly #onChanges: (changes: Changes) => void;
  readonly #gcObserver: PerformanceObserver;
  /** Seconds that a thread was at work, as last read. */
  readonly #active = new Map<string, number>();

  /** @param onChanges takes what the store threads tell that they have added to backups */
  constructor(metrics: Metrics, onChanges: (changes: Changes) => void = () => {}) {
    this.#metrics = metrics;
    this.#onChanges = onChanges;
    this.#gcObserver = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        const { duration, detail } = entry as typeof entry & { detail?: { kind?: number } };
        const kind = GC_KINDS[detail?.kind ?? 0] ?? 'other';
        metrics.gcSeconds.observe({ kind }, duration / 1000);
      }
    });
    this.#gcObserver.observe({ entryTypes: ['gc'] });
    this.#shardMetrics = new ShardMetrics(metrics.registry);
    this.#eventLoop.enable();
    metrics.startTime.set(Date.now() / 1000 - process.uptime());
  }

  stop(): void {
    this.#eventLoop.disable();
    this.#gcObserver.disconnect();
  }

  async collect(
    pools: { shards: ShardPools; deflate: DeflatePool; slabs: SlabPool },
    sessions: Iterable<Session>,
    filesystems: Promise<FilesystemSample[]>,
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
    this.#countActive('main', performance.eventLoopUtilization().active);
    pools.shards.threads.forEach((thread, shard) => {
      if (thread !== undefined)
        this.#countActive(`store${shard}`, thread.performance.eventLoopUtilization().active);
    });
    pools.deflate.threads.forEach((thread, i) => {
      this.#countActive(`deflate${i}`, thread.performance.eventLoopUtilization().active);
    });
    const { rss, heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage();
    m.heapBytes.set({ area: 'used' }, heapUsed);
    m.heapBytes.set({ area: 'total' }, heapTotal);
    m.heapBytes.set({ area: 'external' }, external);
    m.heapBytes.set({ area: 'array_buffers' }, arrayBuffers);
    m.residentMemory.set(rss);
    const cpu = process.cpuUsage();
    m.cpuSeconds.inc({ mode: 'user' }, (cpu.user - this.#cpu.user) / 1e6);
    m.cpuSeconds.inc({ mode: 'system' }, (cpu.system - this.#cpu.system) / 1e6);
    this.#cpu = cpu;

    const [samples] = await Promise.all([
      Promise.race([filesystems, timeout(STATFS_TIMEOUT_MS)]),
      this.collectStore(pools.shards),
    ]);
    if (samples !== undefined) setFilesystems(m, samples);
  }

  /** Only what the store threads have to tell. */
  async collectStore(shards: ShardPools): Promise<void> {
    const samples = await this.#askShards(shards);
    this.#shardMetrics.update(samples);
    for (const sample of samples) if (sample !== undefined) this.#onChanges(sample.changes);
  }

  #countActive(thread: string, activeMs: number): void {
    const seconds = activeMs / 1000;
    const before = this.#active.get(thread) ?? 0;
    // A thread that was replaced begins at zero again.
    this.#metrics.threadActive.inc({ thread }, seconds >= before ? seconds - before : seconds);
    this.#active.set(thread, seconds);
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

function timeout(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => resolve(undefined), ms).unref());
}
