/** The program `csync-backup`. Each command is a file of its own, read only when it is the one that is run. */
import { Command, CommanderError } from 'commander';
import { BackupError } from '../platform/errors.ts';
import { commandEnds } from './command-run.ts';
import { isCompatProgram, runCompatProgram } from './compat/programs.ts';
import { helpText } from './help-text.ts';
import { programVersion } from './version.ts';

interface CommandEntry {
  name: string;
  summary: string;
  load: () => Promise<Command>;
}

const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'serve',
    summary: 'take backups from sync_client until told to stop',
    load: async () => (await import('./serve.ts')).newServeCommand(),
  },
  {
    name: 'passwd',
    summary: 'add, remove and list the credentials that clients log in with',
    load: async () => (await import('./passwd.ts')).newPasswdCommand(),
  },
  {
    name: 'config',
    summary: 'check the configuration and show its effective values',
    load: async () => (await import('./config.ts')).newConfigCommand(),
  },
  {
    name: 'list',
    summary: 'list the backups',
    load: async () => (await import('./list.ts')).newListCommand(),
  },
  {
    name: 'stat',
    summary: 'show sizes of backups and what compaction would leave',
    load: async () => (await import('./stat.ts')).newStatCommand(),
  },
  {
    name: 'lock',
    summary: 'hold a backup while something else works on its files',
    load: async () => (await import('./lock.ts')).newLockCommand(),
  },
  {
    name: 'verify',
    summary: 'check backups against their checksums and indexes',
    load: async () => (await import('./verify.ts')).newVerifyCommand(),
  },
  {
    name: 'compact',
    summary: 'drop what is past the retention and make backups small',
    load: async () => (await import('./compact.ts')).newCompactCommand(),
  },
  {
    name: 'reindex',
    summary: 'make indexes anew from the data files',
    load: async () => (await import('./reindex.ts')).newReindexCommand(),
  },
  {
    name: 'move',
    summary: 'bring backups to another partition',
    load: async () => (await import('./move.ts')).newMoveCommand(),
  },
  {
    name: 'rename',
    summary: 'give the backup of a user to another userid',
    load: async () => (await import('./rename.ts')).newRenameCommand(),
  },
  {
    name: 'delete',
    summary: 'delete backups, and undo that until their retention is over',
    load: async () => (await import('./delete.ts')).newDeleteCommand(),
  },
  {
    name: 'reconstruct',
    summary: 'make backups.db anew from the partitions',
    load: async () => (await import('./reconstruct.ts')).newReconstructCommand(),
  },
  {
    name: 'doctor',
    summary: 'say what is wrong with a configuration or a backup, and what to do',
    load: async () => (await import('./doctor.ts')).newDoctorCommand(),
  },
  {
    name: 'show',
    summary: 'show the chunks, mailboxes and messages of a backup',
    load: async () => (await import('./show.ts')).newShowCommand(),
  },
  {
    name: 'dump',
    summary: 'print a message or a chunk as it is stored',
    load: async () => (await import('./dump.ts')).newDumpCommand(),
  },
  {
    name: 'restore',
    summary: 'give mail back, to wherever it is wanted',
    load: async () => (await import('./restore/restore.ts')).newRestoreCommand(),
  },
  {
    name: 'search',
    summary: 'find messages in a backup',
    load: async () => (await import('./restore/search.ts')).newSearchCommand(),
  },
  {
    name: 'history',
    summary: 'show what changed in a backup when',
    load: async () => (await import('./history.ts')).newHistoryCommand(),
  },
  {
    name: 'diff',
    summary: 'show what is different between two moments of a backup',
    load: async () => (await import('./diff.ts')).newDiffCommand(),
  },
  {
    name: 'drill',
    summary: 'show that backups can be restored, by restoring some',
    load: async () => (await import('./drill.ts')).newDrillCommand(),
  },
  {
    name: 'status',
    summary: 'show what the running server is doing',
    load: async () => (await import('./status.ts')).newStatusCommand(),
  },
  {
    name: 'sessions',
    summary: 'list or end the connections of the running server',
    load: async () => (await import('./sessions.ts')).newSessionsCommand(),
  },
  {
    name: 'pause',
    summary: "hold off a user's clients, to work on the backup",
    load: async () => (await import('./pause.ts')).newPauseCommand(),
  },
  {
    name: 'resume',
    summary: 'end a pause',
    load: async () => (await import('./pause.ts')).newResumeCommand(),
  },
  {
    name: 'flush',
    summary: 'finish open chunks and give up locks',
    load: async () => (await import('./flush.ts')).newFlushCommand(),
  },
  {
    name: 'freeze',
    summary: 'bring all backups to rest for a snapshot of the filesystem',
    load: async () => (await import('./freeze.ts')).newFreezeCommand(),
  },
  {
    name: 'thaw',
    summary: 'end a freeze',
    load: async () => (await import('./thaw.ts')).newThawCommand(),
  },
  {
    name: 'maintenance',
    summary: 'show and steer what the running server verifies by itself',
    load: async () => (await import('./maintenance.ts')).newMaintenanceCommand(),
  },
  {
    name: 'pull',
    summary: 'have IMAP servers push backups that are old',
    load: async () => (await import('./pull.ts')).newPullCommand(),
  },
  {
    name: 'demo',
    summary: 'show a push, a crash, the recovery and a verification in a directory of its own',
    load: async () => (await import('./demo.ts')).newDemoCommand(),
  },
];

