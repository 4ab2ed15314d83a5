/** `csync-backup lock`: holds a backup while a person or a program works on its files. */
import { Command, Option } from 'commander';
import { loadConfig } from '../config/load.ts';
import { type HeldBackup, holdBackup, holdNewFile, holdNewUser } from '../maintenance/lock.ts';
import { BackupError } from '../platform/errors.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { runShell, runSqlite, untilInputEnds } from './run-locked.ts';
import { selectBackup } from './select-backups.ts';
import { useridOf } from './userid-text.ts';

interface LockFlags extends ConfigFlag {
  user?: string;
  mailbox?: string;
  file?: string;
  create?: boolean;
  wait?: boolean;
  sqlite3?: boolean;
  execute?: string;
  json?: boolean;
}

export function newLockCommand(): Command {
  return new Command('lock')
    .description(
      'Hold a backup, so that neither the server nor another tool changes it: until the end of standard input, or while ' +
        'a program runs. Its clients are told to come back later. The lock ends with this process, however it ends.',
    )
    .option('-u, --user <userid>', 'the backup of this user')
    .option('-m, --mailbox <name>', 'the backup that holds this mailbox')
    .option('-f, --file <path>', 'the backup in this data file')
    .addOption(configOption())
    .option('-c, --create', 'create it, empty; it is an error if it is there')
    .option('-w, --wait', 'wait until nobody else has it locked')
    .addOption(new Option('-s, --sqlite3', 'open the index in sqlite3').conflicts('execute'))
    .option(
      '-x, --execute <command>',
      'run this command with /bin/sh; the names of the files are in $ctl_backups_lock_data_fname and $ctl_backups_lock_index_fname',
    )
    .option('--json', 'say with an object that it is held: type (locked), path, indexPath')
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup lock -u anne', 'until Ctrl-D'],
          [
            `csync-backup lock -u anne -x 'cp "$ctl_backups_lock_data_fname" /media/'`,
            'copy the data file while nothing changes it; exits as the command does',
          ],
        ],
        [0, 64, 65, 74, 75, 77, 78],
      ),
    )
    .action(runLock);
}

async function runLock(flags: LockFlags): Promise<void> {
  const held = await hold(flags);
  try {
    if (flags.execute !== undefined) process.exitCode = await runShell(flags.execute, held);
    else if (flags.sqlite3) process.exitCode = await runSqlite(held);
    else {
      const { dataPath, indexPath } = held;
      const said = JSON.stringify({ type: 'locked', path: dataPath, indexPath });
      process.stdout.write(flags.json ? `${said}\n` : `locked ${dataPath}\n`);
      await untilInputEnds();
    }
  } finally {
    held.release();
  }
}

async function hold(flags: LockFlags): Promise<HeldBackup> {
  const { user, file, create, wait } = flags;
  if (!create) return await holdBackup(selectBackup(flags).path, wait ?? false);
  if ((user === undefined) === (file === undefined)) {
    throw new BackupError({
      code: 'USAGE',
      tried: 'create',
      subject: 'a backup',
      reason: 'it is not clear whose',
      remedy: 'Give either -u USERID or -f PATH',
    });
  }
  return user === undefined
    ? await holdNewFile(file!, wait ?? false)
    : await holdNewUser(useridOf(user), loadConfig({ file: flags.config }), wait ?? false);
}
