/** Figures that are brought up to date when somebody looks. */
import { threadId, type Worker } from 'node:worker_threads';
import { type FilesystemSample, setFilesystems } from '../metrics/health-metrics.ts';
import type { Metrics } from '../metrics/registry.ts';
import { ShardMetrics } from '../metrics/shard-metrics.ts';
import { threadFigures, watchThread } from '../metrics/thread-figures.ts';
import { startAtZero } from '../metrics/zeros.ts';
import type { PackedChanges } from '../pipeline/backup-changes.ts';
import type { DeflatePool } from '../pipeline/deflate-pool.ts';
import type { ShardPools } from '../pipeline/shard-pools.ts';
import type { SlabPool } from '../pipeline/slab-pool.ts';
import { DEFLATED_BYTES, SLAB_BYTES } from '../pipeline/slabs.ts';
import { ANSWERED_VERBS } from './answered-verbs.ts';
import type { GuidBudget } from './guid-map.ts';
import { SESSION_STATES, type Session } from './session.ts';

/** A filesystem over a network that hangs must not hold up a scrape. */
const STATFS_TIMEOUT_MS = 1000;
/** Nor must threads that are deep in work: what they say is taken when it comes, and shown by the next one. */
const THREAD_TIMEOUT_MS = 2000;

export interface MeasuredServer {
  readonly sessions: ReadonlyMap<number, Session>;
  readonly shards: ShardPools;
  readonly deflate: DeflatePool;
  readonly slabs: SlabPool;
  readonly guidBudget: GuidBudget;
  /** Of the thread that keeps the health of the backups. */
  readonly healthThreads: readonly Worker[];
}

export interface ProcessMetricsOptions {
  metrics: Metrics;
  server: MeasuredServer;
  /** Where all threads keep their figures. */
  threadMemory: SharedArrayBuffer;
  /** Takes what the store threads tell that they have added to backups. */
  onChanges(changes: PackedChanges): void;
}

/** What a thread has used so far, in seconds. */
interface Used {
  active: number;
  cpu: number;
}

export class ProcessMetrics {
  readonly #o: ProcessMetricsOptions;
  readonly #shardMetrics: ShardMetrics;
  readonly #stopWatching: () => void;
  #cpu = { user: 0, system: 0 };
  readonly #used = new Map<string, Used>();
  /** Threads that have not answered yet. */
  readonly #asked = new Map<string, Promise<void>>();

  constructor(o: ProcessMetricsOptions) {
    this.#o = o;
    this.#stopWatching = watchThread(o.threadMemory);
    this.#shardMetrics = new ShardMetrics(o.metrics.registry);
    startAtZero(o.metrics, ANSWERED_VERBS);
    o.metrics.startTime.set(Date.now() / 1000 - process.uptime());
  }

  stop(): void {
    this.#stopWatching();
  }

