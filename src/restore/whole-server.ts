/**
 * All users of a store, several at a time. First the recent mail of everybody, so that people can work, then the rest;
 * in each pass those first whose mail changed last. One user's failure is noted and does not stop the others.
 */
import { BackupError } from '../platform/errors.ts';
import { CsyncRefusal } from './csync-reply.ts';
import { NotYetThere } from './moments.ts';
import type { RestorePlan } from './plan.ts';
import type { RestoreReport } from './report.ts';
import type { ResumeFile } from './resume-file.ts';

export interface UserToRestore {
  userid: string;
  path: string;
  /** When the backup last changed, in ms; those that changed last come first. */
  changedAt: number;
}

export type Pass = 'recent' | 'all';

export interface WholeServerOptions {
  users: readonly UserToRestore[];
  passes: readonly Pass[];
  /** Users at a time. */
  parallel: number;
  resume: ResumeFile | undefined;
  restore(user: UserToRestore, pass: Pass): Promise<RestoreReport>;
  /** A user is done with in this pass; undefined: in an earlier run. */
  onDone(user: UserToRestore, pass: Pass, report: RestoreReport | undefined): void;
  onFailed(user: UserToRestore, pass: Pass, error: BackupError): void;
  /** The moment is before all that the backup has: there is nothing to bring back. Called once. */
  onNotYetThere(user: UserToRestore, error: NotYetThere): void;
}

export interface WholeServerResult {
  /** Users who came back in full. */
  complete: number;
  /** Users of whom something did not come back, or who failed. */
  incomplete: number;
  failed: number;
  /** Users of whom there was nothing at the moment yet; they count neither as complete nor as incomplete. */
  notYetThere: number;
}

/** So many users after each other who cannot even be begun: the target is gone, and trying the rest helps nobody. */
const MAX_UNAVAILABLE = 20;

/** @throws BackupError UNAVAILABLE where the target is gone; anything that is no BackupError */
export async function restoreAll(options: WholeServerOptions): Promise<WholeServerResult> {
  const users = options.users.toSorted((a, b) => b.changedAt - a.changedAt);
  const failed = new Set<string>();
  const short = new Set<string>();
  const notYetThere = new Set<string>();
  let unavailable = 0;
  let isStopped = false;
  for (const pass of options.passes) {
    const queue = users.values();
    const worker = async (): Promise<void> => {
      for (const user of queue) {
        if (isStopped) return;
        const { userid } = user;
        if (notYetThere.has(userid)) continue;
        if (options.resume?.isDone({ userid, pass })) {
          options.onDone(user, pass, undefined);
          continue;
        }
        try {
          const report = await options.restore(user, pass);
          unavailable = 0;
          if (report.damaged + report.refused > 0) short.add(userid);
          // What the target refused may be mended there, so it is tried again in the next run.
          if (report.refused === 0) options.resume?.done({ userid, pass });
          failed.delete(userid);
          options.onDone(user, pass, report);
        } catch (error) {
          if (error instanceof NotYetThere) {
            notYetThere.add(userid);
            options.onNotYetThere(user, error);
            continue;
          }
          isStopped = !(error instanceof BackupError);
          if (!(error instanceof BackupError)) throw error;
          failed.add(userid);
          options.onFailed(user, pass, error);
          unavailable = isGone(error) ? unavailable + 1 : 0;
          isStopped = unavailable >= MAX_UNAVAILABLE;
          if (isStopped) throw error;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.max(1, options.parallel) }, worker));
  }
  const incomplete = new Set([...failed, ...short]).size;
  const complete = users.length - incomplete - notYetThere.size;
  return { complete, incomplete, failed: failed.size, notYetThere: notYetThere.size };
}

/** A server that says NO is there. */
function isGone(error: BackupError): boolean {
  if (error instanceof CsyncRefusal && error.reply.status !== 'BYE') return false;
  return error.code === 'UNAVAILABLE' || error.code === 'TIMED_OUT';
}

/** The plan less what is older, in seconds since 1970. */
export function onlySince(plan: RestorePlan, since: number): RestorePlan {
  const mailboxes = plan.mailboxes.map((planned) => ({
    ...planned,
    *records() {
      for (const record of planned.records()) if (record.internaldate >= since) yield record;
    },
  }));
  return { ...plan, mailboxes };
}

/**
 * The plan less mailboxes to which nothing has come since then, for targets to which a mailbox goes as a whole. The
 * INBOX stays: without it there is no user.
 */
export function onlyMailboxesSince(plan: RestorePlan, since: number): RestorePlan {
  const mailboxes = plan.mailboxes.filter(
    ({ mailbox, folders }) => mailbox.lastAppenddate >= since || folders.length === 0,
  );
  return { ...plan, mailboxes };
}
