/** `csync-backup flush`: open chunks are finished and synced, locks given up; sessions go on. */
import { Command } from 'commander';
import { BackupError } from '../platform/errors.ts';
import { askServer } from './admin-client.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { selectBackups } from './select-backups.ts';
import { useridOf } from './userid-text.ts';

interface FlushFlags extends ConfigFlag {
  all?: boolean;
  json?: boolean;
}

const TEMPORARY_STATUS = 75;

export function newFlushCommand(): Command {
  return new Command('flush')
    .description(
      'Have the running server finish the open chunks of users, sync data and index, and give up their locks. Sessions ' +
        'go on where they were; commands that are under way are carried out first.',
    )
    .argument('[userid...]', 'whose; %SHARED for shared mailboxes')
    .addOption(configOption())
    .option('-A, --all', 'all users')
    .option('--json', 'one JSON object: busy, a list of what could not be flushed and why')
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup flush anne', "anne's backup"],
          ['csync-backup flush -A', 'all backups that sessions have open'],
        ],
        [0, 64, 65, 69, 75, 77, 78],
      ),
    )
    .action(runFlush);
}

async function runFlush(users: string[], flags: FlushFlags): Promise<void> {
  if (users.length > 0 === (flags.all === true)) {
    throw new BackupError({
      code: 'USAGE',
      tried: 'choose',
      subject: 'backups',
      reason: flags.all ? 'they are named in more than one way' : 'none are named',
      remedy: 'Give either -A or userids',
    });
  }
  // Nobody of a name that is misspelt has anything open: that would be as if it had been flushed.
  if (!flags.all) selectBackups({ user: users, config: flags.config });
  const busy: unknown[] = [];
  for (const user of flags.all ? [undefined] : users) {
    const answer = await askServer(flags, {
      command: 'flush',
      ...(user !== undefined && { userid: useridOf(user) }),
    });
    busy.push(...(answer.busy as unknown[]));
  }
  if (flags.json) process.stdout.write(`${JSON.stringify({ busy })}\n`);
  else if (busy.length === 0) process.stdout.write('flushed\n');
  for (const problem of busy) process.stderr.write(`csync-backup: not flushed: ${String(problem)}\n`);
  if (busy.length > 0) process.exitCode = TEMPORARY_STATUS;
}
