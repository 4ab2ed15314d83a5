/** `csync-backup restore --all-users`: a lost server brought back. */
import fs from 'node:fs';
import type { Config } from '../../config/config.ts';
import { loadConfig } from '../../config/load.ts';
import { type NameRules, SHARED_USERID } from '../../csync/mailbox-name.ts';
import { parseDeletedKey } from '../../maintenance/delete.ts';
import { BackupError } from '../../platform/errors.ts';
import { safeName } from '../../restore/files/file-names.ts';
import { isoSeconds, type NotYetThere } from '../../restore/moments.ts';
import { withSource } from '../../restore/open-source.ts';
import { compactTime, planRestore } from '../../restore/plan.ts';
import { inboxOf, usersWithSameInbox } from '../../restore/renamed-users.ts';
import { RestoreReport } from '../../restore/report.ts';
import { ResumeFile } from '../../restore/resume-file.ts';
import { isLive, Selection } from '../../restore/selection.ts';
import type { BackupSource } from '../../restore/source.ts';
import {
  onlyMailboxesSince,
  onlySince,
  type Pass,
  restoreAll,
  type UserToRestore,
} from '../../restore/whole-server.ts';
import { Catalog } from '../../store/catalog.ts';
import { refuseVanishedCatalog } from '../../store/lost-catalog.ts';
import type { Moment } from '../../store/past-index.ts';
import { noteSummary } from '../command-run.ts';
import { momentOf } from '../moment-options.ts';
import { Progress } from '../progress.ts';
import { requireState } from '../select-backups.ts';
import { isAgo } from '../time-option.ts';
import { printUserid } from '../userid-text.ts';
import { addFigures, figuresOf, printDetails, summaryOf, unusual } from './report-text.ts';
import { inTheWay, type RestoreFlags, tellFolder } from './restore.ts';
import { openTarget } from './targets.ts';

export interface AllUsersFlags extends RestoreFlags {
  parallel?: string;
  resume?: string;
  recent?: number;
}

const GONE =
  'nothing to bring back: the backup has no live mailbox, since the mail server deleted the user. ' +
  '--deleted brings the deleted mailboxes, --at the user of a moment before that';
const DEFAULT_PARALLEL = 4;
const MAX_PARALLEL = 64;
const USER_PLACE = '{user}';
/** Targets that hold the mail of one user. */
const ONE_USER = /^(eml|maildir|mbox|tar|json):/i;

/** @throws BackupError USAGE, UNAVAILABLE */
export async function restoreAllUsers(objects: readonly string[], flags: AllUsersFlags): Promise<void> {
  refuseContradictions(objects, flags);
  const config = loadConfig({ file: flags.config, anyPartitions: true });
  const { users, putAside } = usersOf(config);
  const now = Date.now() / 1000;
  const moment = momentOf(flags);
  using resume =
    flags.resume === undefined || flags.dryRun
      ? undefined
      : ResumeFile.open(flags.resume, {
          type: 'restore-all',
          target: flags.to,
          into: flags.inPlace ? null : (flags.into ?? `RESTORED-${compactTime(now)}`),
          at: moment.kind === 'latest' ? null : moment.time,
          atAgo: flags.at !== undefined && isAgo(flags.at) ? flags.at.trim() : null,
          recentSince: flags.recent === undefined ? null : Math.floor(now - flags.recent),
        });
  const header = resume?.header;
  const into = flags.inPlace ? undefined : (header?.into ?? flags.into ?? `RESTORED-${compactTime(now)}`);
  const recentSince = header?.recentSince ?? (flags.recent === undefined ? undefined : now - flags.recent);
  // One that goes on has the moment of the one that began.
  const at: Moment = header?.at == null ? moment : { kind: 'time', time: header.at };
  if (at.kind === 'time') tellOfPutAside(putAside, at.time);
  if (flags.into === undefined && resume === undefined && !flags.dryRun) tellFolder(into);
  const run = new AllUsersRun(config, flags, into, recentSince, resume, at);
  await run.run(users);
}

class AllUsersRun {
  readonly #config: Config;
  readonly #flags: AllUsersFlags;
  readonly #into: string | undefined;
  readonly #recentSince: number | undefined;
  readonly #resume: ResumeFile | undefined;
  readonly #moment: Moment;
  readonly #total: RestoreReport = new RestoreReport();
  readonly #failures = new Map<string, BackupError>();
  readonly #notYetThere = new Map<string, NotYetThere>();
  /** Who has the INBOX of these users under another name now. */
  #successors: ReadonlyMap<string, UserToRestore[]> = new Map();
  /** Users of whom something is at the target by our own doing. */
  readonly #begun = new Set<string>();

