/** When maintenance is due. Pure: times are Unix milliseconds. */
import { createHash } from 'node:crypto';
import type { DailyTime } from '../config/schedule-values.ts';

/** The first of these local times of day that lies after `nowMs`; undefined if there are none. */
export function nextDaily(times: readonly DailyTime[], nowMs: number): number | undefined {
  const now = new Date(nowMs);
  const candidates = times.flatMap(({ hour, minute }) =>
    // A time that a change of the clocks leaves out is moved behind it; one that comes twice is taken once.
    [0, 1, 2].map((days) =>
      new Date(now.getFullYear(), now.getMonth(), now.getDate() + days, hour, minute).getTime(),
    ),
  );
  const later = candidates.filter((at) => at > nowMs);
  return later.length === 0 ? undefined : Math.min(...later);
}

/** Whether a random sample of about `count` of so many has this one; the same answer each time for one `draw`. */
export function isDrawn(name: string, draw: string, count: number, of: number): boolean {
  if (of <= count) return true;
  const number = createHash('sha256').update(`${draw}\n${name}`, 'latin1').digest().readUInt32BE(0);
  return number < (count / of) * 2 ** 32;
}

/** Verifications go a little faster than need be, so that one that has to wait is still in time. */
const PACE = 0.9;

/**
 * When the least recently verified backup should be verified: all of them come in turn, evenly spread over the
 * period, and at once if that one's time is over.
 *
 * @param oldest when the least recently verified one was, or was first seen if it never was
 * @param lastMs when the last verification of any backup was begun
 */
export function nextVerification(o: {
  everyMs: number;
  backups: number;
  oldestMs: number;
  lastMs: number;
}): number {
  const spread = o.lastMs + (PACE * o.everyMs) / Math.max(1, o.backups);
  return Math.min(spread, o.oldestMs + o.everyMs);
}
