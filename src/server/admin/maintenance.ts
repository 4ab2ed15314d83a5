/** The scheduler of maintenance in the server: what it works on, its metrics, and its admin commands. */
import path from 'node:path';
import type { Job, JobKind, JobResult } from '../../maintenance/job.ts';
import { JobProcess } from '../../maintenance/job-process.ts';
import { MaintenanceState } from '../../maintenance/maintenance-state.ts';
import { type DailyWork, Scheduler } from '../../maintenance/scheduler.ts';
import { BackupError } from '../../platform/errors.ts';
import { ioError } from '../../platform/io-error.ts';
import { Catalog } from '../../store/catalog.ts';
import type { ServerContext } from '../context.ts';
import type { AdminCommand } from './commands.ts';
import type { AdminRequest } from './protocol.ts';

const STATE_FILE = 'csync-backup.maintenance';
/** What may run over all backups at times of day. */
const DAILY: readonly DailyWork[] = [];
const KINDS: readonly JobKind[] = ['verify'];
const MAX_USERS = 10_000;

type Server = Pick<ServerContext, 'config' | 'metrics' | 'log'>;

/** @throws BackupError IO_ERROR when its state cannot be kept */
export function startScheduler(server: Server, isInUse: (userid: string) => boolean): Scheduler {
  const { metrics, log } = server;
  const file = path.join(server.config.configDirectory, STATE_FILE);
  let state: MaintenanceState;
  try {
    state = new MaintenanceState(file);
  } catch (error) {
    throw ioError(error, 'open', file);
  }
  if (state.replaced !== undefined)
    log.warn({ file, target: state.replaced }, 'the state of maintenance was not readable and is begun anew');
  for (const kind of KINDS) {
    const lastMs = state.lastSuccessMs(kind);
    if (lastMs !== undefined) metrics.maintenanceLastSuccess.set({ job: kind }, lastMs / 1000);
  }
  const scheduler = new Scheduler({
    config: () => server.config,
    state,
    runner: new JobProcess(),
    entries: () => entriesOf(server.config.backupDbPath),
    isInUse,
    daily: DAILY,
    log,
    onResult: (job, result, seconds) => count(server, job, result, seconds),
    onCounts: ({ backups, neverVerified, overdue, faulty }) => {
      const states = { all: backups, never_verified: neverVerified, overdue, faulty };
      for (const [name, value] of Object.entries(states)) metrics.verifiedBackups.set({ state: name }, value);
    },
    onRunDone: (kind, seconds) => {
      metrics.maintenanceRunSeconds.set({ job: kind }, seconds);
      metrics.maintenanceLastSuccess.set({ job: kind }, Date.now() / 1000);
    },
  });
  scheduler.start();
  return scheduler;
}

function* entriesOf(dbPath: string): Generator<[userid: string, path: string]> {
  const catalog = new Catalog(dbPath);
  try {
    yield* catalog.entries();
  } finally {
    catalog.close();
  }
}

function count({ metrics }: Server, { kind: job }: Job, result: JobResult, seconds: number): void {
  metrics.maintenanceJobs.inc({ job, result: result.outcome });
  metrics.maintenanceFaults.inc(result.faults);
  if (result.outcome !== 'ok' && result.outcome !== 'faulty') return;
  metrics.maintenanceSeconds.observe({ job }, seconds);
  metrics.maintenanceBytes.inc({ job }, result.sizeBytes);
  metrics.maintenanceFreed.inc({ job }, Math.max(0, result.freedBytes));
  if (job === 'verify' && result.outcome === 'ok')
    metrics.maintenanceLastSuccess.set({ job }, Date.now() / 1000);
}

/** The command `maintenance`: shows, runs, cancels. */
export function maintenanceCommands(scheduler: () => Scheduler | undefined): Record<string, AdminCommand> {
  const current = (): Scheduler => {
    const one = scheduler();
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
      return { kind, backups: await current().request(kind, useridsOf(request)) };
    },
    'cancel-maintenance': async () => {
      const job = await current().cancel();
      return { cancelled: job === undefined ? null : { kind: job.kind, userid: job.userid } };
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
