/** The configuration that is used when there is no file: everything below one directory, loopback only. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { ioError } from '../platform/io-error.ts';
import type { ConfEntry } from './conf-file.ts';
import { type Config, EMBEDDED_FILE } from './config.ts';

/** The user that the embedded configuration lets back up; its password is made on the first start. */
export const EMBEDDED_USER = 'backup';

/** The entries that a file with the same effect would have; `cwd` is where `var/csync-backup` lies. */
export function embeddedEntries(cwd: string): ConfEntry[] {
  const data = path.join(cwd, 'var', 'csync-backup');
  const values = {
    configdirectory: path.join(data, 'conf'),
    temp_path: path.join(data, 'tmp'),
    'backuppartition-default': path.join(data, 'backups'),
    admins: EMBEDDED_USER,
    backup_listen: '127.0.0.1:2005',
    backup_metrics_listen: '127.0.0.1:9205',
    backup_passwd_file: path.join(data, 'conf', 'csync-backup.passwd'),
  };
  return Object.entries(values).map(([key, value]) => ({ key, value, file: EMBEDDED_FILE, line: 0 }));
}

export function isEmbedded(config: Config): boolean {
  return config.file === EMBEDDED_FILE;
}

/**
 * Makes the directories of the embedded configuration, mode 0700, as `serve` does on its first start. Makes
 * nothing where a file is used: see readPartitions() for why.
 *
 * @throws BackupError when a directory cannot be made
 */
export function ensureEmbeddedDirectories(config: Config): void {
  if (!isEmbedded(config)) return;
  const partitions = config.partitions.map((partition) => partition.path);
  for (const directory of [
    config.configDirectory,
    config.tempPath,
    config.backupStagingPath,
    ...partitions,
  ]) {
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw ioError(error, 'make the directory', directory);
    }
  }
}
