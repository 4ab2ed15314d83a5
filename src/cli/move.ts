/** `csync-backup move`: brings backups to another partition. */
import path from 'node:path';
import { Command } from 'commander';
import type { Config, PartitionConfig } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { type MoveReport, moveBackup } from '../maintenance/move.ts';
import { loadDeflateEngine } from '../platform/deflate.ts';
import { BackupError } from '../platform/errors.ts';
import { Catalog } from '../store/catalog.ts';
import { hashFolder } from '../store/partition.ts';
import { sweepStaging } from '../store/sweep-staging.ts';
import { refuseUnmounted } from '../store/unmounted.ts';
import { configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { addPushOption } from './push-gateway.ts';
import { addSelectOptions, type SelectFlags, selectBackups } from './select-backups.ts';
import { toolLog } from './tool-log.ts';
import { ToolRun } from './tool-run.ts';

interface MoveFlags extends SelectFlags {
  to: string;
  from?: string;
  wait?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

/** What a server made a moment ago is not taken for something left behind. */
const LEFT_BEHIND_MS = 60_000;

export function newMoveCommand(): Command {
  const command = new Command('move').description(
    'Move backups to another partition, also while the server runs: each is locked, copied, compared and only then ' +
      'entered in backups.db under its new place. Killed at any moment, it leaves the backup in one of the two.',
  );
  addSelectOptions(command)
    .requiredOption('--to <partition>', 'name of the partition, as in backuppartition-NAME')
    .option(
      '--from <partition>',
      'only those that are on this partition: its name, or the path of one that was removed from the configuration',
    )
    .addOption(configOption())
    .option('-w, --wait', 'wait for backups that are locked')
    .option('-n, --dry-run', 'check locks and free space, and say what would be moved')
    .option(
      '--json',
      'one JSON object a line, with a type: backup (from, to, sizeBytes, indexSizeBytes, isIntact), error and at the end summary',
    )
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup move -u anne --to disk2', 'one backup'],
          ['csync-backup move -A --from disk1 --to disk2 --wait', 'empty a partition'],
        ],
        [0, 64, 65, 74, 75, 77, 78],
      ),
    )
    .action(runMove);
  return addPushOption(command);
}

async function runMove(flags: MoveFlags): Promise<void> {
  const config = loadConfig({ file: flags.config });
  const to = partitionNamed(flags.to, config);
  const from = flags.from === undefined ? undefined : folderOf(flags.from, config);
  if (flags.file !== undefined)
    throw usage('-f', 'a backup is moved in backups.db, so it has to be named by its user');
  refuseUnmounted(to, config.backupDbPath, 'NOT_FOUND');
  const backups = selectBackups(flags).filter(({ path: dataPath }) => {
    const folder = path.dirname(path.dirname(dataPath));
    return from === undefined ? flags.user !== undefined || folder !== to.path : folder === from;
  });
  const catalog = new Catalog(config.backupDbPath);
  const run = new ToolRun(backups, flags.json ?? false);
  let damaged = 0;
  try {
    if (!flags.dryRun) sweep(config, catalog);
    const engine = loadDeflateEngine(config.deflateEngine);
    await run.each(async ({ userid, path: dataPath }, name, onProgress) => {
      const { wait, dryRun } = flags;
      const report = await moveBackup({
        userid: userid!,
        dataPath,
        to,
        config,
        catalog,
        engine,
        wait: wait ?? false,
        dryRun: dryRun ?? false,
        log: toolLog(),
        onProgress,
      });
      if (!report.isIntact) damaged++;
      run.print({ ...report, dryRun: dryRun ?? false }, textOf(name, report, to));
      return report.isIntact ? 'ok' : 'bad-data';
    });
  } finally {
    catalog.close();
  }
  run.end({ damaged }, damaged === 0 ? '' : `, ${damaged} damaged`);
}

function textOf(name: string, report: MoveReport, to: PartitionConfig): string {
  const bytes = `${report.sizeBytes} bytes`;
  if (report.to === null) return `move ${name}: would move ${bytes} from ${report.from} to ${to.name}`;
  const damage = report.isIntact ? '' : '; it was damaged before: run csync-backup verify';
  return `move ${name}: moved ${bytes} from ${report.from} to ${report.to}${damage}`;
}

/** What moves and deletions that were killed have left. */
function sweep(config: Config, catalog: Catalog): void {
  for (const partition of config.partitions) {
    sweepStaging(partition.path, (userid) => hashFolder(userid, config.fullDirHash), catalog, LEFT_BEHIND_MS);
  }
}

function partitionNamed(name: string, config: Config): PartitionConfig {
  const found = config.partitions.find((partition) => partition.name === name);
  if (found !== undefined) return found;
  const names = config.partitions.map((partition) => partition.name).join(', ');
  throw usage(name, `no partition of this name is configured; there are: ${names}`);
}

function folderOf(name: string, config: Config): string {
  return path.isAbsolute(name) ? path.resolve(name) : partitionNamed(name, config).path;
}

function usage(subject: string, reason: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'move backups with',
    subject,
    reason,
    remedy: 'See csync-backup move --help',
  });
}
