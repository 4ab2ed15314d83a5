/** Are the backups as new as they should be, sound, and can they be restored? */
import { type AlertGroup, PLACE, series } from './rule.ts';

const DAY_S = 86_400;
const stale = (age: string): string => series('csync_backup_stale_backups', { older_than: age });
const verified = (state: string): string => series('csync_backup_verified_backups', { state });
const live = series('csync_backup_backups', { state: 'live' });
const lastSuccess = (task: string): string =>
  series('csync_backup_maintenance_last_success_timestamp_seconds', { task });
const STARTED = series('csync_backup_start_time_seconds');
const interval = (task: string): string => series('csync_backup_maintenance_interval_seconds', { task });
const jobs = (task: string, result: string): string =>
  series('csync_backup_maintenance_jobs_total', { task, result });
const pings = (result: string): string =>
  series('csync_backup_maintenance_pings_total', { task: 'compact', result });
const drills = (result: string): string => series('csync_backup_drill_runs_total', { result });
const command = (figure: string, task: string): string => series(`csync_backup_command_${figure}`, { task });
/** Commands that push what came of them, but for those that are run by hand, once. */
const BY_CRON = 'task=~"verify|compact|drill|pull|doctor|stat"';
const freezes = (end: string): string => series('csync_backup_freezes_total', { end });

