/**
 * Every option, once: parsing, `csync-backup config` and the documentation follow from this table. Names,
 * units and defaults of Cyrus's options are those of Cyrus IMAP 3.10 (lib/imapoptions); where a default
 * differs the help text says why.
 */
import { availableParallelism, hostname } from 'node:os';
import { addressOrOff, listenAddresses } from './addresses.ts';
import { pullServers } from './pull-values.ts';
import { mechanismList, passwordChecks } from './sasl-options.ts';
import { dailyTimes, durationOrOff } from './schedule-values.ts';
import {
  certificateFiles,
  changed,
  duration,
  file,
  fileOrOff,
  integer,
  oneOf,
  oneOfOrSwitch,
  size,
  switchValue,
  taskUrl,
  text,
  type ValueType,
  words,
} from './values.ts';

export interface Option<T> {
  type: ValueType<Exclude<T, undefined>>;
  /** As it would stand in a file; a function where it depends on the machine; absent: no value. */
  default?: string | (() => string);
  /** For people, where `default` is a function. */
  defaultNote?: string;
  /** Options that give the value when this one is not in the file: names of older releases, more general options. */
  otherwise?: readonly string[];
  help: string;
}

/** An option that always has a value. */
function option<T>(
  type: ValueType<T>,
  fallback: string | { compute: () => string; note: string },
  help: string,
  otherwise: readonly string[] = [],
): Option<T> {
  const given =
    typeof fallback === 'string'
      ? { default: fallback }
      : { default: fallback.compute, defaultNote: fallback.note };
  return { type: type as Option<T>['type'], ...given, otherwise, help };
}

/** An option that may be without a value. */
function optional<T>(
  type: ValueType<T>,
  help: string,
  otherwise: readonly string[] = [],
): Option<T | undefined> {
  return { type: type as Option<T | undefined>['type'], otherwise, help };
}

/** Cyrus's BYTESIZE_UNLIMITED. */
const UNLIMITED_BYTES = 2 ** 31 - 1;
const INT_MIN = -(2 ** 31);
const INT_MAX = 2 ** 31 - 1;
const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const MINUTE_MS = 60_000;

const limitBytes = changed(size('B'), '0 for no limit but 2G', (bytes) =>
  bytes <= 0 || bytes > UNLIMITED_BYTES ? UNLIMITED_BYTES : bytes,
);
const kibibytesOrOff = changed(size('K'), '0 for off', (bytes) => Math.max(0, bytes));
const cores = (most: number) => ({
  compute: () => String(Math.max(1, Math.min(most, availableParallelism()))),
  note: `the number of processors, up to ${most}`,
});

