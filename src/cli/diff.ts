/** `csync-backup diff`: what is different between two moments of a backup. */
import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { BackupError } from '../platform/errors.ts';
import { differences } from '../restore/diff.ts';
import { withSource } from '../restore/open-source.ts';
import type { Moment } from '../store/past-index.ts';
import { configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { CHANGE_KEYS, changeColumns, changeObject } from './history-text.ts';
import { sourceOutput } from './moment-options.ts';
import { selectBackup } from './select-backups.ts';
import { LineWriter } from './standard-output.ts';
import { parsePastTime, TIME_FORMS } from './time-option.ts';

const BAD_DATA_STATUS = 65;

interface DiffFlags {
  config?: string;
  user?: string;
  mailbox?: string;
  file?: string;
  from: string;
  to?: string;
  json?: boolean;
}

export function newDiffCommand(): Command {
  return new Command('diff')
    .description(
      'Show what is different between two moments: mailboxes created, deleted, renamed and changed, messages added and expunged, flags, ' +
        'subscriptions, seen states, Sieve scripts, quotas. One difference a line, separated by tabs.',
    )
    .argument('[userid]', 'in the backup of this user; %SHARED for shared mailboxes')
    .option('-u, --user <userid>', 'the same')
    .option('-m, --mailbox <name>', 'in the backup that holds this mailbox')
    .option('-f, --file <path>', 'in the backup in this data file')
    .addOption(configOption())
    .requiredOption('--from <time>', `the earlier moment: ${TIME_FORMS}`)
    .option('--to <time>', 'the later moment (default: the latest state)')
    .option('--json', `one JSON object a line: ${CHANGE_KEYS}`)
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup diff anne --from -1d', 'what is different since yesterday'],
          [
            'csync-backup diff anne --from "2026-11-20 14:00" --to "2026-11-20 15:00"',
            'what happened in an hour',
          ],
        ],
        [0, 64, 65, 74, 75, 77, 78],
      ),
    )
    .action(runDiff);
}

async function runDiff(user: string | undefined, flags: DiffFlags): Promise<void> {
  const config = loadConfig({ file: flags.config, anyPartitions: true });
  const { mailbox, file } = flags;
  if (user !== undefined && flags.user !== undefined) throw twoUsers(user);
  const { path } = selectBackup({ user: user ?? flags.user, mailbox, file, config: flags.config });
  const from = parsePastTime(flags.from, '--from');
  const to = flags.to === undefined ? undefined : parsePastTime(flags.to, '--to');
  if (to !== undefined && to < from) throw turnedRound(flags);
  const until: Moment = to === undefined ? { kind: 'latest' } : { kind: 'time', time: to };
  const opening = sourceOutput();
  const options = { config, ...opening };
  const out = new LineWriter();
  await withSource(path, { ...options, moment: { kind: 'time', time: from } }, async (before) => {
    opening.clear();
    await withSource(path, { ...options, moment: until }, (after) => {
      opening.clear();
      if (before.isPartLost || after.isPartLost) process.exitCode = BAD_DATA_STATUS;
      for (const change of differences(before, after, config)) {
        if (flags.json) out.write(JSON.stringify(changeObject(change, config)));
        else out.write(changeColumns(change, config).join('\t'));
      }
    });
  });
  out.flush();
}

function twoUsers(userid: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'compare moments of',
    subject: userid,
    reason: 'another user is named with --user, too',
    remedy: 'Give one of them',
  });
}

function turnedRound({ from, to }: DiffFlags): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'compare',
    subject: `${from} with ${to}`,
    reason: '--from is later than --to',
    remedy: 'Give --from the earlier time',
  });
}
