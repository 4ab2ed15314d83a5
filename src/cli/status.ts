/** `csync-backup status`: what the running server is doing. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { askServer, type Fields } from './admin-client.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { durationOption } from './duration-option.ts';
import { helpText } from './help-text.ts';
import { statusText } from './status-text.ts';

interface StatusFlags extends ConfigFlag {
  json?: boolean;
  watch?: true | number;
}

const DEFAULT_WATCH_SECONDS = 2;
const CLEAR_SCREEN = '\x1b[H\x1b[2J';

export function newStatusCommand(): Command {
  return new Command('status')
    .description(
      'Show what the running server is doing: sessions, freezes and pauses, queues, what the store had to mend, ' +
        'maintenance running and next due, partitions.',
    )
    .addOption(configOption())
    .option('--json', 'one JSON object (with --watch one a line)')
    .addOption(durationOption('--watch [interval]', 'again and again (default: every 2s), until interrupted'))
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup status', 'once, for people'],
          ['csync-backup status --json', 'once, for a script'],
          ['csync-backup status --watch 5s', 'every five seconds'],
        ],
        [0, 64, 69, 77, 78],
      ),
    )
    .action(runStatus);
}

async function runStatus(flags: StatusFlags): Promise<void> {
  for (;;) {
    const status = await ask(flags);
    const clear = flags.watch !== undefined && process.stdout.isTTY && !flags.json ? CLEAR_SCREEN : '';
    process.stdout.write(clear + (flags.json ? `${JSON.stringify(status)}\n` : statusText(status)));
    if (flags.watch === undefined) return;
    const seconds = flags.watch === true ? DEFAULT_WATCH_SECONDS : flags.watch;
    await sleep(Math.max(0.1, seconds) * 1000);
  }
}

async function ask(flags: StatusFlags): Promise<Fields> {
  let status: Fields = {};
  await askServer(flags, { command: 'status' }, (answer) => {
    const { type: _, ...fields } = answer;
    status = fields;
  });
  return status;
}
