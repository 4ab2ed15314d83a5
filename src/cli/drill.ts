/** `csync-backup drill`: shows that backups can be restored, by restoring some of them. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { loadConfig } from '../config/load.ts';
import { SHARED_USERID, toAdmin } from '../csync/mailbox-name.ts';
import { BackupError } from '../platform/errors.ts';
import type { DrillFailure } from '../restore/drill/compare.ts';
import { drillBackup } from '../restore/drill/drill.ts';
import { DrillRandom, newSeed } from '../restore/drill/random.ts';
import { removeOwnScratch } from '../restore/drill/scratch.ts';
import { configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { addPushOption } from './push-gateway.ts';
import { addSelectOptions, eachBackup, type SelectedBackup, type SelectFlags } from './select-backups.ts';
import { ToolRun } from './tool-run.ts';
import { printUserid } from './userid-text.ts';

interface DrillFlags extends SelectFlags {
  users?: number;
  messages?: number;
  share?: number;
  seed?: number;
  scratch?: string;
  keep?: boolean;
  json?: boolean;
}

const DEFAULT_USERS = 10;
const DEFAULT_MESSAGES = 100;
const BAD_DATA_STATUS = 65;
/** Of one backup; the rest is counted. */
const MAX_SHOWN = 100;

export function newDrillCommand(): Command {
  const command = new Command('drill').description(
    'Restore a random sample of the backups into a scratch folder, and compare every byte, flag and date with what ' +
      'the backups say. Without -u, -m, -D, -P or -f the sample is taken from all. The scratch folder goes at the ' +
      'end; the backups are only read.',
  );
  addSelectOptions(command)
    .addOption(configOption())
    .addOption(count('--users <n>', `so many backups (default: ${DEFAULT_USERS}; those that are named: all)`))
    .addOption(count('--messages <n>', `so many messages of each (default: ${DEFAULT_MESSAGES})`))
    .addOption(
      new Option('--share <percent>', 'or this share of its messages, such as 5%').argParser(parseShare),
    )
    .addOption(
      new Option('--seed <n>', 'choose as the drill did that printed this number').argParser((text) =>
        parseCount(text, 0),
      ),
    )
    .option('--scratch <folder>', 'where the scratch folder is made (default: backup_staging_path)')
    .option('--keep', 'leave it there')
    .option(
      '--json',
      'one JSON object a line, with a type: failure, backup, error and at the end summary with the seed',
    )
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup drill', 'ten backups, a hundred messages of each'],
          ['csync-backup drill -u anne --share 100%', 'all of anne'],
          ['csync-backup drill --users 5 --seed 1234 --keep', 'the same again, to look at what came back'],
        ],
        [0, 64, 65, 74, 75, 77, 78],
      ),
    )
    .action(runDrill);
  return addPushOption(command);
}

