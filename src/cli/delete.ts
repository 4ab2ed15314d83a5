/** `csync-backup delete`: puts the backup of a user aside, gives it back, or removes it for good. */
import { Command } from 'commander';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import {
  type DeletedBackup,
  deleteBackup,
  deletedBackups,
  isExpired,
  removeBackup,
  undeleteBackup,
} from '../maintenance/delete.ts';
import { BackupError } from '../platform/errors.ts';
import { Catalog } from '../store/catalog.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { addPushOption } from './push-gateway.ts';
import type { SelectedBackup } from './select-backups.ts';
import { ToolRun } from './tool-run.ts';
import { printUserid, useridOf } from './userid-text.ts';

interface DeleteFlags extends ConfigFlag {
  yes?: boolean;
  now?: boolean;
  undo?: boolean;
  expired?: boolean;
  wait?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

export function newDeleteCommand(): Command {
  const command = new Command('delete')
    .description(
      'Delete backups. A deleted backup is out of reach of clients, but kept for backup_retention in backups.db as ' +
        '%DELETED.USERID.TIME; --undo gives it back until then, and --expired removes for good what is past it.',
    )
    .argument(
      '[userid...]',
      'users, or with --now and --undo keys of deleted backups as csync-backup list shows them',
    )
    .addOption(configOption())
    .option('--yes', 'do it; without this the command only says what it would do, and fails')
    .option('--now', 'remove the files at once and for good')
    .option('--undo', 'give the user the backup back, the one deleted last')
    .option('--expired', 'remove all deleted backups whose retention is over')
    .option('-w, --wait', 'wait for backups that are locked')
    .option('-n, --dry-run', 'say what would be done')
    .option(
      '--json',
      'one JSON object a line, with a type: backup (action, key, removedBytes, sharedWith, dryRun), error and at the end summary',
    )
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup delete anne --yes', 'put the backup of anne aside'],
          ['csync-backup delete --undo anne', 'give it back'],
          ['csync-backup delete anne --now --yes', 'remove it for good'],
          ['csync-backup delete --expired --yes', 'remove what is past its retention'],
        ],
        [0, 64, 65, 74, 75, 77, 78],
      ),
    )
    .action(runDelete);
  return addPushOption(command);
}

async function runDelete(names: string[], flags: DeleteFlags): Promise<void> {
  const ways = [flags.now, flags.undo, flags.expired].filter(Boolean).length;
  if (ways > 1) throw usage('more than one of --now, --undo, --expired', 'Give one of them');
  if (flags.expired && names.length > 0) throw usage('users together with --expired', 'Give one of them');
  if (!flags.expired && names.length === 0) throw usage('no user', 'Name one, or give --expired');
  const config = loadConfig({ file: flags.config, anyPartitions: true });
  const catalog = new Catalog(config.backupDbPath);
  try {
    const backups = selected(names, flags, config, catalog);
    if (!flags.yes && !flags.dryRun && !flags.undo) throw unconfirmed(backups);
    await work(backups, flags, catalog);
  } finally {
    catalog.close();
  }
}

type Selected = SelectedBackup & { userid: string; deleted?: DeletedBackup };

async function work(backups: Selected[], flags: DeleteFlags, catalog: Catalog): Promise<void> {
  const { dryRun = false, wait = false } = flags;
  const run = new ToolRun(backups, flags.json ?? false);
  const would = dryRun ? 'would be ' : '';
  let removedBytes = 0;
  await run.each(async ({ userid, path: dataPath, deleted }: Selected, name) => {
    const options = { catalog, userid, dataPath, wait, dryRun };
    if (flags.undo) {
      await undeleteBackup(deleted!, options);
      const key = printUserid(deleted!.key);
      run.print({ action: 'undeleted', key, dryRun }, `undelete ${name}: ${would}given back from ${key}`);
    } else if (flags.now || flags.expired) {
      const { removedBytes: bytes, sharedWith } = await removeBackup(options);
      removedBytes += bytes;
      const other = sharedWith === undefined ? null : printUserid(sharedWith);
      const report = { action: 'removed', key: name, removedBytes: bytes, sharedWith: other, dryRun };
      const what = other === null ? `${bytes} bytes` : `but for the file, which is that of ${other}, too`;
      run.print(report, `delete ${name}: ${would}removed for good, ${what}`);
    } else {
      const key = printUserid(await deleteBackup(options));
      run.print({ action: 'deleted', key, dryRun }, `delete ${name}: ${would}kept as ${key}`);
    }
    return 'ok';
  });
  run.end({ removedBytes }, '');
}

function selected(names: string[], flags: DeleteFlags, config: Config, catalog: Catalog): Selected[] {
  if (flags.expired) {
    const expired: Selected[] = [];
    for (const deleted of deletedBackups(catalog)) {
      if (!isExpired(deleted, { catalog, retentionMs: config.backupRetentionMs })) continue;
      expired.push({ userid: deleted.key, path: deleted.dataPath, deleted });
    }
    return expired;
  }
  return names.map((name) => {
    const userid = useridOf(name);
    if (flags.undo) {
      const all = [...deletedBackups(catalog)];
      const deleted =
        all.find(({ key }) => key === userid) ??
        all.filter((each) => each.userid === userid).sort((a, b) => b.deletedAt - a.deletedAt)[0];
      if (deleted === undefined) throw unknown(name, config, 'no deleted backup of this user');
      return { userid: deleted.userid, path: deleted.dataPath, deleted };
    }
    const dataPath = catalog.get(userid);
    if (dataPath === undefined) throw unknown(name, config, 'no such user');
    return { userid, path: dataPath };
  });
}

function unconfirmed(backups: Selected[]): BackupError {
  const names = backups.slice(0, 5).map(({ userid }) => printUserid(userid));
  const more = backups.length > names.length ? ` and ${backups.length - names.length} more` : '';
  return new BackupError({
    code: 'USAGE',
    tried: 'delete',
    subject: names.length === 0 ? 'backups' : names.join(', ') + more,
    reason: 'it was not confirmed',
    remedy: 'Give --yes to do it, or --dry-run to see what would be done',
  });
}

function unknown(name: string, { backupDbPath }: Config, reason: string): BackupError {
  return new BackupError({
    code: 'NOT_FOUND',
    tried: 'find the backup of',
    subject: name,
    reason: `${backupDbPath} has ${reason}`,
    remedy: 'See csync-backup list for those that it has; deleted ones begin with %DELETED.',
  });
}

function usage(reason: string, remedy: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'delete',
    subject: 'backups',
    reason: `${reason} was given`,
    remedy,
  });
}
