/** One piece of maintenance on one backup, as the scheduler gives it to the process that does it. */
import type { Config } from '../config/config.ts';

export type JobKind = 'verify' | 'compact' | 'pull' | 'drill';

export interface Job {
  kind: JobKind;
  userid: string;
  /** The data file that backups.db names for the user. */
  path: string;
  /** The administrator asked for it: also if it does not seem to be needed. */
  isForced?: boolean;
}

/** A job with what its process needs to know. */
export interface JobRequest extends Job {
  config: Config;
  /** Bytes that may be read in a second; 0: no limit. */
  bytesPerSecond: number;
  /** When work of this kind was last done on it; 0 if that is not known. Unix time in ms. */
  doneMs: number;
}

/**
 * `ok`: done and all is well; `faulty`: the backup is damaged, or a drill did not get everything back; `busy`: somebody has it locked; `gone`: removed or moved
 * meanwhile; `unneeded`: there was nothing to do; `removed`: it was a deleted one whose
 * retention is over; `failed`: it could not be done; `cancelled`: by us, nothing is changed.
 */
export type JobOutcome = 'ok' | 'faulty' | 'unneeded' | 'removed' | 'busy' | 'gone' | 'failed' | 'cancelled';

export interface JobResult {
  outcome: JobOutcome;
  /** Of the data file as it was found. */
  sizeBytes: number;
  /** Bytes that were read from files, as far as the process could count them. */
  readBytes: number;
  /** verify, compact: how many, and how many of each code. drill: messages that did not come back as they were. */
  faults: number;
  codes: Record<string, number>;
  /** verify, faulty: all was put right at once; nothing is asked for. */
  isMended?: boolean;
  /** compact: how much smaller the backup is now. */
  freedBytes: number;
  /** drill: how many messages were compared. */
  compared: number;
  /** busy, failed: the stable code of the error, and its message. faulty: the first of the faults; drill, ok: what restore said of the backup. */
  code?: string;
  text?: string;
}

export function emptyResult(outcome: JobOutcome, error?: { code: string; text: string }): JobResult {
  return { outcome, sizeBytes: 0, readBytes: 0, faults: 0, codes: {}, freedBytes: 0, compared: 0, ...error };
}
