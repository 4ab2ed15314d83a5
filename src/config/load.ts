/** From a file, or none, to a checked Config with the origin of every value. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { type ConfEntry, readConfFile } from './conf-file.ts';
import { type Config, EMBEDDED_FILE } from './config.ts';
import { rejectContradictions } from './contradictions.ts';
import { effectiveConfig } from './effective.ts';
import { embeddedEntries } from './embedded.ts';
import { OPTION_LIST, type Option, type OptionValues } from './options.ts';
import { PARTITION_PREFIX, readPartitions } from './partitions.ts';
import { type ConfigProblem, configInvalid } from './problems.ts';
import { ValueError } from './units.ts';
import { rejectUnknown } from './unknown.ts';

/** Ours, as docs/operations.md has it. */
const OWN_FILE = '/etc/csync-backup.conf';
/** Cyrus's default; used if it names a backup partition. */
const SYSTEM_FILE = '/etc/imapd.conf';

export interface ConfigSource {
  /** What -C names. */
  file?: string;
  /** In place of /etc/csync-backup.conf. */
  ownFile?: string;
  /** In place of /etc/imapd.conf; ours is not looked for then, unless it is named too. */
  systemFile?: string;
  /** Where the data of the embedded default lies; the working directory if absent. */
  cwd?: string;
  /**
   * Takes partitions as they are, be they not mounted or read-only: for whoever makes no new backups, and must be able
   * to read those on the others.
   */
  anyPartitions?: boolean;
}

/** Where a value comes from. `option` is there if it is not the option itself, such as an older name. */
export type Origin =
  | { source: 'file'; file: string; line: number; option?: string }
  | { source: 'embedded' }
  | { source: 'default' };

export interface EffectiveValue {
  option: string;
  /** As it may stand in a file; absent: the option has no value. */
  value?: string;
  origin: Origin;
}

export interface LoadedConfig {
  config: Config;
  /** Every option, in the order of the table, and each partition. */
  values: EffectiveValue[];
}

/**
 * The configuration from `source.file`; without one from /etc/csync-backup.conf if there is one; from /etc/imapd.conf if
 * that has a `backuppartition-*` option; else the embedded default.
 *
 * @throws BackupError CONFIG_INVALID that names each thing that is wrong: file, line, value and what is allowed
 */
export function loadConfig(source: ConfigSource): Config {
  return loadConfigWithOrigins(source).config;
}

/**
 * loadConfig() with where each value comes from, for `csync-backup config`.
 *
 * @throws BackupError CONFIG_INVALID
 */
export function loadConfigWithOrigins(source: ConfigSource): LoadedConfig {
  const { file, entries, problems } = chooseEntries(source);
  const embedded = file === EMBEDDED_FILE;
  const isPartition = ({ key }: ConfEntry): boolean => key.startsWith(PARTITION_PREFIX);
  const byKey = new Map(entries.map((entry) => [entry.key, entry]));
  // What is missing may stand in the part that could not be read.
  const whole = problems.length === 0;
  rejectUnknown(entries, problems);

  const parsed: Record<string, unknown> = {};
  const values: EffectiveValue[] = [];
  // Paths may begin with a directory that is itself an option; the table has these two first.
  const expand = (value: string): string =>
    value.replace(/^\{(configdirectory|temp_path)\}/i, (whole, name: string) => {
      const directory = parsed[name.toLowerCase()];
      return typeof directory === 'string' ? directory : whole;
    });

  for (const [name, option] of OPTION_LIST) {
    const entry = [name, ...(option.otherwise ?? [])].map((key) => byKey.get(key)).find(Boolean);
    parsed[name] = readOption(option, entry, expand, problems);
    values.push({
      option: name,
      // An empty list prints as nothing, which cannot stand in a file.
      value: parsed[name] === undefined ? undefined : option.type.print(parsed[name]) || undefined,
      origin: originOf(entry, name),
    });
  }

  if (problems.length === 0) rejectContradictions(parsed as OptionValues, byKey, problems);
  // Without it the defaults that begin with {configdirectory} would be wrong as well, in silence.
  if (whole && !byKey.has('configdirectory')) {
    const reason = 'is not given';
    problems.push({ file, line: 0, subject: 'configdirectory', reason, allowed: 'a directory for state' });
  }
  const partitionEntries = entries.filter(isPartition);
  if (whole && partitionEntries.length === 0) {
    const reason = 'is not given; at least one is needed';
    const allowed = 'backuppartition-NAME: PATH of a directory for backups';
    problems.push({ file, line: 0, subject: 'backuppartition-NAME', reason, allowed });
  }
  const mustExist = !embedded && !source.anyPartitions;
  const partitions = readPartitions(partitionEntries, expand, { mustExist }, problems);
  if (problems.length > 0) throw configInvalid(file, problems);

  for (const entry of partitionEntries) {
    const value = path.resolve(expand(entry.value));
    values.push({ option: entry.key, value, origin: originOf(entry, entry.key) });
  }
  return { config: effectiveConfig(file, parsed as OptionValues, partitions), values };
}

function chooseEntries(source: ConfigSource): {
  file: string;
  entries: ConfEntry[];
  problems: ConfigProblem[];
} {
  const systemFile = source.systemFile ?? SYSTEM_FILE;
  if (source.file !== undefined) {
    const file = path.resolve(source.file);
    return { file, ...readConfFile(file) };
  }
  const ownFile = source.ownFile ?? (source.systemFile === undefined ? OWN_FILE : undefined);
  if (ownFile !== undefined && existsSync(ownFile)) return { file: ownFile, ...readConfFile(ownFile) };
  if (existsSync(systemFile)) {
    const read = readConfFile(systemFile);
    // With problems it cannot be told whether it is meant for us: say so rather than serve something else.
    if (read.problems.length > 0 || read.entries.some((entry) => entry.key.startsWith(PARTITION_PREFIX))) {
      return { file: systemFile, ...read };
    }
  }
  return { file: EMBEDDED_FILE, entries: embeddedEntries(source.cwd ?? process.cwd()), problems: [] };
}

function readOption(
  option: Option<unknown>,
  entry: ConfEntry | undefined,
  expand: (value: string) => string,
  problems: ConfigProblem[],
): unknown {
  const fallback = typeof option.default === 'function' ? option.default() : option.default;
  const text = entry?.value ?? fallback;
  if (text === undefined) return undefined;
  try {
    return option.type.parse(option.type.isPath ? expand(text) : text);
  } catch (error) {
    if (!(error instanceof ValueError) || entry === undefined) throw error;
    const { file, line, key, value } = entry;
    problems.push({ file, line, subject: key, value, reason: error.message, allowed: option.type.allowed });
    return undefined;
  }
}

function originOf(entry: ConfEntry | undefined, name: string): Origin {
  if (entry === undefined) return { source: 'default' };
  if (entry.file === EMBEDDED_FILE) return { source: 'embedded' };
  const origin: Origin = { source: 'file', file: entry.file, line: entry.line };
  if (entry.key !== name) origin.option = entry.key;
  return origin;
}
