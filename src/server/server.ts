/** The csync server as a whole: its threads, sockets and sessions, from start to stop. */
import type net from 'node:net';
import type { AddressInfo } from 'node:net';
import type { SecureContext } from 'node:tls';
import type { Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import type { Config } from '../config/config.ts';
import { MetricsEndpoint } from '../metrics/endpoint.ts';
import { createMetrics, type Metrics } from '../metrics/registry.ts';
import { createThreadMemory } from '../metrics/thread-figures.ts';
import { DeflatePool } from '../pipeline/deflate-pool.ts';
import { ShardPools } from '../pipeline/shard-pools.ts';
import { SlabPool } from '../pipeline/slab-pool.ts';
import { CredentialStore } from '../sasl/credentials.ts';
import { createMechanism, type SaslServerMechanism } from '../sasl/mechanism.ts';
import { SaslauthdClient } from '../sasl/saslauthd.ts';
import { Administration } from './admin/administration.ts';
import { partitionStatus } from './admin/status.ts';
import { ConnectionCompression } from './compression.ts';
import type { ServerContext } from './context.ts';
import { GuidBudget } from './guid-map.ts';
import { type Inherited, type Listener, openListeners } from './listeners.ts';
import { guidBudgetBytes, slabsFor } from './memory.ts';
import { ProcessMetrics } from './process-metrics.ts';
import { type ConfigChange, mergeReloaded } from './reload.ts';
import { Session } from './session.ts';
import { loadSecureContext } from './tls-context.ts';
import type { UserAccess } from './user-access.ts';

export interface ServerOptions {
  config: Config;
  log: Logger;
  version: string;
  /** Name of the DEFLATE engine in use, for the metric. */
  engine: string;
  /** Listening sockets to use in place of those that systemd handed over or the configuration names. */
  sockets?: readonly Inherited[];
}

/** Commands under way when the server stops may take this long to end. */
const STOP_DEADLINE_MS = 20_000;
/** Sessions that were cut off then have this long to give up their locks. */
const CUT_OFF_MS = 5000;
const SHUTTING_DOWN = 'csync-backup is shutting down';

export class CsyncServer implements ServerContext {
  readonly version: string;
  readonly metrics: Metrics = createMetrics();
  /** Where threads keep figures of themselves. */
  readonly threadMemory = createThreadMemory();
  readonly log: Logger;
  readonly shards: ShardPools;
  readonly slabs: SlabPool;
  readonly deflate: DeflatePool;
  readonly compression: ConnectionCompression;
  readonly guidBudget: GuidBudget;
  #config: Config;
  #secureContext: SecureContext | undefined;
  #credentials: CredentialStore;
  readonly sessions = new Map<number, Session>();
  readonly #administration: Administration;
  #nextSession = 1;
  readonly #sockets: readonly Inherited[] | undefined;
  #listeners: Listener[] = [];
  #endpoint: MetricsEndpoint | undefined;
  #ticker: NodeJS.Timeout | undefined;
  #stopping: Promise<void> | undefined;
  readonly #processMetrics: ProcessMetrics;
  #saidNotShared = false;

  /** @throws BackupError CONFIG_INVALID when the certificate cannot be used */
  constructor(o: ServerOptions) {
    this.#config = o.config;
    this.#sockets = o.sockets;
    this.version = o.version;
    this.log = o.log;
    this.#secureContext = loadSecureContext(o.config);
    this.#credentials = new CredentialStore(o.config.passwdFile);
    this.slabs = new SlabPool(slabsFor(o.config.memoryLimitBytes), {
      waited: (seconds) => this.metrics.backPressureSeconds.inc(seconds),
    });
    this.guidBudget = new GuidBudget(guidBudgetBytes(o.config.memoryLimitBytes));
    this.deflate = new DeflatePool({
      memory: this.slabs.memory,
      threadMemory: this.threadMemory,
      threads: o.config.workers,
      engine: o.config.deflateEngine,
      onThreadError: (error) => this.#threadDied('deflate', error),
      onDone: (task, result, seconds) => {
        this.metrics.deflateSeconds.observe(result.cpuMs / 1000);
        this.metrics.deflateWaitSeconds.observe(Math.max(0, seconds - result.tookMs / 1000));
        this.metrics.deflatedIn.inc(task.length);
        this.metrics.deflatedOut.inc(result.deflatedLength);
      },
    });
    this.shards = new ShardPools({
      config: o.config,
      memory: this.slabs.memory,
      threadMemory: this.threadMemory,
      onDied: (shard, error) => this.#shardDied(shard, error),
      onThrown: (shard, request, error) =>
        this.log.error({ err: error, shard, op: request.op, code: 'INTERNAL' }, 'a store thread threw'),
    });
    this.compression = new ConnectionCompression(o.config.deflateEngine);
    this.metrics.engine.set({ engine: o.engine }, 1);
    this.metrics.inflateEngine.set({ engine: this.compression.inflates ?? 'none' }, 1);
    this.metrics.build.set({ version: o.version, node: process.version }, 1);
    this.#processMetrics = new ProcessMetrics({
      metrics: this.metrics,
      server: this,
      threadMemory: this.threadMemory,
      onChanges: (changes) => this.#administration.backupsChanged(changes),
    });
    this.#administration = new Administration(this, () => this.#collect());
  }

  get config(): Config {
    return this.#config;
  }

  get access(): UserAccess {
    return this.#administration.access;
  }

  get secureContext(): SecureContext | undefined {
    return this.#secureContext;
  }

  get sessionCount(): number {
    return this.sessions.size;
  }

  /** `HOST:PORT` of each listening socket. */
  get addresses(): string[] {
    return this.#listeners.map(({ address, tls }) => (tls ? `${address}/tls` : address));
  }

  mechanism(name: string): SaslServerMechanism | undefined {
    const { saslauthdPath, admins } = this.#config;
    const saslauthd = saslauthdPath === undefined ? undefined : new SaslauthdClient(saslauthdPath);
    return createMechanism(name, this.#credentials, saslauthd, { admins });
  }

  /**
   * Brings up the threads, then the sockets.
   *
   * @returns where /metrics is, if anywhere
   * @throws BackupError when a thread does not come up or an address cannot be bound; all is stopped then
   */
  async start(): Promise<{ metricsAddress: AddressInfo | undefined }> {
    try {
      await this.#administration.start();
      await this.shards.ready();
      const metricsAddress = await this.#startEndpoint();
      this.#listeners = await openListeners(
        this.#config,
        (socket, tls) => this.#accept(socket, tls),
        this.#sockets,
      );
      for (const { server, address } of this.#listeners)
        server.on('error', (error) =>
          this.log.error({ err: error, address, code: 'IO_ERROR' }, 'cannot accept'),
        );
      this.#administration.startMaintenance();
      this.#scheduleTick();
      return { metricsAddress };
    } catch (error) {
      await this.stop(0);
      throw error;
    }
  }

  /** Takes over what can change while the server runs, and certificates and credentials in any case. */
  reload(config: Config): ConfigChange {
    const secureContext = loadSecureContext(config);
    const change = mergeReloaded(this.#config, config);
    this.#config = change.config;
    this.#secureContext = secureContext;
    this.#credentials = new CredentialStore(change.config.passwdFile);
    this.log.level = change.config.logLevel;
    return change;
  }

  /** Accepts nobody any more, lets commands end, says BYE, closes the store. Resolves when all is closed. */
  stop(deadlineMs = STOP_DEADLINE_MS): Promise<void> {
    this.#stopping ??= this.#stop(deadlineMs);
    return this.#stopping;
  }

  async #stop(deadlineMs: number): Promise<void> {
    for (const { server } of this.#listeners) server.close();
    await this.#administration.beginStop();
    const sessions = [...this.sessions.values()];
    for (const session of sessions) session.stop(SHUTTING_DOWN);
    if (!(await endWithin(sessions, deadlineMs))) {
      for (const session of this.sessions.values()) {
        session.close(SHUTTING_DOWN, 'the server stops');
        session.transport.destroy();
      }
      await endWithin([...this.sessions.values()], CUT_OFF_MS);
    }
    clearTimeout(this.#ticker);
    await this.#endpoint?.stop();
    await this.#administration.stop();
    await this.shards.stop();
    await this.deflate.stop();
    this.#processMetrics.stop();
  }

  async #collect(): Promise<void> {
    await this.#processMetrics.collect(partitionStatus(this.#config));
  }

  get healthThreads(): readonly Worker[] {
    return this.#administration.healthThreads;
  }

  async fetchStoreFigures(): Promise<void> {
    await this.#processMetrics.collectStore();
  }

  async #startEndpoint(): Promise<AddressInfo | undefined> {
    const { metricsListen } = this.#config;
    if (metricsListen === undefined) return undefined;
    this.#endpoint = new MetricsEndpoint({
      registry: this.metrics.registry,
      collect: () => this.#collect(),
      worst: (limit) => this.#administration.worst(limit),
      health: () => {
        if (this.#stopping !== undefined) return 'stopping';
        return this.shards.gone.length > 0
          ? `store threads ${this.shards.gone.join(', ')} are gone`
          : undefined;
      },
    });
    return await this.#endpoint.listen(metricsListen);
  }

  #accept(socket: net.Socket, tls: boolean): void {
    const refusal = this.#stopping !== undefined ? 'stopping' : this.#isFull() ? 'full' : undefined;
    if (refusal !== undefined) {
      this.metrics.connectionsRefused.inc({ reason: refusal });
      socket.on('error', () => {});
      if (tls) socket.destroy();
      else socket.end(`* BYE ${refusal === 'full' ? 'Too many connections' : SHUTTING_DOWN}\r\n`);
      return;
    }
    this.metrics.connections.inc({ tls: String(tls) });
    const session = new Session(this.#nextSession++, this, socket);
    this.sessions.set(session.id, session);
    this.#administration.sessionAdded(session);
    this.#noteSharing(session.transport.sharesReceiveBuffer);
    void session.ended.then(() => this.sessions.delete(session.id));
    void session.start(tls);
  }

  #noteSharing(isShared: boolean): void {
    this.metrics.receiveBufferShared.set(isShared ? 1 : 0);
    if (isShared || this.#saidNotShared) return;
    this.#saidNotShared = true;
    this.log.warn(
      { node: process.version },
      'this Node cannot read all connections through one buffer: receiving takes a third more CPU time',
    );
  }

  #isFull(): boolean {
    return this.sessions.size >= this.#config.maxConnections;
  }

  #shardDied(shard: number, error: unknown): void {
    this.#threadDied('store', error, shard);
    // Their locks and the pieces that they had sent died with the thread.
    for (const session of this.sessions.values()) {
      if (session.backups.usesShard(shard)) session.close('The store was interrupted', 'a store thread died');
    }
  }

  #threadDied(pool: 'store' | 'deflate', error: unknown, shard?: number): void {
    this.metrics.threadDeaths.inc({ pool });
    this.log.error(
      { err: error, pool, shard, code: 'INTERNAL' },
      'a thread died, another one takes its place',
    );
  }

  #scheduleTick(): void {
    const { idleReleaseMs, syncTimeoutMs } = this.#config;
    const everyMs = Math.min(1000, Math.max(50, Math.min(idleReleaseMs, syncTimeoutMs) / 4));
    this.#ticker = setTimeout(() => {
      const nowMs = performance.now();
      for (const session of this.sessions.values()) session.tick(nowMs);
      this.#scheduleTick();
    }, everyMs);
    this.#ticker.unref();
  }
}

/** @returns whether all sessions had ended by then */
async function endWithin(sessions: Session[], deadlineMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), deadlineMs);
  });
  const all = Promise.all(sessions.map((session) => session.ended)).then(() => true);
  const ended = await Promise.race([all, deadline]);
  clearTimeout(timer);
  return ended;
}