async function runDrill(flags: DrillFlags): Promise<void> {
  if (flags.share !== undefined && flags.messages !== undefined) {
    throw new BackupError({
      code: 'USAGE',
      tried: 'choose',
      subject: 'messages',
      reason: 'their number and their share are both given',
      remedy: 'Give either --messages or --share',
    });
  }
  const config = loadConfig({ file: flags.config, anyPartitions: true });
  const seed = flags.seed ?? newSeed();
  const random = new DrillRandom(seed);
  const backups = chooseBackups(flags, random);
  const json = flags.json ?? false;
  removeScratchAtSignals(flags.scratch ?? config.backupStagingPath);
  const run = new ToolRun(backups, json);
  const totals = { messages: 0, sizeBytes: 0, failures: 0, absent: 0, changed: 0 };
  const sample =
    flags.share === undefined ? { messages: flags.messages ?? DEFAULT_MESSAGES } : { share: flags.share };
  await run.each(async ({ userid = SHARED_USERID, path: dataPath }, name, progress) => {
    const scratchBase = flags.scratch ?? config.backupStagingPath;
    const remark = (text: string): void => {
      process.stderr.write(`csync-backup: ${text}\n`);
    };
    const { keep } = flags;
    const report = await drillBackup({ dataPath, userid, config, sample, random, scratchBase, keep, remark });
    progress(report.bytes);
    const { messages, bytes, failures, absent, changed, scratch } = report;
    for (const failure of failures.slice(0, MAX_SHOWN)) showFailure(failure, name, dataPath, config, json);
    totals.messages += messages;
    totals.sizeBytes += bytes;
    totals.failures += failures.length;
    totals.absent += absent;
    totals.changed += changed;
    const parts = [`${messages} messages (${bytes} bytes) came back`];
    if (failures.length > 0)
      parts[0] = `${messages} messages (${bytes} bytes) wanted, ${failures.length} wrong or missing`;
    if (changed > 0) parts.push(`${changed} changed meanwhile`);
    if (absent > 0) parts.push(`the backup has no content of ${absent} others`);
    if (scratch !== undefined) parts.push(`in ${scratch}`);
    const figures = { messages, sizeBytes: bytes, failures: failures.length, absent, changed };
    run.print({ ...figures, scratch: scratch ?? null }, `${name}: ${parts.join('; ')}`);
    return failures.length > 0 ? 'bad-data' : 'ok';
  });
  run.end(
    { seed, ...totals },
    `, ${totals.messages} messages compared, ${totals.failures} wrong or missing; --seed ${seed}`,
  );
  if (totals.messages === 0 && (process.exitCode ?? 0) === 0) {
    process.stderr.write(
      'csync-backup: nothing was compared, so this shows nothing: the backups hold no messages\n',
    );
    process.exitCode = BAD_DATA_STATUS;
  }
}

/** Who ends it leaves no mail behind. */
function removeScratchAtSignals(base: string): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      try {
        removeOwnScratch(base);
      } finally {
        // Its own listener is gone: this ends the process.
        process.kill(process.pid, signal);
      }
    });
  }
}

function chooseBackups(flags: DrillFlags, random: DrillRandom): SelectedBackup[] {
  const ways = ['all', 'user', 'mailbox', 'domain', 'prefix', 'file'] as const;
  const isNamed = ways.some((way) => flags[way] !== undefined);
  const all = eachBackup(isNamed ? flags : { ...flags, all: true });
  const isList = flags.user !== undefined || flags.mailbox !== undefined || flags.file !== undefined;
  const users = flags.users ?? (isList ? Number.POSITIVE_INFINITY : DEFAULT_USERS);
  return random.sample(all, users);
}

function showFailure(
  { kind, text, record }: DrillFailure,
  name: string,
  dataPath: string,
  config: Parameters<typeof toAdmin>[1],
  json: boolean,
): void {
  const mailbox = record === undefined ? null : printUserid(toAdmin(record.mboxname, config));
  const { uniqueid = null, uid = null, guid = null } = record ?? {};
  if (json) {
    const of = { userid: name, path: dataPath, mailbox, uniqueid, uid, guid };
    process.stdout.write(`${JSON.stringify({ type: 'failure', ...of, kind, text })}\n`);
  } else {
    const what = record === undefined ? '' : ` message ${uid} of ${mailbox} (${guid}):`;
    process.stdout.write(`${name}: ${kind}:${what} ${text}\n`);
  }
}

function count(flags: string, description: string): Option {
  return new Option(flags, description).argParser((text: string) => parseCount(text, 1));
}

function parseCount(text: string, min: number): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (number >= min) return number;
  throw new InvalidArgumentError(`It is no whole number from ${min} on.`);
}

/** @returns from 0 to 1 */
function parseShare(text: string): number {
  const match = /^(\d{1,3}(?:\.\d+)?)%?$/.exec(text);
  const percent = match === null ? Number.NaN : Number(match[1]);
  if (percent > 0 && percent <= 100) return percent / 100;
  throw new InvalidArgumentError('Give a percentage, such as 5%.');
}
