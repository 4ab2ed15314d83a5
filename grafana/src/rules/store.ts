/** Is what was acknowledged still there, and does new mail get to the disk? */
import { type Alert, type AlertGroup, PLACE, series } from './rule.ts';

/** A counter of the store that should stand still. */
function counted(
  figure: string,
  window: string,
  rest: Pick<Alert, 'name' | 'severity' | 'summary' | 'description' | 'runbook'>,
): Alert {
  const name = `csync_backup_${figure}`;
  return {
    expr: `increase(${name}[${window}]) > 0`,
    ...rest,
    fires: { at: '15m', series: { [series(name)]: '0x10 2x20' }, labels: PLACE },
    // It has happened, but before.
    quiet: { at: '15m', series: { [series(name)]: '2x30' } },
  };
}

export const STORE: AlertGroup = {
  name: 'csync-backup.store',
  about: 'The store',
  alerts: [
    counted('store_failures_total', '10m', {
      name: 'CsyncBackupStoreFailures',
      severity: 'critical',
      summary: 'The store cannot read or write',
      description:
        'The disk is full, or reading or writing failed: "a request to the store failed" in the log names path and cause. Clients try again by themselves when it is put right.',
      runbook: 'docs/operations.md#the-disk-is-full',
    }),
    counted('store_damaged_chunks_total', '1h', {
      name: 'CsyncBackupChunksDamaged',
      severity: 'critical',
      summary: 'A data file is damaged',
      description:
        'The log names it. Damaged messages come again with the next sync of their mailbox; look at disk and memory, and verify that user.',
      runbook: 'docs/operations.md#a-corrupt-chunk',
    }),
    counted('store_messages_lost_total', '1h', {
      name: 'CsyncBackupMessagesLost',
      severity: 'critical',
      summary: 'Messages of a backup can no longer be read',
      description:
        'The mail servers are asked for them again. Look at disk and memory, and see by csync-backup verify that they have come.',
      runbook: 'docs/operations.md#a-corrupt-chunk',
    }),
    counted('store_records_without_content_total', '1d', {
      name: 'CsyncBackupMessagesMissing',
      severity: 'critical',
      summary: 'A mail server names messages that it cannot send',
      description:
        'Its own spool is damaged. Run reconstruct there on the mailbox that the log names, or restore the messages there.',
      runbook: 'docs/operations.md#log-messages-that-ask-for-action',
    }),
    counted('store_recoveries_total', '1d', {
      name: 'CsyncBackupRecoveries',
      severity: 'warning',
      summary: 'Backups were recovered as they were opened',
      description:
        'Expected after a crash, or when another program has appended; nothing acknowledged is lost. Otherwise look for the reason in the log.',
      runbook: 'docs/operations.md#recoveries-and-rebuilt-indexes',
    }),
    counted('store_index_rebuilds_total', '1d', {
      name: 'CsyncBackupIndexRebuilds',
      severity: 'warning',
      summary: 'Indexes were rebuilt from their data files',
      description:
        "Expected after a power failure, after Cyrus's tools have rewritten a backup, and for files that were copied without indexes. Otherwise look for the reason in the log.",
      runbook: 'docs/operations.md#recoveries-and-rebuilt-indexes',
    }),
    counted('store_catalog_checkpoint_failures_total', '1h', {
      name: 'CsyncBackupCatalogCheckpoint',
      severity: 'warning',
      summary: 'backups.db cannot be put in order; it is whole, but grows',
      description:
        'Mostly there is no space, or no right to make files, in configdirectory: see the log, and give it that.',
      runbook: 'docs/operations.md#log-messages-that-ask-for-action',
    }),
    counted('guid_mismatches_total', '1d', {
      name: 'CsyncBackupGuidMismatches',
      severity: 'warning',
      summary: 'A message did not have the SHA-1 that was announced',
      description:
        'It was refused. Damaged memory, disk or network on the side of the mail server that "refused" in the log names: look there.',
      runbook: 'docs/operations.md#clients-are-refused',
    }),
    {
      name: 'CsyncBackupThreadDied',
      severity: 'warning',
      expr: 'increase(csync_backup_thread_deaths_total[1d]) > 0',
      summary: 'A worker thread died and was replaced',
      description: 'A bug, or memory ran out. Report it with the line of the log.',
      runbook: 'docs/operations.md#it-restarts-by-itself',
      fires: {
        at: '30m',
        series: { [series('csync_backup_thread_deaths_total', { pool: 'store' })]: '0x20 1x20' },
        labels: { ...PLACE, pool: 'store' },
      },
      quiet: {
        at: '30m',
        series: { [series('csync_backup_thread_deaths_total', { pool: 'store' })]: '1x20 0x20' },
      },
    },
  ],
};
