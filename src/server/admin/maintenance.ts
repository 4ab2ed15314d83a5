/** The scheduler of maintenance in the server: what it works on, its metrics, and its admin commands. */
import path from 'node:path';
import type { Config } from '../../config/config.ts';
import { BackupHealth } from '../../maintenance/health.ts';
import type { Job, JobKind, JobOutcome, JobResult } from '../../maintenance/job.ts';
import { JobProcess } from '../../maintenance/job-process.ts';
import { MAINTENANCE_FILE, MaintenanceState } from '../../maintenance/maintenance-state.ts';
import { isDrawn, nextDaily } from '../../maintenance/schedule.ts';
import { type PeriodicWork, Scheduler, type SchedulerStatus } from '../../maintenance/scheduler.ts';
import { setHealth } from '../../metrics/health-metrics.ts';
import { BackupError } from '../../platform/errors.ts';
import { ioError } from '../../platform/io-error.ts';
import { removeAbandonedScratch } from '../../restore/drill/scratch.ts';
import { Catalog } from '../../store/catalog.ts';
import { refusalOf } from '../../store/index/index-error.ts';
import { refuseVanishedCatalog } from '../../store/lost-catalog.ts';
import type { ServerContext } from '../context.ts';
import type { AdminCommand } from './commands.ts';
import { MaintenancePings } from './maintenance-pings.ts';
import type { AdminRequest } from './protocol.ts';

/** Beside backups.db's folder of state; what they hold is in docs/operations.md. */
const PULL_FILE = 'csync-backup.pull';

/** What runs over all backups at times of day. */
const MAINTENANCE_RUNS: readonly PeriodicWork[] = [
  { kind: 'compact', next: ({ compactAt }, nowMs) => nextDaily(compactAt, nowMs) },
  {
    kind: 'drill',
    next: ({ drillEveryMs }, nowMs, lastMs) =>
      drillEveryMs === 0 ? undefined : Math.max(nowMs, (lastMs ?? 0) + drillEveryMs),
    takes: ({ drillBackups }, userid, { startedMs, backups }) =>
      isDrawn(userid, String(startedMs), drillBackups, backups),
  },
];
/** Restore is a layer above the process that maintenance runs in, so that process is told where to find it. */
const DRILL_JOB = new URL(`../../restore/drill/drill-job${path.extname(import.meta.url)}`, import.meta.url)
  .href;
const PULL_RUNS: readonly PeriodicWork[] = [
  {
    kind: 'pull',
    next: ({ pullEveryMs }, nowMs, lastMs) =>
      pullEveryMs === 0 ? undefined : Math.max(nowMs, (lastMs ?? 0) + pullEveryMs),
  },
];
const KINDS: readonly JobKind[] = ['verify', 'compact', 'drill', 'pull'];
const MAX_USERS = 10_000;
const DAY_S = 86_400;

type Server = Pick<ServerContext, 'config' | 'metrics' | 'log'> & {
  readonly threadMemory: SharedArrayBuffer;
  fetchStoreFigures(): Promise<void>;
};

/** What the server does by itself besides serving. */
export class Maintenance {
  readonly health: BackupHealth;
  readonly #scheduler: Scheduler;
  /** Apart from the other, since mail servers may take their time. */
  readonly #pulls: Scheduler | undefined;
  readonly #pings: MaintenancePings;

