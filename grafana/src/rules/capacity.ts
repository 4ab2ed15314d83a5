/** Is there room, and for how long? */
import { type AlertGroup, PLACE, series } from './rule.ts';

const of = (figure: string): string => series(`csync_backup_partition_${figure}`, { partition: 'p' });
const AT_P = { ...PLACE, partition: 'p' };

export const CAPACITY: AlertGroup = {
  name: 'csync-backup.capacity',
  about: 'Capacity',
  alerts: [
    {
      name: 'CsyncBackupPartitionFull',
      severity: 'critical',
      expr: 'instance_partition:csync_backup_partition_fill:ratio > 0.95',
      for: '10m',
      summary: 'A partition is more than 95 % full',
      shows: '{{ $labels.partition }}, {{ $value | humanizePercentage }}',
      description:
        'When it is full its users are refused; nothing that was acknowledged is lost. Make room, grow it, or move backups to another partition.',
      runbook: 'docs/operations.md#the-disk-is-full',
      fires: {
        at: '30m',
        series: { [of('size_bytes')]: '1000x40', [of('free_bytes')]: '40x40' },
        labels: AT_P,
        shown: 'p, 96%',
      },
      quiet: { at: '30m', series: { [of('size_bytes')]: '1000x40', [of('free_bytes')]: '60x40' } },
    },
    {
      name: 'CsyncBackupPartitionFilling',
      severity: 'warning',
      expr: `predict_linear(csync_backup_partition_free_bytes[1d], 7 * 86400) < 0
  and instance_partition:csync_backup_partition_fill:ratio > 0.6`,
      for: '1h',
      summary: 'A partition will be full within a week, if it goes on like today',
      shows: '{{ $labels.partition }}',
      description: 'Add room, move backups to another partition, or compact.',
      runbook: 'docs/operations.md#the-disk-is-full',
      fires: {
        at: '200m',
        series: { [of('size_bytes')]: '100000x300', [of('free_bytes')]: '30000-10x300' },
        labels: AT_P,
        shown: 'p',
      },
      // Slowly; and fast, but with more than a third free: a first push.
      quiet: {
        at: '200m',
        series: {
          [of('size_bytes')]: '100000x300',
          [of('free_bytes')]: '30000-1x300',
          [series('csync_backup_partition_size_bytes', { partition: 'q' })]: '100000x300',
          [series('csync_backup_partition_free_bytes', { partition: 'q' })]: '90000-10x300',
        },
      },
    },
    {
      name: 'CsyncBackupPartitionInodes',
      severity: 'critical',
      expr: 'csync_backup_partition_free_files / csync_backup_partition_files < 0.05',
      for: '10m',
      summary: 'A partition has less than 5 % of its inodes left',
      shows: '{{ $labels.partition }}, {{ $value | humanizePercentage }}',
      description:
        'Without inodes nobody can be backed up: each change takes one for a moment, each backup two for good. Remove other files, or add a partition.',
      runbook: 'docs/operations.md#the-disk-is-full',
      fires: {
        at: '30m',
        series: { [of('files')]: '1000x40', [of('free_files')]: '40x40' },
        labels: AT_P,
        shown: 'p, 4%',
      },
      // As btrfs, which has no fixed number.
      quiet: { at: '30m', series: { [of('files')]: '0x40', [of('free_files')]: '0x40' } },
    },
    {
      name: 'CsyncBackupPartitionUnreadable',
      severity: 'critical',
      expr: 'csync_backup_partition_readable == 0',
      for: '5m',
      summary: 'The filesystem of a partition does not answer, or has become read-only',
      shows: '{{ $labels.partition }}',
      description:
        'Is it mounted? Has the kernel made it read-only (dmesg)? Its users are refused meanwhile. Check it, mount it; there is nothing to restart.',
      runbook: 'docs/operations.md#a-partition-that-is-not-mounted',
      fires: {
        at: '10m',
        series: { [of('readable')]: '0x20' },
        labels: AT_P,
        shown: 'p',
      },
      quiet: { at: '10m', series: { [of('readable')]: '1x20' } },
    },
  ],
};
