/** `csync-backup thaw`: ends a freeze. */
import { Command } from 'commander';
import { askServer } from './admin-client.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { helpText } from './help-text.ts';

export function newThawCommand(): Command {
  return new Command('thaw')
    .description('End a freeze: commands that waited are carried out. Does nothing when nothing is frozen.')
    .addOption(configOption())
    .option('--json', 'one JSON object: wasFrozen, and if so id, by, since, frozenAt, until, backups')
    .addHelpText('after', helpText([['csync-backup thaw', 'end it now']], [0, 64, 69, 77, 78]))
    .action(async (flags: ConfigFlag & { json?: boolean }) => {
      const { type: _, ...ended } = await askServer(flags, { command: 'thaw' });
      const text = ended.wasFrozen ? 'thawed' : 'nothing was frozen';
      process.stdout.write(`${flags.json ? JSON.stringify(ended) : text}\n`);
    });
}
