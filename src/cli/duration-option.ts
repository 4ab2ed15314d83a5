import { InvalidArgumentError, Option } from 'commander';
import { parseDuration, ValueError } from '../config/units.ts';

/** An option whose value is a duration such as 90s or 1h30m; a bare number is in seconds. Gives seconds. */
export function durationOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser((text: string) => {
    try {
      return parseDuration(text, 's') / 1000;
    } catch (error) {
      if (error instanceof ValueError) throw new InvalidArgumentError(`It ${error.message}.`);
      throw error;
    }
  });
}
