import { InvalidArgumentError, Option } from 'commander';
import { parseDuration, ValueError } from '../config/units.ts';

/** An option whose value is a duration such as 90s or 1h30m, up to `max`; a bare number is in seconds. Gives seconds. */
export function durationOption(flags: string, description: string, max?: string): Option {
  const parse = (text: string) => parseDuration(text, 's') / 1000;
  return new Option(flags, description).argParser((text: string) => {
    try {
      const seconds = parse(text);
      if (max !== undefined && (seconds < 1 || seconds > parse(max)))
        throw new InvalidArgumentError(`It has to be from 1s to ${max}.`);
      return seconds;
    } catch (error) {
      if (error instanceof ValueError) throw new InvalidArgumentError(`It ${error.message}.`);
      throw error;
    }
  });
}
