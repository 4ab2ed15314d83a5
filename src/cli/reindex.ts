/** `csync-backup reindex`: makes indexes anew from the data files. */
import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { MemberPool } from '../maintenance/member-pool.ts';
import { isLossy, type ReindexReport, reindexBackup } from '../maintenance/reindex.ts';
import { loadDeflateEngine } from '../platform/deflate.ts';
import { configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { lossTexts } from './loss-texts.ts';
import { addPushOption } from './push-gateway.ts';
import { addSelectOptions, type SelectFlags, selectBackups } from './select-backups.ts';
import { toolLog } from './tool-log.ts';
import { ToolRun } from './tool-run.ts';
import { VerifiedByHand } from './verified-by-hand.ts';

interface ReindexFlags extends SelectFlags {
  json?: boolean;
  wait?: boolean;
  dryRun?: boolean;
}

export function newReindexCommand(): Command {
  const command = new Command('reindex').description(
    'Make the indexes of backups anew from their data files alone. The old index stays until the new one is complete. ' +
      'What is damaged is left out and named: the server then asks the clients for it again.',
  );
  addSelectOptions(command)
    .addOption(configOption())
    .option('-w, --wait', 'wait for backups that are locked')
    .option('-n, --dry-run', 'read the data files and say what is damaged, but change nothing')
    .option('--json', 'one JSON object a line, with a type: backup, error and at the end summary')
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup reindex -u anne', 'one backup'],
          ['csync-backup reindex -A --dry-run', 'whether all data files can be read whole'],
        ],
        [0, 64, 65, 74, 75, 77, 78],
      ),
    )
    .action(runReindex);
  return addPushOption(command);
}

async function runReindex(flags: ReindexFlags): Promise<void> {
  const backups = selectBackups(flags);
  const config = loadConfig({ file: flags.config, anyPartitions: true });
  const engine = loadDeflateEngine(config.deflateEngine);
  const readers = new MemberPool();
  const run = new ToolRun(backups, flags.json ?? false);
  const schedule = flags.dryRun ? undefined : VerifiedByHand.open(flags.config);
  const verb = flags.dryRun ? 'would index' : 'indexed';
  let damaged = 0;
  try {
    await run.each(async ({ path, userid }, name, progress) => {
      const report = await reindexBackup({
        log: toolLog(),
        dataPath: path,
        engine,
        keepPrevious: config.backupKeepPrevious,
        wait: flags.wait ?? false,
        dryRun: flags.dryRun ?? false,
        readers,
        onProgress: progress,
      });
      schedule?.mended(userid, path);
      const isDamaged = isLossy(report);
      if (isDamaged) damaged++;
      run.print({ ...report, dryRun: flags.dryRun ?? false }, `reindex ${name}: ${verb} ${textOf(report)}`);
      return isDamaged ? 'bad-data' : 'ok';
    });
  } finally {
    schedule?.close();
    await readers.stop();
  }
  run.end({ damaged }, damaged === 0 ? '' : `, ${damaged} damaged`);
}

function textOf(report: ReindexReport): string {
  const { chunks, messages, damagedChunks, damagedMessages, mailboxesToHeal } = report;
  const parts = [`${chunks} chunks`];
  if (messages !== null) parts.push(`${messages} messages`);
  if (damagedChunks > 0) parts.push(`${damagedChunks} chunks damaged`);
  if (damagedMessages > 0) parts.push(`${damagedMessages} messages damaged`);
  if (mailboxesToHeal) parts.push(`${mailboxesToHeal} mailboxes to be sent again`);
  return [parts.join(', '), ...lossTexts(report)].join('; ');
}
