/** `csync-backup sessions`: who is connected to the running server, and cutting somebody off. */
import { Command, InvalidArgumentError } from 'commander';
import type { SessionFacts } from '../server/session-facts.ts';
import { askServer } from './admin-client.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { helpText } from './help-text.ts';

interface SessionsFlags extends ConfigFlag {
  json?: boolean;
  end?: number;
}

export function newSessionsCommand(): Command {
  return new Command('sessions')
    .description(
      'List the connections of the running server, separated by tabs: number, client, login, state, command, users ' +
        'whose backups are open, commands, messages, bytes received, seconds since it connected. The state "held" is ' +
        'that of a command that waits for a freeze or flush to end.',
    )
    .addOption(configOption())
    .option('--end <number>', 'cut this one off; what it was told OK for stays', (text) => {
      if (/^[1-9][0-9]{0,14}$/.test(text)) return Number(text);
      throw new InvalidArgumentError('It is not the number of a session.');
    })
    .option('--json', 'one JSON object a line')
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup sessions', 'all connections'],
          ['csync-backup sessions --end 17', 'close one'],
        ],
        [0, 64, 65, 69, 77, 78],
      ),
    )
    .action(runSessions);
}

async function runSessions(flags: SessionsFlags): Promise<void> {
  if (flags.end !== undefined) {
    await askServer(flags, { command: 'end-session', id: flags.end });
    process.stdout.write(
      flags.json ? `${JSON.stringify({ ended: flags.end })}\n` : `ended session ${flags.end}\n`,
    );
    return;
  }
  await askServer(flags, { command: 'sessions' }, (answer) => {
    const { type: _, ...facts } = answer as unknown as { type: string } & SessionFacts;
    process.stdout.write(flags.json ? `${JSON.stringify(facts)}\n` : textLine(facts));
  });
}

function textLine(s: SessionFacts): string {
  const columns = [s.id, s.client, s.login ?? '-', s.state, s.command ?? '-', s.users.join(',') || '-'];
  return `${[...columns, s.commands, s.messages, s.bytesIn, s.seconds].join('\t')}\n`;
}
