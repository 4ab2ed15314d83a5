/** The directories that hold backups. */
import { accessSync, constants, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import type { ConfEntry } from './conf-file.ts';
import type { PartitionConfig } from './config.ts';
import type { ConfigProblem } from './problems.ts';

export const PARTITION_PREFIX = 'backuppartition-';

const ALLOWED = 'a directory that exists, that the server may write to and that is in no other partition';

/**
 * Reads `backuppartition-NAME` options. A partition that is missing is refused, not made: an unmounted disk must
 * not fill the one below it. One inside another is refused because whoever looks for backups would find its
 * files twice.
 */
export function readPartitions(
  entries: readonly ConfEntry[],
  expand: (value: string) => string,
  options: { mustExist: boolean },
  problems: ConfigProblem[],
): PartitionConfig[] {
  const found: (PartitionConfig & { real: string; inode: string; entry: ConfEntry })[] = [];
  for (const entry of entries) {
    const name = entry.key.slice(PARTITION_PREFIX.length);
    const partition = path.resolve(expand(entry.value));
    if (name === '') {
      problems.push(problem(entry, 'names no partition', 'backuppartition-NAME with a name'));
      continue;
    }
    const fault = options.mustExist ? faultOf(partition) : undefined;
    if (fault !== undefined) problems.push(problem(entry, fault, ALLOWED));
    else {
      const real = options.mustExist ? realpathSync(partition) : partition;
      // A directory that is mounted at two places has two paths, and no symbolic link tells.
      const inode = options.mustExist ? inodeOf(partition) : partition;
      found.push({ name, path: partition, real, inode, entry });
    }
  }
  for (const [index, { entry, real, inode }] of found.entries()) {
    for (const [otherIndex, other] of found.entries()) {
      if ((real === other.real || inode === other.inode) && index > otherIndex) {
        problems.push(problem(entry, `is the same directory as ${other.entry.key}`, ALLOWED));
      } else if (isInside(real, other.real)) {
        problems.push(
          problem(entry, `is inside ${other.entry.key}, which is "${other.entry.value}"`, ALLOWED),
        );
      }
    }
  }
  return found
    .map(({ name, path: directory }) => ({ name, path: directory }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function inodeOf(directory: string): string {
  const { dev, ino } = statSync(directory);
  return `${dev}:${ino}`;
}

function faultOf(directory: string): string | undefined {
  try {
    if (!statSync(directory).isDirectory()) return 'is no directory';
    accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    switch (error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined) {
      case 'ENOENT':
        return 'does not exist';
      case 'EROFS':
        return 'is on a filesystem that is mounted read-only';
      case 'EACCES':
      case 'EPERM':
        return `cannot be read and written by user ${process.getuid?.() ?? '?'}`;
      default:
        return `cannot be used (${error instanceof Error ? error.message : String(error)})`;
    }
  }
}

function isInside(inner: string, outer: string): boolean {
  return inner.startsWith(outer.endsWith(path.sep) ? outer : outer + path.sep) && inner !== outer;
}

function problem(entry: ConfEntry, reason: string, allowed: string): ConfigProblem {
  return {
    file: entry.file,
    line: entry.line,
    subject: entry.key,
    value: entry.value,
    reason,
    allowed,
  };
}
