/** Which backups a command is about: all, those of some users, domains or mailboxes, or those in some files. */
import fs from 'node:fs';
import path from 'node:path';
import { type Command, Option } from 'commander';
import type { Config } from '../config/config.ts';
import { isEmbedded } from '../config/embedded.ts';
import { loadConfig } from '../config/load.ts';
import { fromAdmin, mailboxOwner } from '../csync/mailbox-name.ts';
import { BackupError } from '../platform/errors.ts';
import { nearNames } from '../restore/near-names.ts';
import { Catalog } from '../store/catalog.ts';
import { ownerOf } from '../store/former-users.ts';
import { refuseVanishedCatalog } from '../store/lost-catalog.ts';
import type { ConfigFlag } from './config-option.ts';
import { printUserid, useridOf } from './userid-text.ts';

export interface SelectFlags extends ConfigFlag {
  all?: boolean;
  user?: string[];
  file?: string[];
  mailbox?: string[];
  domain?: string[];
  prefix?: string[];
}

export interface SelectedBackup {
  /** Absent for one that was named by its file. */
  userid?: string;
  path: string;
}

/** Adds `-A`, `-u USERID...`, `-m MAILBOX...`, `-D DOMAIN...`, `-P PREFIX...` and `-f PATH...`. */
export function addSelectOptions(command: Command): Command {
  return command
    .option('-A, --all', 'all backups in backups.db')
    .addOption(
      new Option('-u, --user <userid...>', 'the backups of these users; %SHARED for shared mailboxes'),
    )
    .addOption(
      new Option(
        '-m, --mailbox <name...>',
        'the backups that hold these mailboxes, named as the administrator sees them',
      ),
    )
    .addOption(new Option('-D, --domain <domain...>', 'the backups of the users of these domains'))
    .addOption(
      new Option('-P, --prefix <prefix...>', 'the backups of the users whose userids begin like this'),
    )
    .addOption(new Option('-f, --file <path...>', 'the backups in these data files, whoever they belong to'));
}

const WAYS = ['all', 'user', 'mailbox', 'domain', 'prefix', 'file'] as const;

/** @throws BackupError as eachBackup() does. */
export function selectBackups(flags: SelectFlags): SelectedBackup[] {
  return [...eachBackup(flags)];
}

/**
 * The same one after the other, for stores of any size.
 *
 * @throws BackupError USAGE unless exactly one way of naming them is used, NOT_FOUND for a user without a backup.
 */
export function* eachBackup(flags: SelectFlags): Generator<SelectedBackup, void> {
  const ways = WAYS.filter((way) => flags[way] !== undefined);
  if (ways.length !== 1) {
    throw new BackupError({
      code: 'USAGE',
      tried: 'choose',
      subject: 'backups',
      reason: ways.length === 0 ? 'none are named' : 'they are named in more than one way',
      remedy: 'Give one of -A, -u USERID..., -m MAILBOX..., -D DOMAIN..., -P PREFIX..., -f PATH...',
    });
  }
  if (flags.file !== undefined) {
    for (const file of flags.file) {
      if (fs.statSync(file, { throwIfNoEntry: false })?.isDirectory()) throw isFolder(file);
      yield { path: path.resolve(file) };
    }
    return;
  }
  const config = loadConfig({ file: flags.config, anyPartitions: true });
  requireState(config);
  const catalog = new Catalog(config.backupDbPath);
  try {
    yield* fromCatalog(catalog, config, flags);
  } finally {
    catalog.close();
  }
}

/**
 * Somebody who forgets -C, or whose disk is not mounted, has not got an empty store.
 *
 * @throws BackupError CONFIG_INVALID
 */
export function requireState(config: Config): void {
  const { configDirectory, file } = config;
  if (fs.existsSync(configDirectory)) return;
  const is = `${configDirectory} does not exist`;
  throw new BackupError({
    code: 'CONFIG_INVALID',
    tried: 'find the backups of',
    subject: isEmbedded(config) ? 'the embedded configuration' : file,
    reason: isEmbedded(config)
      ? `no configuration is named or installed, and ${is}`
      : `its configdirectory ${is}`,
    remedy: isEmbedded(config)
      ? 'Name one with -C FILE'
      : 'Mount its disk, or name another configuration with -C',
  });
}

function isFolder(file: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'take the backup in',
    subject: file,
    reason: 'it is a folder',
    remedy: 'Name a data file, such as PARTITION/a/anne_x1Y2z3; csync-backup list shows where they are',
  });
}

/** The one backup that `-u USERID`, `-m MAILBOX` or `-f PATH` names. */
export function selectBackup(
  flags: { user?: string; mailbox?: string; file?: string } & ConfigFlag,
): SelectedBackup {
  const { user, mailbox, file, config } = flags;
  if (user === undefined && mailbox === undefined && file === undefined) {
    throw new BackupError({
      code: 'USAGE',
      tried: 'choose',
      subject: 'a backup',
      reason: 'none is named',
      remedy: 'Give one of -u USERID, -m MAILBOX, -f PATH. csync-backup list has the users',
    });
  }
  const listOf = (value: string | undefined) => (value === undefined ? undefined : [value]);
  return selectBackups({
    user: listOf(user),
    mailbox: listOf(mailbox),
    file: listOf(file),
    config,
  })[0]!;
}

/** The domain that a key of the catalog belongs to, as Cyrus's tools see it. */
export function domainOf(userid: string, config: Config): string {
  const owner = ownerOf(userid);
  const at = owner.lastIndexOf('@');
  return at === -1 ? config.defaultDomain : owner.slice(at + 1);
}

/** The userid whose backup holds the mailbox of this name. @throws BackupError USAGE */
export function ownerOfMailbox(name: string, config: Config): string {
  return mailboxOwner(fromAdmin(useridOf(name), config), config);
}

function* fromCatalog(catalog: Catalog, config: Config, flags: SelectFlags): Generator<SelectedBackup, void> {
  const userids = flags.user ?? flags.mailbox;
  if (userids !== undefined) {
    for (const name of userids) {
      const userid = flags.user === undefined ? ownerOfMailbox(name, config) : useridOf(name);
      const file = catalog.get(userid);
      if (file === undefined) {
        refuseVanishedCatalog(config);
        throw unknownName(name, catalog);
      }
      yield { userid, path: file };
    }
    return;
  }
  const domains = flags.domain?.map(useridOf);
  const prefixes = flags.prefix?.map(useridOf);
  refuseVanishedCatalog(config);
  for (const [userid, file] of catalog.entries()) {
    if (domains !== undefined && !domains.includes(domainOf(userid, config))) continue;
    if (prefixes !== undefined && !prefixes.some((prefix) => userid.startsWith(prefix))) continue;
    yield { userid, path: file };
  }
}

/** Userids that are looked through for what somebody may have meant. */
const NAMES_TO_COMPARE = 100_000;

function unknownName(name: string, catalog: Catalog): BackupError {
  const userids: string[] = [];
  for (const [userid] of catalog.entries()) {
    if (userids.push(printUserid(userid)) === NAMES_TO_COMPARE) break;
  }
  const near = nearNames(name, userids);
  const meant = near.length === 0 ? '' : `Did you mean ${near.join(', ')}? `;
  return new BackupError({
    code: 'NOT_FOUND',
    tried: 'find the backup of',
    subject: name,
    reason: `${catalog.path} has no such user`,
    remedy: `${meant}See csync-backup list for those that it has`,
  });
}
