/** `csync-backup maintenance`: what the running server verifies and compacts by itself. */
import { Command } from 'commander';
import { BackupError } from '../platform/errors.ts';
import { askServer } from './admin-client.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { maintenanceRows, rowsText } from './status-text.ts';
import { useridOf } from './userid-text.ts';

interface JsonFlag extends ConfigFlag {
  json?: boolean;
}

interface RunFlags extends JsonFlag {
  all?: boolean;
  user?: string[];
}

const STATUSES = [0, 64, 69, 77, 78];
const BAD_DATA_STATUS = 65;

export function newMaintenanceCommand(): Command {
  const command = new Command('maintenance').description(
    'Show and steer the maintenance that the running server does by itself.',
  );
  command.addCommand(newShowCommand(), { isDefault: true });
  command.addCommand(newRunCommand());
  command.addCommand(newCancelCommand());
  return command.addHelpText(
    'after',
    helpText(
      [
        ['csync-backup maintenance', 'what runs, what is due next, what was found'],
        ['csync-backup maintenance run verify -u anne', 'verify one backup now'],
        ['csync-backup maintenance cancel', 'end what runs'],
      ],
      STATUSES,
    ),
  );
}

function newShowCommand(): Command {
  return new Command('show')
    .description('Show what runs, what is due next, and how many backups were verified.')
    .addOption(configOption())
    .option('--json', 'one JSON object: running, run, held, rateBytes, verify, runs, faulty, pull')
    .addHelpText('after', helpText([['csync-backup maintenance show --json', 'for a script']], STATUSES))
    .action(async (flags: JsonFlag) => {
      const { type: _, ...status } = await askServer(flags, { command: 'maintenance' });
      process.stdout.write(flags.json ? `${JSON.stringify(status)}\n` : rowsText(maintenanceRows(status)));
    });
}

function newRunCommand(): Command {
  return new Command('run')
    .description('Have the server do something now rather than at its time, with its limit on reading.')
    .argument('<job>', 'verify, compact, drill or pull')
    .addOption(configOption())
    .option('-A, --all', 'for all backups')
    .option('-u, --user <userid...>', 'for those of these users')
    .option('--json', 'one JSON object: kind, backups (how many), unknown (users without one)')
    .addHelpText(
      'after',
      helpText([['csync-backup maintenance run verify -A', 'all backups']], [0, 64, 65, 69, 77, 78]),
    )
    .action(runJob);
}

function newCancelCommand(): Command {
  return new Command('cancel')
    .description('End the job and the run over all backups that are going on. Nothing is lost by it.')
    .addOption(configOption())
    .option('--json', 'one JSON object: cancelled, a list of kind and userid')
    .addHelpText('after', helpText([['csync-backup maintenance cancel', 'end what runs']], STATUSES))
    .action(async (flags: JsonFlag) => {
      const { type: _, ...answer } = await askServer(flags, { command: 'cancel-maintenance' });
      const jobs = answer.cancelled as { kind: string; userid: string }[];
      const names = jobs.map(({ kind, userid }) => `${kind} ${userid}`);
      const text = jobs.length === 0 ? 'nothing was running' : `cancelled ${names.join(', ')}`;
      process.stdout.write(`${flags.json ? JSON.stringify(answer) : text}\n`);
    });
}

async function runJob(kind: string, flags: RunFlags): Promise<void> {
  if ((flags.all === true) === (flags.user !== undefined)) {
    throw new BackupError({
      code: 'USAGE',
      tried: 'choose',
      subject: 'backups',
      reason: flags.all ? 'they are named in more than one way' : 'none are named',
      remedy: 'Give either -A or -u USERID...',
    });
  }
  const userids = flags.user?.map(useridOf);
  const { type: _, ...answer } = await askServer(flags, { command: 'run-maintenance', kind, userids });
  process.stdout.write(
    flags.json ? `${JSON.stringify(answer)}\n` : `${kind}: ${String(answer.backups)} backups to do\n`,
  );
  const unknown = answer.unknown as string[];
  for (const user of unknown) process.stderr.write(`csync-backup: NOT_FOUND: ${user} has no backup\n`);
  if (unknown.length > 0) process.exitCode = BAD_DATA_STATUS;
}
