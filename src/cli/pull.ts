/** `csync-backup pull`: has IMAP servers push the backups whose last change is long ago. */
import { Command, Option } from 'commander';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { type PullServer, parsePullServer } from '../config/pull-values.ts';
import { ValueError } from '../config/units.ts';
import { lastChangeMs, Puller, type PullResult, readPasswordFile } from '../maintenance/pull.ts';
import { BackupError } from '../platform/errors.ts';
import { noteSummary } from './command-run.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { durationOption } from './duration-option.ts';
import { helpText } from './help-text.ts';
import { addPushOption } from './push-gateway.ts';
import { type SelectedBackup, selectBackups } from './select-backups.ts';
import { printUserid } from './userid-text.ts';

interface PullFlags extends ConfigFlag {
  user?: string[];
  olderThan?: number;
  server?: string[];
  channel?: string;
  authname?: string;
  passwordFile?: string;
  caFile?: string;
  dryRun?: boolean;
  json?: boolean;
}

const FAILED_STATUS = 69;

export function newPullCommand(): Command {
  const command = new Command('pull')
    .description(
      'Find backups whose last change is long ago, and have the IMAP servers of their users push them (XBACKUP, which needs ' +
        'xbackup_enabled there and an admin to log in as). Every answer of a server is shown. What is not given here is ' +
        'taken from the options backup_pull_... of the configuration.',
    )
    .addOption(configOption())
    .option(
      '-u, --user <userid...>',
      'only these users, %SHARED for shared mailboxes, however old their backups are',
    )
    .addOption(
      durationOption('--older-than <duration>', 'age of the last change from which on (default: 1d)'),
    )
    .option(
      '--server <host...>',
      'HOST[:PORT][/tls|/insecure][=PATTERN,...]: IMAP servers to ask, the first that knows the user',
    )
    .option('--channel <name>', 'replication channel that they use to push here')
    .option('--authname <user>', 'whom to log in as')
    .option('--password-file <file>', 'file with the password in its first line, of mode 0600 or 0640')
    .addOption(new Option('--ca-file <file>', 'PEM file of the authorities that vouch for the servers'))
    .option('--dry-run', 'only show which backups would be pulled')
    .option('--json', 'one JSON object a line, with a type: answer, pulled or failed, and at the end summary')
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup pull', 'as configured'],
          ['csync-backup pull --older-than 2d --server imap1.example.com', 'from one server'],
          ['csync-backup pull -u anne --server imap2.example.com:993/tls', 'one user now'],
        ],
        [0, 64, 65, 69, 74, 77, 78],
      ),
    )
    .action(runPull);
  return addPushOption(command);
}

async function runPull(flags: PullFlags): Promise<void> {
  const config = loadConfig({ file: flags.config, anyPartitions: true });
  const olderThanMs = flags.olderThan === undefined ? config.pullOlderThanMs : flags.olderThan * 1000;
  const selected = selectBackups({
    config: flags.config,
    ...(flags.user ? { user: flags.user } : { all: true }),
  });
  const puller = flags.dryRun ? undefined : newPuller(flags, config);
  const print = (json: object, text: string) =>
    process.stdout.write(`${flags.json ? JSON.stringify(json) : text}\n`);
  const count = { backups: 0, pulled: 0, failed: 0 };
  try {
    for (const backup of selected) {
      const changedMs = lastChangeMs(backup.path);
      // Those of former users (a key that begins with %) are nobody's any more.
      const isNobodys = backup.userid!.startsWith('%') && backup.userid !== '%SHARED';
      if (flags.user === undefined && (isNobodys || Date.now() - changedMs < olderThanMs)) continue;
      count.backups++;
      const userid = printUserid(backup.userid!);
      const updatedAt = changedMs === 0 ? null : new Date(changedMs).toISOString();
      if (puller === undefined) {
        print({ type: 'stale', userid, updatedAt }, `${userid}\t${updatedAt ?? '-'}`);
        continue;
      }
      const result = await pullOne(puller, backup, (server, line) =>
        print({ type: 'answer', userid, server, line }, `${server}: ${line}`),
      );
      if (result.ok) count.pulled++;
      else count.failed++;
      const { ok, lines: _, ...facts } = result;
      if (flags.json) print({ type: ok ? 'pulled' : 'failed', userid, updatedAt, ...facts }, '');
      if (!ok)
        process.stderr.write(`csync-backup: ${result.code}: ${userid}: ${result.server}: ${result.text}\n`);
    }
  } finally {
    await puller?.close();
  }
  noteSummary(count);
  print({ type: 'summary', ...count }, summaryText(count, flags.dryRun === true));
  if (count.failed > 0) process.exitCode = FAILED_STATUS;
}

async function pullOne(
  puller: Puller,
  { userid, path }: SelectedBackup,
  onLine: (server: string, line: string) => void,
): Promise<PullResult> {
  try {
    return await puller.pull(userid!, path, onLine);
  } catch (error) {
    if (!(error instanceof BackupError)) throw error;
    return { ok: false, server: '-', lines: [], code: error.code, text: error.message };
  }
}

function newPuller(flags: PullFlags, config: Config): Puller {
  const servers = flags.server?.map(serverOf) ?? config.pullServers;
  const authname = flags.authname ?? config.pullAuthname;
  const passwordFile = flags.passwordFile ?? config.pullPasswordFile;
  if (servers.length === 0) throw lacking('an IMAP server', 'backup_pull_servers or --server');
  if (authname === '') throw lacking('a user to log in as', 'backup_pull_authname or --authname');
  if (passwordFile === undefined) throw lacking('a password', 'backup_pull_password_file or --password-file');
  return new Puller({
    servers,
    authname,
    password: readPasswordFile(passwordFile),
    caFile: flags.caFile ?? config.tlsServerCa,
    channel: flags.channel ?? config.pullChannel,
    rules: config,
  });
}

function serverOf(word: string): PullServer {
  try {
    return parsePullServer(word);
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new BackupError({
      code: 'USAGE',
      tried: 'use',
      subject: '--server',
      reason: `it ${error.message}`,
      remedy: 'Give HOST[:PORT][/tls|/insecure][=PATTERN,...]',
    });
  }
}

function lacking(what: string, where: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'pull without',
    subject: what,
    reason: 'none is given',
    remedy: `Give ${where}`,
  });
}

function summaryText(count: { backups: number; pulled: number; failed: number }, isDry: boolean): string {
  const backups = `${count.backups} ${count.backups === 1 ? 'backup' : 'backups'}`;
  return isDry ? `${backups} to pull` : `${backups}: ${count.pulled} pulled, ${count.failed} failed`;
}