  /**
   * Begins with it.
   *
   * @throws BackupError IO_ERROR when its state cannot be kept
   */
  constructor(server: Server, isInUse: (userid: string) => boolean) {
    const { metrics, log } = server;
    for (const folder of removeAbandonedScratch(server.config.backupStagingPath))
      log.warn({ path: folder }, 'what a restore drill has left cannot be removed');
    this.#pings = new MaintenancePings({ config: () => server.config, metrics, log });
    const begin = (state: MaintenanceState, verifies: boolean, runs: readonly PeriodicWork[]) =>
      startScheduler(server, { state, verifies, runs, isInUse, pings: this.#pings });
    const state = openState(server, MAINTENANCE_FILE);
    this.#scheduler = begin(state, true, MAINTENANCE_RUNS);
    this.health = startHealth(server, state.file);
    if (server.config.pullServers.length > 0)
      this.#pulls = begin(openState(server, PULL_FILE), false, PULL_RUNS);
  }

  status(): SchedulerStatus & { pull: SchedulerStatus | null } {
    return { ...this.#scheduler.status(), pull: this.#pulls?.status() ?? null };
  }

  makeRoom(userid: string): Promise<void> | undefined {
    return this.#scheduler.makeRoom(userid);
  }

  async giveUp(userid: string): Promise<void> {
    await this.#scheduler.giveUp(userid);
  }

  hold(): Promise<() => void> {
    return this.#scheduler.hold();
  }

  async stop(): Promise<void> {
    this.#pings.stop();
    await this.health.stop();
    await Promise.all([this.#scheduler.stop(), this.#pulls?.stop()]);
  }

  /** The scheduler of this kind. @throws BackupError UNAVAILABLE */
  of(kind: JobKind): Scheduler {
    const scheduler = kind === 'pull' ? this.#pulls : this.#scheduler;
    if (scheduler !== undefined) return scheduler;
    throw new BackupError({
      code: 'UNAVAILABLE',
      tried: 'pull in',
      subject: 'the server',
      reason: 'backup_pull_servers names none',
      remedy: 'Name IMAP servers and restart, or use csync-backup pull --server',
    });
  }

  /** @returns the jobs that were ended */
  async cancel(): Promise<Job[]> {
    const jobs = await Promise.all([this.#scheduler.cancel(), this.#pulls?.cancel()]);
    return jobs.filter((job) => job !== undefined);
  }
}

function startHealth(server: Server, file: string): BackupHealth {
  const health = new BackupHealth({
    file,
    catalogPath: server.config.backupDbPath,
    threadMemory: server.threadMemory,
    config: () => server.config,
    fetchChanges: () => server.fetchStoreFigures(),
    onFigures: (figures) => setHealth(server.metrics, figures),
    log: server.log,
  });
  health.start();
  return health;
}

/** @throws BackupError IO_ERROR */
function openState({ config, log }: Server, name: string): MaintenanceState {
  const file = path.join(config.configDirectory, name);
  let state: MaintenanceState;
  try {
    state = new MaintenanceState(file);
  } catch (error) {
    throw ioError(refusalOf(file) ?? error, 'open', file);
  }
  if (state.replaced !== undefined)
    log.warn({ file, target: state.replaced }, 'the state of maintenance was not readable and is begun anew');
  return state;
}

function startScheduler(
  server: Server,
  o: {
    state: MaintenanceState;
    verifies: boolean;
    runs: readonly PeriodicWork[];
    isInUse(userid: string): boolean;
    pings: MaintenancePings;
  },
): Scheduler {
  const { metrics, log } = server;
  const { state } = o;
  setIntervals(server);
  const setLastSuccess = () => {
    for (const kind of KINDS) {
      const lastMs = state.lastSuccessMs(kind);
      if (lastMs !== undefined) metrics.maintenanceLastSuccess.set({ task: kind }, lastMs / 1000);
    }
  };
  const scheduler = new Scheduler({
    config: () => server.config,
    state,
    runner: new JobProcess({ drill: DRILL_JOB }),
    entries: () => entriesOf(server.config),
    isInUse: o.isInUse,
    verifies: o.verifies,
    runs: o.runs,
    log,
    onResult: (job, result, seconds) => {
      count(server, job, result, seconds);
      if (job.kind === 'verify' && result.outcome === 'ok') o.pings.verified(performance.now());
      if (result.freedBytes !== 0) state.health.resurvey(job.userid);
    },
    onCounts: ({ backups, neverVerified, overdue, faulty }) => {
      setIntervals(server);
      if (!o.verifies) return;
      o.pings.faulty = faulty;
      const states = { all: backups, never_verified: neverVerified, overdue, faulty };
      for (const [name, value] of Object.entries(states)) metrics.verifiedBackups.set({ state: name }, value);
    },
    onRunDone: (kind, seconds, result) => {
      metrics.maintenanceRuns.inc({ task: kind, result });
      metrics.maintenanceRunSeconds.set({ task: kind }, seconds);
      if (kind === 'drill') metrics.drillRuns.inc({ result });
      if (result !== 'ok') return;
      metrics.maintenanceLastSuccess.set({ task: kind }, Date.now() / 1000);
      // Of each verification is told as it ends, and once an hour is enough.
      if (kind === 'verify') o.pings.verified(performance.now());
      else o.pings.succeeded(kind);
    },
    onClockBack: setLastSuccess,
  });
  scheduler.start();
  setLastSuccess();
  return scheduler;
}

/** As of now: a reload may have changed it. */
function setIntervals({ config, metrics }: Server): void {
  const seconds: Record<JobKind, number> = {
    verify: config.verifyEveryMs / 1000,
    compact: config.compactAt.length > 0 ? DAY_S : 0,
    drill: config.drillEveryMs / 1000,
    pull: config.pullServers.length > 0 ? config.pullEveryMs / 1000 : 0,
  };
  for (const [task, interval] of Object.entries(seconds)) metrics.maintenanceInterval.set({ task }, interval);
}

/** @throws BackupError CATALOG_CORRUPT if backups.db has gone: nothing known of the backups is forgotten for that */
function* entriesOf(config: Config): Generator<[userid: string, path: string]> {
  refuseVanishedCatalog(config);
  const catalog = new Catalog(config.backupDbPath);
  try {
    yield* catalog.entries();
  } finally {
    catalog.close();
  }
}

const DEALT_WITH: ReadonlySet<JobOutcome> = new Set<JobOutcome>(['ok', 'faulty', 'removed']);

function count({ metrics }: Server, { kind: job }: Job, result: JobResult, seconds: number): void {
  metrics.maintenanceJobs.inc({ task: job, result: result.outcome });
  if (job === 'drill') {
    metrics.drillMessages.inc(result.compared);
    metrics.drillFailures.inc(result.faults);
  } else if (job === 'verify') metrics.maintenanceFaults.inc(result.faults);
  metrics.maintenanceRead.inc({ task: job }, result.readBytes);
  if (!DEALT_WITH.has(result.outcome)) return;
  metrics.maintenanceSeconds.observe({ task: job }, seconds);
  metrics.maintenanceBytes.inc({ task: job }, result.sizeBytes);
  metrics.maintenanceFreed.inc({ task: job }, Math.max(0, result.freedBytes));
  if (job === 'verify' && result.outcome === 'ok')
    metrics.maintenanceLastSuccess.set({ task: job }, Date.now() / 1000);
}

/** The commands that show, run and cancel. */
export function maintenanceCommands(
  maintenance: () => Maintenance | undefined,
): Record<string, AdminCommand> {
  const current = (): Maintenance => {
    const one = maintenance();
    if (one !== undefined) return one;
    throw new BackupError({
      code: 'UNAVAILABLE',
      tried: 'do maintenance in',
      subject: 'the server',
      reason: 'it is starting or stopping',
      remedy: 'Try again',
    });
  };
  return {
    maintenance: async () => ({ ...current().status() }),
    'run-maintenance': async (_context, request) => {
      const kind = KINDS.find((one) => one === request.kind);
      if (kind === undefined) throw usage(request, 'kind', `it has to be one of ${KINDS.join(', ')}`);
      return { kind, ...(await current().of(kind).request(kind, useridsOf(request))) };
    },
    'cancel-maintenance': async () => {
      const jobs = await current().cancel();
      return { cancelled: jobs.map(({ kind, userid }) => ({ kind, userid })) };
    },
  };
}

function useridsOf(request: AdminRequest): string[] | undefined {
  const { userids } = request;
  if (userids === undefined) return undefined;
  const isList = Array.isArray(userids) && userids.every((one) => typeof one === 'string');
  if (isList && userids.length > 0 && userids.length <= MAX_USERS) return userids;
  throw usage(request, 'userids', `it has to be a list of 1 to ${MAX_USERS} userids`);
}

function usage(request: AdminRequest, what: string, reason: string): BackupError {
  const remedy = 'See the command with --help';
  return new BackupError({
    code: 'USAGE',
    tried: `use ${what} of`,
    subject: request.command,
    reason,
    remedy,
  });
}
