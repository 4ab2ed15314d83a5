/** `csync-backup restore`: mail out of a backup, to wherever it is wanted. */
import { Command, Option } from 'commander';
import { loadConfig } from '../../config/load.ts';
import { mailboxDeletedAt, mailboxOwner, type NameRules, toAdmin } from '../../csync/mailbox-name.ts';
import { decodeMailboxName } from '../../csync/modified-utf7.ts';
import { BackupError } from '../../platform/errors.ts';
import { isoSeconds } from '../../restore/moments.ts';
import { withSource } from '../../restore/open-source.ts';
import { compactTime, type PlannedMailbox, planRestore, type RestorePlan } from '../../restore/plan.ts';
import { RestoreReport } from '../../restore/report.ts';
import { formerName, Selection } from '../../restore/selection.ts';
import type { BackupSource } from '../../restore/source.ts';
import type { Conflict } from '../../restore/target.ts';
import { noteSummary } from '../command-run.ts';
import { configOption } from '../config-option.ts';
import { durationOption } from '../duration-option.ts';
import { helpText } from '../help-text.ts';
import { addMomentOptions, findMoment, type MomentFlags, sourceOutput } from '../moment-options.ts';
import { Progress } from '../progress.ts';
import { addPushOption } from '../push-gateway.ts';
import { type SelectedBackup, selectBackup } from '../select-backups.ts';
import { printUserid, useridOf as useridText } from '../userid-text.ts';
import { describeObject, readObjectFile } from './object-file.ts';
import { figuresOf, printDetails, summaryOf, unusual } from './report-text.ts';
import { openTarget, TARGET_FORMS } from './targets.ts';

export interface RestoreFlags extends MomentFlags {
  config?: string;
  to: string;
  user?: string;
  mailbox?: string;
  file?: string;
  allUsers?: boolean;
  fromFile?: string;
  into?: string;
  inPlace?: boolean;
  settings?: boolean;
  recursive?: boolean;
  deleted?: boolean;
  onlyDeleted?: boolean;
  dryRun?: boolean;
  yes?: boolean;
  json?: boolean;
  identity?: boolean;
  partition?: string;
  passwordFile?: string;
  content?: boolean;
  as?: string;
  caFile?: string;
  allowPlaintext?: boolean;
  acls?: boolean;
  sieve?: string;
}

export function newRestoreCommand(): Command {
  const command = new Command('restore')
    .description(
      'Give mail back. An object is a mailbox (user/anne/Sent, or Sent), its unique id, the GUID of a message, or ' +
        'UNIQUEID:UID as csync-backup search prints it; without objects everything. It goes into a new folder ' +
        'RESTORED-TIME unless --into or --in-place says otherwise.',
    )
    .argument('[objects...]', 'what to restore')
    .option('-t, --to <target>', `where to: ${TARGET_FORMS}`)
    .option('-u, --user <userid>', 'from the backup of this user; %SHARED for shared mailboxes')
    .option('-m, --mailbox <name>', 'from the backup that holds this mailbox')
    .option('-f, --file <path>', 'from the backup in this data file')
    .option('-A, --all-users', 'from all backups; {user} in the target stands for the userid')
    .addOption(configOption());
  addMomentOptions(command)
    .option(
      '--from-file <path>',
      'objects from a file, one a line, or what search has printed; - for standard input',
    )
    .addOption(
      new Option('--into <folder>', 'the folder that all is put into (default: RESTORED-TIME)').conflicts(
        'inPlace',
      ),
    )
    .option('--in-place', 'put everything where it was')
    .option(
      '--settings',
      'subscriptions, Sieve scripts, quota and seen states as well (default with --in-place)',
    )
    .option('--no-settings', 'mail only')
    .option(
      '--identity',
      'with --in-place to csync: unique ids, UIDVALIDITY, UIDs and modseqs too, so that mail programs notice nothing',
    )
    .option('--partition <name>', 'to csync: the partition of the target for new mailboxes')
    .option('--password-file <path>', 'the password for the target in the first line of this file')
    .option('--no-content', 'to json: without the messages themselves')
    .option('-r, --recursive', 'with a mailbox those below it')
    .option('--deleted', 'expunged messages and deleted mailboxes as well')
    .option('--only-deleted', 'expunged messages only')
    .option('-n, --dry-run', 'show what would be restored and what is in the way, but write nothing')
    .option('-y, --yes', 'go on although there is something in the way')
    .option('--parallel <count>', 'with --all-users: how many at a time (default: 4)')
    .addOption(
      durationOption(
        '--recent <duration>',
        'with --all-users: mail as new as this first, for everybody, then the rest',
      ),
    )
    .option(
      '--resume <file>',
      'with --all-users: note there what is done, and go on behind it if the file exists',
    )
    .option('--as <userid>', 'imap: log in as an administrator who acts for this user')
    .option('--ca-file <file>', 'csync, imap: PEM file of the authorities that vouch for the target')
    .option('--allow-plaintext', 'imap: send the password without TLS')
    .option('--acls', 'imap: access control lists as well, where they differ')
    .option(
      '--sieve <host:port>',
      'imap: ManageSieve server for scripts (default: port 4190 of the same host)',
    )
    .option(
      '--json',
      'one JSON object a line, with a type: mailbox, conflict, shortfall, remark and at the end summary; with --all-users also user, error and not-yet-there',
    )
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup restore -u anne --to eml:/tmp/anne', 'all of anne as files'],
          [
            'csync-backup restore -u anne --to csync://admin@mail.example.com --in-place --identity',
            'all of anne on a new Cyrus server, as it was',
          ],
          [
            'csync-backup restore -u anne --to tar:- --in-place | ssh host tar x',
            'all of anne, unpacked elsewhere',
          ],
          ['csync-backup restore -u anne --to eml:/tmp/anne Sent -n', 'what restoring one mailbox would do'],
          [
            'csync-backup search anne --subject invoice --json | csync-backup restore -u anne --from-file - --to eml:out',
            'what search finds',
          ],
          ['csync-backup restore -u anne --to eml:/tmp/anne --at "2026-11-20 14:00"', 'all as it was then'],
          [
            'csync-backup restore -u anne --to imaps://anne@mail.example.com',
            'into a new folder at a mail server',
          ],
          [
            'csync-backup restore -u anne --to imap://admin@mail.example.com --as anne --in-place',
            'all back to where it was, by an administrator',
          ],
        ],
        [0, 64, 65, 69, 74, 75, 77, 78],
      ),
    )
    .action(runRestore);
  return addPushOption(command);
}

