/** `csync-backup show`: what is in a backup. */
import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { withAnyIndex } from '../restore/open-source.ts';
import { configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { sourceOutput } from './moment-options.ts';
import { selectBackup } from './select-backups.ts';
import { showChunks } from './show-chunks.ts';
import type { ShowContext, ShowFlags } from './show-context.ts';
import { showMailbox, showMailboxes } from './show-mailboxes.ts';
import { showMessage, showMessages } from './show-messages.ts';
import { LineWriter } from './standard-output.ts';

const STATUSES = [0, 64, 65, 74, 75, 77, 78];
const BAD_DATA_STATUS = 65;

const EXAMPLES = [
  ['csync-backup show mailboxes -u anne', 'the mailboxes of anne, deleted ones too'],
  ['csync-backup show mailbox user/anne/Sent -u anne', 'what is in one, expunged messages too'],
  [
    'csync-backup show message 2aae6c35c94fcfb415dbe95f408b9ce91ee846ed -u anne',
    'where a message is, and its headers',
  ],
  ['csync-backup show chunks -f /backup/a/anne_x1Y2z3 --json', 'the chunks of a data file, for a script'],
] as const;

export function newShowCommand(): Command {
  const command = new Command('show')
    .description('Show what is in a backup, as columns separated by tabs or as JSON. Times are UTC.')
    .addHelpText('after', helpText(EXAMPLES, STATUSES));
  const subcommand = (usage: string, description: string, json: string): Command =>
    command
      .command(usage)
      .description(description)
      .option('-u, --user <userid>', 'the backup of this user')
      .option('-m, --mailbox <name>', 'the backup that holds this mailbox')
      .option('-f, --file <path>', 'the backup in this data file')
      .addOption(configOption())
      .option('--json', `one JSON object a line: ${json}`)
      .addHelpText('after', helpText(EXAMPLES, STATUSES));
  subcommand(
    'chunks',
    'Chunks in the order of the file: number, place, bytes in the file, bytes of content, first and last time.',
    'id, offset, storedBytes, contentBytes, startedAt, endedAt, fileSha1, dataSha1 (null while under construction)',
  ).action((flags: ShowFlags) => run(flags, showChunks));
  subcommand(
    'mailboxes',
    'Mailboxes: name, unique id, live and expunged messages, time of the last append, time of deletion.',
    'name, internalName, uniqueid, uidvalidity, lastUid, highestmodseq, messages, expunged, lastAppendAt, acl, ' +
      'quotaRoot, deletedAt (null if it was not)',
  ).action((flags: ShowFlags) => run(flags, showMailboxes));
  subcommand(
    'mailbox <name...>',
    'Messages of mailboxes, which are given by name or unique id: UID, GUID, size, internal date, flags, time of expunging.',
    'mailbox, uniqueid, uid, guid, sizeBytes, internalDate, modseq, flags, expungedAt, hasContent',
  ).action((names: string[], flags: ShowFlags) => run(flags, (context) => showMailbox(context, names)));
  subcommand(
    'messages',
    'Messages: GUID, size, chunk, and a column for each mailbox that they are or were in.',
    'guid, sizeBytes, chunk, mailboxes (name, uniqueid)',
  ).action((flags: ShowFlags) => run(flags, showMessages));
  subcommand(
    'message <guid...>',
    'Messages in detail, with their headers.',
    'guid, sizeBytes, chunk, mailboxes (name, uniqueid), headers (lists of values by name)',
  ).action((guids: string[], flags: ShowFlags) => run(flags, (context) => showMessage(context, guids)));
  return command;
}

async function run(flags: ShowFlags, show: (context: ShowContext) => void): Promise<void> {
  const { path } = selectBackup(flags);
  const config = loadConfig({ file: flags.config, anyPartitions: true });
  const out = new LineWriter();
  const opening = sourceOutput();
  try {
    await withAnyIndex(path, { config, ...opening }, (backup, isPartLost) => {
      opening.clear();
      if (isPartLost) process.exitCode = BAD_DATA_STATUS;
      show({ backup, config, out, json: flags.json ?? false });
    });
  } finally {
    out.flush();
  }
}
