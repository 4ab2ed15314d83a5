/** `csync-backup rename`: gives the backup of one userid to another. */
import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { renameUser } from '../maintenance/rename-user.ts';
import { loadDeflateEngine } from '../platform/deflate.ts';
import { Catalog } from '../store/catalog.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { toolLog } from './tool-log.ts';
import { printUserid, useridOf } from './userid-text.ts';

interface RenameFlags extends ConfigFlag {
  wait?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

export function newRenameCommand(): Command {
  return new Command('rename')
    .description(
      'Give the backup of a user to another userid, after the user was renamed on the mail server and before the new name ' +
        'is synced for the first time: that sync then goes on in the backup instead of beginning a new one. The new userid must have none.',
    )
    .argument('<old>', 'userid, or the key of a deleted backup')
    .argument('<new>', 'userid')
    .addOption(configOption())
    .option('-w, --wait', 'wait if the backup is locked')
    .option('-n, --dry-run', 'say what would be renamed')
    .option(
      '--json',
      'one JSON object: type (renamed), from, to, path, mailboxes, subscriptions, inTheWay, resumed, dryRun',
    )
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup rename anne anna', 'the backup of anne becomes that of anna'],
          ['csync-backup rename anne anna --dry-run', 'whether it can, and how many mailboxes it concerns'],
        ],
        [0, 64, 65, 74, 75, 77, 78],
      ),
    )
    .action(runRename);
}

async function runRename(oldName: string, newName: string, flags: RenameFlags): Promise<void> {
  const config = loadConfig({ file: flags.config, anyPartitions: true });
  const catalog = new Catalog(config.backupDbPath);
  const { dryRun = false, wait = false } = flags;
  try {
    const [from, to] = [useridOf(oldName), useridOf(newName)];
    const engine = loadDeflateEngine(config.deflateEngine);
    const report = await renameUser({ from, to, config, catalog, engine, wait, dryRun, log: toolLog() });
    const inTheWay = report.inTheWay.map(printUserid);
    if (flags.json) {
      const line = { type: 'renamed', from: oldName, to: newName, ...report, inTheWay, dryRun };
      process.stdout.write(`${JSON.stringify(line)}\n`);
    } else {
      const done = dryRun ? 'would become' : report.resumed ? 'is, after a run that was cut off,' : 'is now';
      process.stdout.write(
        `${report.path} of ${oldName} ${done} the backup of ${newName}; ${report.mailboxes} mailboxes and ` +
          `${report.subscriptions} subscriptions renamed\n`,
      );
    }
    for (const name of inTheWay)
      process.stderr.write(`csync-backup: ${name} keeps its name: another mailbox has the new one\n`);
  } finally {
    catalog.close();
  }
}
