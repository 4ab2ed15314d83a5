/** `--at`: commands that look at a backup as it was. */
import type { Command } from 'commander';
import type { SourceOptions } from '../restore/open-source.ts';
import type { Moment } from '../store/past-index.ts';
import { Progress } from './progress.ts';
import { parsePastTime, TIME_FORMS } from './time-option.ts';

export interface MomentFlags {
  at?: string;
}

export function addMomentOptions(command: Command): Command {
  return command.option(
    '--at <time>',
    `the state at this time (what happened in that second included): ${TIME_FORMS}`,
  );
}

/** @throws BackupError USAGE */
export function momentOf({ at }: MomentFlags): Moment {
  return at === undefined ? { kind: 'latest' } : { kind: 'time', time: parsePastTime(at, '--at') };
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
