/** What is on disk, what had to be mended, and what maintenance does about it. */
import { quantiles, rate } from './expressions.ts';
import { HERE, page } from './page.ts';
import { bars, figure, graph } from './panel.ts';

const DAY_S = 86_400;

export const store = () =>
  page({
    uid: 'csync-backup-store',
    title: 'csync-backup: store and maintenance',
    description:
      'The data files of one server: how they are written, what had to be mended, and verification, compaction, drills and snapshots.',
    from: 'now-24h',
    refresh: '1m',
    isOfMany: false,
    rows: [
      {
        title: 'Writing',
        panels: [
          graph({
            title: 'Sync of a data file',
            description:
              'How long the disk takes to make an acknowledged change durable. From 100 ms on each client feels it: see what else uses the disk, and its health (dmesg, SMART).',
            unit: 's',
            yellow: 0.1,
            red: 1,
            width: 8,
            queries: quantiles('store_sync_seconds'),
          }),
          graph({
            title: 'Commit of an index',
            description:
              'How long an index takes to be committed and synced at the end of a chunk. Slow as the data files: the disk. Slow alone: very large mailboxes.',
            unit: 's',
            yellow: 0.1,
            red: 1,
            width: 8,
            queries: quantiles('store_index_commit_seconds'),
          }),
          graph({
            title: 'Syncs, chunks, appends',
            description:
              'How many a second. Syncs are what the disk has to do for clients; about one for each sync of a client. Far more syncs than chunks: clients that send little at a time.',
            unit: 'ops',
            width: 8,
            queries: [
              { expr: rate('store_syncs_total'), legend: 'syncs of data files' },
              { expr: rate('store_chunks_total'), legend: 'chunks finished' },
              { expr: rate('store_appends_total'), legend: 'commands appended' },
            ],
          }),
          graph({
            title: 'Written',
            description:
              'Bytes of finished chunks, as they came and as they are on disk. The capacity dashboard says for how long there is room.',
            unit: 'Bps',
            width: 8,
            queries: [
              { expr: rate('store_content_bytes_total'), legend: 'content' },
              { expr: rate('store_written_bytes_total'), legend: 'in data files' },
            ],
          }),
          graph({
            title: 'Age of what no index has yet',
            description:
              'Age of the oldest chunk that is open. It is safe on disk, but a crash means to read it again. Half an hour: csync-backup sessions shows whose it is, csync-backup flush -A finishes it.',
            unit: 's',
            yellow: 600,
            red: 1800,
            width: 8,
            queries: [{ expr: `csync_backup_store_index_lag_seconds{${HERE}}`, legend: 'oldest open chunk' }],
          }),
          graph({
            title: 'Open backups',
            description:
              'Backups whose files are open, and chunks that are not finished. Each backup takes three descriptors: raise LimitNOFILE before it comes to a third of that.',
            unit: 'short',
            decimals: 0,
            yellow: 10_000,
            red: 20_000,
            width: 8,
            queries: [
              { expr: `csync_backup_store_open_backups{${HERE}}`, legend: 'backups' },
              { expr: `csync_backup_store_open_chunks{${HERE}}`, legend: 'chunks' },
            ],
          }),
          graph({
            title: 'Found open',
            description:
              'The share of backups that were open already as a client came for them. Low with many users who sync now and then, which is well; opening takes about a millisecond.',
            unit: 'percentunit',
            max: 1,
            width: 8,
            queries: [
              {
                expr: `${rate('store_cache_hits_total')} / (${rate('store_cache_hits_total')} + ${rate('store_cache_misses_total')} > 0)`,
                legend: 'of those asked for',
              },
            ],
          }),
          graph({
            title: 'Locks',
            description:
              'Requests refused as somebody else had the lock, and the time that others waited for it. For long: two clients for the same users, or a tool: csync-backup sessions, fuser on the file.',
            unit: 'ops',
            yellow: 0.1,
            red: 1,
            width: 8,
            queries: [
              { expr: rate('store_locks_refused_total'), legend: 'refused' },
              { expr: rate('store_lock_wait_seconds_count'), legend: 'waited' },
            ],
          }),
          graph({
            title: 'New backups',
            description:
              'Backups made for new users, an hour. A wave that nobody has announced: a mail server whose users have other names than before; see renaming users in docs/operations.md.',
            unit: 'short',
            yellow: 1000,
            red: 10_000,
            width: 8,
            queries: [{ expr: `3600 * ${rate('store_backups_created_total')}`, legend: 'an hour' }],
          }),
        ],
      },
      {
        title: 'What had to be mended',
        panels: [
          bars({
            title: 'In the time shown',
            description:
              'Each should be 0 in usual times. Recovered, rebuilt, changed by others: expected after a crash, a copy, or tools of Cyrus. The rest: search the log for level 50, which names backup and cause.',
            unit: 'short',
            decimals: 0,
            yellow: 1,
            red: 10,
            width: 12,
            height: 10,
            queries: [
              { expr: increase('store_failures_total'), legend: 'requests that failed' },
              { expr: increase('store_damaged_chunks_total'), legend: 'chunks found damaged' },
              { expr: increase('store_messages_lost_total'), legend: 'messages lost, asked for again' },
              {
                expr: increase('store_records_without_content_total'),
                legend: 'messages that clients lack themselves',
              },
              { expr: increase('store_recoveries_total'), legend: 'backups recovered' },
              { expr: increase('store_index_rebuilds_total'), legend: 'indexes rebuilt' },
              { expr: increase('store_stale_backups_total'), legend: 'changed by another program' },
              { expr: increase('store_messages_moved_total'), legend: 'messages moved to their user' },
              {
                expr: increase('store_catalog_checkpoint_failures_total'),
                legend: 'backups.db not put in order',
              },
            ],
          }),
          graph({
            title: 'Mailboxes asked for as a whole',
            description:
              'Asked for: the backup had not what the client took it to have. Come: it has it again. If far fewer come than were asked for, run a full sync (sync_client -A) on the mail server.',
            unit: 'short',
            decimals: 0,
            yellow: 100,
            red: 1000,
            width: 12,
            height: 10,
            queries: [
              {
                expr: `csync_backup_store_heals_requested_total{${HERE}}`,
                legend: 'asked for since the start',
              },
              { expr: `csync_backup_store_heals_completed_total{${HERE}}`, legend: 'come since the start' },
            ],
          }),
        ],
      },
      {
        title: 'Verification',
        panels: [
          figure({
            title: 'Damaged',
            description:
              'Backups in which the last verification found faults. csync-backup status names them; csync-backup verify -u USERID shows all findings; what is lost comes again with the next sync.',
            unit: 'none',
            red: 1,
            width: 4,
            height: 8,
            queries: [{ expr: verified('faulty'), legend: 'backups' }],
          }),
          figure({
            title: 'Overdue',
            description:
              'Backups that were not verified for longer than backup_verify_every. Many: raise backup_maintenance_rate. A few: in use all the time, or they cannot be read; the log says which.',
            unit: 'none',
            yellow: 1,
            red: 1000,
            width: 4,
            height: 8,
            queries: [{ expr: verified('overdue'), legend: 'backups' }],
          }),
          figure({
            title: 'Never verified',
            description:
              'New backups that wait for their first verification, which comes within backup_verify_every. csync-backup maintenance run verify -A does it now.',
            unit: 'none',
            width: 4,
            height: 8,
            queries: [{ expr: verified('never_verified'), legend: 'backups' }],
          }),
          graph({
            title: 'Read by maintenance',
            description:
              'Bytes a second that are read for it, by task. It stays below backup_maintenance_rate; if it is there all the time and backups are overdue, raise that.',
            unit: 'Bps',
            width: 12,
            height: 8,
            queries: [{ expr: rate('maintenance_read_bytes_total'), legend: '{{task}}' }],
          }),
          graph({
            title: 'Time for a backup',
            description:
              'How long maintenance works on one backup, 99 % of them at most. It grows with the largest backups; a client that comes meanwhile is let in at once.',
            unit: 's',
            yellow: 600,
            red: 3600,
            width: 12,
            queries: [
              {
                expr: `histogram_quantile(0.99, sum by (task, le) (rate(csync_backup_maintenance_seconds_bucket{${HERE}}[1h])))`,
                legend: '{{task}}',
              },
            ],
          }),
          graph({
            title: 'Backups dealt with',
            description:
              'By task and result, an hour. busy and cancelled: a client had the backup, it comes again. failed: search the log for "maintenance of a backup failed". faulty: see above.',
            unit: 'short',
            decimals: 0,
            width: 12,
            isStacked: true,
            queries: [
              {
                expr: `sum by (task, result) (increase(csync_backup_maintenance_jobs_total{${HERE}}[1h])) > 0`,
                legend: '{{task}}: {{result}}',
              },
            ],
          }),
          graph({
            title: 'Since the last success',
            description:
              'Time since each task last succeeded. More than twice the time at which it is due, and an alert comes: csync-backup maintenance says what runs, the log what is in the way.',
            unit: 's',
            yellow: 14 * DAY_S,
            red: 30 * DAY_S,
            width: 12,
            queries: [
              {
                expr: `time() - csync_backup_maintenance_last_success_timestamp_seconds{${HERE}}`,
                legend: '{{task}}',
              },
            ],
          }),
          graph({
            title: 'Time of a run over all',
            description:
              'How long the last run of each task over all backups took. From one of its times to the next: fewer times (backup_compact_at), or a higher backup_maintenance_rate.',
            unit: 's',
            yellow: DAY_S / 2,
            red: DAY_S,
            width: 6,
            queries: [{ expr: `csync_backup_maintenance_run_seconds{${HERE}}`, legend: '{{task}}' }],
          }),
          graph({
            title: 'Freed by compaction',
            description:
              'Bytes that backups became smaller by, a day. Nothing for days with backup_compact_at set: there is nothing to drop within backup_retention, or runs do not end; see the last success.',
            unit: 'bytes',
            width: 6,
            queries: [
              {
                expr: `increase(csync_backup_maintenance_freed_bytes_total{${HERE},task="compact"}[1d])`,
                legend: 'a day',
              },
            ],
          }),
          graph({
            title: 'Clients that wait for maintenance',
            description:
              'How long clients wait until maintenance has given up their backup. From a second on they feel it: csync-backup maintenance says what runs; a slow disk makes giving up slow.',
            unit: 's',
            yellow: 1,
            red: 10,
            width: 12,
            queries: quantiles('maintenance_wait_seconds'),
          }),
          bars({
            title: 'Runs in the time shown',
            description:
              'Runs over all backups, by how they ended. faulty: see the damaged ones above, and the log. incomplete: not every backup could be dealt with; the log says which and why.',
            unit: 'short',
            decimals: 0,
            redSeries: Object.fromEntries(
              ['compact', 'drill', 'pull', 'verify'].flatMap((task) => [
                [`${task}: faulty`, 1],
                [`${task}: incomplete`, 1],
              ]),
            ),
            noValue: 'none',
            width: 6,
            queries: [
              {
                expr: `sum by (task, result) (increase(csync_backup_maintenance_runs_total{${HERE}}[$__range])) > 0`,
                legend: '{{task}}: {{result}}',
              },
            ],
          }),
          bars({
            title: 'Found in the time shown',
            description:
              'Faults that verification has found. Each costs something: csync-backup status names the backups, csync-backup verify -u USERID shows what, and the next sync brings it again.',
            unit: 'short',
            decimals: 0,
            red: 1,
            width: 6,
            queries: [{ expr: increase('maintenance_faults_total'), legend: 'faults' }],
          }),
        ],
      },
      {
        title: 'Drills and snapshots',
        panels: [
          figure({
            title: 'Last good restore drill',
            description:
              'How long ago everything came back in a drill. Two weeks or more: csync-backup maintenance run drill -A, and see in the log why the others failed. "never": set backup_drill_every.',
            unit: 's',
            yellow: 8 * DAY_S,
            red: 14 * DAY_S,
            decimals: 0,
            noValue: 'never',
            width: 4,
            height: 8,
            queries: [
              {
                expr: `time() - csync_backup_maintenance_last_success_timestamp_seconds{${HERE},task="drill"}`,
                legend: 'ago',
              },
            ],
          }),
          bars({
            title: 'Drills in the time shown',
            description:
              'faulty: something did not come back; the log names the backup: verify it. incomplete: shows nothing; the log says why, run it again.',
            unit: 'short',
            decimals: 0,
            redSeries: { faulty: 1, incomplete: 1 },
            width: 5,
            queries: [
              {
                expr: `sum by (result) (increase(csync_backup_drill_runs_total{${HERE}}[$__range]))`,
                legend: '{{result}}',
              },
            ],
          }),
          bars({
            title: 'Messages in drills',
            description:
              'Messages that drills have restored and compared, in the time shown, and those that did not come back as they were: each of these is an error to look into, see the log.',
            unit: 'short',
            decimals: 0,
            redSeries: { 'not as they were': 1 },
            width: 5,
            queries: [
              { expr: increase('drill_messages_total'), legend: 'compared' },
              { expr: increase('drill_failures_total'), legend: 'not as they were' },
            ],
          }),
          graph({
            title: 'Frozen for snapshots',
            description:
              'The share of time for which clients had to wait for a snapshot. They wait for 30 minutes at most: if it stays at 100 %, csync-backup thaw ends it.',
            unit: 'percentunit',
            yellow: 0.5,
            red: 0.9,
            max: 1,
            width: 5,
            queries: [
              { expr: `avg_over_time(csync_backup_frozen{${HERE}}[$__rate_interval])`, legend: 'frozen' },
            ],
          }),
          bars({
            title: 'Freezes in the time shown',
            description:
              'By how they ended. thaw is as it should be. After a deadline or failed do not rely on that snapshot, and give the next one a longer --for.',
            unit: 'short',
            decimals: 0,
            redSeries: { deadline: 1, failed: 1 },
            width: 5,
            queries: [
              {
                expr: `sum by (end) (increase(csync_backup_freezes_total{${HERE}}[$__range]))`,
                legend: '{{end}}',
              },
            ],
          }),
        ],
      },
    ],
  });

function increase(figure: string): string {
  return `increase(csync_backup_${figure}{${HERE}}[$__range])`;
}

function verified(state: string): string {
  return `csync_backup_verified_backups{${HERE},state="${state}"}`;
}
