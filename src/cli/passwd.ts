/** `csync-backup passwd`: the credentials that clients log in with. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { Command } from 'commander';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { BackupError } from '../platform/errors.ts';
import { ioError } from '../platform/io-error.ts';
import { checkUserName, makeKeys, readCredentials, updateCredentials } from '../sasl/credential-file.ts';
import { SCRAM_NAMES } from '../sasl/scram-keys.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { readPassword } from './read-password.ts';

const STATUSES = [0, 64, 65, 74, 75, 77, 78];

export function newPasswdCommand(): Command {
  const command = new Command('passwd')
    .description('Keep the credentials that clients log in with. A running server sees each change at once.')
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup passwd add backup', 'ask for a password'],
          ['csync-backup passwd add backup < secret', 'take it from a file'],
          ['csync-backup passwd remove backup', 'let nobody log in as backup'],
        ],
        STATUSES,
      ),
    );
  command
    .command('add')
    .description(
      'Add a user or change the password, which is read from standard input. It is not stored, only SCRAM keys.',
    )
    .argument('<name>', 'user to log in as; list it in "admins" so that it may back up')
    .addOption(configOption())
    .action(runAdd);
  command
    .command('remove')
    .description('Remove a user.')
    .argument('<name>')
    .addOption(configOption())
    .action(runRemove);
  command
    .command('list')
    .description('List the users.')
    .addOption(configOption())
    .option('--json', 'one JSON object a line: user, mechanisms, admin')
    .action(runList);
  return command;
}

async function runAdd(name: string, options: ConfigFlag): Promise<void> {
  const config = loadConfig({ file: options.config, anyPartitions: true });
  const user = checkUserName(name);
  const keys = await makeKeys(await readPassword(user));
  ensureDirectory(path.dirname(config.passwdFile));
  const change = updateCredentials(config.passwdFile, ({ users }) => {
    const known = users.has(user);
    users.set(user, keys);
    return known ? 'changed' : 'added';
  });
  process.stderr.write(`${change} ${user} in ${config.passwdFile}\n`);
  if (!config.admins.includes(user)) {
    process.stderr.write(`${user} is not among "admins" in ${config.file}: it may log in, but not back up\n`);
  }
}

function runRemove(name: string, options: ConfigFlag): void {
  const config = loadConfig({ file: options.config, anyPartitions: true });
  const user = checkUserName(name);
  // Without the question a file would be made to remove somebody from it.
  if (!readCredentials(config.passwdFile).users.has(user)) throw unknownUser(user, config);
  const removed = updateCredentials(config.passwdFile, ({ users }) => users.delete(user) || undefined);
  if (!removed) throw unknownUser(user, config);
  process.stderr.write(`removed ${user} from ${config.passwdFile}\n`);
}

function runList(options: ConfigFlag & { json?: boolean }): void {
  const config = loadConfig({ file: options.config, anyPartitions: true });
  for (const [user, keys] of readCredentials(config.passwdFile).users) {
    const mechanisms = keys.map((one) => SCRAM_NAMES[one.hash]);
    const admin = config.admins.includes(user);
    process.stdout.write(options.json ? `${JSON.stringify({ user, mechanisms, admin })}\n` : `${user}\n`);
  }
}

function ensureDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw ioError(error, 'make the directory', directory);
  }
}

function unknownUser(user: string, config: Config): BackupError {
  return new BackupError({
    code: 'NOT_FOUND',
    tried: 'remove the user',
    subject: user,
    reason: `there is none such in ${config.passwdFile}`,
    remedy: '"csync-backup passwd list" shows who there is',
  });
}
