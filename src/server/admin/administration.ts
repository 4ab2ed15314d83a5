/** What serves the administrator of a running server: the admin socket, freezes and pauses. */
import type { Worker } from 'node:worker_threads';
import type { PackedChanges } from '../../pipeline/backup-changes.ts';
import type { DeflatePool } from '../../pipeline/deflate-pool.ts';
import type { ShardPools } from '../../pipeline/shard-pools.ts';
import type { SlabPool } from '../../pipeline/slab-pool.ts';
import { lockPartitions, prepareFreezeLocks } from '../../store/freeze-lock.ts';
import type { ServerContext } from '../context.ts';
import type { Session } from '../session.ts';
import type { UserAccess } from '../user-access.ts';
import { adminHandler, freezeFacts, pauseFacts } from './commands.ts';
import { Freezer } from './freezer.ts';
import { Maintenance, maintenanceCommands } from './maintenance.ts';
import { Pauses } from './pauses.ts';
import { AdminSocket } from './socket.ts';
import { partitionStatus, storeFigures } from './status.ts';
import { syncStore } from './sync-store.ts';
import { worstFacts } from './worst.ts';

/** What it needs of the server. */
export interface AdministeredServer extends Omit<ServerContext, 'access'> {
  readonly sessions: ReadonlyMap<number, Session>;
  readonly shards: ShardPools;
  readonly deflate: DeflatePool;
  readonly slabs: SlabPool;
  /** Where threads keep figures of themselves. */
  readonly threadMemory: SharedArrayBuffer;
  /** Has the store threads tell their figures, and what they have changed. */
  fetchStoreFigures(): Promise<void>;
  /** `HOST:PORT` of each listening socket. */
  readonly addresses: string[];
}

export class Administration {
  readonly access: UserAccess;
  readonly #server: AdministeredServer;
  readonly #collect: () => Promise<void>;
  readonly #pauses = new Pauses();
  readonly #freezer: Freezer;
  readonly #startedMs = Date.now();
  #socket: AdminSocket | undefined;
  #maintenance: Maintenance | undefined;

  /** @param collect brings the metrics up to date */
  constructor(server: AdministeredServer, collect: () => Promise<void>) {
    this.#server = server;
    this.#collect = collect;
    this.access = {
      refusal: (userid) => this.#pauses.refusal(userid),
      makeRoom: (userid) => this.#makeRoom(userid),
      served: (userid) => this.#maintenance?.health.contacted(userid),
    };
    const { metrics } = server;
    this.#freezer = new Freezer({
      sessions: server.sessions,
      shards: server.shards,
      log: server.log,
      syncStore: () => syncStore(server.config),
      holdMaintenance: async () => (await this.#maintenance?.hold()) ?? (() => {}),
      holdTools: (withinMs) => lockPartitions(pathsOf(server.config.partitions), withinMs),
      onChange: (frozen) => metrics.frozen.set(frozen ? 1 : 0),
      onEnd: (end, seconds) => {
        metrics.freezes.inc({ end });
        metrics.frozenSeconds.inc(seconds);
      },
    });
  }

  /** @throws BackupError UNAVAILABLE when another server has the socket, IO_ERROR */
  async start(): Promise<void> {
    const { sessions, shards, log, config } = this.#server;
    prepareFreezeLocks(pathsOf(config.partitions));
    if (config.adminSocket !== undefined) {
      const context = {
        sessions,
        shards,
        freezer: this.#freezer,
        pauses: this.#pauses,
        status: () => this.#status(),
        giveUp: async (userid: string) => this.#maintenance?.giveUp(userid),
      };
      const handle = adminHandler(
        context,
        maintenanceCommands(() => this.#maintenance),
      );
      const socket = new AdminSocket({ path: config.adminSocket, log, handle });
      await socket.listen();
      this.#socket = socket;
    }
  }

  /** When clients are served. */
  startMaintenance(): void {
    this.#maintenance = new Maintenance(this.#server, (userid) => this.#isInUse(userid));
  }

  /** What the store threads say that they have added to backups. */
  backupsChanged(changes: PackedChanges): void {
    this.#maintenance?.health.changed(changes);
  }

  get healthThreads(): readonly Worker[] {
    return this.#maintenance?.health.threads ?? [];
  }

  /** The backups that are worst off, for `/worst`; undefined while the server starts or stops. */
  async worst(limit: number): Promise<Record<string, unknown> | undefined> {
    const worst = await this.#maintenance?.health.worst(limit);
    return worst && worstFacts(worst, Date.now());
  }

  #makeRoom(userid: string): Promise<void> | undefined {
    const way = this.#maintenance?.makeRoom(userid);
    if (way === undefined) return undefined;
    const startedMs = performance.now();
    return way.finally(() =>
      this.#server.metrics.maintenanceWaits.observe((performance.now() - startedMs) / 1000),
    );
  }

  sessionAdded(session: Session): void {
    this.#freezer.sessionAdded(session);
  }

  /** The server is about to end its sessions: none may be held any more. */
  async beginStop(): Promise<void> {
    this.#freezer.stop();
    await this.#maintenance?.stop();
    this.#maintenance = undefined;
  }

  async stop(): Promise<void> {
    await this.#socket?.stop();
  }

  #isInUse(userid: string): boolean {
    if (this.#pauses.refusal(userid) !== undefined) return true;
    for (const { backups } of this.#server.sessions.values()) if (backups.has(userid)) return true;
    return false;
  }

  async #status(): Promise<Record<string, unknown>> {
    const server = this.#server;
    await this.#collect();
    const states: Record<string, number> = {};
    const users = new Set<string>();
    for (const session of server.sessions.values()) {
      const { state } = session.describe(performance.now());
      states[state] = (states[state] ?? 0) + 1;
      for (const userid of session.backups.users) users.add(userid);
    }
    const freeze = this.#freezer.current;
    return {
      version: server.version,
      pid: process.pid,
      config: server.config.file,
      startedAt: new Date(this.#startedMs).toISOString(),
      addresses: server.addresses,
      frozen: freeze === undefined ? null : freezeFacts(freeze),
      paused: this.#pauses.list().map(pauseFacts),
      sessions: { total: server.sessions.size, states, users: users.size },
      queue: { deflate: server.deflate.queueSize, store: server.shards.queueSizes },
      slabs: {
        total: server.slabs.count,
        free: server.slabs.freeCount,
        waiting: server.slabs.waitingCount,
      },
      store: await storeFigures(server.metrics.registry),
      threadsGone: server.shards.gone,
      maintenance: this.#maintenance?.status() ?? null,
      partitions: await partitionStatus(server.config),
      residentBytes: process.memoryUsage.rss(),
    };
  }
}

function pathsOf(partitions: readonly { path: string }[]): string[] {
  return partitions.map(({ path }) => path);
}
