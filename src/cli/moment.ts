/** Moments as people write them: a day, a day with a time, or how long ago. */
import { InvalidArgumentError, Option } from 'commander';
import { parseDuration, ValueError } from '../config/units.ts';

export const MOMENT_FORMS =
  'such as 2026-11-20, "2026-11-20 14:00", 2026-11-20T14:00:00Z, today, yesterday, or 7d or 12h for so long ago';

const DAY =
  /^(\d{4})-(\d{1,2})-(\d{1,2})(?:[ T]+(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\.\d+)?)?(?: ?(Z|[+-]\d{2}:?\d{2}))?$/i;

/**
 * A day is the beginning of that day; without `Z` or `+01:00` it is local time.
 *
 * @returns seconds since 1970
 * @throws ValueError
 */
export function parseMoment(text: string, nowMs: number = Date.now()): number {
  const match = DAY.exec(text.trim());
  if (match !== null) return Math.floor(calendarTime(match as unknown as string[]) / 1000);
  const now = new Date(nowMs);
  const daysAgo = ['today', 'yesterday'].indexOf(text.trim().toLowerCase());
  if (daysAgo !== -1) {
    return new Date(now.getFullYear(), now.getMonth(), now.getDate() - daysAgo).getTime() / 1000;
  }
  try {
    // A bare number would be anything.
    if (/[dhms]$/.test(text)) return Math.floor((nowMs - parseDuration(text, 's')) / 1000);
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
  }
  throw new ValueError('is no date or time');
}

/** In milliseconds. */
function calendarTime([, ...parts]: string[]): number {
  const zone = parts[6]?.toUpperCase();
  const [year, month, day, hour = 0, minute = 0, second = 0] = parts
    .slice(0, 6)
    .map((part) => (part === undefined ? undefined : Number(part))) as [number, number, number];
  // Beyond its end a day or a month would quietly become another.
  const fields = [year, month - 1, day, hour, minute, second] as const;
  const utc = new Date(Date.UTC(...fields));
  const isReal = utc.getUTCMonth() === month - 1 && utc.getUTCDate() === day;
  if (!isReal || hour > 23 || minute > 59 || second > 59) throw new ValueError('is no day of the calendar');
  if (zone === undefined) return new Date(...fields).getTime();
  const offset = /([+-])(\d{2}):?(\d{2})/.exec(zone);
  const minutes = offset === null ? 0 : Number(offset[2]) * 60 + Number(offset[3]);
  return utc.getTime() - (offset?.[1] === '-' ? -minutes : minutes) * 60_000;
}

/** An option whose value is a moment. Gives seconds since 1970. */
export function momentOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser((text: string) => {
    try {
      return parseMoment(text);
    } catch (error) {
      if (error instanceof ValueError)
        throw new InvalidArgumentError(`It ${error.message}. Give one ${MOMENT_FORMS}.`);
      throw error;
    }
  });
}
