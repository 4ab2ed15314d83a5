/** Points in time on the command line. */
import { parseDuration, ValueError } from '../config/units.ts';
import { BackupError } from '../platform/errors.ts';

/** For --help. */
export const TIME_FORMS =
  '2026-11-20, "2026-11-20 14:00", 2026-11-20T14:00:30 (all local time), 2026-11-20T13:00:00Z, ' +
  '2026-11-20T14:00+01:00, @1795179600 (UNIX time), or how long ago: -3d, -12h30m';

const DATE_TIME =
  /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?)? ?(Z|UTC|[+-]\d\d:?(?:\d\d)?)?$/i;

/**
 * Seconds since 1970; see TIME_FORMS. Fractions of a second are cut off.
 *
 * @param option for the error, `--at`
 * @param now in milliseconds
 * @throws BackupError USAGE
 */
export function parseTime(text: string, option: string, now: number = Date.now()): number {
  const trimmed = text.trim();
  const unix = /^@(\d{1,12})$/.exec(trimmed);
  if (unix !== null) return Number(unix[1]);
  if (isAgo(trimmed)) return Math.floor((now + ago(trimmed, text, option)) / 1000);
  const match = DATE_TIME.exec(trimmed);
  if (match === null) throw badTime(text, option, 'it is no time that is understood');
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map((digits) => Number(digits ?? 0)) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  // There is no such thing as February 30, though Date takes it for March 2.
  const utc = Date.UTC(year, month - 1, day, hour, minute, second);
  const fields = new Date(utc);
  const isThere =
    fields.getUTCMonth() === month - 1 &&
    fields.getUTCDate() === day &&
    hour < 24 &&
    minute < 60 &&
    second < 60;
  if (!isThere) throw badTime(text, option, 'there is no such day or time of day');
  const zone = match[7];
  if (zone === undefined) return new Date(year, month - 1, day, hour, minute, second).getTime() / 1000;
  if (/^(Z|UTC)$/i.test(zone)) return utc / 1000;
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(3).replace(':', '') || 0);
  return utc / 1000 - (zone.startsWith('-') ? -minutes : minutes) * 60;
}

/** Whether it is how long ago, so that it stands for another moment each time that it is given. */
export function isAgo(text: string): boolean {
  return /^\s*-\d/.test(text);
}

function ago(trimmed: string, text: string, option: string): number {
  try {
    return parseDuration(trimmed, 's');
  } catch (error) {
    if (error instanceof ValueError) throw badTime(text, option, `it ${error.message}`);
    throw error;
  }
}

/** @throws BackupError USAGE also for a time that is to come */
export function parsePastTime(text: string, option: string, now: number = Date.now()): number {
  const time = parseTime(text, option, now);
  if (time * 1000 <= now) return time;
  throw new BackupError({
    code: 'USAGE',
    tried: `take ${option}`,
    subject: JSON.stringify(text),
    reason: `that is in the future: it is ${new Date(now).toISOString().slice(0, 19)}Z now`,
    remedy: `Leave ${option} out for the latest state, or give a time that is past`,
  });
}

function badTime(text: string, option: string, reason: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: `take ${option}`,
    subject: JSON.stringify(text),
    reason,
    remedy: `Give one of ${TIME_FORMS}`,
  });
}