  constructor(
    config: Config,
    flags: AllUsersFlags,
    into: string | undefined,
    recentSince: number | undefined,
    resume: ResumeFile | undefined,
    moment: Moment,
  ) {
    this.#config = config;
    this.#flags = flags;
    this.#into = into;
    this.#recentSince = recentSince;
    this.#resume = resume;
    this.#moment = moment;
  }

  async run(users: readonly UserToRestore[]): Promise<void> {
    const passes: Pass[] = this.#recentSince === undefined ? ['all'] : ['recent', 'all'];
    if (this.#flags.identity) this.#successors = usersWithSameInbox(users, this.#config);
    const progress = new Progress(users.reduce((sum, { path }) => sum + sizeOf(path), 0));
    const result = await restoreAll({
      users,
      passes,
      parallel: parallelOf(this.#flags.parallel),
      resume: this.#resume,
      restore: (user, pass) => this.#restore(user, pass),
      onDone: (user, pass, report) => {
        if (pass === 'all') progress.add(sizeOf(user.path));
        this.#failures.delete(user.userid);
        progress.clear();
        if (report !== undefined) this.#print(user, pass, report);
      },
      onFailed: (user, pass, error) => {
        progress.clear();
        this.#failures.set(user.userid, error);
        const { userid } = user;
        if (this.#flags.json) {
          this.#write({
            type: 'error',
            userid: printUserid(userid),
            pass,
            code: error.code,
            text: error.message,
          });
        } else {
          process.stderr.write(`csync-backup: ${printUserid(userid)}: ${error.code}: ${error.message}\n`);
        }
      },
      onNotYetThere: ({ userid, path }, error) => {
        progress.add(sizeOf(path));
        progress.clear();
        this.#notYetThere.set(userid, error);
        this.#printNotYetThere(userid, error);
      },
    }).finally(() => progress.clear());
    this.#end(users.length, result.complete);
  }