const USAGE_STATUS = 64;
const BUG_STATUS = 70;
const OUTPUT_STATUS = 74;

/**
 * Runs the command line `argv` (without node and script) of the program `name`. Ends the process with a sysexits status when the
 * command fails; otherwise returns and leaves `process.exitCode` as the command set it.
 */
export async function main(argv: string[], name = 'csync-backup'): Promise<void> {
  if (isCompatProgram(name)) return runCompatProgram(name, argv);
  // `csync-backup list | head` is no reason for a stack trace.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(OUTPUT_STATUS);
    fail(`IO_ERROR: cannot write to standard output: ${error.message}`, OUTPUT_STATUS);
  });
  try {
    const program = await newProgram(argv);
    await program.parseAsync(argv, { from: 'user' });
    await commandEnds(Number(process.exitCode ?? 0));
  } catch (error) {
    if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : USAGE_STATUS);
    if (error instanceof BackupError) await failed(`${error.code}: ${error.message}`, error.exitStatus);
    await failed(`INTERNAL: ${error instanceof Error ? error.stack : String(error)}`, BUG_STATUS);
  }
}

async function newProgram(argv: string[]): Promise<Command> {
  const program = new Command('csync-backup')
    .description('A durable mail backup server for Cyrus IMAP.')
    .version(programVersion())
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => write(`csync-backup: USAGE: ${text.replace(/^error: /, '')}`),
    })
    .showHelpAfterError('Run the command with --help to see what it takes.')
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup serve', 'serve on loopback with everything below ./var/csync-backup'],
          ['csync-backup serve -C /etc/imapd.conf', 'serve as configured'],
          ['csync-backup verify -A', 'check all backups'],
        ],
        [0, 64, 65, 69, 70, 74, 75, 77, 78],
      ),
    );
  // Of the command that is run there is all, of the others what the list of commands shows.
  const wanted = argv.filter((word) => !word.startsWith('-') && word !== 'help')[0];
  for (const { name, summary, load } of COMMANDS) {
    const command = name === wanted ? await load() : new Command(name);
    program.addCommand(command.summary(summary));
    inherit(command, program);
  }
  if (wanted === 'describe') {
    const { newDescribeCommand } = await import('./describe.ts');
    program.addCommand(newDescribeCommand(allCommands), { hidden: true });
  }
  return program;
}

async function allCommands(): Promise<Command[]> {
  const parent = new Command('csync-backup');
  for (const { load } of COMMANDS) parent.addCommand(await load());
  return [...parent.commands];
}

/** Errors and exits of a command made elsewhere are handled as the program's own. */
function inherit(command: Command, parent: Command): void {
  command.copyInheritedSettings(parent);
  for (const child of command.commands) inherit(child, command);
}

/** The command failed: it is said before anything else that is done at the end. */
async function failed(message: string, status: number): Promise<never> {
  process.stderr.write(`csync-backup: ${message}\n`);
  await commandEnds(status);
  // Sockets and threads of a command that failed half-way must not keep the process alive.
  process.exit(status);
}

function fail(message: string, status: number): never {
  process.stderr.write(`csync-backup: ${message}\n`);
  process.exit(status);
}
