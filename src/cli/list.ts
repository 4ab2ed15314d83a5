/** `csync-backup list`: which backups there are, where and how large. */
import { Command } from 'commander';
import type { BackupStat } from '../maintenance/stat.ts';
import { statBackups } from '../maintenance/stat-pool.ts';
import { BackupError } from '../platform/errors.ts';
import { configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { addSelectOptions, eachBackup, type SelectedBackup, type SelectFlags } from './select-backups.ts';
import { LineWriter } from './standard-output.ts';
import { printUserid } from './userid-text.ts';

interface ListFlags extends SelectFlags {
  stale?: string | true;
  json?: boolean;
}

/** A line of `list --json`. */
interface ListedBackup {
  /** Null for a backup that was named by its file. */
  userid: string | null;
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
const DEFAULT_STALE_HOURS = 24;
const HOUR_MS = 3_600_000;

export function newListCommand(): Command {
  const command = new Command('list').description(
    'List the backups in backups.db (all if none are named), separated by tabs: userid, path, size of the data file ' +
      'and of the index in bytes, time of the last update (UTC).',
  );
  return addSelectOptions(command)
    .option(
      '-t, --stale [hours]',
      `only those that were not updated for so long (default: ${DEFAULT_STALE_HOURS})`,
    )
    .addOption(configOption())
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
          ['csync-backup list -D example.com --stale 48', 'those of a domain that got nothing for two days'],
        ],
        [0, 64, 65, 74, 77, 78],
      ),
    )
    .action(runList);
}

async function runList(flags: ListFlags): Promise<void> {
  const staleBefore = flags.stale === undefined ? undefined : Date.now() - staleHours(flags.stale) * HOUR_MS;
  const named = flags.user ?? flags.file ?? flags.mailbox ?? flags.domain ?? flags.prefix;
  const out = new LineWriter();
  const selected = eachBackup(named === undefined ? { ...flags, all: true } : flags);
  for await (const [backup, stat] of statBackups(selected, { locked: 'read' })) {
    if (staleBefore !== undefined && stat.lastEnd !== null && stat.lastEnd * 1000 > staleBefore) continue;
    const listed = describe(backup, stat);
    if (listed.problem !== undefined) {
      out.flush();
      process.stderr.write(`csync-backup: ${listed.userid ?? listed.path}: ${listed.problem}\n`);
      process.exitCode = BAD_DATA_STATUS;
    }
    out.write(flags.json ? JSON.stringify(listed) : textOf(listed));
  }
  out.flush();
}

function staleHours(value: string | true): number {
  if (value === true) return DEFAULT_STALE_HOURS;
  const hours = Number(value);
  if (Number.isFinite(hours) && hours > 0) return hours;
  throw new BackupError({
    code: 'USAGE',
    tried: 'list backups that are stale for',
    subject: value,
    reason: 'it is no number of hours',
    remedy: 'Give --stale a number above 0, or nothing for 24',
  });
}

function describe(backup: SelectedBackup, stat: BackupStat): ListedBackup {
  const { sizeBytes, indexSizeBytes, lastEnd, problem } = stat;
  return {
    userid: backup.userid === undefined ? null : printUserid(backup.userid),
    path: backup.path,
    sizeBytes,
    indexSizeBytes,
    updatedAt: lastEnd === null ? null : new Date(lastEnd * 1000).toISOString(),
    ...(problem && { problem: `${problem.code}: ${problem.text}` }),
  };
}

function textOf({ userid, path, sizeBytes, indexSizeBytes, updatedAt }: ListedBackup): string {
  return [userid ?? '-', path, sizeBytes ?? '-', indexSizeBytes ?? '-', updatedAt ?? '-'].join('\t');
}
