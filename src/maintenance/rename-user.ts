/**
 * `rename`: gives the backup of one userid to another, for a user whom the mail server has renamed. The catalog is
 * changed first, then what the backup says: RENAME lines for its mailboxes, as a client that renames a user sends them,
 * so that the next sync of the new user goes on in it. Killed in between it is the new user's with mailboxes under the
 * old names, which that sync, or the same command again, renames.
 */
import type { Logger } from 'pino';
import type { Config } from '../config/config.ts';
import { printKvlist, printNumber, printString } from '../csync/encoder.ts';
import {
  formatMailboxName,
  type MailboxName,
  mailboxOwner,
  parseMailboxName,
  SHARED_USERID,
  userInbox,
} from '../csync/mailbox-name.ts';
import { crashPoint } from '../platform/crash-points.ts';
import type { DeflateEngine } from '../platform/deflate.ts';
import { BackupError } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import { LineFeed } from '../store/apply-line.ts';
import { Backup } from '../store/backup.ts';
import type { Catalog } from '../store/catalog.ts';
import { type DataFile, indexPathOf } from '../store/data-file.ts';
import { DiskSync } from '../store/disk-sync.ts';
import { ownerOf } from '../store/former-users.ts';
import { mailboxFields } from '../store/index/answers.ts';
import { BackupIndex } from '../store/index/backup-index.ts';
import { intermediates, mailboxByName, mailboxes, subscriptions } from '../store/index/queries.ts';
import { renamedAnnotations } from '../store/index/renamed-annotations.ts';
import { newDataFileName } from '../store/partition.ts';
import { openTrusted } from '../store/recovery.ts';
import { openLockedData } from './locked-data.ts';
import { movedAway } from './move.ts';
import { environment } from './reindex.ts';

export interface RenameOptions {
  /** Key of the catalog; that of a deleted backup too. */
  from: string;
  to: string;
  config: Config;
  catalog: Catalog;
  engine: DeflateEngine;
  /** Wait for the lock. */
  wait?: boolean;
  /** Only say what would be renamed. */
  dryRun?: boolean;
  log?: Logger;
}

export interface RenameReport {
  path: string;
  /** Mailboxes that are renamed, and those whose new name another mailbox has already. */
  mailboxes: number;
  inTheWay: string[];
  subscriptions: number;
  /** The catalog had been changed by an earlier run. */
  resumed: boolean;
}

/**
 * @throws BackupError LOCKED; NOT_FOUND when `from` has no backup; EXISTS when `to` has one: two people's mail is never
 *   mixed; BAD_PARAMETERS for a userid that cannot be one
 */
export async function renameUser(options: RenameOptions): Promise<RenameReport> {
  const { from, to, catalog } = options;
  checkUserid(to);
  if (ownerOf(from) === SHARED_USERID) throw badUserid(from, 'shared mailboxes belong to no user');
  const dataPath = catalog.get(from);
  const present = catalog.get(to);
  if (dataPath === undefined && present === undefined) throw unknownUser(from, catalog);
  if (dataPath !== undefined && present !== undefined) throw hasBackup(from, to, present);
  // Perhaps of an earlier run that was cut off: that shows when it is open.
  const resumed = dataPath === undefined;
  const [key, path] = resumed ? [to, present!] : [from, dataPath!];
  const file = await openLockedData(path, options.wait ?? false);
  let backup: Backup | undefined;
  try {
    if (catalog.get(key) !== path) throw movedAway(key, path, catalog);
    if (options.dryRun) return look(file, options, resumed);
    const { config, engine, log } = options;
    const ofBackup = { ...config, durability: 'ack' as const };
    const env = {
      ...environment({ engine, keepPrevious: config.backupKeepPrevious, ...(log && { log }) }),
      config: ofBackup,
      catalog,
      disk: new DiskSync(),
    };
    // Trusted before the catalog is changed: what cannot be opened stays whose it is.
    backup = new Backup(to, await openTrusted(file, to, env), env);
    return await renameOpen(backup, options, resumed);
  } catch (error) {
    throw ioError(error, 'rename', path);
  } finally {
    if (backup === undefined) file.close();
    else backup.close();
  }
}

function look(file: DataFile, options: RenameOptions, resumed: boolean): RenameReport {
  const index = BackupIndex.open(indexPathOf(file.path), { readonly: true });
  try {
    const plan = planOf(index, options);
    if (resumed && plan.lines.length === 0) throw unknownUser(options.from, options.catalog);
    return { path: file.path, resumed, ...reportOf(plan) };
  } finally {
    index.close();
  }
}

async function renameOpen(backup: Backup, options: RenameOptions, resumed: boolean): Promise<RenameReport> {
  const plan = planOf(backup.index, options);
  if (resumed && plan.lines.length === 0) throw unknownUser(options.from, options.catalog);
  if (!resumed) options.catalog.rename(options.from, options.to);
  crashPoint('rename-catalog');
  await writeLines(backup, plan.lines);
  crashPoint('rename-lines');
  return { path: backup.file.path, resumed, ...reportOf(plan) };
}

