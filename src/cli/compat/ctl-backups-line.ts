/** The command line of `ctl_backups`, as Cyrus IMAP 3.10 takes it (backup/ctl_backups.c, ctl_backups(8)). */
import { type OptionTable, parseCommandLine } from './getopt.ts';
import { UsageError } from './usage-error.ts';

export type CtlCommand =
  | 'compact'
  | 'delete'
  | 'list'
  | 'lock'
  | 'move'
  | 'reconstruct'
  | 'reindex'
  | 'stat'
  | 'verify';

export type CtlMode = 'all' | 'domain' | 'prefix' | 'file' | 'mailbox' | 'user';

export interface CtlLine {
  command: CtlCommand;
  mode: CtlMode;
  names: string[];
  config?: string;
  force: boolean;
  stopOnError: boolean;
  noVerify: boolean;
  json: boolean;
  verbose: number;
  wait: boolean;
  /** Hours; absent: list all. */
  stale?: number;
  create: boolean;
  lock: 'pause' | 'sqlite3' | 'execute';
  /** For `execute`. */
  execute?: string;
}

const COMMANDS: readonly string[] = [
  'compact',
  'delete',
  'list',
  'lock',
  'move',
  'reconstruct',
  'reindex',
  'stat',
  'verify',
];

const OPTIONS: OptionTable = {
  short: {
    ...Object.fromEntries([...'ADFPSVcfjmpsuvw'].map((letter) => [letter, 'no' as const])),
    C: 'yes',
    t: 'yes',
    x: 'yes',
  },
  long: {
    all: { letter: 'A', value: 'no' },
    domains: { letter: 'D', value: 'no' },
    force: { letter: 'F', value: 'no' },
    prefixes: { letter: 'P', value: 'no' },
    'stop-on-error': { letter: 'S', value: 'no' },
    'no-verify': { letter: 'V', value: 'no' },
    create: { letter: 'c', value: 'no' },
    filenames: { letter: 'f', value: 'no' },
    json: { letter: 'j', value: 'no' },
    mailboxes: { letter: 'm', value: 'no' },
    pause: { letter: 'p', value: 'no' },
    sqlite3: { letter: 's', value: 'no' },
    stale: { letter: 't', value: 'optional' },
    userids: { letter: 'u', value: 'no' },
    verbose: { letter: 'v', value: 'no' },
    'wait-for-locks': { letter: 'w', value: 'no' },
    execute: { letter: 'x', value: 'yes' },
    help: { letter: '?', value: 'no' },
  },
};

const MODES: Record<string, CtlMode> = {
  A: 'all',
  D: 'domain',
  P: 'prefix',
  f: 'file',
  m: 'mailbox',
  u: 'user',
};
const LOCKS: Record<string, CtlLine['lock']> = { p: 'pause', s: 'sqlite3', x: 'execute' };
const DEFAULT_STALE_HOURS = 24;

/** @throws UsageError where Cyrus prints its usage and exits with 64; `help` is set for --help. */
export function parseCtlBackups(argv: readonly string[]): CtlLine {
  const { options, operands } = parseCommandLine(argv, OPTIONS);
  const line: Omit<CtlLine, 'command' | 'mode' | 'lock' | 'names'> = {
    force: false,
    stopOnError: false,
    noVerify: false,
    json: false,
    verbose: 0,
    wait: false,
    create: false,
  };
  let mode: CtlMode | undefined;
  let lock: CtlLine['lock'] | undefined;
  for (const option of options) {
    if (option.kind === 'unknown') throw new UsageError(option.text);
    // `-t` as the last word has no hours.
    if (option.kind === 'missing' && option.letter === 't') line.stale = DEFAULT_STALE_HOURS;
    else if (option.kind === 'missing')
      throw new UsageError(`option requires an argument -- '${option.letter}'`);
    const { letter } = option;
    const value = option.kind === 'option' ? option.value : undefined;
    if (MODES[letter] !== undefined) {
      if (mode !== undefined) throw new UsageError('more than one mode');
      mode = MODES[letter];
    } else if (LOCKS[letter] !== undefined) {
      if (lock !== undefined) throw new UsageError('more than one of -p, -s and -x');
      lock = LOCKS[letter];
      if (value !== undefined) line.execute = value;
    } else if (letter === 't') line.stale = value === undefined ? DEFAULT_STALE_HOURS : hours(value);
    else if (letter === 'C') line.config = value;
    else if (letter === 'F') line.force = true;
    else if (letter === 'S') line.stopOnError = true;
    else if (letter === 'V') line.noVerify = true;
    else if (letter === 'c') line.create = true;
    else if (letter === 'w') line.wait = true;
    else if (letter === '?') throw new UsageError('', true);
    else if (letter === 'j') line.json = true;
    else line.verbose++;
    if (line.json && line.verbose > 0) throw new UsageError('-j and -v exclude each other');
  }
  const [command, ...names] = operands;
  if (command === undefined) throw new UsageError('no command');
  if (!COMMANDS.includes(command)) throw new UsageError(`no such command: ${command}`);
  if (lock !== undefined && command !== 'lock') throw new UsageError('-p, -s and -x are for lock');
  if (mode === undefined) mode = command === 'list' && names.length === 0 ? 'all' : 'user';
  const parsed: CtlLine = {
    ...line,
    command: command as CtlCommand,
    mode,
    lock: lock ?? 'pause',
    names,
  };
  checkNames(parsed);
  return parsed;
}

/** atoi(3): what is no number is 0, which is refused. */
function hours(text: string): number {
  const value = Number.parseInt(text, 10);
  if (!value) throw new UsageError(`not a number of hours: ${text}`);
  return value;
}

function checkNames({ command, mode, names }: CtlLine): void {
  const takesOne = command === 'lock' || command === 'move' || command === 'delete';
  if (takesOne && (mode === 'all' || mode === 'domain' || mode === 'prefix'))
    throw new UsageError(`${command} takes one backup`);
  if (takesOne && names.length > 1) throw new UsageError(`${command} takes one backup`);
  if (command === 'reconstruct' && (mode !== 'user' || names.length > 0))
    throw new UsageError('reconstruct takes no backups');
  if (mode === 'all' && names.length > 0) throw new UsageError('-A takes no names');
}
