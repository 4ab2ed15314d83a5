import type { Config, PartitionConfig } from './config.ts';
import type { OptionValues } from './options.ts';
import { PARTITION_PREFIX } from './partitions.ts';

/** Debian's place, which is also where most other systems' links lead. */
const SASLAUTHD_SOCKET = '/run/saslauthd/mux';

/** Options under the names and in the shape that the program uses. */
export function effectiveConfig(file: string, options: OptionValues, partitions: PartitionConfig[]): Config {
  return {
    file,
    servername: options.servername,
    configDirectory: options.configdirectory!, // loadConfig() refuses a file without it
    tempPath: options.temp_path,

    admins: options.admins,
    allowPlaintext: options.allowplaintext,
    failedLoginPauseMs: options.failedloginpause,
    syncTimeoutMs: options.sync_timeout,
    saslMechanisms: options.sasl_mech_list,
    saslauthdPath: saslauthdPath(options),
    passwdFile: options.backup_passwd_file,

    defaultDomain: options.defaultdomain,
    virtDomains: options.virtdomains,
    unixHierarchySep: options.unixhierarchysep,
    deletedPrefix: options.deletedprefix,
    fullDirHash: options.fulldirhash,

    maxLiteralBytes: options.maxliteral,
    maxWordBytes: options.maxword,
    maxQuotedBytes: options.maxquoted,
    maxMessageBytes: options.backup_max_message_size,
    maxConnections: options.backup_max_connections,

    tlsServerCert: options.tls_server_cert || undefined,
    tlsServerKey: options.tls_server_key || undefined,
    tlsServerCa: options.tls_server_ca_file,
    tlsRequired: options.backup_tls_required,

    partitions,
    partitionSelectMode: options.partition_select_mode,
    partitionSelectExclude: options.partition_select_exclude,
    partitionSelectSoftUsageLimit: options.partition_select_soft_usage_limit,
    partitionSelectUsageReinit: options.partition_select_usage_reinit,

    backupDbPath: options.backup_db_path,
    backupStagingPath: options.backup_staging_path,
    backupRetentionMs: options.backup_retention,
    backupKeepPrevious: options.backup_keep_previous,
    backupCompactMinSizeBytes: options.backup_compact_minsize,
    backupCompactMaxSizeBytes: options.backup_compact_maxsize,
    backupCompactWorkThreshold: options.backup_compact_work_threshold,

    compactAt: options.backup_compact_at,
    verifyEveryMs: options.backup_verify_every,
    drillEveryMs: options.backup_drill_every,
    drillBackups: options.backup_drill_backups,
    drillMessages: options.backup_drill_messages,
    maintenanceRateBytes: options.backup_maintenance_rate,

    pingUrl: options.backup_ping_url,
    pullServers: options.backup_pull_servers,
    pullEveryMs: options.backup_pull_every,
    pullOlderThanMs: options.backup_pull_older_than,
    pullChannel: options.backup_pull_channel,
    pullAuthname: options.backup_pull_authname,
    pullPasswordFile: options.backup_pull_password_file,

    listen: options.backup_listen,
    metricsListen: options.backup_metrics_listen === 'off' ? undefined : options.backup_metrics_listen,
    adminSocket: options.backup_admin_socket || undefined,

    workers: options.backup_workers,
    shards: options.backup_shards,
    keepOpen: options.backup_keep_open,
    memoryLimitBytes: options.backup_memory_limit,
    durability: options.backup_durability,
    idleReleaseMs: options.backup_idle_release,
    chunkMaxBytes: options.backup_chunk_max_size,
    deflateEngine: options.backup_deflate_engine,
    logLevel: options.backup_log_level,
  };
}

function saslauthdPath(options: OptionValues): string | undefined {
  const methods = options.sasl_pwcheck_method;
  if (methods === undefined) return options.sasl_saslauthd_path;
  return methods.includes('saslauthd') ? (options.sasl_saslauthd_path ?? SASLAUTHD_SOCKET) : undefined;
}

/** What each option would be if its value were its name. */
const NAMES = new Proxy({}, { get: (_, name) => name }) as OptionValues;
const FIELDS = effectiveConfig('', NAMES, []) as unknown as Record<keyof Config, string>;

/** The options that a field comes from, as they stand in the file. */
export function optionsOf(field: keyof Config): string[] {
  if (field === 'partitions') return [`${PARTITION_PREFIX}NAME`];
  if (field === 'saslauthdPath') return ['sasl_pwcheck_method', 'sasl_saslauthd_path'];
  return [FIELDS[field]];
}
