/** `csync-backup list`: which backups there are, where and how large. */
import fs from 'node:fs';
import { Command } from 'commander';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import { indexPathOf } from '../store/data-file.ts';
import { BackupIndex } from '../store/index/backup-index.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { type SelectedBackup, selectBackups } from './select-backups.ts';
import { printUserid } from './userid-text.ts';

interface ListFlags extends ConfigFlag {
  user?: string[];
  json?: boolean;
}

/** A line of `list --json`. */
interface ListedBackup {
  userid: string;
  path: string;
  /** Null where the file is missing. */
  sizeBytes: number | null;
  indexSizeBytes: number | null;
  /** When the last line was stored; null if that is not known. */
  updatedAt: string | null;
  /** What is missing, with its code. */
  problem?: string;
}

const BAD_DATA_STATUS = 65;

export function newListCommand(): Command {
  return new Command('list')
    .description(
      'List the backups in backups.db, separated by tabs: userid, path, size of the data file and of the index in ' +
        'bytes, time of the last update (UTC).',
    )
    .addOption(configOption())
    .option('-u, --user <userid...>', 'only those of these users')
    .option(
      '--json',
      'one JSON object a line: userid, path, sizeBytes, indexSizeBytes, updatedAt (null if unknown), problem (if any)',
    )
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup list', 'all backups'],
          ['csync-backup list -u anne bob --json', 'two of them, for a script'],
        ],
        [0, 64, 65, 74, 77, 78],
      ),
    )
    .action(runList);
}

function runList(flags: ListFlags): void {
  const selected = selectBackups({
    config: flags.config,
    ...(flags.user ? { user: flags.user } : { all: true }),
  });
  for (const backup of selected) {
    const listed = describe(backup);
    if (listed.problem !== undefined) {
      process.stderr.write(`csync-backup: ${listed.userid}: ${listed.problem}\n`);
      process.exitCode = BAD_DATA_STATUS;
    }
    process.stdout.write(flags.json ? `${JSON.stringify(listed)}\n` : textLine(listed));
  }
}

function describe({ userid, path }: SelectedBackup): ListedBackup {
  const indexPath = indexPathOf(path);
  const listed: ListedBackup = {
    userid: printUserid(userid ?? ''),
    path,
    sizeBytes: sizeOf(path),
    indexSizeBytes: sizeOf(indexPath),
    updatedAt: null,
  };
  if (listed.sizeBytes === null) return { ...listed, problem: `NOT_FOUND: ${path} does not exist` };
  try {
    const index = BackupIndex.open(indexPath, { readonly: true });
    try {
      const last = index.statement('SELECT max(ts_end) FROM chunk', 'pluck').get() as number | null;
      return { ...listed, updatedAt: last ? new Date(last * 1000).toISOString() : null };
    } finally {
      index.close();
    }
  } catch (error) {
    if (!(error instanceof BackupError)) throw error;
    return { ...listed, problem: `${error.code}: ${error.message}` };
  }
}

function sizeOf(path: string): number | null {
  try {
    return fs.statSync(path).size;
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return null;
    throw ioError(error, 'look at', path);
  }
}

function textLine({ userid, path, sizeBytes, indexSizeBytes, updatedAt }: ListedBackup): string {
  return `${[userid, path, sizeBytes ?? '-', indexSizeBytes ?? '-', updatedAt ?? '-'].join('\t')}\n`;
}
