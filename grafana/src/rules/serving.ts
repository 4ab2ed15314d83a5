/** Does anybody get backed up at all? */
import { type AlertGroup, JOB, PLACE, series } from './rule.ts';

const command = (verb: string, result: string): string =>
  series('csync_backup_commands_total', { verb, result });
const login = (result: string): string => series('csync_backup_logins_total', { mechanism: 'PLAIN', result });

export const SERVING: AlertGroup = {
  name: 'csync-backup.serving',
  about: 'Serving',
  alerts: [
    {
      name: 'CsyncBackupDown',
      severity: 'critical',
      expr: `up{job="${JOB}"} == 0`,
      for: '5m',
      summary: 'The backup server does not answer',
      description:
        'Nothing is backed up; the mail servers try again, and only time is lost. See why it does not run: journalctl -u csync-backup -n 20 -o cat.',
      runbook: 'docs/operations.md#it-does-not-start',
      fires: { at: '10m', series: { [series('up')]: '0x20' }, labels: PLACE },
      quiet: { at: '10m', series: { [series('up')]: '1x20' } },
    },
    {
      name: 'CsyncBackupNotScraped',
      severity: 'critical',
      expr: `absent(up{job="${JOB}"})`,
      for: '15m',
      summary: 'Prometheus scrapes no backup server',
      description: `Every other alert is silent meanwhile. Scrape it again, under the job name ${JOB}.`,
      runbook: 'docs/metrics.md#scraping',
      fires: { at: '20m', series: { 'up{instance="b1",job="other"}': '1x30' }, labels: { job: JOB } },
      quiet: { at: '20m', series: { [series('up')]: '0x30' } },
    },
    {
      name: 'CsyncBackupRestarting',
      severity: 'critical',
      expr: 'changes(csync_backup_start_time_seconds[1h]) > 2',
      summary: 'The backup server was started again and again in the last hour',
      description:
        'Look for the line "crashed" or for the kernel\'s OOM killer in the log, and report a crash.',
      runbook: 'docs/operations.md#it-restarts-by-itself',
      fires: {
        at: '40m',
        series: { [series('csync_backup_start_time_seconds')]: '100x9 700x9 1300x9 1900x20' },
        labels: PLACE,
      },
      quiet: { at: '40m', series: { [series('csync_backup_start_time_seconds')]: '100x9 700x9 1300x30' } },
    },
    {
      name: 'CsyncBackupNoSyncs',
      severity: 'critical',
      expr: `increase(csync_backup_syncs_total[1h]) == 0
  and on (instance, job) time() - csync_backup_start_time_seconds > 3600`,
      for: '10m',
      summary: 'Nobody has backed anything up for an hour',
      description:
        'Look on the mail servers whether sync_client runs and whether its channel points here. Where they sync only every night, set this alert to a longer time.',
      runbook: 'docs/operations.md#nothing-is-backed-up-any-more',
      fires: {
        at: '90m',
        series: {
          [series('csync_backup_syncs_total')]: '7x100',
          [series('csync_backup_start_time_seconds')]: '0x100',
        },
        labels: PLACE,
      },
      quiet: {
        at: '90m',
        series: {
          [series('csync_backup_syncs_total')]: '7x60 0x40',
          [series('csync_backup_start_time_seconds')]: '0x60 3600x40',
        },
      },
    },
    {
      name: 'CsyncBackupSyncsFailing',
      severity: 'warning',
      expr: 'instance:csync_backup_syncs_refused:ratio_rate15m > 0.1',
      for: '15m',
      summary: 'More than one in ten syncs is refused something',
      description:
        'Search the log for "refused": each line names the client, the command and the reason. What is refused now and then heals itself.',
      runbook: 'docs/operations.md#clients-are-refused',
      fires: {
        at: '50m',
        series: {
          [command('APPLY MAILBOX', 'OK')]: '0+900x60',
          [command('APPLY MAILBOX', 'IMAP_MAILBOX_LOCKED')]: '0+20x60',
          [series('csync_backup_syncs_total')]: '0+100x60',
        },
        labels: PLACE,
      },
      quiet: {
        at: '50m',
        series: {
          [command('APPLY MAILBOX', 'IMAP_SYNC_CHECKSUM')]: '0+20x60',
          [command('GET FULLMAILBOX', 'IMAP_MAILBOX_NONEXISTENT')]: '0+20x60',
          [command('APPLY MAILBOX', 'IMAP_MAILBOX_LOCKED')]: '0+5x60',
          [command('AUTHENTICATE', 'NO')]: '0+20x60',
          [series('csync_backup_syncs_total')]: '0+100x60',
        },
      },
    },
    {
      name: 'CsyncBackupLocksRefused',
      severity: 'warning',
      expr: 'rate(csync_backup_store_locks_refused_total[15m]) > 0.1',
      for: '15m',
      summary: 'Backups are refused to clients as somebody else has them locked',
      description:
        'Two clients back up the same users, or a tool holds a lock: find out who, by csync-backup sessions and fuser.',
      runbook: 'docs/operations.md#a-backup-is-locked',
      fires: {
        at: '40m',
        series: { [series('csync_backup_store_locks_refused_total')]: '0+30x60' },
        labels: PLACE,
      },
      quiet: { at: '40m', series: { [series('csync_backup_store_locks_refused_total')]: '0+1x60' } },
    },
    {
      name: 'CsyncBackupLoginsFailing',
      severity: 'warning',
      // A sync_client that is refused waits for up to ten minutes before it tries again.
      expr: `sum by (instance, job) (increase(csync_backup_logins_total{result="failure"}[1h])) > 4
  and sum by (instance, job) (increase(csync_backup_logins_total{result="failure"}[20m])) > 0`,
      for: '15m',
      summary: 'Logins fail',
      description:
        'A wrong sync_password, a user who is no longer in the credential file, or somebody who guesses: "login failed" in the log names the client and the reason.',
      runbook: 'docs/operations.md#a-client-cannot-log-in',
      fires: { at: '40m', series: { [login('failure')]: '0+6x60' }, labels: PLACE },
      firesToo: {
        at: '110m',
        series: { [login('failure')]: '0x9 1x9 2x9 3x9 4x9 5x9 6x9 7x9 8x9 9x9 10x9 11x9' },
        labels: PLACE,
      },
      // Typed wrongly a few times, and right then.
      quiet: {
        at: '40m',
        series: {
          [login('success')]: '0+6x60',
          [login('cancelled')]: '0+6x60',
          [login('failure')]: '0+1x9 9x60',
        },
      },
    },
    {
      name: 'CsyncBackupLoginsUnavailable',
      severity: 'critical',
      expr: 'sum by (instance, job) (increase(csync_backup_logins_total{result="unavailable"}[10m])) > 0',
      for: '5m',
      summary: 'Logins cannot be checked, so clients cannot log in',
      description:
        'The credential file cannot be used, or saslauthd does not answer: "cannot check a login" in the log says which.',
      runbook: 'docs/operations.md#a-client-cannot-log-in',
      fires: { at: '40m', series: { [login('unavailable')]: '0+1x60' }, labels: PLACE },
      quiet: { at: '40m', series: { [login('failure')]: '0+6x60', [login('unavailable')]: '5x60' } },
    },
    {
      name: 'CsyncBackupConnectionsRefused',
      severity: 'warning',
      expr: 'increase(csync_backup_connections_refused_total{reason="full"}[10m]) > 0',
      for: '5m',
      summary: 'Connections are turned away as there are too many',
      description:
        'See with csync-backup sessions whose they are. If they are right, raise backup_max_connections.',
      runbook: 'docs/operations.md#clients-are-refused',
      fires: {
        at: '30m',
        series: { [series('csync_backup_connections_refused_total', { reason: 'full' })]: '0+1x40' },
        labels: { ...PLACE, reason: 'full' },
      },
      quiet: {
        at: '30m',
        series: {
          [series('csync_backup_connections_refused_total', { reason: 'stopping' })]: '0+1x40',
          [series('csync_backup_connections_refused_total', { reason: 'full' })]: '3x40',
        },
      },
    },
    {
      name: 'CsyncBackupReloadFailed',
      severity: 'warning',
      expr: 'increase(csync_backup_config_reloads_total{result="failed"}[1d]) > 0',
      summary: 'The configuration could not be reloaded',
      description:
        'The values before stay in use. Correct what csync-backup config -C FILE complains about, and reload.',
      runbook: 'docs/operations.md#log-messages-that-ask-for-action',
      fires: {
        at: '30m',
        series: { [series('csync_backup_config_reloads_total', { result: 'failed' })]: '0x20 1x20' },
        labels: { ...PLACE, result: 'failed' },
      },
      quiet: {
        at: '30m',
        series: {
          [series('csync_backup_config_reloads_total', { result: 'failed' })]: '0x60',
          [series('csync_backup_config_reloads_total', { result: 'ok' })]: '0x20 1x20',
        },
      },
    },
    {
      name: 'CsyncBackupFrozen',
      severity: 'critical',
      expr: 'min_over_time(csync_backup_frozen[5m]) == 1',
      for: '15m',
      summary: 'The backups have been frozen for twenty minutes',
      description:
        'Clients wait for 30 minutes at most. Run csync-backup thaw, and do not rely on that snapshot.',
      runbook: 'docs/operations.md#snapshots',
      fires: { at: '30m', series: { [series('csync_backup_frozen')]: '1x40' }, labels: PLACE },
      quiet: { at: '30m', series: { [series('csync_backup_frozen')]: '1x15 0x2 1x20' } },
    },
  ],
};