export const OPTIONS = {
  configdirectory: optional(file, 'Directory for backups.db and other state. Required.'),
  temp_path: option(file, '/tmp', 'Directory for temporary files.'),
  servername: option(
    text,
    { compute: hostname, note: 'the name of the machine' },
    'Name of this server in its greeting.',
  ),

  admins: option(
    words('userids'),
    '',
    'Users that may back up and restore. A client that logs in as anybody else is refused every command.',
  ),
  allowplaintext: option(
    switchValue,
    'no',
    'Offer and accept PLAIN on a connection without TLS. SCRAM does not show the password and is always offered.',
  ),
  failedloginpause: option(
    changed(duration('s'), 'negative for none', (ms) => Math.max(0, ms)),
    '3s',
    'How long the answer to a failed login is held back.',
  ),
  sync_timeout: option(
    changed(duration('s'), 'at least 3s', (ms) => Math.max(3000, ms)),
    '30m',
    'A connection on which the client says nothing for this long is closed.',
  ),
  sasl_mech_list: option(mechanismList, 'SCRAM-SHA-256 SCRAM-SHA-1 PLAIN', 'Mechanisms that are offered.'),
  sasl_pwcheck_method: optional(
    passwordChecks,
    'Where the password of PLAIN is checked: "auxprop" is backup_passwd_file, "saslauthd" asks saslauthd as well. Without it saslauthd is asked if sasl_saslauthd_path is given.',
  ),
  sasl_saslauthd_path: optional(
    file,
    'Socket of saslauthd, /run/saslauthd/mux if sasl_pwcheck_method names saslauthd.',
  ),

  defaultdomain: option(text, 'internal', 'Domain that is left off userids and mailbox names.'),
  virtdomains: option(
    oneOfOrSwitch('off', 'userid', 'on'),
    'off',
    'Whether userids have domains. As on the mail servers.',
  ),
  unixhierarchysep: option(
    switchValue,
    'yes',
    'Mailbox names on the command line are written user/anne/Sent rather than user.anne.Sent.',
  ),
  deletedprefix: option(
    text,
    'DELETED',
    'First part of the names of deleted mailboxes. As on the mail servers.',
  ),
  fulldirhash: option(
    switchValue,
    'no',
    'Hash the whole userid, not its first letter, for the directory of a new backup.',
  ),

  maxliteral: option(
    limitBytes,
    '64M',
    "Longest text literal, such as a Sieve script or an annotation; backup_max_message_size limits messages. Higher than Cyrus's 128K because a client sends what is refused again and again.",
  ),
  maxquoted: option(limitBytes, '128K', 'Longest quoted string.'),
  maxword: option(limitBytes, '128K', 'Longest word.'),

  tls_server_cert: optional(
    certificateFiles,
    "PEM file of the server's certificate and its chain. Without it TLS is not offered. Two, separated by a comma, may be of different kinds, such as RSA and EC.",
    ['tls_cert_file'],
  ),
  tls_server_key: optional(
    certificateFiles,
    'PEM file of the key of tls_server_cert. Without it the key is in the file of the certificate.',
    ['tls_key_file'],
  ),
  tls_server_ca_file: optional(
    file,
    'PEM file of the authorities that vouch for servers to which a restore or a pull connects. Without it those of Node do.',
  ),

  partition_select_mode: option(
    oneOf(
      'random',
      'freespace-most',
      'freespace-percent-most',
      'freespace-percent-weighted',
      'freespace-percent-weighted-delta',
    ),
    'freespace-most',
    'How the partition of a new user is chosen.',
  ),
  partition_select_exclude: option(
    words('names of partitions', true),
    '',
    'Partitions that take no new users.',
  ),
  partition_select_soft_usage_limit: option(
    integer(0, 100),
    '0',
    'Per cent in use above which a partition takes no new users, unless all are; 0 for no limit.',
  ),
  partition_select_usage_reinit: option(
    integer(0, INT_MAX),
    '0',
    'Number of new users after which free space is measured again; 0: when the figures are a minute old.',
  ),

  backup_db: option(oneOf('twoskip'), 'twoskip', 'Format of backups.db.'),
  backup_db_path: option(file, '{configdirectory}/backups.db', 'File that maps users to their backups.'),
  backup_staging_path: option(
    file,
    '{temp_path}/backup',
    'Directory for messages whose owner is not known yet.',
  ),
  backup_retention: option(
    changed(duration('d'), '0 or negative for ever', (ms) => Math.max(0, ms)),
    '7d',
    'How long content is kept after it was deleted on the mail server.',
    ['backup_retention_days'],
  ),
  backup_keep_previous: option(
    switchValue,
    'no',
    'Compaction and reindexing keep the files that they replace, with the time appended to their names.',
  ),
  backup_compact_minsize: option(
    kibibytesOrOff,
    '0',
    'Compaction combines chunks smaller than this with their neighbours.',
  ),
  backup_compact_maxsize: option(kibibytesOrOff, '0', 'Compaction splits chunks larger than this.'),
  backup_compact_work_threshold: option(
    changed(integer(INT_MIN, INT_MAX), 'less than 1 is 1', (count) => Math.max(1, count)),
    '1',
    'Number of chunks of a backup that must need compaction before it is compacted.',
  ),

  backup_compact_at: option(
    dailyTimes,
    'off',
    'When the running server compacts all backups: local times of day. Then no cron is needed.',
  ),
  backup_verify_every: option(
    durationOrOff('d', MINUTE_MS),
    '30d',
    'The running server verifies each backup once in this time, spread evenly, least recently verified first.',
  ),
  backup_drill_every: option(
    durationOrOff('d', MINUTE_MS),
    'off',
    'How often the running server restores a random sample of the backups into a scratch folder in backup_staging_path and compares all of it with their records.',
  ),
  backup_drill_backups: option(
    integer(1, 1_000_000),
    '20',
    'About how many backups, chosen at random, such a drill takes.',
  ),
  backup_drill_messages: option(
    integer(1, 100_000),
    '100',
    'How many messages of each of them, chosen at random, it restores.',
  ),
  backup_maintenance_rate: option(
    size('B', { min: 0 }),
    '20M',
    'Bytes that maintenance by the running server reads in a second; 0 for no limit.',
  ),

  backup_ping_url: optional(
    taskUrl,
    "What the running server asks (GET) when maintenance went well: a dead man's switch such as healthchecks.io, which raises the alarm when it hears nothing. After each run of compaction, of a drill and of pulling in which all backups could be dealt with and nothing was wrong, and for verification at most once an hour, while no backup is known to be damaged.",
  ),

  backup_pull_servers: option(
    pullServers,
    '',
    'IMAP servers that are asked for backups of users (XBACKUP, with xbackup_enabled there), the first that knows the user. STARTTLS is required unless said otherwise.',
  ),
  backup_pull_every: option(
    durationOrOff('h', MINUTE_MS),
    'off',
    'How often the running server looks for backups that are older than backup_pull_older_than, and has them pushed.',
  ),
  backup_pull_older_than: option(
    duration('h', { minMs: MINUTE_MS }),
    '1d',
    'Age of the last change, and of the last pull, from which on a backup is pulled.',
  ),
  backup_pull_channel: option(
    text,
    '',
    'Replication channel that the IMAP servers use to push here; empty for their options without a channel.',
  ),
  backup_pull_authname: option(
    text,
    '',
    'User whom "csync-backup pull" and backup_pull_every log in as, an admin of the IMAP servers.',
  ),
  backup_pull_password_file: optional(
    file,
    'File with the password of backup_pull_authname in its first line, of mode 0600 or 0640.',
  ),

  backup_listen: option(listenAddresses, '*:2005', 'Where sync_client connects.'),
  backup_metrics_listen: option(
    addressOrOff,
    '127.0.0.1:9205',
    'Where GET /metrics and GET /healthz are answered.',
  ),
  backup_admin_socket: option(
    fileOrOff,
    '{configdirectory}/csync-backup.sock',
    'Unix socket through which "csync-backup status", "freeze", "pause" and the like speak to the running server. Only root and the user of the server may use it.',
  ),
  backup_passwd_file: option(
    file,
    '{configdirectory}/csync-backup.passwd',
    'Credentials of clients, kept by "csync-backup passwd": SCRAM keys, from which no password can be read.',
  ),
  backup_tls_required: option(
    switchValue,
    'no',
    'Offer no way to log in before TLS: clients then start TLS by themselves.',
    ['tls_required'],
  ),
  backup_max_connections: option(
    integer(1, 1_000_000),
    '16384',
    'Number of connections at once; one more is told BYE.',
  ),
  backup_max_message_size: option(
    size('B', { min: KIB, max: 4 * GIB - 1 }),
    '2G',
    'Longest message that is taken. Nothing of it is held in memory.',
  ),
  backup_memory_limit: option(
    size('B', { min: 64 * MIB }),
    '256M',
    'Memory that the server may use for the data of all clients together and for itself; over it clients wait.',
  ),
  backup_durability: option(
    oneOf('ack', 'restart', 'none'),
    'ack',
    'When data is synced to disk: before each OK on which the client builds, at RESTART, or never. "none" loses data in a crash and is for measurements only.',
  ),
  backup_idle_release: option(
    duration('s', { minMs: 1000 }),
    '10s',
    'A session that says nothing for this long gives up its locks on backups, so that tools can have them.',
  ),
  backup_chunk_max_size: option(
    size('B', { min: 64 * KIB, max: GIB }),
    '64M',
    'A chunk of a data file ends when its content is this long.',
  ),
  backup_deflate_engine: option(
    oneOf('auto', 'isal', 'zlib'),
    'auto',
    "What compresses: isa-l of the system (libisal2), Node's zlib, or the faster of those that are there.",
  ),
  backup_workers: option(integer(1, 256), cores(16), 'Threads that compress.'),
  backup_shards: option(integer(1, 64), cores(4), 'Threads that write; each has its own users.'),
  backup_keep_open: option(
    integer(0, 20_000),
    '192',
    'Number of backups that stay open when nobody uses them any more. To open one costs about a millisecond of a processor; each that is open takes three of the files that the process may open, and 0.25 MB, which are not a part of backup_memory_limit beyond the default.',
  ),
  backup_log_level: option(
    oneOf('fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'),
    'info',
    'Least important level of message in the log.',
  ),
} as const;

export type OptionName = keyof typeof OPTIONS;

/** The parsed values of all options. */
export type OptionValues = {
  -readonly [Name in OptionName]: (typeof OPTIONS)[Name] extends Option<infer T> ? T : never;
};

/** The table as rows, in its order. */
export const OPTION_LIST = Object.entries(OPTIONS) as [OptionName, Option<unknown>][];
