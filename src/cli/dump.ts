/** `csync-backup dump`: a message or the content of a chunk, as it is stored. */
import os from 'node:os';
import { Command } from 'commander';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { healBackup } from '../maintenance/heal.ts';
import { loadDeflateEngine } from '../platform/deflate.ts';
import { BackupError } from '../platform/errors.ts';
import { writeAllMessages } from '../restore/all-messages.ts';
import { withAnyIndex } from '../restore/open-source.ts';
import { readContent } from '../store/chunk/reader.ts';
import { readMessage } from '../store/stored-message.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { sourceOutput } from './moment-options.ts';
import { type SelectedBackup, selectBackup } from './select-backups.ts';
import { writeToStandardOutput } from './standard-output.ts';
import { toolLog } from './tool-log.ts';

interface DumpFlags extends ConfigFlag {
  user?: string;
  mailbox?: string;
  file?: string;
}

const STATUSES = [0, 64, 65, 74, 75, 77, 78];
const GUID = /^[0-9a-f]{40}$/i;
const BAD_DATA_STATUS = 65;

export function newDumpCommand(): Command {
  const command = new Command('dump')
    .description('Print a message or a chunk as it is stored: the bytes and nothing else.')
    .addHelpText('after', helpText(EXAMPLES, STATUSES));
  const subcommand = (name: string, argument: string, help: string, description: string): Command =>
    command
      .command(name)
      .description(description)
      .argument(argument, help)
      .option('-u, --user <userid>', 'of the backup of this user')
      .option('-m, --mailbox <name>', 'of the backup that holds this mailbox')
      .option('-f, --file <path>', 'of the backup in this data file')
      .addOption(configOption())
      .addHelpText('after', helpText(EXAMPLES, STATUSES));
  subcommand('message', '<guid>', 'SHA-1 of the message, 40 hex digits', 'Print a message.').action(
    dumpMessage,
  );
  subcommand(
    'chunk',
    '<id>',
    'number of the chunk in the index',
    'Print what a chunk holds, uncompressed.',
  ).action(dumpChunk);
  command
    .command('messages')
    .description(
      'Write every whole message of a data file into a folder, as GUID.eml, whether a line of the file says where it ' +
        'belongs or not: for where these lines are lost. Needs no index.',
    )
    .argument('<folder>', 'where to; it is made if need be')
    .requiredOption('-f, --file <path>', 'the data file, or the end of one that was put aside')
    .addOption(configOption())
    .addHelpText('after', helpText(EXAMPLES, STATUSES))
    .action(dumpMessages);
  return command;
}

const EXAMPLES = [
  ['csync-backup dump message 2aae6c35c94fcfb415dbe95f408b9ce91ee846ed -u anne', 'one message of anne'],
  [
    'csync-backup dump messages /root/anne -f /backup/a/anne_x1Y2z3.torn.1764180000',
    'what nobody names any more',
  ],
  ['csync-backup dump chunk 1 -f /backup/a/anne_x1Y2z3', 'the commands in the first chunk of a file'],
] as const;

async function dumpMessage(argument: string, flags: DumpFlags): Promise<void> {
  if (!GUID.test(argument)) throw badArgument(argument, 'it is no GUID, which has 40 hex digits');
  const guid = argument.toLowerCase();
  const selected = selectBackup(flags);
  const { config, opening } = openingOf(flags);
  let isOurs = false;
  try {
    await withAnyIndex(selected.path, { config, ...opening }, async ({ fd, index, path }) => {
      opening.clear();
      isOurs = index.state() !== undefined;
      const location = index.findMessage(guid);
      if (location === undefined) throw notThere(`message ${guid}`, path);
      await writeToStandardOutput(readMessage(fd, index, location, path));
    });
  } catch (error) {
    const isDamaged = error instanceof BackupError && error.code === 'CHUNK_CORRUPT';
    // A file that was named by its path may be a copy, and one that Cyrus keeps is not ours to write to.
    if (isDamaged && isOurs && flags.file === undefined) await noteDamage(selected, guid, flags);
    throw error;
  }
}

/** Has the message sent again, unless somebody else is at work on the backup. */
async function noteDamage({ userid, path }: SelectedBackup, guid: string, flags: DumpFlags): Promise<void> {
  const { deflateEngine } = loadConfig({ file: flags.config, anyPartitions: true });
  const losses = { guids: [guid], uniqueids: [], chunkOffsets: [] };
  try {
    const { guids } = await healBackup({
      log: toolLog(),
      dataPath: path,
      userid,
      losses,
      engine: loadDeflateEngine(deflateEngine),
    });
    if (guids.length === 0) return;
    process.stderr.write(
      'csync-backup: noted: the mail server sends this message again when its mailbox syncs next\n',
    );
  } catch (error) {
    if (!(error instanceof BackupError)) throw error;
    process.stderr.write(`csync-backup: not noted: ${error.code}: ${error.message}\n`);
  }
}

async function dumpMessages(folder: string, flags: DumpFlags): Promise<void> {
  const { path: dataPath } = selectBackup(flags);
  const config = loadConfig({ file: flags.config, anyPartitions: true });
  const { messages, bytes, present, damaged } = await writeAllMessages(dataPath, folder, config);
  const there = present === 0 ? '' : `, ${present} were there already`;
  process.stdout.write(`${folder}: ${messages} messages (${bytes} bytes)${there}\n`);
  if (damaged === 0) return;
  process.stderr.write(`csync-backup: ${damaged} messages are damaged, and left out\n`);
  process.exitCode = BAD_DATA_STATUS;
}

async function dumpChunk(argument: string, flags: DumpFlags): Promise<void> {
  if (!/^\d{1,15}$/.test(argument)) throw badArgument(argument, 'it is no number');
  const { path: dataPath } = selectBackup(flags);
  const { config, opening } = openingOf(flags);
  await withAnyIndex(dataPath, { config, ...opening }, async ({ fd, index, path }) => {
    opening.clear();
    const chunk = index.chunk(Number(argument));
    if (chunk === undefined) throw notThere(`chunk ${argument}`, path);
    await writeToStandardOutput(
      readContent(fd, { offset: chunk.offset, path }, 0, chunk.length ?? undefined),
    );
  });
}

/** Where a temporary index may be made. A data file that is named needs no configuration, which may be lost with the rest. */
function openingOf(flags: DumpFlags): {
  config: Pick<Config, 'backupStagingPath'>;
  opening: ReturnType<typeof sourceOutput>;
} {
  const opening = sourceOutput();
  try {
    return { config: loadConfig({ file: flags.config, anyPartitions: true }), opening };
  } catch (error) {
    if (!(error instanceof BackupError)) throw error;
    return { config: { backupStagingPath: os.tmpdir() }, opening };
  }
}

function badArgument(argument: string, reason: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'dump',
    subject: argument,
    reason,
    remedy: 'See csync-backup dump --help',
  });
}

function notThere(what: string, path: string): BackupError {
  return new BackupError({
    code: 'NOT_FOUND',
    tried: 'find',
    subject: what,
    reason: `the index of ${path} does not have it`,
    remedy: 'Check the number, and csync-backup verify whether the index is up to date',
  });
}
