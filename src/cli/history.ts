/** `csync-backup history`: what changed in a backup when. */
import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { BackupError } from '../platform/errors.ts';
import { readHistory } from '../restore/history.ts';
import { MailboxFilter, unknownMailbox } from '../restore/mailbox-filter.ts';
import { isoSeconds } from '../restore/moments.ts';
import type { Moment } from '../store/past-index.ts';
import { configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { CHANGE_KEYS, changeColumns, changeObject } from './history-text.ts';
import { sourceOutput } from './moment-options.ts';
import { selectBackup } from './select-backups.ts';
import { LineWriter } from './standard-output.ts';
import { parseTime, TIME_FORMS } from './time-option.ts';

const BAD_DATA_STATUS = 65;

interface HistoryFlags {
  config?: string;
  user?: string;
  file?: string;
  since?: string;
  before?: string;
  json?: boolean;
}

export function newHistoryCommand(): Command {
  return new Command('history')
    .description(
      'Show what changed when, one change a line, separated by tabs: time (UTC), what happened, to what, details. With a mailbox only what ' +
        'happened to that and to its messages, also under other names that it had. Times are those at which the backup was told.',
    )
    .argument('[userid]', 'in the backup of this user; %SHARED for shared mailboxes')
    .argument('[mailbox]', 'as user/anne/Sent, Sent, or its unique id')
    .option('-u, --user <userid>', 'the same as the userid; only a mailbox follows then')
    .option('-f, --file <path>', 'in the backup in this data file; only a mailbox follows then')
    .addOption(configOption())
    .option('--since <time>', `only what happened at this time or later: ${TIME_FORMS}`)
    .option('--before <time>', 'only what happened before this time')
    .option('--json', `one JSON object a line: time, ${CHANGE_KEYS}`)
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup history anne Sent --since -7d', 'what happened to a mailbox in the last week'],
          ['csync-backup history anne --json', 'everything, for a script'],
        ],
        [0, 64, 65, 74, 75, 77, 78],
      ),
    )
    .action(runHistory);
}

async function runHistory(
  user: string | undefined,
  mailbox: string | undefined,
  flags: HistoryFlags,
): Promise<void> {
  const config = loadConfig({ file: flags.config, anyPartitions: true });
  const isNamed = flags.user !== undefined || flags.file !== undefined;
  if (isNamed && mailbox !== undefined) throw twoNamed(mailbox);
  const name = isNamed ? user : mailbox;
  const { path } = selectBackup(isNamed ? flags : { ...flags, user });
  const since = flags.since === undefined ? 0 : parseTime(flags.since, '--since');
  const before = flags.before === undefined ? undefined : parseTime(flags.before, '--before');
  if (before !== undefined && before <= since) throw emptyRange(flags);
  const moment: Moment = before === undefined ? { kind: 'latest' } : { kind: 'time', time: before - 1 };
  const filter = name === undefined ? undefined : await MailboxFilter.open(latin1(name), path, config);
  const out = new LineWriter();
  const opening = sourceOutput();
  const remark = (text: string): void => {
    out.flush();
    opening.remark(text);
  };
  const found = await readHistory(path, { config, moment, rules: config, ...opening, remark }, (event) => {
    // A mailbox is followed through all its names, also by what is not shown.
    if (!(filter?.takes(event) ?? true) || event.time < since) return;
    const { time, place: _, ...change } = event;
    const when = isoSeconds(time);
    if (flags.json) out.write(JSON.stringify({ time: when, ...changeObject(change, config) }));
    else out.write([when, ...changeColumns(change, config)].join('\t'));
  });
  opening.clear();
  out.flush();
  if (found.isCompacted && found.since > since) {
    opening.remark(`the history begins at ${isoSeconds(found.since)}: what is older was compacted`);
  }
  if (found.isPartLost) process.exitCode = BAD_DATA_STATUS;
  if (filter?.isKnown === false) throw unknownMailbox(name!, path);
}

function twoNamed(mailbox: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'show the history of',
    subject: mailbox,
    reason: 'the backup is named twice, as an argument and by an option',
    remedy: 'Leave out one of them',
  });
}

function emptyRange({ since, before }: HistoryFlags): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'show the history',
    subject: `since ${since} and before ${before}`,
    reason: 'the one is not before the other',
    remedy: 'Give --since the earlier time',
  });
}

const latin1 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
