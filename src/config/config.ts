import type { PullServer } from './pull-values.ts';
import type { DailyTime } from './schedule-values.ts';

/** Where a listening socket is bound. */
export interface ListenAddress {
  /** A literal address or a host name; never a wildcard sign (`*` in the file is `::`, or `0.0.0.0` without IPv6). */
  host: string;
  /** 0: any free port. */
  port: number;
}

/** A directory that holds backups, from `backuppartition-NAME: PATH`. */
export interface PartitionConfig {
  name: string;
  /** Absolute. */
  path: string;
}

export type PartitionSelectMode =
  | 'random'
  | 'freespace-most'
  | 'freespace-percent-most'
  | 'freespace-percent-weighted'
  | 'freespace-percent-weighted-delta';

export type SaslMechanismName = 'SCRAM-SHA-256' | 'SCRAM-SHA-1' | 'PLAIN';

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';

/**
 * The effective configuration: every value checked, with units as the field names say. Plain data that can
 * be handed to workers. src/config/options.ts says which option each field comes from and what it means.
 */
export interface Config {
  /** The file that was read, or EMBEDDED_FILE. */
  file: string;
  servername: string;
  configDirectory: string;
  tempPath: string;

  admins: string[];
  allowPlaintext: boolean;
  failedLoginPauseMs: number;
  syncTimeoutMs: number;
  saslMechanisms: SaslMechanismName[];
  /** Socket of saslauthd; absent: passwords are checked against `passwdFile` only. */
  saslauthdPath?: string;
  passwdFile: string;

  defaultDomain: string;
  virtDomains: 'off' | 'userid' | 'on';
  unixHierarchySep: boolean;
  deletedPrefix: string;
  fullDirHash: boolean;

  /** Longest text literal; a message is limited by `maxMessageBytes` instead. */
  maxLiteralBytes: number;
  maxWordBytes: number;
  maxQuotedBytes: number;
  maxMessageBytes: number;
  maxConnections: number;

  /** PEM files, certificate chain first; two (such as RSA and EC) may be named, separated by a comma. */
  tlsServerCert?: string;
  /** PEM files in the order of `tlsServerCert`; absent: the key is in the certificate's file. */
  tlsServerKey?: string;
  /** PEM file of the authorities that verify servers to which this program connects (restore). */
  tlsServerCa?: string;
  /** No mechanism is offered before TLS. */
  tlsRequired: boolean;

  /** At least one; ordered by name. */
  partitions: PartitionConfig[];
  partitionSelectMode: PartitionSelectMode;
  /** Names of partitions that take no new users. */
  partitionSelectExclude: string[];
  /** Per cent of a partition in use above which it takes no new users; 0: no limit. */
  partitionSelectSoftUsageLimit: number;
  /** Number of selections for which figures of usage are kept; 0: for the life of the process. */
  partitionSelectUsageReinit: number;

  backupDbPath: string;
  backupStagingPath: string;
  /** 0: deleted content is kept for ever. */
  backupRetentionMs: number;
  backupKeepPrevious: boolean;
  /** 0: chunks are never combined. */
  backupCompactMinSizeBytes: number;
  /** 0: chunks are never split. */
  backupCompactMaxSizeBytes: number;
  backupCompactWorkThreshold: number;

  /** Local times of day at which the server compacts, in order; empty: never. */
  compactAt: DailyTime[];
  /** Each backup is verified once in this time; 0: never. */
  verifyEveryMs: number;
  /** How often a drill restores a sample; 0: never. */
  drillEveryMs: number;
  /** Backups of a drill, and messages of each of them. */
  drillBackups: number;
  drillMessages: number;
  /** Bytes a second that maintenance in the server reads; 0: no limit. */
  maintenanceRateBytes: number;

  /** Told when maintenance went well, `{task}` standing for what it did; absent: nobody is. */
  pingUrl?: string;

  pullServers: PullServer[];
  /** 0: the running server pulls nothing. */
  pullEveryMs: number;
  pullOlderThanMs: number;
  /** '': none. */
  pullChannel: string;
  /** '': none. */
  pullAuthname: string;
  pullPasswordFile?: string;

  listen: (ListenAddress & { /** TLS from the first byte. */ tls: boolean })[];
  metricsListen?: ListenAddress;
  /** Unix socket for administrators; absent: none. */
  adminSocket?: string;

  /** Threads of the deflate pool. */
  workers: number;
  /** Threads that own backups. */
  shards: number;
  /** Backups that stay open when they are released, in all shards together. */
  keepOpen: number;
  memoryLimitBytes: number;
  durability: 'ack' | 'restart' | 'none';
  /** A session that says nothing for this long gives up its locks. */
  idleReleaseMs: number;
  /** A chunk ends when its content is this long. */
  chunkMaxBytes: number;
  deflateEngine: 'auto' | 'isal' | 'zlib';
  logLevel: LogLevel;
}

/** `Config.file` when no file is used. */
export const EMBEDDED_FILE = '<embedded default>';