  async collect(filesystems: Promise<FilesystemSample[]>): Promise<void> {
    const { metrics: m, server } = this.#o;
    const states = new Map<string, number>(SESSION_STATES.map((state) => [state, 0]));
    for (const { state } of server.sessions.values()) states.set(state, states.get(state)! + 1);
    for (const [state, count] of states) m.sessions.set({ state }, count);

    const { slabs, deflate, shards, guidBudget } = server;
    m.slabs.set(slabs.count);
    m.slabsFree.set(slabs.freeCount);
    m.slabWaiters.set(slabs.waitingCount);
    m.clientMemory.set({ kind: 'slabs' }, (slabs.count - slabs.freeCount) * (SLAB_BYTES + DEFLATED_BYTES));
    m.clientMemory.set({ kind: 'small_commands' }, slabs.smallBytes);
    m.clientMemory.set({ kind: 'guid_maps' }, guidBudget.usedBytes);
    m.queueDepth.set({ pool: 'deflate' }, deflate.queueSize);
    shards.queueSizes.forEach((size, shard) => {
      m.queueDepth.set({ pool: `store${shard}` }, size);
    });
    m.residentMemory.set(process.memoryUsage.rss());
    const cpu = process.cpuUsage();
    m.cpuSeconds.inc({ mode: 'user' }, (cpu.user - this.#cpu.user) / 1e6);
    m.cpuSeconds.inc({ mode: 'system' }, (cpu.system - this.#cpu.system) / 1e6);
    this.#cpu = cpu;

    const [samples] = await Promise.all([
      Promise.race([filesystems, timeout(STATFS_TIMEOUT_MS)]),
      this.collectStore(),
      this.#collectThreads(),
    ]);
    if (samples !== undefined) setFilesystems(m, samples);
  }

  /** Only what the store threads have to tell. */
  async collectStore(): Promise<void> {
    const { shards } = this.#o.server;
    const asked = Array.from({ length: shards.count }, (_, shard) =>
      this.#askOnce(`store${shard}`, async () => {
        const stats = await shards.stats(shard);
        if (stats === undefined) return;
        this.#shardMetrics.update(shard, stats);
        this.#o.onChanges(stats.changes);
      }),
    );
    await Promise.race([Promise.all(asked), timeout(THREAD_TIMEOUT_MS)]);
  }

  /** Asks again only when the last answer has come. */
  #askOnce(name: string, ask: () => Promise<void>): Promise<void> {
    let asked = this.#asked.get(name);
    if (asked === undefined) {
      asked = ask().finally(() => this.#asked.delete(name));
      this.#asked.set(name, asked);
    }
    return asked;
  }

  async #collectThreads(): Promise<void> {
    const { shards, deflate, healthThreads } = this.#o.server;
    const main = performance.eventLoopUtilization().active;
    this.#setThread('main', threadId, main, process.threadCpuUsage());
    const { heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage();
    this.#setHeap('main', { used: heapUsed, total: heapTotal, external, array_buffers: arrayBuffers });
    const workers = new Map<string, Worker>();
    shards.threads.forEach((worker, i) => {
      if (worker !== undefined) workers.set(`store${i}`, worker);
    });
    deflate.threads.forEach((worker, i) => {
      workers.set(`deflate${i}`, worker);
    });
    healthThreads.forEach((worker) => {
      workers.set('health', worker);
    });
    const asked = [...workers].map(([name, worker]) =>
      this.#askOnce(`thread ${name}`, () => this.#askThread(name, worker)),
    );
    await Promise.race([Promise.all(asked), timeout(THREAD_TIMEOUT_MS)]);
  }

  /** Of a thread that is about to end nothing is learned, and nothing is lost. */
  async #askThread(thread: string, worker: Worker): Promise<void> {
    try {
      const [cpu, heap] = await Promise.all([worker.cpuUsage(), worker.getHeapStatistics()]);
      const { active } = worker.performance.eventLoopUtilization();
      this.#setThread(thread, worker.threadId, active, cpu);
      const { used_heap_size: used, total_heap_size: total, external_memory: external } = heap;
      this.#setHeap(thread, { used, total, external });
    } catch {
      // ERR_WORKER_NOT_RUNNING
    }
  }

  #setThread(thread: string, id: number, activeMs: number, cpu: NodeJS.CpuUsage): void {
    const { metrics: m, threadMemory } = this.#o;
    const used = { active: activeMs / 1000, cpu: (cpu.user + cpu.system) / 1e6 };
    const before = this.#used.get(thread);
    // A thread that was replaced begins at zero again.
    const since = before === undefined || used.cpu < before.cpu ? { active: 0, cpu: 0 } : before;
    m.threadActive.inc({ thread }, Math.max(0, used.active - since.active));
    m.threadCpu.inc({ thread }, used.cpu - since.cpu);
    this.#used.set(thread, used);
    const figures = threadFigures(threadMemory, id);
    if (figures === undefined) return;
    m.eventLoopDelay.set({ thread }, figures.delay.numbers);
    for (const [kind, { numbers }] of Object.entries(figures.gc)) m.gcSeconds.set({ thread, kind }, numbers);
  }

  #setHeap(thread: string, bytes: Record<string, number>): void {
    for (const [area, value] of Object.entries(bytes)) this.#o.metrics.heapBytes.set({ thread, area }, value);
  }
}

function timeout(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => resolve(undefined), ms).unref());
}
