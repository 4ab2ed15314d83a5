/** Which backups a command is about: all, those of some users, or those in some files. */
import path from 'node:path';
import { type Command, Option } from 'commander';
import { loadConfig } from '../config/load.ts';
import { BackupError } from '../platform/errors.ts';
import { Catalog } from '../store/catalog.ts';
import type { ConfigFlag } from './config-option.ts';
import { useridOf } from './userid-text.ts';

export interface SelectFlags extends ConfigFlag {
  all?: boolean;
  user?: string[];
  file?: string[];
}

export interface SelectedBackup {
  /** Absent for one that was named by its file. */
  userid?: string;
  path: string;
}

/** Adds `-A`, `-u USERID...` and `-f PATH...`. */
export function addSelectOptions(command: Command): Command {
  return command
    .option('-A, --all', 'all backups in backups.db')
    .addOption(
      new Option('-u, --user <userid...>', 'the backups of these users; %SHARED for shared mailboxes'),
    )
    .addOption(new Option('-f, --file <path...>', 'the backups in these data files, whoever they belong to'));
}

/**
 * @throws BackupError USAGE unless exactly one way of naming them is used, NOT_FOUND for a user without a backup.
 */
export function selectBackups(flags: SelectFlags): SelectedBackup[] {
  const ways = [flags.all, flags.user, flags.file].filter((way) => way !== undefined);
  if (ways.length !== 1) {
    throw new BackupError({
      code: 'USAGE',
      tried: 'choose',
      subject: 'backups',
      reason: ways.length === 0 ? 'none are named' : 'they are named in more than one way',
      remedy: 'Give one of -A, -u USERID..., -f PATH...',
    });
  }
  if (flags.file !== undefined) return flags.file.map((file) => ({ path: path.resolve(file) }));
  const config = loadConfig({ file: flags.config });
  return withCatalog(config.backupDbPath, (catalog) => {
    if (flags.user === undefined)
      return [...catalog.entries()].map(([userid, file]) => ({ userid, path: file }));
    return flags.user.map((user) => {
      const userid = useridOf(user);
      const file = catalog.get(userid);
      if (file === undefined) throw unknownUser(user, config.backupDbPath);
      return { userid, path: file };
    });
  });
}

/** The one backup that `-u USERID` or `-f PATH` names. */
export function selectBackup(flags: { user?: string; file?: string } & ConfigFlag): SelectedBackup {
  const { user, file, config } = flags;
  return selectBackups({
    user: user === undefined ? undefined : [user],
    file: file === undefined ? undefined : [file],
    config,
  })[0]!;
}

function withCatalog<T>(dbPath: string, use: (catalog: Catalog) => T): T {
  const catalog = new Catalog(dbPath);
  try {
    return use(catalog);
  } finally {
    catalog.close();
  }
}

function unknownUser(user: string, dbPath: string): BackupError {
  return new BackupError({
    code: 'NOT_FOUND',
    tried: 'find the backup of',
    subject: user,
    reason: `${dbPath} has no such user`,
    remedy: 'See csync-backup list for those that it has',
  });
}