async function writeLines(backup: Backup, lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return;
  const chunk = backup.ensureChunk();
  for (const text of lines) {
    const line = chunk.beginLine();
    const bytes = Buffer.from(text, 'latin1');
    chunk.appendText(bytes);
    await chunk.syncStart();
    const feed = new LineFeed(backup.index, {
      chunkId: chunk.id,
      line,
      pending: chunk.pending,
      acceptMissing: false,
      isHistory: text.startsWith('MAILBOX '),
    });
    feed.push(bytes);
    const outcome = feed.end();
    if (outcome.type !== 'ok') throw refused(backup, text, outcome.type);
  }
  await backup.commit();
  await backup.endChunk();
}

interface Plan {
  lines: string[];
  mailboxes: number;
  inTheWay: string[];
  subscriptions: number;
}

function reportOf({ mailboxes: count, inTheWay, subscriptions: subscribed }: Plan) {
  return { mailboxes: count, inTheWay, subscriptions: subscribed };
}

/** Lines, without their heads, that make the mailboxes of the one user those of the other. */
function planOf(index: BackupIndex, { from, to, config }: RenameOptions): Plan {
  const plan: Plan = { lines: [], mailboxes: 0, inTheWay: [], subscriptions: 0 };
  const owner = ownerOf(from);
  const move = (name: string): string | undefined =>
    mailboxOwner(name, config) === owner ? nameFor(name, to, config) : undefined;
  for (const mailbox of mailboxes(index)) {
    const { mboxname, partition, uidvalidity, deleted, underHeal } = mailbox;
    const name = deleted === null ? move(mboxname) : undefined;
    if (name === undefined) continue;
    if (mailboxByName(index, name)?.deleted === null) {
      plan.inTheWay.push(mboxname);
      continue;
    }
    const fields = printKvlist([
      ['OLDMBOXNAME', printString(mboxname)],
      ['NEWMBOXNAME', printString(name)],
      ['PARTITION', printString(partition)],
      ['UIDVALIDITY', printNumber(uidvalidity ?? 0)],
    ]);
    plan.lines.push(`RENAME ${fields}\r\n`);
    plan.mailboxes++;
    // Cyrus's verify looks for the name in a MAILBOX. One that is to be sent again gets its from the client: this
    // would count as its coming.
    if (underHeal) continue;
    const quotaroot = mailbox.quotaroot === null ? null : (move(mailbox.quotaroot) ?? mailbox.quotaroot);
    const annotations = renamedAnnotations(mailbox.annotations, mboxname, name);
    const renamed = mailboxFields({ ...mailbox, mboxname: name, quotaroot, annotations });
    plan.lines.push(`MAILBOX %(${renamed} RECORD ())\r\n`);
  }
  for (const { mboxname } of [...intermediates(index)]) {
    const name = move(mboxname);
    if (name === undefined) continue;
    const fields = printKvlist([
      ['OLDMBOXNAME', printString(mboxname)],
      ['NEWMBOXNAME', printString(name)],
    ]);
    plan.lines.push(`RENAME ${fields}\r\n`);
  }
  for (const mboxname of subscriptions(index)) {
    const name = move(mboxname);
    if (name === undefined) continue;
    const line = (verb: string, of: string) =>
      `${verb} ${printKvlist([
        ['USERID', printString(to)],
        ['MBOXNAME', printString(of)],
      ])}\r\n`;
    plan.lines.push(line('UNSUB', mboxname), line('SUB', name));
    plan.subscriptions++;
  }
  return plan;
}

function nameFor(name: string, userid: string, config: Config): string {
  const { folders, deletedSuffix } = parseMailboxName(name, config);
  const { localpart, domain } = parseMailboxName(userInbox(userid, config), config);
  const renamed: MailboxName = { folders };
  if (localpart !== undefined) renamed.localpart = localpart;
  if (domain !== undefined) renamed.domain = domain;
  if (deletedSuffix !== undefined) renamed.deletedSuffix = deletedSuffix;
  return formatMailboxName(renamed, config);
}

function checkUserid(userid: string): void {
  if (/^[%.]/.test(userid))
    throw badUserid(userid, 'it begins with a character that is kept for our own entries');
  newDataFileName(userid);
}

function badUserid(userid: string, reason: string): BackupError {
  return new BackupError({
    code: 'BAD_PARAMETERS',
    tried: 'rename with',
    subject: userid,
    reason,
    remedy: 'Give the userid as the mail server has it',
  });
}

function unknownUser(userid: string, catalog: Catalog): BackupError {
  return new BackupError({
    code: 'NOT_FOUND',
    tried: 'rename the backup of',
    subject: userid,
    reason: `${catalog.path} has no such user`,
    remedy: 'See csync-backup list for those that it has',
  });
}

function hasBackup(from: string, to: string, dataPath: string): BackupError {
  if (from === to)
    return new BackupError({
      code: 'BAD_PARAMETERS',
      tried: `give the backup of ${from} to`,
      subject: to,
      reason: 'that is the name that it has',
      remedy: 'Give the new name behind the old one',
    });
  return new BackupError({
    code: 'EXISTS',
    tried: `give the backup of ${from} to`,
    subject: to,
    reason: `${to} has a backup, ${dataPath}, and two are never mixed`,
    remedy: `If that one is of no use, put it aside first with csync-backup delete ${to}`,
  });
}

function refused(backup: Backup, text: string, what: string): BackupError {
  return new BackupError({
    code: 'INTERNAL',
    tried: `apply ${text.trim()} to`,
    subject: backup.file.path,
    reason: `the index says ${what}`,
    remedy: 'Run csync-backup verify, and the same command again; report this',
  });
}
