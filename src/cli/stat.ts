/** `csync-backup stat`: how large backups are, and what compaction would leave of them. */
import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import type { BackupStat } from '../maintenance/stat.ts';
import { retentionStart, statBackups } from '../maintenance/stat-pool.ts';
import { noteSummary } from './command-run.ts';
import { configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { addPushOption } from './push-gateway.ts';
import { addSelectOptions, eachBackup, type SelectedBackup, type SelectFlags } from './select-backups.ts';
import { LineWriter } from './standard-output.ts';
import { printUserid } from './userid-text.ts';

interface StatFlags extends SelectFlags {
  check?: boolean;
  json?: boolean;
}

/** A line of `stat --json`. */
interface Figures {
  /** Null for a backup that was named by its file. */
  userid: string | null;
  path: string;
  /** Of the data file; null where it is missing. */
  sizeBytes: number | null;
  indexSizeBytes: number | null;
  chunks: number;
  /** All chunks, uncompressed. */
  contentBytes: number;
  /** Messages that compaction would keep, uncompressed; null if not known. */
  compactableBytes: number | null;
  /** sizeBytes / contentBytes; null without content. */
  compressionRatio: number | null;
  /** compactableBytes / contentBytes; null without content. */
  utilisationRatio: number | null;
  lastStartAt: string | null;
  lastEndAt: string | null;
  problem?: string;
}

const BAD_DATA_STATUS = 65;

export function newStatCommand(): Command {
  const command = new Command('stat').description(
    'Show figures of backups, separated by tabs: userid or path, size of the data file, size of its content ' +
      'uncompressed, size of the messages in it that compaction would keep (all in bytes), the second and the fourth ' +
      'of these in per cent of the third, start and end of the latest chunk (UTC).',
  );
  addSelectOptions(command)
    .addOption(configOption())
    .option('--check', 'check the latest chunk of each against its checksum, as ctl_backups does')
    .option(
      '--json',
      'one JSON object a line: userid, path, sizeBytes, indexSizeBytes, chunks, contentBytes, compactableBytes, ' +
        'compressionRatio, utilisationRatio, lastStartAt, lastEndAt (null if unknown), problem (if any)',
    )
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup stat -A', 'all backups'],
          ['csync-backup stat -u anne --json', 'one, for a script'],
          ['csync-backup stat -A --check', 'read the latest chunks too'],
        ],
        [0, 64, 65, 74, 77, 78],
      ),
    )
    .action(runStat);
  return addPushOption(command);
}

async function runStat(flags: StatFlags): Promise<void> {
  const out = new LineWriter();
  const compactableSince = retentionStart(
    loadConfig({ file: flags.config, anyPartitions: true }).backupRetentionMs,
  );
  const options = { compactableSince, check: flags.check ?? false, locked: 'read' } as const;
  const sums = { backups: 0, failed: 0, storedBytes: 0, contentBytes: 0 };
  for await (const [backup, stat] of statBackups(eachBackup(flags), options)) {
    const figures = describe(backup, stat);
    sums.backups++;
    sums.storedBytes += stat.sizeBytes ?? 0;
    sums.contentBytes += stat.contentBytes;
    if (figures.problem !== undefined) sums.failed++;
    if (figures.problem !== undefined) {
      out.flush();
      process.stderr.write(`csync-backup: ${figures.userid ?? figures.path}: ${figures.problem}\n`);
      process.exitCode = BAD_DATA_STATUS;
    }
    out.write(flags.json ? JSON.stringify(figures) : textOf(figures));
  }
  noteSummary(sums);
  out.flush();
}

function describe(backup: SelectedBackup, stat: BackupStat): Figures {
  const { sizeBytes, indexSizeBytes, chunks, contentBytes, compactableBytes, problem } = stat;
  return {
    userid: backup.userid === undefined ? null : printUserid(backup.userid),
    path: backup.path,
    sizeBytes,
    indexSizeBytes,
    chunks,
    contentBytes,
    compactableBytes,
    compressionRatio: ratio(sizeBytes, contentBytes),
    utilisationRatio: ratio(compactableBytes, contentBytes),
    lastStartAt: time(stat.lastStart),
    lastEndAt: time(stat.lastEnd),
    ...(problem && { problem: `${problem.code}: ${problem.text}` }),
  };
}

function ratio(part: number | null, whole: number): number | null {
  return part === null || whole === 0 ? null : part / whole;
}

function time(seconds: number | null): string | null {
  return seconds === null ? null : new Date(seconds * 1000).toISOString();
}

function textOf(figures: Figures): string {
  const { sizeBytes, contentBytes, compactableBytes } = figures;
  return [
    figures.userid ?? figures.path,
    sizeBytes ?? '-',
    contentBytes,
    compactableBytes ?? '-',
    percent(figures.compressionRatio),
    percent(figures.utilisationRatio),
    figures.lastStartAt ?? '-',
    figures.lastEndAt ?? '-',
  ].join('\t');
}

function percent(value: number | null): string {
  return value === null ? '-' : `${(value * 100).toFixed(1)}%`;
}
