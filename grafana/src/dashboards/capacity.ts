/** One server: what is used of it, and for how long that will do if it goes on as it did. */
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import { HERE, page } from './page.ts';
import { bars, figure, graph } from './panel.ts';

const DAY_S = 86_400;
const WINDOWS = ['1d', '7d', '30d', '90d'];
const USUAL_WINDOW = '7d';

/** Of how long the forecasts learn. */
function learnFrom(): dashboard.CustomVariableBuilder {
  return new dashboard.CustomVariableBuilder('learn')
    .label('Learn from')
    .description('The past that forecasts go by. Longer: steadier. Shorter: sees sooner what has changed.')
    .values(WINDOWS.join(','))
    .options(WINDOWS.map((text) => ({ text, value: text, selected: text === USUAL_WINDOW })))
    .current({ selected: true, text: USUAL_WINDOW, value: USUAL_WINDOW });
}

const free = `csync_backup_partition_free_bytes{${HERE}}`;
const size = `csync_backup_partition_size_bytes{${HERE}}`;
const stored = `csync_backup_partition_stored_bytes{${HERE}}`;

export const capacity = () =>
  page({
    uid: 'csync-backup-capacity',
    title: 'csync-backup: capacity of a server',
    description:
      'What is used of one server, and how long it will do if it goes on as in the time that "Learn from" says: disk first, then processors, threads and memory. For planning, once a month.',
    from: 'now-30d',
    refresh: '5m',
    isOfMany: false,
    variables: [learnFrom()],
    rows: [
      {
        title: 'Disk',
        panels: [
          figure({
            title: 'Full in',
            description:
              'When each partition will have no room left. Less than a month: order disks, move backups to another partition (csync-backup move), or keep less (backup_retention, compaction). "not filling": as much goes as comes.',
            unit: 's',
            yellow: 90 * DAY_S,
            red: 30 * DAY_S,
            decimals: 0,
            noValue: 'not filling',
            width: 6,
            height: 6,
            queries: [
              {
                expr: `${free} / (-deriv(csync_backup_partition_free_bytes{${HERE}}[$learn]) > 0)`,
                legend: '{{partition}}',
              },
            ],
          }),
          bars({
            title: 'Used, now and to come',
            description:
              'The share of each partition that is used now, in a month and in three, by the forecast. Red: there will be no room; act before, moving takes its time too.',
            unit: 'percentunit',
            decimals: 0,
            yellow: 0.8,
            red: 0.95,
            max: 1,
            width: 9,
            height: 6,
            queries: [
              { expr: `1 - ${free} / ${size}`, legend: '{{partition}} now' },
              {
                expr: `clamp_max(1 - predict_linear(csync_backup_partition_free_bytes{${HERE}}[$learn], ${30 * DAY_S}) / ${size}, 1)`,
                legend: '{{partition}} in a month',
              },
              {
                expr: `clamp_max(1 - predict_linear(csync_backup_partition_free_bytes{${HERE}}[$learn], ${90 * DAY_S}) / ${size}, 1)`,
                legend: '{{partition}} in three months',
              },
            ],
          }),
          bars({
            title: 'Inodes, now and in three months',
            description:
              'The share of inodes that are used. Each backup takes two; a filesystem made for large files may run out of them first: then add a partition with more.',
            unit: 'percentunit',
            decimals: 0,
            yellow: 0.8,
            red: 0.95,
            max: 1,
            width: 9,
            height: 6,
            noValue: 'no fixed number',
            queries: [
              {
                expr: `1 - csync_backup_partition_free_files{${HERE}} / (csync_backup_partition_files{${HERE}} > 0)`,
                legend: '{{partition}} now',
              },
              {
                expr: `clamp_max(1 - predict_linear(csync_backup_partition_free_files{${HERE}}[$learn], ${90 * DAY_S}) / (csync_backup_partition_files{${HERE}} > 0), 1)`,
                legend: '{{partition}} in three months',
              },
            ],
          }),
          graph({
            title: 'Free, and as foreseen a week before',
            description:
              'Free bytes of each partition, and what the forecast of a week ago said for that moment. Far apart: something has changed since; choose a shorter time to learn from before you rely on the forecast.',
            unit: 'bytes',
            width: 12,
            queries: [
              { expr: free, legend: '{{partition}} free' },
              {
                expr: `predict_linear(csync_backup_partition_free_bytes{${HERE}}[$learn] offset 7d, ${7 * DAY_S})`,
                legend: '{{partition}} foreseen',
              },
            ],
          }),
          graph({
            title: 'Growth of the backups',
            description:
              'By how much the data files grow a day, and how much compaction gives back. Growth without any compaction: set backup_compact_at.',
            unit: 'bytes',
            width: 12,
            queries: [
              {
                expr: `sum(deriv(csync_backup_partition_stored_bytes{${HERE}}[1d])) * ${DAY_S}`,
                legend: 'growth a day',
              },
              {
                expr: `increase(csync_backup_maintenance_freed_bytes_total{${HERE},task="compact"}[1d])`,
                legend: 'freed by compaction a day',
              },
            ],
          }),
          graph({
            title: 'Stored',
            description:
              'Bytes of the data files by partition. The rest of what is used there is not of backups: indexes (a few per cent), or files of somebody else.',
            unit: 'bytes',
            width: 8,
            isStacked: true,
            queries: [{ expr: stored, legend: '{{partition}}' }],
          }),
          graph({
            title: 'Compression',
            description:
              'Bytes of content for each byte of a data file. Usual mail comes to 1.3 to 2.5. It falls: more content that is compressed or encrypted already; plan for that.',
            unit: 'short',
            decimals: 2,
            yellow: 1.2,
            red: 1,
            width: 8,
            queries: [{ expr: `csync_backup_partition_compression_ratio{${HERE}}`, legend: '{{partition}}' }],
          }),
          graph({
            title: 'Size of a backup',
            description:
              'Bytes of data files for each backup, on average. Times the number of users to come, it is the room that they will take.',
            unit: 'bytes',
            width: 8,
            queries: [
              { expr: `${stored} / (csync_backup_partition_backups{${HERE}} > 0)`, legend: '{{partition}}' },
            ],
          }),
        ],
      },
      {
        title: 'Users',
        panels: [
          graph({
            title: 'Backups',
            description:
              'Users who have a backup and are not deleted. More than 100,000 have been tried in one store; beyond that divide them among servers.',
            unit: 'short',
            decimals: 0,
            yellow: 100_000,
            red: 500_000,
            width: 8,
            queries: [{ expr: `csync_backup_backups{${HERE},state="live"}`, legend: 'users' }],
          }),
          graph({
            title: 'Age of the last change',
            description:
              'How old the last change of half, 90 % and 99 % of the backups is. It rises with users who get no mail; if half of them get older together, mail servers do not sync.',
            unit: 's',
            yellow: 30 * DAY_S,
            red: 365 * DAY_S,
            width: 8,
            queries: [0.5, 0.9, 0.99].map((share) => ({
              expr: `histogram_quantile(${share}, csync_backup_backup_age_seconds_bucket{${HERE}})`,
              legend: `${share * 100} %`,
            })),
          }),
          graph({
            title: 'Verifying all takes',
            description:
              'How long a verification of everything takes at backup_maintenance_rate as it was used in the last day. Longer than backup_verify_every: raise the rate.',
            unit: 's',
            yellow: 20 * DAY_S,
            red: 30 * DAY_S,
            width: 8,
            queries: [
              {
                expr: `sum(${stored}) / (sum(rate(csync_backup_maintenance_bytes_total{${HERE},task="verify"}[1d])) > 0)`,
                legend: 'at the rate of the last day',
              },
            ],
          }),
        ],
      },
      {
        title: 'Work',
        panels: [
          figure({
            title: 'Busiest thread, at its peak',
            description:
              'The highest utilisation of any thread over five minutes in the last day, and the average in a month by the forecast, which takes a day of data. At 100 % it is at its limit: main needs a faster processor or a second server, store more backup_shards, deflate more backup_workers.',
            unit: 'percentunit',
            decimals: 0,
            yellow: 0.7,
            red: 0.9,
            width: 6,
            queries: [
              {
                expr: `max(max_over_time(rate(csync_backup_thread_active_seconds_total{${HERE}}[5m])[1d:1m]))`,
                legend: 'now',
              },
              {
                expr: `clamp(max(${inAMonth(`rate(csync_backup_thread_active_seconds_total{${HERE}}[5m])`)}), 0, 1)`,
                legend: 'on average in a month',
              },
            ],
          }),
          figure({
            title: 'Processors, at the peak',
            description:
              'Most processors in use over five minutes in the last day, and on average in a month by the forecast, which takes a day of data. Near the number that the machine has: add some, or a server.',
            unit: 'short',
            decimals: 1,
            width: 6,
            queries: [
              {
                expr: `max_over_time(sum(rate(csync_backup_cpu_seconds_total{${HERE}}[5m]))[1d:1m])`,
                legend: 'now',
              },
              {
                expr: `clamp_min(${inAMonth(`sum(rate(csync_backup_cpu_seconds_total{${HERE}}[5m]))`)}, 0)`,
                legend: 'on average in a month',
              },
            ],
          }),
          figure({
            title: 'Connections, at the peak',
            description:
              'Most connections at once in the last day, or a few less: the most of each state, added up. backup_max_connections (16,384 if not set) is the limit, and LimitNOFILE of the unit.',
            unit: 'short',
            decimals: 0,
            yellow: 12_000,
            red: 16_000,
            width: 6,
            queries: [
              { expr: `sum(max_over_time(csync_backup_sessions{${HERE}}[1d]))`, legend: 'connections' },
            ],
          }),
          figure({
            title: 'Memory, at the peak',
            description:
              'Most resident memory in the last day. Above what the machine can spare: lower backup_memory_limit, backup_workers or backup_shards.',
            unit: 'bytes',
            yellow: 1 << 30,
            red: 2 * (1 << 30),
            width: 6,
            queries: [
              { expr: `max_over_time(csync_backup_resident_memory_bytes{${HERE}}[1d])`, legend: 'memory' },
            ],
          }),
          graph({
            title: 'Threads at work',
            description:
              'The share of time that each thread works. Look at the peaks of working days: at 90 % answers get slower, at 100 % that part is at its limit.',
            unit: 'percentunit',
            yellow: 0.7,
            red: 0.9,
            width: 8,
            queries: [
              {
                expr: `rate(csync_backup_thread_active_seconds_total{${HERE}}[$__rate_interval])`,
                legend: '{{thread}}',
              },
            ],
          }),
          graph({
            title: 'Received',
            description:
              'Bytes from clients, a second. Its peaks beside those of the threads say how much more this machine can take.',
            unit: 'Bps',
            width: 8,
            queries: [
              {
                expr: `rate(csync_backup_received_bytes_total{${HERE}}[$__rate_interval])`,
                legend: 'received',
              },
            ],
          }),
          graph({
            title: 'Waiting for memory',
            description:
              'Connections that wait for memory, on average. More than one at the peaks of each day: raise backup_memory_limit.',
            unit: 'short',
            yellow: 1,
            red: 10,
            width: 8,
            queries: [
              {
                expr: `rate(csync_backup_back_pressure_seconds_total{${HERE}}[$__rate_interval])`,
                legend: 'connections',
              },
            ],
          }),
        ],
      },
    ],
  });

/** A forecast of what is looked at every five minutes; none from less than a day, in which there are nights and days. */
function inAMonth(expr: string): string {
  const past = `${expr}[$learn:5m]`;
  return `predict_linear(${past}, ${30 * DAY_S}) and count_over_time(${past}) >= 288`;
}