async function runRestore(named: string[], given: RestoreFlags): Promise<void> {
  // As the report of the run before has called it.
  const flags = {
    ...given,
    ...(given.into !== undefined && { into: given.into.replace(/^INBOX\/(?=.)/i, '') }),
  };
  if (flags.to === undefined) throw noTarget();
  refuseForOneUser(flags);
  if (flags.allUsers) return await (await import('./all-users.ts')).restoreAllUsers(named, flags);
  const config = loadConfig({ file: flags.config, anyPartitions: true });
  const selected = selectBackup(flags);
  const listed =
    flags.fromFile === undefined ? undefined : await readObjectFile(flags.fromFile, selected.userid);
  const objects = [...named.map(useridText), ...(listed?.lines.keys() ?? [])];
  const out = new Output(flags.json ?? false);
  const opening = sourceOutput();
  const moment = await findMoment(flags, selected.path, config, opening);
  await withSource(selected.path, { config, moment, ...opening }, async (source) => {
    opening.clear();
    const selection = new Selection(source, {
      objects,
      rules: config,
      recursive: flags.recursive ?? false,
      deleted: flags.deleted ?? false,
      onlyDeleted: flags.onlyDeleted ?? false,
      // As it was it would come back into the deleted namespace.
      formerNames: !flags.identity,
    });
    if (flags.identity && selection.isPartial) throw notWhole();
    const plan = planRestore(source, {
      userid: useridOf(selected, source, config),
      rules: config,
      selection,
      describe: (object) => (listed === undefined ? printUserid(object) : describeObject(object, listed)),
      into: flags.inPlace ? undefined : (flags.into ?? `RESTORED-${compactTime(Date.now() / 1000)}`),
      withSettings: flags.settings ?? (flags.inPlace === true && objects.length === 0),
    });
    if (objects.length > 0 && !flags.deleted) remarkDeleted(plan, opening.remark);
    const target = await openTarget(flags.to, flags);
    if (target.usesStandardOutput && !flags.dryRun) out.useStandardError();
    try {
      const conflicts = await target.conflicts(plan);
      for (const conflict of conflicts) out.conflict(conflict);
      const totalBytes = showPlan(plan, out, flags.dryRun ?? false);
      if (flags.dryRun) {
        if (source.isPartLost) process.exitCode = 65;
        return;
      }
      if (conflicts.length > 0 && !flags.yes) throw inTheWay(target.description, conflicts.length);
      if (flags.into === undefined) tellFolder(plan.into);
      const progress = new Progress(totalBytes);
      const report = new RestoreReport((bytes) => progress.add(bytes));
      try {
        await target.restore(plan, report);
      } finally {
        progress.clear();
        out.report(report, target.description, plan.into);
      }
      if (report.damaged > 0 || source.isPartLost) process.exitCode = 65;
      else if (report.refused > 0) process.exitCode = 69;
    } finally {
      await target.close();
    }
  });
}

