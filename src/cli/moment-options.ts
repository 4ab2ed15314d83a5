/** `--at` and `--before-change`: commands that look at a backup as it was. */
import type { Command } from 'commander';
import type { Config } from '../config/config.ts';
import { beforeLastChange } from '../restore/before-change.ts';
import { isoSeconds } from '../restore/moments.ts';
import type { SourceOptions } from '../restore/open-source.ts';
import type { Moment } from '../store/past-index.ts';
import { changeColumns } from './history-text.ts';
import { Progress } from './progress.ts';
import { parsePastTime, TIME_FORMS } from './time-option.ts';

export interface MomentFlags {
  at?: string;
  beforeChange?: string;
}

export function addMomentOptions(command: Command): Command {
  return command
    .option('--at <time>', `the state at this time (what happened in that second included): ${TIME_FORMS}`)
    .option(
      '--before-change <object>',
      'the state just before the last change (with --at: until then) of this message (GUID or UNIQUEID:UID) or mailbox (with its messages)',
    );
}

/** What `--at` alone says. @throws BackupError USAGE */
export function momentOf({ at }: MomentFlags): Moment {
  return at === undefined ? { kind: 'latest' } : { kind: 'time', time: parsePastTime(at, '--at') };
}

/** @throws BackupError USAGE; NOT_FOUND for an object that nothing has changed */
export async function findMoment(
  flags: MomentFlags,
  dataPath: string,
  config: Config,
  opening: ReturnType<typeof sourceOutput>,
): Promise<Moment> {
  const moment = momentOf(flags);
  if (flags.beforeChange === undefined) return moment;
  const object = Buffer.from(flags.beforeChange, 'utf8').toString('latin1');
  const options = { config, moment, rules: config, ...opening };
  const found = await beforeLastChange(dataPath, options, object);
  const what = changeColumns(found.change, config).join(', ');
  opening.clear();
  opening.remark(`what was so before the change at ${isoSeconds(found.change.time)}: ${what}`);
  return found.moment;
}

/** Remarks go to standard error, and a bar while a temporary index is made. */
export function sourceOutput(): Pick<SourceOptions, 'remark' | 'onProgress'> & { clear(): void } {
  let progress: Progress | undefined;
  return {
    remark: (text) => {
      progress?.clear();
      process.stderr.write(`csync-backup: ${text}\n`);
    },
    onProgress: (bytes, totalBytes) => {
      progress ??= new Progress(totalBytes);
      progress.add(bytes);
    },
    clear: () => {
      progress?.clear();
      progress = undefined;
    },
  };
}
