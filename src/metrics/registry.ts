/** Every metric of the program, each declared here and nowhere else. Names follow Prometheus: base units, `_total`. */
import { AGE_BOUNDS, DELAY_BOUNDS, GC_BOUNDS, LATENCY_BOUNDS, SYNC_BOUNDS } from './bounds.ts';
import { Counter, Gauge, Histogram, Registry } from './prom-client.ts';
import { TotalsMetric } from './totals-metric.ts';

export const PREFIX = 'csync_backup_';

const LATENCY_BUCKETS = [...LATENCY_BOUNDS];
const SYNC_BUCKETS = [...SYNC_BOUNDS];

export type Metrics = ReturnType<typeof createMetrics>;

/** A set of metrics of its own: a process has one, a test as many as it has servers. */
export function createMetrics() {
  const registers = [new Registry()];
  const registry = registers[0]!;
  const counter = <L extends string>(name: string, help: string, labelNames: L[] = []) =>
    new Counter<L>({ name: PREFIX + name, help, labelNames, registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: L[] = []) =>
    new Gauge<L>({ name: PREFIX + name, help, labelNames, registers });
  const histogram = <L extends string>(name: string, help: string, buckets: number[], labelNames: L[] = []) =>
    new Histogram<L>({ name: PREFIX + name, help, buckets, labelNames, registers });
  const totals = <L extends string>(
    name: string,
    help: string,
    bounds: readonly number[],
    labelNames: L[] = [],
  ) => new TotalsMetric<L>({ name: PREFIX + name, help, bounds, labelNames, registers });

  const connections = {
    connections: counter('connections_total', 'Connections accepted.', ['tls']),
    connectionsRefused: counter('connections_refused_total', 'Connections turned away.', ['reason']),
    sessions: gauge('sessions', 'Connections by what they are doing.', ['state']),
    logins: counter('logins_total', 'AUTHENTICATE commands.', ['mechanism', 'result']),
    commands: counter('commands_total', 'Commands answered.', ['verb', 'result']),
    ackSeconds: histogram(
      'ack_seconds',
      'Time from the last byte of a command to its answer.',
      LATENCY_BUCKETS,
      ['verb'],
    ),
    bytesIn: counter('received_bytes_total', 'Bytes received, inside TLS and before they were inflated.'),
    bytesOut: counter('sent_bytes_total', 'Bytes of answers, before compression and TLS.'),
    messages: counter('messages_received_total', 'Messages received whole, with the right SHA-1.'),
    messageBytes: counter('message_bytes_received_total', 'Bytes of these messages.'),
    guidMismatches: counter(
      'guid_mismatches_total',
      'Messages refused as their SHA-1 was not what was announced.',
    ),
    syncs: counter('syncs_total', 'Runs of commands ended by RESTART, EXIT or the end of the connection.'),
    syncSeconds: histogram('sync_seconds', 'Time of such a run.', SYNC_BUCKETS),
    staged: counter('messages_staged_total', 'Messages put aside as their owner was not known yet.'),
    supplied: counter('messages_supplied_total', 'Messages given to a user from elsewhere in the session.'),
  };

  const threads = {
    slabs: gauge('slabs', 'Slabs of the pool.'),
    slabsFree: gauge('slabs_free', 'Slabs that nobody uses.'),
    slabWaiters: gauge('slab_waiters', 'Connections that wait for a slab, their sockets paused.'),
    backPressureSeconds: counter('back_pressure_seconds_total', 'Time that connections waited for slabs.'),
    queueDepth: gauge('queue_depth', 'Requests under way to a pool of threads.', ['pool']),
    deflateSeconds: histogram(
      'deflate_seconds',
      'CPU time for one slab in the deflate pool.',
      LATENCY_BUCKETS,
    ),
    deflateWaitSeconds: histogram(
      'deflate_wait_seconds',
      'Time that a slab waited for a thread of the deflate pool, behind other slabs of its client too, of which there may be many.',
      LATENCY_BUCKETS,
    ),
    deflatedIn: counter('deflated_raw_bytes_total', 'Bytes that the deflate pool compressed.'),
    deflatedOut: counter('deflated_bytes_total', 'Bytes that this gave.'),
    threadDeaths: counter('thread_deaths_total', 'Worker threads that ended unasked.', ['pool']),
    engine: gauge('deflate_engine_info', 'The DEFLATE engine in use: 1.', ['engine']),
    inflateEngine: gauge(
      'inflate_engine_info',
      'What inflates compressed connections, `none` where compression cannot be offered: 1.',
      ['engine'],
    ),
    receiveBufferShared: gauge(
      'receive_buffer_shared',
      '1: connections are read through one buffer. 0: this Node cannot do so, which costs CPU time.',
    ),
    eventLoopDelay: totals(
      'event_loop_delay_seconds',
      'Time that what becomes due in the thread at any moment waits until it is begun.',
      DELAY_BOUNDS,
      ['thread'],
    ),
    threadActive: counter('thread_active_seconds_total', 'Time that the thread was not waiting for work.', [
      'thread',
    ]),
    threadCpu: counter('thread_cpu_seconds_total', 'CPU time of the thread.', ['thread']),
    gcSeconds: totals(
      'gc_seconds',
      'Time of a garbage collection: one is looked at for a tenth of the time, and counts for ten.',
      GC_BOUNDS,
      ['thread', 'kind'],
    ),
    heapBytes: gauge('heap_bytes', 'Memory of the thread that V8 knows of.', ['thread', 'area']),
    clientMemory: gauge(
      'client_memory_bytes',
      'Memory that holds what clients have sent, or what is remembered of it for them.',
      ['kind'],
    ),
    residentMemory: gauge('resident_memory_bytes', 'Resident memory of the process.'),
    cpuSeconds: counter('cpu_seconds_total', 'CPU time of the process.', ['mode']),
  };

  const health = {
    backups: gauge(
      'backups',
      'Backups of users who have not been deleted, and some of these by their state.',
      ['state'],
    ),
    backupAge: totals(
      'backup_age_seconds',
      'Age of the last stored change of each backup, as of now: counts of backups, which go down too.',
      AGE_BOUNDS,
    ),
    staleBackups: gauge(
      'stale_backups',
      'Backups of users that no client has changed or asked about for longer than this.',
      ['older_than'],
    ),
    partitionBackups: gauge('partition_backups', 'Backups in the partition, deleted ones too.', [
      'partition',
    ]),
    partitionStored: gauge('partition_stored_bytes', 'Bytes of their data files.', ['partition']),
    partitionContent: gauge('partition_content_bytes', 'Bytes of these uncompressed.', ['partition']),
    partitionCompression: gauge(
      'partition_compression_ratio',
      'Bytes uncompressed for each byte of a data file.',
      ['partition'],
    ),
    healthTimestamp: gauge(
      'health_last_success_timestamp_seconds',
      'When the figures of the health of the backups were last summed up, in Unix time.',
    ),
    partitionReadable: gauge(
      'partition_readable',
      "Whether the partition's filesystem answers, and lets the server write: 1 or 0.",
      ['partition'],
    ),
    partitionSize: gauge('partition_size_bytes', 'Size of its filesystem.', ['partition']),
    partitionFree: gauge('partition_free_bytes', 'Bytes free in it, without what is kept for root.', [
      'partition',
    ]),
    partitionFiles: gauge('partition_files', 'Inodes of it; 0 where it has no fixed number.', ['partition']),
    partitionFreeFiles: gauge('partition_free_files', 'Inodes free in it.', ['partition']),
  };

  const maintenance = {
    // Not `job`: a label of this name Prometheus gives to all that it scrapes, and calls another `exported_job`.
    maintenanceJobs: counter(
      'maintenance_jobs_total',
      'Backups that maintenance in the server has dealt with.',
      ['task', 'result'],
    ),
    maintenanceSeconds: histogram('maintenance_seconds', 'Time for one backup.', SYNC_BUCKETS, ['task']),
    maintenanceBytes: counter(
      'maintenance_bytes_total',
      'Bytes of the data files that were dealt with, as long as they were.',
      ['task'],
    ),
    maintenanceRead: counter('maintenance_read_bytes_total', 'Bytes that were read from files for it.', [
      'task',
    ]),
    maintenanceFreed: counter('maintenance_freed_bytes_total', 'Bytes that backups are smaller by.', [
      'task',
    ]),
    maintenanceFaults: counter(
      'maintenance_faults_total',
      'Faults that verification in the server has found.',
    ),
    maintenanceRuns: counter('maintenance_runs_total', 'Runs over all backups that have ended.', [
      'task',
      'result',
    ]),
    maintenanceRunSeconds: gauge('maintenance_run_seconds', 'Time of the last run over all backups.', [
      'task',
    ]),
    maintenanceInterval: gauge(
      'maintenance_interval_seconds',
      'In which time it is to succeed by the configuration: for each backup (verify), or a run over all. 0: never by itself.',
      ['task'],
    ),
    maintenanceLastSuccess: gauge(
      'maintenance_last_success_timestamp_seconds',
      'When a backup was last verified without a fault, or a run over all backups last ended; Unix time.',
      ['task'],
    ),
    maintenanceWaits: histogram(
      'maintenance_wait_seconds',
      'Time that a client waited until maintenance had given up its backup.',
      LATENCY_BUCKETS,
    ),
    maintenancePings: counter(
      'maintenance_pings_total',
      'Times that backup_ping_url was to be told of a success.',
      ['task', 'result'],
    ),
    verifiedBackups: gauge('verified_backups', 'Backups by the state of their verification in the server.', [
      'state',
    ]),
  };

  const drills = {
    drillRuns: counter('drill_runs_total', 'Restore drills that have ended, over a sample of the backups.', [
      'result',
    ]),
    drillMessages: counter('drill_messages_total', 'Messages that drills have restored and compared.'),
    drillFailures: counter(
      'drill_failures_total',
      'Messages that drills did not get back, or not as they were, and what came back besides.',
    ),
  };

  const freezes = {
    frozen: gauge('frozen', 'Whether the backups are frozen for a snapshot: 1 or 0.'),
    freezes: counter('freezes_total', 'Freezes that have ended, by what ended them.', ['end']),
    frozenSeconds: counter('frozen_seconds_total', 'Time of these, from the request to the end.'),
  };

  const process = {
    build: gauge('build_info', 'The running version: 1.', ['version', 'node']),
    startTime: gauge('start_time_seconds', 'Start of the process, in Unix time.'),
    reloads: counter('config_reloads_total', 'Reloads of the configuration.', ['result']),
  };

  return {
    registry,
    /** The same by section of docs/metrics.md. */
    groups: { connections, threads, health, maintenance, drills, freezes, process },
    ...connections,
    ...threads,
    ...health,
    ...maintenance,
    ...drills,
    ...freezes,
    ...process,
  };
}
