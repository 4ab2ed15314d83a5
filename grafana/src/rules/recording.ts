/** Rates and ratios that alerts share, and that are worth keeping for years or for a Prometheus of many sites. */
import { PLACE, type Recording, series } from './rule.ts';

const command = (verb: string, result: string): string =>
  series('csync_backup_commands_total', { verb, result });
const partition = (figure: string, name: string): string =>
  series(`csync_backup_partition_${figure}`, { partition: name });
const ack = (le: string): string => series('csync_backup_ack_seconds_bucket', { verb: 'RESTART', le });

export const RECORDINGS: Recording[] = [
  {
    record: 'instance:csync_backup_received_bytes:rate5m',
    expr: 'rate(csync_backup_received_bytes_total[5m])',
    about: 'bytes a second from clients',
    series: { [series('csync_backup_received_bytes_total')]: '0+6000x40' },
    gives: [{ labels: PLACE, value: 100 }],
  },
  {
    record: 'instance:csync_backup_messages_received:rate5m',
    expr: 'rate(csync_backup_messages_received_total[5m])',
    about: 'new messages a second',
    series: { [series('csync_backup_messages_received_total')]: '0+120x40' },
    gives: [{ labels: PLACE, value: 2 }],
  },
  {
    record: 'instance_verb:csync_backup_commands:rate5m',
    expr: 'sum by (instance, job, verb) (rate(csync_backup_commands_total[5m]))',
    about: 'commands a second by verb',
    series: {
      [command('GET USER', 'OK')]: '0+120x40',
      [command('GET USER', 'IMAP_MAILBOX_LOCKED')]: '0+60x40',
      [command('RESTART', 'OK')]: '0+60x40',
    },
    gives: [
      { labels: { ...PLACE, verb: 'GET USER' }, value: 3 },
      { labels: { ...PLACE, verb: 'RESTART' }, value: 1 },
    ],
  },
  {
    record: 'instance:csync_backup_syncs_refused:ratio_rate15m',
    // A refusal ends what the client was about, so refusals per sync are about the share of syncs that fail.
    // A client that looks whether the port speaks IMAP is told so, and goes on.
    // IMAP_SYNC_CHECKSUM and IMAP_MAILBOX_NONEXISTENT are turns of the protocol, after which clients go on.
    expr: `sum by (instance, job) (rate(csync_backup_commands_total{verb!~"AUTHENTICATE|imap probe",result!~"OK|none|IMAP_SYNC_CHECKSUM|IMAP_MAILBOX_NONEXISTENT"}[15m]))
  / sum by (instance, job) (rate(csync_backup_syncs_total[15m]))`,
    about: 'refusals per sync',
    series: {
      [command('GET USER', 'OK')]: '0+60x40',
      [command('GET USER', 'IMAP_MAILBOX_LOCKED')]: '0+6x40',
      [command('APPLY MAILBOX', 'BAD')]: '0+9x40',
      [command('APPLY MAILBOX', 'IMAP_SYNC_CHECKSUM')]: '0+30x40',
      [command('imap probe', 'BAD')]: '0+60x40',
      [series('csync_backup_syncs_total')]: '0+60x40',
    },
    gives: [{ labels: PLACE, value: 0.25 }],
  },
  {
    record: 'instance:csync_backup_ack_seconds:p99_5m',
    // A login that fails is made to wait.
    expr: 'histogram_quantile(0.99, sum by (instance, job, le) (rate(csync_backup_ack_seconds_bucket{verb!="AUTHENTICATE"}[5m])))',
    about: 'within how many seconds 99 % of the commands are answered, but for logins',
    series: { [ack('1')]: '0+98x40', [ack('2')]: '0+100x40', [ack('+Inf')]: '0+100x40' },
    gives: [{ labels: PLACE, value: 1.5 }],
  },
  {
    record: 'instance_thread:csync_backup_thread_utilisation:ratio_rate5m',
    expr: 'rate(csync_backup_thread_active_seconds_total[5m])',
    about: 'the share of time that a thread works',
    series: { [series('csync_backup_thread_active_seconds_total', { thread: 'main' })]: '0+30x40' },
    gives: [{ labels: { ...PLACE, thread: 'main' }, value: 0.5 }],
  },
  {
    record: 'instance_partition:csync_backup_partition_fill:ratio',
    expr: '1 - csync_backup_partition_free_bytes / csync_backup_partition_size_bytes',
    about: "the share of a partition's filesystem that is used",
    series: { [partition('size_bytes', 'p')]: '1000x40', [partition('free_bytes', 'p')]: '250x40' },
    gives: [{ labels: { ...PLACE, partition: 'p' }, value: 0.75 }],
  },
  {
    record: 'instance:csync_backup_stored_bytes:sum',
    expr: 'sum by (instance, job) (csync_backup_partition_stored_bytes)',
    about: 'bytes of all data files',
    series: { [partition('stored_bytes', 'p')]: '1000x40', [partition('stored_bytes', 'q')]: '500x40' },
    gives: [{ labels: PLACE, value: 1500 }],
  },
  {
    record: 'instance:csync_backup_compression:ratio',
    expr: `sum by (instance, job) (csync_backup_partition_stored_bytes)
  / (sum by (instance, job) (csync_backup_partition_content_bytes) > 0)`,
    about: 'size of the data files to that of their content',
    series: {
      [partition('stored_bytes', 'p')]: '1000x40',
      [partition('stored_bytes', 'q')]: '500x40',
      [partition('content_bytes', 'p')]: '3000x40',
      [partition('content_bytes', 'q')]: '0x40',
    },
    gives: [{ labels: PLACE, value: 0.5 }],
  },
];
