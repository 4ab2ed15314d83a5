/** `csync-backup compact`: drops what is past the retention, and makes backups small. */
import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { compactBackup } from '../maintenance/compact/compact.ts';
import { PooledCompressor } from '../maintenance/compact/compressors.ts';
import { type CompactReport, freedBytes } from '../maintenance/compact/report.ts';
import { MemberPool } from '../maintenance/member-pool.ts';
import { configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { lossTexts } from './loss-texts.ts';
import { addPushOption } from './push-gateway.ts';
import { addSelectOptions, type SelectFlags, selectBackups } from './select-backups.ts';
import { toolLog } from './tool-log.ts';
import { ToolRun } from './tool-run.ts';
import { VerifiedByHand } from './verified-by-hand.ts';

interface CompactFlags extends SelectFlags {
  json?: boolean;
  wait?: boolean;
  force?: boolean;
  dryRun?: boolean;
}

export function newCompactCommand(): Command {
  const command = new Command('compact').description(
    'Drop what was deleted longer ago than backup_retention, combine and split chunks, and compress anew. All that lives, ' +
      'and the history inside the retention, stays. The server goes on meanwhile; a backup that a client has locked for ' +
      'long is left for the next time.',
  );
  addSelectOptions(command)
    .addOption(configOption())
    .option('-F, --force', 'also backups that are not worth it')
    .option('-w, --wait', 'wait for backups that are locked')
    .option('-n, --dry-run', 'say what would be done, but change nothing')
    .option('--json', 'one JSON object a line, with a type: backup, error and at the end summary')
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup compact -A', 'all backups that are worth it; for every night'],
          ['csync-backup compact -A --dry-run', 'what that would do'],
          ['csync-backup compact -u anne --force --wait', 'this one, whatever it brings'],
        ],
        [0, 64, 65, 74, 75, 77, 78],
      ),
    )
    .action(runCompact);
  return addPushOption(command);
}

async function runCompact(flags: CompactFlags): Promise<void> {
  const backups = selectBackups(flags);
  const config = loadConfig({ file: flags.config, anyPartitions: true });
  const readers = new MemberPool();
  const compressor = new PooledCompressor(config.deflateEngine);
  const run = new ToolRun(backups, flags.json ?? false);
  const schedule = flags.dryRun ? undefined : VerifiedByHand.open(flags.config);
  let [compacted, freed] = [0, 0];
  try {
    await run.each(async ({ path, userid }, name, progress) => {
      const report = await compactBackup({
        log: toolLog(),
        dataPath: path,
        userid,
        config,
        force: flags.force ?? false,
        wait: flags.wait ?? false,
        dryRun: flags.dryRun ?? false,
        readers,
        compressor,
        onProgress: progress,
      });
      if (report.compacted) {
        compacted++;
        schedule?.mended(userid, path);
      }
      freed += freedBytes(report);
      run.print(
        { ...report, dryRun: flags.dryRun ?? false },
        `compact ${name}: ${[textOf(report, flags), ...(report.lost ? lossTexts(report.lost) : [])].join('; ')}`,
      );
      const isDamaged = report.damagedChunks > 0 || report.keptAll !== null || report.lost !== null;
      return isDamaged ? 'bad-data' : 'ok';
    });
  } finally {
    schedule?.close();
    await Promise.all([readers.stop(), compressor.stop()]);
  }
  run.end({ compacted, freedBytes: freed }, `, ${compacted} compacted, ${size(freed)} freed`);
}

function textOf(report: CompactReport, flags: CompactFlags): string {
  const { work, chunks, newChunks, sizeBytes, newSizeBytes, carriedOverBytes } = report;
  const todo = `${work.discard} chunks to drop or thin out, ${work.combine} to combine, ${work.split} to split, ${work.expiredMessages} messages (${size(work.expiredBytes)}) past the retention`;
  if (!report.compacted) return flags.dryRun ? todo : `not worth it (${todo})`;
  const parts = [
    `${size(sizeBytes + carriedOverBytes)} to ${size(newSizeBytes!)}`,
    `${chunks} chunks to ${newChunks}`,
    `${report.messages} messages to ${report.newMessages}`,
  ];
  if (report.damagedPath !== null)
    parts.push(`${report.damagedChunks} damaged chunks kept as ${report.damagedPath}`);
  if (report.keptAll !== null) parts.push(`nothing was dropped: ${report.keptAll}`);
  return parts.join(', ');
}

function size(bytes: number): string {
  if (Math.abs(bytes) < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
