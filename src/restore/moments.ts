/** What is said of a moment of which the state cannot be had. Times are seconds since 1970. */
import { BackupError } from '../platform/errors.ts';

/** The moment is before the first line of the backup: nothing of this user was stored yet. */
export class NotYetThere extends BackupError {
  /** Of the first line; 0 if there is none. */
  readonly begin: number;

  /** @param since the earliest moment that can be had */
  constructor(dataPath: string, time: number, begin: number, since: number) {
    super(
      begin === 0
        ? {
            code: 'NOT_FOUND',
            tried: 'find the state of',
            subject: isoSeconds(time),
            reason: `nothing was stored in ${dataPath} yet`,
            remedy: 'See csync-backup list',
          }
        : lost(dataPath, time, since),
    );
    this.begin = begin;
  }
}

/** The moment is before what a compaction, or damage, has left of the history. */
export function historyLost(dataPath: string, time: number, since: number): BackupError {
  return new BackupError(lost(dataPath, time, since));
}

function lost(dataPath: string, time: number, since: number) {
  return {
    code: 'NOT_FOUND',
    tried: 'find the state of',
    subject: isoSeconds(time),
    reason: `the history that ${dataPath} keeps begins at ${isoSeconds(since)}`,
    remedy: `Give ${isoSeconds(since)} or a later time`,
  } as const;
}

/** `2026-11-20T13:00:00Z`. */
export function isoSeconds(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`;
}
