import type { RestorePlan } from './plan.ts';
import type { RestoreReport } from './report.ts';

/** Something at the target that is there already. */
export interface Conflict {
  /** A mailbox or file as the target calls it. */
  what: string;
  /** What restoring does about it: `messages are added with new UIDs`. */
  effect: string;
}

/** Where mail is restored to. */
export interface RestoreTarget {
  /** For people: `imap://anne@host:143`. Never a password. */
  readonly description: string;

  /** It writes to standard output, where nothing else may go then. */
  readonly usesStandardOutput?: boolean;

  /**
   * What of the plan the target has already. Writes nothing.
   *
   * @throws BackupError where the plan cannot be carried out at all, such as an account that is not there
   */
  conflicts(plan: RestorePlan): Promise<Conflict[]>;

  /**
   * Carries the plan out. A second run after an interrupted or complete one adds nothing twice. What the backup has
   * lost and what the target refuses goes into the report, and the rest goes on.
   *
   * @throws BackupError where nothing more can be done: the connection is lost, the disk is full
   */
  restore(plan: RestorePlan, report: RestoreReport): Promise<void>;

  close(): Promise<void>;
}
