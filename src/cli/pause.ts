/** `csync-backup pause` and `resume`: keeping clients off a backup while somebody works on its files. */
import { Command } from 'commander';
import { BackupError } from '../platform/errors.ts';
import { askServer } from './admin-client.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { durationOption } from './duration-option.ts';
import { helpText } from './help-text.ts';
import { selectBackup } from './select-backups.ts';
import { useridOf } from './userid-text.ts';

interface PauseFlags extends ConfigFlag {
  json?: boolean;
  for?: number;
}

export function newPauseCommand(): Command {
  return new Command('pause')
    .description(
      'Hold off the clients of a user, who are told to come back later, and give up the lock on the backup and its ' +
        'files: so that they can be worked on. It ends by itself, and when the server is restarted.',
    )
    .argument('<userid>', 'whose; %SHARED for shared mailboxes')
    .addOption(configOption())
    .addOption(durationOption('--for <duration>', 'how long, up to 1d (default: 1h)', '1d'))
    .option('--json', 'one JSON object: userid, by, since, until')
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup pause anne', 'for an hour'],
          [
            'csync-backup pause anne --for 10m && ... ; csync-backup resume anne',
            'for the time of some work',
          ],
        ],
        [0, 64, 69, 75, 77, 78],
      ),
    )
    .action(runPause);
}

export function newResumeCommand(): Command {
  return new Command('resume')
    .description('End a pause: clients of the user are served again.')
    .argument('<userid>', 'whose; %SHARED for shared mailboxes')
    .addOption(configOption())
    .option('--json', 'one JSON object: userid, wasPaused')
    .addHelpText('after', helpText([['csync-backup resume anne', 'end it now']], [0, 64, 69, 77, 78]))
    .action(runResume);
}

async function runPause(user: string, flags: PauseFlags): Promise<void> {
  remarkUnknown(user, flags);
  const { type: _, ...paused } = await askServer(flags, {
    command: 'pause',
    userid: useridOf(user),
    forSeconds: flags.for,
  });
  const busy = paused.busy as string[];
  delete paused.busy;
  if (flags.json) process.stdout.write(`${JSON.stringify(paused)}\n`);
  else process.stdout.write(`paused ${user} until ${String(paused.until)}\n`);
  for (const problem of busy) process.stderr.write(`csync-backup: ${problem}\n`);
  if (busy.length > 0) process.exitCode = 75;
}

/** Somebody may be paused before there is a backup, but a slip of the pen must not look as if somebody were paused who is not. */
function remarkUnknown(user: string, { config }: PauseFlags): void {
  try {
    selectBackup({ user, config });
  } catch (error) {
    if (!(error instanceof BackupError && error.code === 'NOT_FOUND')) throw error;
    process.stderr.write(`csync-backup: ${error.message}\n`);
  }
}

async function runResume(user: string, flags: PauseFlags): Promise<void> {
  const { wasPaused } = await askServer(flags, { command: 'resume', userid: useridOf(user) });
  if (flags.json) process.stdout.write(`${JSON.stringify({ userid: user, wasPaused })}\n`);
  else process.stdout.write(wasPaused ? `resumed ${user}\n` : `${user} was not paused\n`);
}
