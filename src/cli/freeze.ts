/** `csync-backup freeze`: all backups at rest and on disk, for a snapshot; with a command, for as long as it runs. */
import { spawn } from 'node:child_process';
import { Command } from 'commander';
import { BackupError } from '../platform/errors.ts';
import { askServer, type Fields } from './admin-client.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { durationOption } from './duration-option.ts';
import { helpText } from './help-text.ts';

interface FreezeFlags extends ConfigFlag {
  for?: number;
  within?: number;
  exec?: string;
  json?: boolean;
}

/** What a shell gives for a command that a signal ended. */
const SIGNAL_STATUS = 128;

export function newFreezeCommand(): Command {
  return new Command('freeze')
    .description(
      'Bring all backups to rest: chunks finished, indexes and data on disk. Clients wait, unanswered, until thaw, or ' +
        'until the time is over. A snapshot or copy of the filesystem taken meanwhile opens with nothing to recover.',
    )
    .addOption(configOption())
    .addOption(
      durationOption('--for <duration>', 'thaw by itself after this, up to 20m (default: 5m)', '20m'),
    )
    .addOption(durationOption('--within <duration>', 'give up if not all is at rest by then (default: 30s)'))
    .option('--exec <command>', 'run this shell command while frozen, and thaw when it ends')
    .option('--json', 'one JSON object: id, by, state, since, frozenAt, until, backups')
    .addHelpText(
      'after',
      helpText(
        [
          ["csync-backup freeze --exec 'lvcreate -s -n snap -L 10G vg/backup'", 'a snapshot, and thaw'],
          ['csync-backup freeze --for 60s', 'freeze; csync-backup thaw ends it'],
        ],
        [0, 64, 69, 74, 75, 77, 78],
      ) +
        '\nWith --exec a command that fails gives its own exit status; 75: the time was over before it had ended.',
    )
    .action(runFreeze);
}

async function runFreeze(flags: FreezeFlags): Promise<void> {
  const { type: _, ...freeze } = await askServer(flags, {
    command: 'freeze',
    forSeconds: flags.for,
    withinSeconds: flags.within,
  });
  if (flags.exec === undefined) {
    const text = `frozen until ${String(freeze.until)}; csync-backup thaw ends it`;
    process.stdout.write(`${flags.json ? JSON.stringify(freeze) : text}\n`);
    return;
  }
  const status = await runWhileFrozen(flags, flags.exec, freeze);
  if (flags.json) process.stdout.write(`${JSON.stringify({ ...freeze, status })}\n`);
  process.exitCode = status;
}

/** @returns the command's exit status */
async function runWhileFrozen(flags: FreezeFlags, command: string, freeze: Fields): Promise<number> {
  // Ctrl-C reaches the command too; it decides when to end, and then we thaw.
  const ignore = () => {};
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, ignore);
  const status = await new Promise<number>((resolve) => {
    const child = spawn('/bin/sh', ['-c', command], {
      stdio: ['inherit', flags.json ? process.stderr : 'inherit', 'inherit'],
    });
    child.on('error', () => resolve(SIGNAL_STATUS - 1));
    child.on('exit', (code) => resolve(code ?? SIGNAL_STATUS));
  });
  const { wasFrozen } = await askServer(flags, { command: 'thaw', id: freeze.id });
  if (wasFrozen) return status;
  throw new BackupError({
    code: 'TIMED_OUT',
    tried: 'keep the backups frozen for',
    subject: command,
    reason: `they were thawed (at ${String(freeze.until)} at the latest) before it ended with status ${status}`,
    remedy: 'Do not use what it copied or snapped; give it more time with --for',
  });
}