export const HEALTH: AlertGroup = {
  name: 'csync-backup.health',
  about: 'Health of the backups',
  alerts: [
    {
      name: 'CsyncBackupStale',
      severity: 'warning',
      expr: 'csync_backup_stale_backups{older_than="2d"} > 0',
      for: '1h',
      summary: 'Users have not been backed up for two days',
      shows: '{{ $value }}',
      description:
        "Name them on the server: curl -s 'http://127.0.0.1:9205/worst?n=20' | jq .stale. Then push one by hand from the mail server, and see what it says.",
      runbook: 'docs/operations.md#nothing-is-backed-up-any-more',
      fires: {
        at: '90m',
        series: { [stale('2d')]: '4x120' },
        labels: { ...PLACE, older_than: '2d' },
        shown: '4',
      },
      quiet: { at: '90m', series: { [stale('1d')]: '4x120', [stale('2d')]: '0x120' } },
    },
    {
      name: 'CsyncBackupManyStale',
      severity: 'critical',
      expr: `csync_backup_stale_backups{older_than="1d"}
  > on (instance, job) group_left () 0.2 * csync_backup_backups{state="live"}`,
      for: '1h',
      summary: 'A fifth of all users has not been backed up for a day',
      description:
        'Replication from a whole mail server has probably ended: look there whether sync_client runs, and start it.',
      runbook: 'docs/operations.md#nothing-is-backed-up-any-more',
      fires: {
        at: '90m',
        series: { [stale('1d')]: '30x120', [live]: '100x120' },
        labels: { ...PLACE, older_than: '1d' },
      },
      quiet: { at: '90m', series: { [stale('1d')]: '10x120', [live]: '100x120' } },
    },
    {
      name: 'CsyncBackupHealthOld',
      severity: 'warning',
      expr: 'time() - csync_backup_health_last_success_timestamp_seconds > 900',
      for: '15m',
      summary: 'The figures of the health of the backups are no longer kept up to date',
      description: 'The alerts about stale backups rest on them. The log says why: put that right.',
      runbook: 'docs/operations.md#log-messages-that-ask-for-action',
      fires: {
        at: '90m',
        series: { [series('csync_backup_health_last_success_timestamp_seconds')]: '0x120' },
        labels: PLACE,
      },
      quiet: {
        at: '90m',
        series: { [series('csync_backup_health_last_success_timestamp_seconds')]: '0+60x120' },
      },
    },
    {
      name: 'CsyncBackupVerificationFaulty',
      severity: 'critical',
      expr: 'csync_backup_verified_backups{state="faulty"} > 0',
      summary: 'Verification has found damaged backups',
      shows: '{{ $value }}',
      description:
        'csync-backup status and the log name them; csync-backup verify -u USERID shows what is wrong. It is quiet again when a verification finds nothing more.',
      runbook: 'docs/operations.md#a-corrupt-chunk',
      fires: {
        at: '10m',
        series: { [verified('faulty')]: '2x20' },
        labels: { ...PLACE, state: 'faulty' },
        shown: '2',
      },
      quiet: { at: '10m', series: { [verified('faulty')]: '0x20', [verified('never_verified')]: '9x20' } },
    },
    {
      name: 'CsyncBackupVerificationOverdue',
      severity: 'warning',
      expr: 'csync_backup_verified_backups{state="overdue"} > 0',
      for: '2h',
      summary: 'Verification does not keep up, backups are overdue',
      shows: '{{ $value }}',
      description:
        'Raise backup_maintenance_rate. If only a few are overdue, they are in use all the time, or cannot be read: the log says which.',
      runbook: 'docs/operations.md#maintenance-does-not-keep-up',
      fires: {
        at: '180m',
        series: { [verified('overdue')]: '5x200' },
        labels: { ...PLACE, state: 'overdue' },
        shown: '5',
      },
      quiet: { at: '180m', series: { [verified('overdue')]: '5x100 0x10 5x90' } },
    },
    {
      name: 'CsyncBackupMaintenanceOld',
      severity: 'warning',
      // Of what has never succeeded: since the start of the server.
      expr: `(
    time() - csync_backup_maintenance_last_success_timestamp_seconds{task!="verify"}
    or on (instance, job, task)
    (time() - csync_backup_start_time_seconds)
      * on (instance, job) group_right () (csync_backup_maintenance_interval_seconds{task!="verify"} > bool 0)
  )
  > on (instance, job, task) 2 * (csync_backup_maintenance_interval_seconds{task!="verify"} > 0)`,
      for: '1h',
      summary: 'Maintenance has not succeeded for twice the time in which it should',
      shows: '{{ $labels.task }}',
      description:
        'csync-backup maintenance says what runs and when the next run is, the log what is in the way or what was wrong.',
      runbook: 'docs/operations.md#maintenance-does-not-keep-up',
      fires: {
        at: '80m',
        series: {
          [lastSuccess('drill')]: `${-14 * DAY_S}x90`,
          [interval('drill')]: `${7 * DAY_S}x90`,
        },
        labels: { ...PLACE, task: 'drill' },
        shown: 'drill',
      },
      firesToo: {
        at: '80m',
        series: {
          [STARTED]: `${-3 * DAY_S}x90`,
          [interval('compact')]: `${DAY_S}x90`,
          [interval('drill')]: `${7 * DAY_S}x90`,
          [interval('pull')]: '0x90',
        },
        labels: { ...PLACE, task: 'compact' },
        shown: 'compact',
      },
      quiet: {
        at: '80m',
        series: {
          [STARTED]: `${-20 * DAY_S}x90`,
          [lastSuccess('drill')]: `${-13 * DAY_S}x90`,
          [interval('drill')]: `${7 * DAY_S}x90`,
          // It has not had its time yet.
          [interval('pull')]: `${14 * DAY_S}x90`,
          // Run by hand once, and not by the configuration.
          [lastSuccess('compact')]: `${-90 * DAY_S}x90`,
          [interval('compact')]: '0x90',
          // Spread over the whole time: CsyncBackupVerificationOverdue knows better.
          [lastSuccess('verify')]: `${-70 * DAY_S}x90`,
          [interval('verify')]: `${30 * DAY_S}x90`,
        },
      },
    },
    {
      name: 'CsyncBackupMaintenanceFailed',
      severity: 'warning',
      expr: 'increase(csync_backup_maintenance_jobs_total{result="failed"}[1d]) > 0',
      summary: 'Maintenance of backups could not be done',
      shows: '{{ $labels.task }}',
      description:
        'Search the log for "maintenance of a backup failed": it names the backups and the reasons. Each is tried again.',
      runbook: 'docs/operations.md#maintenance-does-not-keep-up',
      fires: {
        at: '30m',
        series: { [jobs('pull', 'failed')]: '0x20 1x20' },
        labels: { ...PLACE, task: 'pull', result: 'failed' },
        shown: 'pull',
      },
      quiet: { at: '30m', series: { [jobs('pull', 'ok')]: '0+1x60', [jobs('verify', 'busy')]: '0+1x60' } },
    },
    {
      name: 'CsyncBackupCompactionFaulty',
      severity: 'critical',
      expr: 'increase(csync_backup_maintenance_jobs_total{task="compact",result="faulty"}[1d]) > 0',
      summary: 'Compaction has come upon damage',
      description:
        '"maintenance found a damaged backup" in the log names the backup. What can be read of it was kept, and the mail server is asked for the rest; look at disk and memory.',
      runbook: 'docs/operations.md#a-corrupt-chunk',
      fires: {
        at: '30m',
        series: { [jobs('compact', 'faulty')]: '0x20 1x20' },
        labels: { ...PLACE, task: 'compact', result: 'faulty' },
      },
      // Verification has an alert that lasts until the damage is healed.
      quiet: {
        at: '30m',
        series: { [jobs('compact', 'ok')]: '0+1x60', [jobs('verify', 'faulty')]: '0x20 1x20' },
      },
    },
    {
      name: 'CsyncBackupPingFailed',
      severity: 'warning',
      expr: 'increase(csync_backup_maintenance_pings_total{result="failed"}[1d]) > 0',
      summary: 'backup_ping_url could not be told of a success',
      description:
        'Whoever waits for the ping will take it that maintenance has failed. The log says why: put the address or the way to it right.',
      runbook: 'docs/operations.md#maintenance-does-not-keep-up',
      fires: {
        at: '30m',
        series: { [pings('failed')]: '0x20 1x20' },
        labels: { ...PLACE, task: 'compact', result: 'failed' },
      },
      quiet: { at: '30m', series: { [pings('failed')]: '1x60', [pings('ok')]: '0+1x60' } },
    },
    {
      name: 'CsyncBackupDrillFailed',
      severity: 'critical',
      expr: 'increase(csync_backup_drill_failures_total[1d]) > 0',
      summary: 'A restore drill did not get everything back',
      description:
        '"a restore drill did not get everything back" in the log names the backup: run csync-backup verify -u USERID; if that finds nothing, report it.',
      runbook: 'docs/operations.md#a-restore-drill-failed',
      fires: {
        at: '15m',
        series: { [series('csync_backup_drill_failures_total')]: '0x10 1x20' },
        labels: PLACE,
      },
      quiet: {
        at: '15m',
        series: {
          [series('csync_backup_drill_failures_total')]: '0x30',
          [series('csync_backup_drill_messages_total')]: '0+9x30',
        },
      },
    },
    {
      name: 'CsyncBackupDrillIncomplete',
      severity: 'warning',
      expr: 'increase(csync_backup_drill_runs_total{result="incomplete"}[1d]) > 0',
      summary: 'A restore drill has shown nothing',
      description:
        'A backup of its sample could not be drilled, or there was nothing to compare: the log says why. Run it again: csync-backup drill.',
      runbook: 'docs/operations.md#a-restore-drill-failed',
      fires: {
        at: '30m',
        series: { [drills('incomplete')]: '0x20 1x20' },
        labels: { ...PLACE, result: 'incomplete' },
      },
      quiet: { at: '30m', series: { [drills('incomplete')]: '0x60', [drills('ok')]: '0x20 1x20' } },
    },
    {
      name: 'CsyncBackupCommandFailed',
      severity: 'warning',
      expr: `csync_backup_command_exit_status{${BY_CRON}} > 0`,
      summary: 'A command that is run again and again ended with an error',
      shows: '{{ $labels.task }} on {{ $labels.instance }}, exit status {{ $value }}',
      description:
        "What it wrote on standard error (cron's mail) says why. 65: damage was found; 75: try again, something was locked.",
      runbook: 'docs/operations.md#exit-statuses',
      fires: {
        at: '10m',
        series: { [command('exit_status', 'verify')]: '0x5 65x20' },
        labels: { ...PLACE, task: 'verify' },
        shown: 'verify on b1, exit status 65',
      },
      // Who runs a restore by hand sees for himself.
      quiet: {
        at: '10m',
        series: { [command('exit_status', 'restore')]: '75x20', [command('exit_status', 'verify')]: '0x20' },
      },
    },
    {
      name: 'CsyncBackupCommandOld',
      severity: 'warning',
      expr: `time() - csync_backup_command_last_success_timestamp_seconds{${BY_CRON}} > 8 * 86400`,
      for: '1h',
      summary: 'A command that is run again and again has not succeeded for eight days',
      shows: '{{ $labels.task }} on {{ $labels.instance }}',
      description:
        'Does cron still run it, and with --push-gateway? If it is not to run any more, delete its group in the Pushgateway.',
      runbook: 'docs/metrics.md#commands',
      fires: {
        at: '80m',
        series: { [command('last_success_timestamp_seconds', 'drill')]: `${-8 * DAY_S}x90` },
        labels: { ...PLACE, task: 'drill' },
        shown: 'drill on b1',
      },
      quiet: {
        at: '80m',
        series: {
          [command('last_success_timestamp_seconds', 'drill')]: `${-7 * DAY_S}x90`,
          [command('last_success_timestamp_seconds', 'move')]: `${-99 * DAY_S}x90`,
        },
      },
    },
    {
      name: 'CsyncBackupFreezeTooLong',
      severity: 'warning',
      expr: 'increase(csync_backup_freezes_total{end="deadline"}[1d]) > 0',
      summary: 'A freeze was ended by its deadline',
      description:
        'The snapshot took longer, or what asked for the freeze died. Do not rely on that snapshot: take another one, with a longer --for.',
      runbook: 'docs/operations.md#snapshots',
      fires: {
        at: '30m',
        series: { [freezes('deadline')]: '0x20 1x20' },
        labels: { ...PLACE, end: 'deadline' },
      },
      quiet: { at: '30m', series: { [freezes('deadline')]: '0x60', [freezes('thaw')]: '0x20 1x20' } },
    },
  ],
};
