/** `csync-backup doctor`: what is wrong with a configuration, a store or a backup, and what to do about it. */
import { Command } from 'commander';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { examineBackup } from '../maintenance/doctor-backup.ts';
import { type DoctorCheck, error } from '../maintenance/doctor-check.ts';
import { examineStore } from '../maintenance/doctor-store.ts';
import { examineSystem } from '../maintenance/doctor-system.ts';
import { BackupError } from '../platform/errors.ts';
import { noteSummary } from './command-run.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { addPushOption } from './push-gateway.ts';
import { selectBackups } from './select-backups.ts';
import { LineWriter } from './standard-output.ts';
import { printUserid } from './userid-text.ts';

interface DoctorFlags extends ConfigFlag {
  all?: boolean;
  json?: boolean;
}

const BAD_DATA_STATUS = 65;
const CONFIGURATION_STATUS = 78;
const OF_CONFIGURATION = new Set<DoctorCheck['group']>(['configuration', 'credentials', 'tls']);

export function newDoctorCommand(): Command {
  const command = new Command('doctor')
    .description(
      'Look at configuration, locks, compression, limits, credentials, certificates, partitions, backups.db and what lies ' +
        'about, or at the backups of users, and say what is wrong and what to do about it. Changes nothing.',
    )
    .argument('[userid...]', 'look at the backups of these users instead')
    .addOption(configOption())
    .option('-a, --all', 'say what is right too (always with userids)')
    .option(
      '--json',
      'one JSON object a line: group, check, status (ok, warn or error), text, remedy, userid (with userids)',
    )
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup doctor', 'what is wrong, if anything'],
          ['csync-backup doctor anne', 'what state the backup of anne is in, and who has it locked'],
        ],
        [0, 64, 65, 74, 77, 78],
      ),
    )
    .action(runDoctor);
  return addPushOption(command);
}

function runDoctor(userids: string[], flags: DoctorFlags): void {
  const out = new LineWriter();
  const counts = { ok: 0, warn: 0, error: 0 };
  let status = 0;
  const say = (check: DoctorCheck, userid?: string) => {
    counts[check.status]++;
    if (check.status === 'error' && !OF_CONFIGURATION.has(check.group)) status = BAD_DATA_STATUS;
    else if (check.status === 'error') status ||= CONFIGURATION_STATUS;
    if (flags.json) out.write(JSON.stringify({ ...check, ...(userid !== undefined && { userid }) }));
    else if (flags.all || userid !== undefined || check.status !== 'ok') out.write(textOf(check, userid));
  };
  if (userids.length > 0) {
    for (const { userid, path } of selectBackups({ ...flags, all: undefined, user: userids }))
      for (const check of examineBackup(path)) say(check, printUserid(userid!));
  } else {
    const config = configured(flags, say);
    if (config !== undefined) {
      for (const check of examineSystem(config)) say(check);
      for (const check of examineStore(config)) say(check);
    }
  }
  const { ok, warn: warnings, error: errors } = counts;
  noteSummary({ checks: ok + warnings + errors, warnings, errors });
  if (!flags.json) out.write(`${counts.ok} ok, ${counts.warn} to be looked at, ${counts.error} wrong`);
  out.flush();
  process.exitCode = status;
}

function configured(flags: DoctorFlags, say: (check: DoctorCheck) => void): Config | undefined {
  try {
    return loadConfig({ file: flags.config });
  } catch (cause) {
    if (!(cause instanceof BackupError)) throw cause;
    say(error('configuration', 'file', cause.reason, cause.remedy));
  }
  try {
    return loadConfig({ file: flags.config, anyPartitions: true });
  } catch {
    return undefined; // it was not about partitions
  }
}

function textOf({ group, check, status, text, remedy }: DoctorCheck, userid?: string): string {
  const whose = userid === undefined ? '' : `${userid}: `;
  const todo = remedy === undefined ? '' : `\n        -> ${remedy}`;
  return `${status.padEnd(5)} ${whose}${group}/${check}: ${text}${todo}`;
}
