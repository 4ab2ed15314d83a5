/** For the person on call: is anything wrong, and where to look next. */
import { JOB } from '../rules/rule.ts';
import { NO_LOGINS, quantile } from './expressions.ts';
import { HERE, page } from './page.ts';
import { bars, figure, graph, list } from './panel.ts';

const DAY_S = 86_400;

export const overview = () =>
  page({
    uid: 'csync-backup-overview',
    title: 'csync-backup: overview',
    description:
      'For the person on call, of all backup servers. From the top: is anything wrong, does mail come in, is it kept well. Everything green and no alert: go back to bed.',
    from: 'now-6h',
    refresh: '30s',
    isOfMany: true,
    rows: [
      {
        title: 'Is anything wrong?',
        panels: [
          figure({
            title: 'Alerts',
            description:
              'CsyncBackup alerts that fire now; the list beside names them. "No rules" means that Prometheus has not loaded the rules of grafana/rules: nobody is woken then.',
            unit: 'none',
            yellow: 1,
            redSeries: { critical: 1 },
            noValue: 'No rules',
            width: 4,
            queries: ['critical', 'warning'].map((severity) => ({
              expr: `count(ALERTS{alertname=~"CsyncBackup.+",alertstate="firing",severity="${severity}"}) or 0 * count(instance:csync_backup_stored_bytes:sum)`,
              legend: severity,
            })),
          }),
          figure({
            title: 'Servers',
            description:
              'Whether Prometheus can scrape each server. DOWN: look on that machine why it does not run (journalctl -u csync-backup -n 20 -o cat). Mail servers try again meanwhile, nothing is lost but time.',
            unit: 'none',
            yellow: 1,
            red: 0.5,
            names: { 0: 'DOWN', 1: 'up' },
            width: 4,
            queries: [{ expr: `up{job="${JOB}",${HERE}}`, legend: '{{instance}}' }],
          }),
          figure({
            title: 'Stale for 2 days',
            description:
              "Backups of users about whom no client has asked for two days. Not 0: curl -s 'http://127.0.0.1:9205/worst?n=20' on the server names them; look whether sync_client -A runs every night on their mail server.",
            unit: 'none',
            yellow: 1,
            red: 100,
            width: 4,
            queries: [
              { expr: `sum(csync_backup_stale_backups{${HERE},older_than="2d"})`, legend: 'backups' },
            ],
          }),
          figure({
            title: 'Found damaged',
            description:
              'Backups in which the last verification found faults. Not 0: csync-backup status names them, csync-backup verify -u USERID shows what is wrong; what is lost comes again with the next sync.',
            unit: 'none',
            red: 1,
            width: 4,
            queries: [
              { expr: `sum(csync_backup_verified_backups{${HERE},state="faulty"})`, legend: 'backups' },
            ],
          }),
          figure({
            title: 'Fullest partition',
            description:
              'How full the fullest partition is. From 85 % on plan for room, at 95 % make some now: move backups to another partition, compact, or grow the filesystem. Users of a full partition are refused.',
            unit: 'percentunit',
            yellow: 0.85,
            red: 0.95,
            decimals: 0,
            width: 4,
            queries: [
              {
                expr: `max(1 - csync_backup_partition_free_bytes{${HERE}} / csync_backup_partition_size_bytes{${HERE}})`,
                legend: 'used',
              },
            ],
          }),
          figure({
            title: 'Last good restore drill',
            description:
              'How long ago the last restore drill ended in which everything came back. Two weeks or more: start one by csync-backup maintenance run drill -A, and see in the log why the others failed. "never": set backup_drill_every.',
            unit: 's',
            yellow: 8 * DAY_S,
            red: 14 * DAY_S,
            decimals: 0,
            noValue: 'never',
            width: 4,
            queries: [
              {
                expr: `max(time() - csync_backup_maintenance_last_success_timestamp_seconds{${HERE},task="drill"})`,
                legend: 'ago',
              },
            ],
          }),
          list({
            title: 'Alerts that fire',
            description:
              'Each alert of ours that fires or is about to. Its annotations say what to do, and the page docs/metrics.md has them all in one table.',
            unit: 'none',
            noValue: 'none',
            width: 12,
            queries: [{ expr: 'ALERTS{alertname=~"CsyncBackup.+"}', legend: '' }],
            columns: {
              alertname: 'alert',
              alertstate: 'state',
              severity: 'severity',
              instance: 'server',
              partition: 'partition',
              task: 'task',
            },
          }),
          bars({
            title: 'Had to be mended, last day',
            description:
              'What should be 0 on a quiet day. Recovered or rebuilt after a crash or a copy: nothing to do. Failures, damaged chunks, lost messages, dead threads: search the log for level 50, it names backup and cause.',
            unit: 'short',
            decimals: 0,
            yellow: 1,
            red: 10,
            width: 12,
            height: 6,
            queries: [
              { expr: mended('store_failures_total'), legend: 'requests that failed' },
              { expr: mended('store_damaged_chunks_total'), legend: 'chunks found damaged' },
              { expr: mended('store_messages_lost_total'), legend: 'messages lost, asked for again' },
              { expr: mended('store_recoveries_total'), legend: 'backups recovered' },
              { expr: mended('store_index_rebuilds_total'), legend: 'indexes rebuilt' },
              { expr: mended('thread_deaths_total'), legend: 'threads that died' },
            ],
          }),
        ],
      },
      {
        title: 'Does mail come in?',
        panels: [
          graph({
            title: 'Syncs',
            description:
              'Syncs of clients that ended, a second. A line at 0 by day: nobody is backed up; look on the mail servers whether sync_client runs.',
            unit: 'ops',
            width: 8,
            queries: [{ expr: perSecond('syncs_total'), legend: '{{instance}}' }],
          }),
          graph({
            title: 'Refused to clients',
            description:
              'Commands that were answered NO or BAD, by the reason, but for those that belong to a sync that goes well. Search the log for "refused". IMAP_MAILBOX_LOCKED: two clients, a tool, or a full disk.',
            unit: 'ops',
            yellow: 0.1,
            red: 1,
            width: 8,
            queries: [
              {
                expr: `sum by (instance, result) (rate(csync_backup_commands_total{${HERE},verb!="imap probe",result!~"OK|none|IMAP_SYNC_CHECKSUM|IMAP_MAILBOX_NONEXISTENT"}[$__rate_interval])) > 0`,
                legend: '{{instance}} {{result}}',
              },
            ],
          }),
          graph({
            title: 'Answers within',
            description:
              'In how much time half and 99 % of the commands are answered, but for logins. From 100 ms on clients feel it, at 1 s look at the dashboard of ingest: disk, memory or threads.',
            unit: 's',
            yellow: 0.1,
            red: 1,
            width: 8,
            queries: [0.5, 0.99].map((share) => ({
              expr: quantile(share, 'ack_seconds', { by: 'instance', only: NO_LOGINS }),
              legend: `{{instance}} ${share * 100} %`,
            })),
          }),
          graph({
            title: 'Received',
            description:
              'Bytes from clients, a second. Compare with the same time yesterday: much more is a first push or a mailbox that is sent anew; nothing at all means that no client comes.',
            unit: 'Bps',
            width: 8,
            queries: [{ expr: perSecond('received_bytes_total'), legend: '{{instance}}' }],
          }),
          graph({
            title: 'Connections',
            description:
              'Connections that are open. At backup_max_connections (16,384 if not set) more are turned away: csync-backup sessions shows whose they are. None: no client reaches the server.',
            unit: 'short',
            yellow: 12_000,
            red: 16_000,
            width: 8,
            queries: [{ expr: `sum by (instance) (csync_backup_sessions{${HERE}})`, legend: '{{instance}}' }],
          }),
          graph({
            title: 'Logins that failed',
            description:
              'AUTHENTICATE commands without success. "login failed" in the log names client and user: a wrong sync_password, or somebody who guesses. unavailable: the credential file or saslauthd cannot be used, so that nobody can log in.',
            unit: 'ops',
            yellow: 0.01,
            red: 0.1,
            width: 8,
            queries: [
              {
                expr: `sum by (instance, result) (rate(csync_backup_logins_total{${HERE},result!="success"}[$__rate_interval]))`,
                legend: '{{instance}} {{result}}',
              },
            ],
          }),
        ],
      },
      {
        title: 'Is it kept well?',
        panels: [
          bars({
            title: 'Partitions, used',
            description:
              'How full each partition is. The dashboard of capacity says how long the room will last.',
            unit: 'percentunit',
            decimals: 0,
            yellow: 0.85,
            red: 0.95,
            max: 1,
            width: 8,
            queries: [
              {
                expr: `1 - csync_backup_partition_free_bytes{${HERE}} / csync_backup_partition_size_bytes{${HERE}}`,
                legend: '{{instance}} {{partition}}',
              },
            ],
          }),
          bars({
            title: 'Stale backups',
            description:
              'Backups by how long no client has changed them or asked about them. A few: users who were removed without telling. Many at once: replication from a mail server has ended; start it there.',
            unit: 'short',
            decimals: 0,
            yellow: 1,
            red: 100,
            width: 8,
            queries: ['1d', '2d', '7d', '30d'].map((age) => ({
              expr: `sum(csync_backup_stale_backups{${HERE},older_than="${age}"})`,
              legend: `longer than ${age}`,
            })),
          }),
          graph({
            title: 'Backups by their verification',
            description:
              'Never verified: new ones, they have their turn. Overdue: raise backup_maintenance_rate. Faulty: csync-backup verify -u USERID, see the log for the names.',
            unit: 'short',
            decimals: 0,
            width: 8,
            queries: [
              {
                expr: `csync_backup_verified_backups{${HERE},state!="all"}`,
                legend: '{{instance}} {{state}}',
              },
            ],
          }),
          bars({
            title: 'Commands, since their last success',
            description:
              'Time since each command that pushes what came of it (--push-gateway) last succeeded. More than it should be: does cron run it, and what did it write on standard error? None is pushed: nothing to see.',
            unit: 's',
            decimals: 0,
            yellow: 8 * DAY_S,
            red: 14 * DAY_S,
            noValue: 'none is pushed',
            width: 12,
            height: 6,
            queries: [
              {
                expr: 'time() - csync_backup_command_last_success_timestamp_seconds{task=~"verify|compact|drill|pull|doctor|stat"}',
                legend: '{{instance}} {{task}}',
              },
            ],
          }),
          list({
            title: 'What runs',
            description:
              'Versions, and what compresses. zlib takes half as much CPU time again: install libisal2 and libdeflate0. Different versions after an upgrade: restart the old ones.',
            unit: 'none',
            noValue: 'no server',
            width: 12,
            queries: [
              {
                expr: `csync_backup_build_info{${HERE}} * on (instance, job) group_left (engine) csync_backup_deflate_engine_info{${HERE}}`,
                legend: '',
              },
            ],
            columns: { instance: 'server', version: 'version', node: 'Node', engine: 'compression' },
          }),
        ],
      },
    ],
  });

function perSecond(figure: string): string {
  return `rate(csync_backup_${figure}{${HERE}}[$__rate_interval])`;
}

function mended(figure: string): string {
  return `sum(increase(csync_backup_${figure}{${HERE}}[1d]))`;
}
