/** Does it keep up with what clients bring? */
import { type Alert, type AlertGroup, PLACE, type Series, series } from './rule.ts';

/** 100 a minute, all of them slower or faster than the limit of a second. */
function observed(name: string, labels: Record<string, string>, isSlow: boolean): Series {
  return {
    [series(`${name}_bucket`, { ...labels, le: '0.5' })]: isSlow ? '0x60' : '0+100x60',
    [series(`${name}_bucket`, { ...labels, le: '5' })]: '0+100x60',
    [series(`${name}_bucket`, { ...labels, le: '+Inf' })]: '0+100x60',
  };
}

function slow(
  name: string,
  labels: Record<string, string>,
  rest: Pick<Alert, 'name' | 'expr' | 'summary' | 'description'>,
  alike: Series = {},
): Alert {
  return {
    severity: 'warning',
    for: '15m',
    runbook: 'docs/operations.md#it-is-slow',
    ...rest,
    fires: { at: '40m', series: observed(name, labels, true), labels: PLACE },
    quiet: { at: '40m', series: { ...observed(name, labels, false), ...alike } },
  };
}

export const LAG: AlertGroup = {
  name: 'csync-backup.lag',
  about: 'Lag',
  alerts: [
    slow(
      'csync_backup_ack_seconds',
      { verb: 'RESTART' },
      {
        name: 'CsyncBackupSlowAnswers',
        expr: 'instance:csync_backup_ack_seconds:p99_5m > 1',
        summary: 'One in a hundred commands waits longer than a second for its answer',
        description: 'The dashboard of ingest shows where the time goes: disk, memory or threads.',
      },
      // Logins that fail are made to wait.
      observed('csync_backup_ack_seconds', { verb: 'AUTHENTICATE' }, true),
    ),
    slow(
      'csync_backup_store_sync_seconds',
      {},
      {
        name: 'CsyncBackupSlowDisk',
        expr: 'histogram_quantile(0.99, sum by (instance, job, le) (rate(csync_backup_store_sync_seconds_bucket[10m]))) > 1',
        summary: 'The disk is slow',
        description:
          'Each change that is acknowledged waits for a sync to disk, and one in a hundred takes longer than a second. Look what else uses the disk, and at its health.',
      },
    ),
    slow(
      'csync_backup_store_request_wait_seconds',
      {},
      {
        name: 'CsyncBackupStoreThreadsLag',
        expr: 'histogram_quantile(0.99, sum by (instance, job, le) (rate(csync_backup_store_request_wait_seconds_bucket[10m]))) > 1',
        summary: 'Requests wait longer than a second for the store threads',
        description:
          'Raise backup_shards if processors are idle; otherwise the disk is slow, or the machine too small.',
      },
    ),
    slow(
      'csync_backup_event_loop_delay_seconds',
      { thread: 'main' },
      {
        name: 'CsyncBackupEventLoopLag',
        expr: 'histogram_quantile(0.99, sum by (instance, job, le) (rate(csync_backup_event_loop_delay_seconds_bucket{thread="main"}[10m]))) > 0.5',
        summary: 'The main thread is overloaded',
        description:
          'All clients wait for it. Is the machine swapping, or short of processors? If not, report it with csync-backup status.',
      },
    ),
    {
      name: 'CsyncBackupIndexLag',
      severity: 'warning',
      expr: 'csync_backup_store_index_lag_seconds > 1800',
      for: '15m',
      summary: 'A chunk has been open for more than half an hour, so no index has what is in it',
      description:
        'It is safe on disk, but has to be read again after a crash. csync-backup sessions shows whose it is; csync-backup flush -A finishes it.',
      runbook: 'docs/operations.md#it-is-slow',
      fires: {
        at: '30m',
        series: { [series('csync_backup_store_index_lag_seconds')]: '2000x40' },
        labels: PLACE,
      },
      // One chunk after the other, none of them long.
      quiet: { at: '30m', series: { [series('csync_backup_store_index_lag_seconds')]: '1700x20 10x20' } },
    },
    {
      name: 'CsyncBackupBackPressure',
      severity: 'warning',
      expr: 'rate(csync_backup_back_pressure_seconds_total[10m]) > 1',
      for: '15m',
      summary: 'Clients wait for memory',
      description:
        'More than one connection on average. Raise backup_memory_limit; if the disk is slow, that is the reason.',
      runbook: 'docs/operations.md#it-is-slow',
      fires: {
        at: '40m',
        series: { [series('csync_backup_back_pressure_seconds_total')]: '0+120x60' },
        labels: PLACE,
      },
      quiet: { at: '40m', series: { [series('csync_backup_back_pressure_seconds_total')]: '0+30x60' } },
    },
  ],
};