/** Who gives one of these relies on it. */
function refuseForOneUser(
  flags: RestoreFlags & { parallel?: string; recent?: number; resume?: string },
): void {
  const given = (['parallel', 'recent', 'resume'] as const).find((key) => flags[key] !== undefined);
  if (flags.allUsers || given === undefined) return;
  throw new BackupError({
    code: 'USAGE',
    tried: 'use',
    subject: `--${given}`,
    reason: 'it is for all users, and --all-users is not given',
    remedy:
      'Leave it out. What a run that was cut off has brought is not added again by the same command with --yes',
  });
}

/**
 * Who interrupts it has to know what to name next time.
 *
 * @param into as in the plan
 */
export function tellFolder(into: string | undefined): void {
  if (into === undefined || !process.stderr.isTTY) return;
  const folder = decodeMailboxName(into);
  process.stderr.write(
    `csync-backup: into the folder ${folder}; if this is cut off, the same with --into ${folder} --yes goes on\n`,
  );
}

/** A backup that was named by its file belongs to whom its mailboxes say. */
export function useridOf({ userid, path }: SelectedBackup, source: BackupSource, rules: NameRules): string {
  if (userid !== undefined) return userid;
  for (const { mboxname } of source.mailboxes({ deleted: true })) return mailboxOwner(mboxname, rules);
  return path;
}

/** Who names a folder may not know that it is deleted. */
function remarkDeleted({ mailboxes, rules }: RestorePlan, remark: (text: string) => void): void {
  for (const { mailbox, folders } of mailboxes) {
    const time = mailboxDeletedAt(mailbox.mboxname, rules) ?? mailbox.deleted;
    if (time === null) continue;
    const name = printUserid(toAdmin(formerName(mailbox.mboxname, rules), rules));
    const target = ['INBOX', ...folders].map(printUserid).join('/');
    remark(`${name} was deleted at ${isoSeconds(time)}: it comes back as ${target}`);
  }
}

/** @returns bytes of all messages */
function showPlan(plan: RestorePlan, out: Output, isDryRun: boolean): number {
  let total = 0;
  for (const planned of plan.mailboxes) {
    let [messages, bytes] = [0, 0];
    for (const { size } of planned.records()) {
      messages++;
      bytes += size ?? 0;
    }
    total += bytes;
    if (isDryRun) out.mailbox(planned, plan, messages, bytes);
  }
  return total;
}

function noTarget(): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'restore to',
    subject: '(nothing)',
    reason: 'no target is named',
    remedy: `Give --to with one of ${TARGET_FORMS}`,
  });
}

function notWhole(): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'use',
    subject: '--identity',
    reason: 'single messages are named, and only a whole mailbox can come back as it was',
    remedy: 'Name mailboxes, or leave --identity out: messages then get new UIDs',
  });
}

export function inTheWay(description: string, count: number): BackupError {
  return new BackupError({
    code: 'EXISTS',
    tried: 'restore to',
    subject: description,
    reason: `${count} ${count === 1 ? 'thing is' : 'things are'} there already (named above)`,
    remedy: 'Give --yes to go on, --into FOLDER for another place, or --dry-run to see what would be done',
  });
}

class Output {
  readonly #json: boolean;
  #stream: NodeJS.WriteStream = process.stdout;

  constructor(json: boolean) {
    this.#json = json;
  }

  /** Standard output is for what is restored. */
  useStandardError(): void {
    this.#stream = process.stderr;
  }

  conflict({ what, effect }: Conflict): void {
    if (this.#json) this.#write({ type: 'conflict', what, effect });
    else process.stderr.write(`csync-backup: ${what} is there already: ${effect}\n`);
  }

  mailbox(
    { mailbox, folders }: PlannedMailbox,
    { rules }: RestorePlan,
    messages: number,
    bytes: number,
  ): void {
    const name = printUserid(toAdmin(mailbox.mboxname, rules));
    const target = ['INBOX', ...folders].map(printUserid).join('/');
    if (this.#json) {
      this.#write({ type: 'mailbox', name, uniqueid: mailbox.uniqueid, target, messages, sizeBytes: bytes });
    } else this.#stream.write(`${name}\t${target}\t${messages}\t${bytes}\n`);
  }

  /** @param into of the plan */
  report(report: RestoreReport, target: string, into: string | undefined): void {
    const folder = into === undefined ? null : decodeMailboxName(into);
    noteSummary(summaryOf(report));
    printDetails(report, this.#json ? (object) => this.#write(object) : undefined);
    if (this.#json) {
      this.#write({ type: 'summary', target, into: folder, ...figuresOf(report) });
      return;
    }
    const { mailboxes, messages, bytes } = report;
    const parts = [`${messages} messages (${bytes} bytes) in ${mailboxes} mailboxes`, ...unusual(report)];
    const place = folder === null ? target : `${target}, in INBOX/${folder}`;
    this.#stream.write(`restored to ${place}: ${parts.join(', ')}\n`);
  }

  #write(object: object): void {
    this.#stream.write(`${JSON.stringify(object)}\n`);
  }
}
