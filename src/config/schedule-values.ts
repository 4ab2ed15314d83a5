/** Kinds of value for what the server does by itself at certain times. */
import { parseDuration, printDuration, ValueError } from './units.ts';
import type { ValueType } from './values.ts';

/** A time of day, local. */
export interface DailyTime {
  hour: number;
  minute: number;
}

/** `04:00`, several separated by spaces or commas, in order; `off` is none. */
export const dailyTimes: ValueType<DailyTime[]> = {
  name: 'times',
  allowed: 'times of day (local) such as 04:00, several separated by spaces; off',
  parse(text) {
    if (text.toLowerCase() === 'off') return [];
    const minutes = text.split(/[ \t,]+/).map((word) => {
      const match = /^([0-9]{1,2}):([0-9]{2})$/.exec(word);
      const [hour, minute] = [Number(match?.[1]), Number(match?.[2])];
      if (!match || hour > 23 || minute > 59) throw new ValueError(`has no time of day in "${word}"`);
      return hour * 60 + minute;
    });
    return [...new Set(minutes)]
      .sort((a, b) => a - b)
      .map((at) => ({ hour: Math.floor(at / 60), minute: at % 60 }));
  },
  print: (value) => value.map(printTime).join(' ') || 'off',
};

export function printTime({ hour, minute }: DailyTime): string {
  return `${String(hour).padStart(2, '0')}:${String(minute).padStart(2, '0')}`;
}

/** Milliseconds, a bare number in `unit`, at least `minMs`; `off` is 0. */
export function durationOrOff(unit: 'h' | 'd', minMs: number): ValueType<number> {
  const unitName = { h: 'hours', d: 'days' }[unit];
  return {
    name: 'duration',
    allowed: `a duration such as 12h or 30d (a bare number is in ${unitName}), at least ${printDuration(minMs)}; off`,
    parse(text) {
      if (text.toLowerCase() === 'off') return 0;
      const ms = parseDuration(text, unit);
      if (ms < minMs) throw new ValueError(`is below ${printDuration(minMs)}`);
      return ms;
    },
    print: (value) => (value === 0 ? 'off' : printDuration(value)),
  };
}
