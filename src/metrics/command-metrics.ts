/** Metrics of a command that was run by hand or by cron, which a Pushgateway keeps until they are fetched. */
import { Gauge, Registry } from './prom-client.ts';

export const COMMAND_PREFIX = 'csync_backup_command_';

/** Figures that the summaries of commands have: their names without the prefix, units last. */
export const COMMAND_FIGURES = {
  backups: ['backups', 'Backups that the command was about.'],
  done: ['backups_done', 'Backups that were dealt with.'],
  failed: ['failed', 'Backups (of a restore of all: users) that could not be dealt with.'],
  ok: ['backups_ok', 'Backups without a fault.'],
  faulty: ['backups_faulty', 'Backups with faults.'],
  notVerified: ['backups_not_verified', 'Backups that could not be verified.'],
  damaged: ['backups_damaged', 'Backups that turned out to be damaged.'],
  compacted: ['backups_compacted', 'Backups that are smaller now.'],
  pulled: ['backups_pulled', 'Backups that IMAP servers have pushed.'],
  faults: ['faults', 'Faults that were found.'],
  notices: ['notices', 'Notices that were found.'],
  freedBytes: ['freed_bytes', 'Bytes that backups are smaller by.'],
  removedBytes: ['removed_bytes', 'Bytes of backups that were removed for good.'],
  storedBytes: ['stored_bytes', 'Bytes of the data files.'],
  contentBytes: ['content_bytes', 'Bytes of these uncompressed.'],
  users: ['users', 'Users who were to be restored.'],
  complete: ['users_complete', 'Users who were restored whole.'],
  mailboxes: ['mailboxes', 'Mailboxes that were restored.'],
  messages: ['messages', 'Messages that were restored, or compared by a drill.'],
  bytes: ['message_bytes', 'Bytes of these messages.'],
  messagesPresent: ['messages_present', 'Messages that were there already.'],
  messagesDamaged: ['messages_damaged', 'Messages that the backup has lost.'],
  messagesRefused: ['messages_refused', 'Messages that the target did not take.'],
  failures: ['drill_failures', 'Messages that a drill did not get back, or not as they were.'],
  entries: ['catalog_entries', 'Entries that backups.db should have.'],
  missing: ['catalog_entries_missing', 'Entries of backups.db whose files are gone.'],
  unreadable: ['files_unreadable', 'Data files of which it cannot be told whose they are.'],
  checks: ['checks', 'Checks of a doctor.'],
  warnings: ['warnings', 'Those that ended in a warning.'],
  errors: ['errors', 'Those that ended in an error.'],
} as const;

export type CommandFigure = keyof typeof COMMAND_FIGURES;

export interface CommandResult {
  /** When it began, in Unix ms. */
  startedMs: number;
  endedMs: number;
  exitStatus: number;
  summary: Readonly<Partial<Record<CommandFigure, number>>>;
}

/** One after the other as they are declared; none is in a registry yet. */
export function createCommandMetrics() {
  const gauge = (name: string, help: string) =>
    new Gauge({ name: COMMAND_PREFIX + name, help, registers: [] });
  const figures = Object.entries(COMMAND_FIGURES).map(([key, [name, help]]) => [key, gauge(name, help)]);
  return {
    exitStatus: gauge('exit_status', 'Exit status of the last run: 0 if all went well.'),
    duration: gauge('duration_seconds', 'Time that the last run took.'),
    ended: gauge('end_timestamp_seconds', 'When the last run ended, in Unix time.'),
    lastSuccess: gauge(
      'last_success_timestamp_seconds',
      'When a run last ended with exit status 0, in Unix time. A run that fails leaves it as it is.',
    ),
    ...(Object.fromEntries(figures) as Record<CommandFigure, Gauge>),
  };
}

/** In Prometheus's text format: what the command has something to say of. */
export async function commandMetricsText(result: CommandResult): Promise<string> {
  const { startedMs, endedMs, exitStatus, summary } = result;
  const registry = new Registry();
  const metrics = createCommandMetrics();
  const values: Partial<Record<keyof typeof metrics, number>> = {
    ...summary,
    exitStatus,
    duration: (endedMs - startedMs) / 1000,
    ended: endedMs / 1000,
    ...(exitStatus === 0 && { lastSuccess: endedMs / 1000 }),
  };
  for (const [key, metric] of Object.entries(metrics)) {
    const value = values[key as keyof typeof metrics];
    if (typeof value !== 'number') continue;
    registry.registerMetric(metric);
    metric.set(value);
  }
  return await registry.metrics();
}
