/** The command line of `cyr_backup`, as Cyrus IMAP 3.10 takes it. */
import { type OptionTable, parseCommandLine } from './getopt.ts';
import { UsageError } from './usage-error.ts';

/** Each command, and how many arguments it takes at least and at most. */
const COMMANDS = {
  'list all': [0, 0],
  'list chunks': [0, 0],
  'list mailboxes': [0, 0],
  'list messages': [0, 0],
  'show chunks': [1, Number.POSITIVE_INFINITY],
  'show mailboxes': [1, Number.POSITIVE_INFINITY],
  'show messages': [1, Number.POSITIVE_INFINITY],
  'dump chunk': [1, 1],
  'dump mailbox': [1, 1],
  'dump message': [1, 1],
  'json chunks': [0, 0],
  'json mailboxes': [0, 0],
  'json messages': [0, 0],
  'json headers': [1, Number.POSITIVE_INFINITY],
} as const satisfies Record<string, readonly [number, number]>;

export type CyrCommand = keyof typeof COMMANDS;

export interface CyrLine {
  mode: 'file' | 'mailbox' | 'user';
  backup: string;
  command: CyrCommand;
  args: string[];
  config?: string;
  verbose: number;
}

const OPTIONS: OptionTable = {
  short: { C: 'yes', f: 'no', m: 'no', u: 'no', v: 'no' },
  long: {
    filename: { letter: 'f', value: 'no' },
    mailbox: { letter: 'm', value: 'no' },
    userid: { letter: 'u', value: 'no' },
    verbose: { letter: 'v', value: 'no' },
    help: { letter: '?', value: 'no' },
  },
};
const MODES: Record<string, CyrLine['mode']> = { f: 'file', m: 'mailbox', u: 'user' };

/** @throws UsageError where Cyrus prints its usage and exits with 64; `help` is set for --help. */
export function parseCyrBackup(argv: readonly string[]): CyrLine {
  const { options, operands } = parseCommandLine(argv, OPTIONS);
  let mode: CyrLine['mode'] | undefined;
  let config: string | undefined;
  let verbose = 0;
  for (const option of options) {
    if (option.kind === 'unknown') throw new UsageError(option.text);
    if (option.kind === 'missing') throw new UsageError(`option requires an argument -- '${option.letter}'`);
    if (option.letter === '?') throw new UsageError('', true);
    if (option.letter === 'v') verbose++;
    else if (option.letter === 'C') config = option.value;
    else if (mode !== undefined) throw new UsageError('more than one mode');
    else mode = MODES[option.letter];
  }
  const [backup, verb, what, ...args] = operands;
  if (backup === undefined || verb === undefined || what === undefined)
    throw new UsageError('a backup and a command are needed');
  const command = `${verb} ${what}`;
  if (!Object.hasOwn(COMMANDS, command)) throw new UsageError(`no such command: ${command}`);
  const [least, most] = COMMANDS[command as CyrCommand];
  if (args.length < least || args.length > most)
    throw new UsageError(`wrong number of arguments to ${command}`);
  if (backup === '' && mode !== 'file') throw new UsageError('the name of the backup is empty');
  return { mode: mode ?? 'user', backup, command: command as CyrCommand, args, config, verbose };
}