  async #restore({ userid, path }: UserToRestore, pass: Pass): Promise<RestoreReport> {
    const remark = (text: string): void =>
      void process.stderr.write(`csync-backup: ${printUserid(userid)}: ${text}\n`);
    return await withSource(path, { config: this.#config, moment: this.#moment, remark }, async (source) => {
      const { deleted = false, onlyDeleted = false, settings, inPlace = false } = this.#flags;
      const rules = this.#config;
      if (source.isPartLost) process.exitCode = 65;
      const selection = new Selection(source, { objects: [], rules, recursive: false, deleted, onlyDeleted });
      const whole = planRestore(source, {
        userid,
        rules,
        selection,
        into: this.#into,
        withSettings: (settings ?? inPlace) && !isGone(source, userid, rules),
      });
      const only = this.#flags.identity ? onlyMailboxesSince : onlySince;
      const plan = pass === 'recent' ? { ...only(whole, this.#recentSince!), withSettings: false } : whole;
      const report = new RestoreReport();
      if (plan.mailboxes.length === 0 && !plan.withSettings) {
        if (isGone(source, userid, rules)) report.remark(GONE);
        return report;
      }
      const successor = await this.#successorOf(userid, source);
      if (successor !== undefined) {
        report.shortfall({ kind: 'refused', what: 'the user', reason: renamedTo(userid, successor) });
        return report;
      }
      const target = await openTarget(targetOf(this.#flags.to, userid), flagsOf(this.#flags, userid));
      try {
        await this.#refuseConflicts(userid, target.description, await target.conflicts(plan));
        if (this.#flags.dryRun) {
          for (const { records } of plan.mailboxes) {
            report.mailboxes++;
            for (const { size } of records()) report.restored(size ?? 0);
          }
          return report;
        }
        this.#begun.add(userid);
        await target.restore(plan, report);
      } finally {
        await target.close();
      }
      return report;
    });
  }

  /** Another user who has the same INBOX at the moment, and to whom it comes back. */
  async #successorOf(userid: string, source: BackupSource): Promise<string | undefined> {
    const successors = this.#successors.get(userid);
    if (successors === undefined) return undefined;
    const inbox = inboxOf(source, userid, this.#config);
    if (inbox === undefined) return undefined;
    const options = { config: this.#config, moment: this.#moment, remark: () => {} };
    for (const other of successors) {
      const isTheirs = await withSource(
        other.path,
        options,
        (theirs) => inboxOf(theirs, other.userid, this.#config) === inbox,
      ).catch((error: unknown) => {
        if (error instanceof BackupError) return false; // not yet there, or no better than this one
        throw error;
      });
      if (isTheirs) return other.userid;
    }
    return undefined;
  }

  /** What an earlier run or pass has put there is no conflict. */
  async #refuseConflicts(userid: string, target: string, conflicts: readonly unknown[]): Promise<void> {
    if (conflicts.length === 0 || this.#flags.yes || this.#flags.dryRun) return;
    if (this.#begun.has(userid) || this.#resume?.isOld) return;
    throw inTheWay(target, conflicts.length);
  }

  #print({ userid }: UserToRestore, pass: Pass, report: RestoreReport): void {
    // A dry run restores nothing in the first pass that the second would find there.
    if (!this.#flags.dryRun || pass === 'all') addFigures(this.#total, report);
    const name = printUserid(userid);
    const { mailboxes, messages, bytes, present } = report;
    if (this.#flags.json) this.#write({ type: 'user', userid: name, pass, ...figuresOf(report) });
    else process.stdout.write(`${name}\t${pass}\t${mailboxes}\t${messages}\t${bytes}\t${present}\n`);
    printDetails(report, this.#flags.json ? (object) => this.#write(object) : undefined, name);
  }

  #printNotYetThere(userid: string, { begin }: NotYetThere): void {
    const name = printUserid(userid);
    if (this.#flags.json) {
      const since = begin === 0 ? null : isoSeconds(begin);
      this.#write({ type: 'not-yet-there', userid: name, since });
      return;
    }
    const begins = begin === 0 ? 'the backup is empty' : `the backup begins at ${isoSeconds(begin)}`;
    process.stderr.write(`csync-backup: ${name}: not yet there at ${this.#then}: ${begins}\n`);
  }

  /** The moment, for people. */
  get #then(): string {
    return this.#moment.kind === 'time' ? isoSeconds(this.#moment.time) : 'any time';
  }

  #end(users: number, complete: number): void {
    const { messages, bytes, damaged, refused } = this.#total;
    const failed = this.#failures.size;
    const notYetThere = this.#notYetThere.size;
    noteSummary({ users, complete, failed, ...summaryOf(this.#total) });
    if (users > 0 && notYetThere === users) throw this.#nobodyYet();
    if (this.#flags.json) {
      this.#write({ type: 'summary', users, complete, failed, notYetThere, ...figuresOf(this.#total) });
    } else {
      const verb = this.#flags.dryRun ? 'would be restored' : 'restored';
      const parts = [`${users} users: ${complete} complete, ${messages} messages (${bytes} bytes) ${verb}`];
      parts.push(...unusual(this.#total));
      if (failed > 0)
        parts.push(`${failed} users failed: ${[...this.#failures.keys()].map(printUserid).join(', ')}`);
      if (notYetThere > 0) {
        const names = [...this.#notYetThere.keys()].map(printUserid);
        parts.push(`${notYetThere} not yet there at ${this.#then}: ${names.join(', ')}`);
      }
      process.stdout.write(`${parts.join('; ')}\n`);
      if (complete + notYetThere < users && this.#flags.resume !== undefined) {
        process.stdout.write('The same command again tries what is missing.\n');
      }
    }
    const [firstFailure] = this.#failures.values();
    if (damaged > 0 || process.exitCode === 65) process.exitCode = 65;
    else if (firstFailure !== undefined) process.exitCode = firstFailure.exitStatus;
    else if (refused > 0) process.exitCode = 69;
  }

  /** All that was asked for is nothing, so it is likely that the moment is wrong. */
  #nobodyYet(): BackupError {
    const begins = [...this.#notYetThere.values()].map(({ begin }) => begin).filter((begin) => begin > 0);
    const first = begins.length === 0 ? undefined : isoSeconds(Math.min(...begins));
    return new BackupError({
      code: 'NOT_FOUND',
      tried: 'restore all users as they were at',
      subject: this.#then,
      reason: 'nobody has a backup that goes back so far',
      remedy: first === undefined ? 'See csync-backup list' : `Give ${first} or a later time`,
    });
  }

  #write(object: object): void {
    process.stdout.write(`${JSON.stringify(object)}\n`);
  }
}

function renamedTo(userid: string, successor: string): string {
  const [name, other] = [printUserid(userid), printUserid(successor)];
  return (
    `its INBOX is by its unique id that of ${other}, which comes back: the user was renamed, and the mail server never said that ` +
    `the old name is gone. csync-backup delete ${name} puts the old backup aside; if ${name} is the right one, ` +
    `put that of ${other} aside and run this again`
  );
}

/** Shared mailboxes have nobody who could be gone, and annotations of the server are with them. */
function isGone(source: BackupSource, userid: string, rules: NameRules): boolean {
  if (userid === SHARED_USERID) return false;
  for (const mailbox of source.mailboxes()) if (isLive(mailbox, rules)) return false;
  return true;
}

interface CatalogUsers {
  users: UserToRestore[];
  /** Keys of backups that were put aside. */
  putAside: string[];
}

/** Everybody in the catalog who is not deleted. */
function usersOf(config: Config): CatalogUsers {
  requireState(config);
  refuseVanishedCatalog(config);
  const catalog = new Catalog(config.backupDbPath);
  try {
    const users: UserToRestore[] = [];
    const putAside: string[] = [];
    for (const [userid, path] of catalog.entries()) {
      if (parseDeletedKey(userid) !== undefined) {
        putAside.push(userid);
        continue;
      }
      const stat = fs.statSync(path, { throwIfNoEntry: false });
      users.push({ userid, path, changedAt: stat?.mtimeMs ?? 0 });
    }
    return { users, putAside };
  } finally {
    catalog.close();
  }
}

/** Who was deleted since was there then, but may be another person than the one who has the userid now. */
function tellOfPutAside(keys: readonly string[], time: number): void {
  for (const key of keys) {
    const { userid, deletedAt } = parseDeletedKey(key)!;
    if (deletedAt <= time) continue;
    const name = printUserid(key);
    process.stderr.write(
      `csync-backup: ${printUserid(userid)}: the backup that was put aside at ${isoSeconds(deletedAt)} is left out; ` +
        `csync-backup restore -u '${name}' --at ${isoSeconds(time)} --to TARGET gives it back\n`,
    );
  }
}

/** `{user}` is the userid, written so that it stands for one name in a path and in a URL. */
function targetOf(template: string, userid: string): string {
  const name = printUserid(userid);
  return template.replaceAll(USER_PLACE, ONE_USER.test(template) ? safeName(name) : encodeURIComponent(name));
}

/** `--as {user}`; nobody acts for shared mailboxes but the administrator. */
function flagsOf(flags: AllUsersFlags, userid: string): AllUsersFlags {
  if (flags.as === undefined) return flags;
  const as = userid === SHARED_USERID ? undefined : flags.as.replaceAll(USER_PLACE, printUserid(userid));
  return { ...flags, as };
}

function refuseContradictions(objects: readonly string[], flags: AllUsersFlags): void {
  const refuse = (reason: string, remedy: string): never => {
    throw new BackupError({ code: 'USAGE', tried: 'restore', subject: 'all users', reason, remedy });
  };
  const one = ['user', 'mailbox', 'file', 'fromFile'] as const;
  if (objects.length > 0 || one.some((key) => flags[key] !== undefined)) {
    refuse('single backups or objects are named, too', 'Leave out either --all-users or what is named');
  }
  if (flags.beforeChange !== undefined) {
    refuse('--before-change is about one backup', 'Give --at with the moment, or one user');
  }
  if (ONE_USER.test(flags.to) && !flags.to.includes(USER_PLACE)) {
    refuse(
      'their mail would be mixed in one place',
      `Give --to with ${USER_PLACE} in it, such as '${flags.to}/${USER_PLACE}'`,
    );
  }
  if (/^imaps?:/i.test(flags.to) && ![flags.to, flags.as ?? ''].some((text) => text.includes(USER_PLACE))) {
    refuse(
      'their mail would be mixed in one account',
      `Give --as ${USER_PLACE}, or --to with it in the user's name`,
    );
  }
  if (/^(tar|json):-$/i.test(flags.to))
    refuse('one stream holds one user', `Give --to FILE-${USER_PLACE}.tar`);
}

function parallelOf(text: string | undefined): number {
  if (text === undefined) return DEFAULT_PARALLEL;
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= MAX_PARALLEL) return count;
  throw new BackupError({
    code: 'USAGE',
    tried: 'restore so many users at a time:',
    subject: text,
    reason: `it is no number from 1 to ${MAX_PARALLEL}`,
    remedy: `Give --parallel ${DEFAULT_PARALLEL}, or leave it out`,
  });
}

function sizeOf(path: string): number {
  return fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
