/** The programs that take Cyrus's command lines, by the names under which they are installed. */
import { BackupError } from '../../platform/errors.ts';
import { UsageError } from './usage-error.ts';

interface CompatProgram {
  run(argv: readonly string[]): Promise<number | undefined>;
  usage: string;
}

const USAGE_STATUS = 64;
const BUG_STATUS = 70;
const OUTPUT_STATUS = 74;

const LOAD: Record<string, () => Promise<CompatProgram>> = {
  backupd: async () => {
    const { backupd, BACKUPD_USAGE } = await import('./backupd.ts');
    return { run: backupd, usage: BACKUPD_USAGE };
  },
  ctl_backups: async () => {
    const { ctlBackups } = await import('./ctl-backups.ts');
    const { CTL_BACKUPS_USAGE } = await import('./usage-text.ts');
    return { run: ctlBackups, usage: CTL_BACKUPS_USAGE };
  },
  cyr_backup: async () => {
    const { cyrBackup } = await import('./cyr-backup.ts');
    const { CYR_BACKUP_USAGE } = await import('./usage-text.ts');
    return { run: cyrBackup, usage: CYR_BACKUP_USAGE };
  },
  restore: async () => {
    const { restore } = await import('./restore.ts');
    const { RESTORE_USAGE } = await import('./usage-text.ts');
    return { run: restore, usage: RESTORE_USAGE };
  },
};

export function isCompatProgram(name: string): boolean {
  return Object.hasOwn(LOAD, name);
}

/** Runs one of them and sets the exit status; a program that goes on running sets none. */
export async function runCompatProgram(name: string, argv: readonly string[]): Promise<void> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(OUTPUT_STATUS);
    fail(name, `IO_ERROR: cannot write to standard output: ${error.message}`, OUTPUT_STATUS);
  });
  const program = await LOAD[name]!();
  try {
    const status = await program.run(argv);
    if (status !== undefined) process.exitCode = status;
  } catch (error) {
    if (error instanceof UsageError) showUsage(name, program.usage, error);
    if (error instanceof BackupError) fail(name, `${error.code}: ${error.message}`, error.exitStatus);
    fail(name, `INTERNAL: ${error instanceof Error ? error.stack : String(error)}`, BUG_STATUS);
  }
}

function showUsage(name: string, usage: string, error: UsageError): never {
  if (error.help) {
    process.stdout.write(usage);
    process.exit(0);
  }
  process.stderr.write(`${name}: ${error.message}\n${usage}`);
  process.exit(USAGE_STATUS);
}

function fail(name: string, message: string, status: number): never {
  process.stderr.write(`${name}: ${message}\n`);
  process.exit(status);
}
