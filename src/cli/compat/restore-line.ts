/** The command line of Cyrus's restore (backup/restore.c, restore(8)). */
import { type OptionTable, parseCommandLine } from './getopt.ts';
import { UsageError } from './usage-error.ts';

export interface RestoreLine {
  config?: string;
  /** `HOST[:PORT]`. */
  server: string;
  mode: 'file' | 'mailbox' | 'user';
  backup: string;
  /** Names of mailboxes, unique ids, GUIDs. */
  objects: string[];
  /** -F: the objects stand in this file, a line each; `-` is standard input. */
  inputFile?: string;
  /** -a: all mailboxes. */
  all: boolean;
  /** -A: this ACL; empty: the default one of the owner. */
  acl?: string;
  /** -M */
  destMailbox?: string;
  /** -P */
  destPartition?: string;
  /** -D */
  keepDeletedPrefix: boolean;
  /** -L */
  localOnly: boolean;
  /** -U */
  keepUidvalidity: boolean;
  /** -X: `skip`, -x: `only`. */
  expunged: 'both' | 'skip' | 'only';
  /** -n */
  dryRun: boolean;
  /** -r */
  recursive: boolean;
  verbose: number;
  /** -w, in seconds. */
  wait: number;
  /** -z */
  requireCompression: boolean;
}

const OPTIONS: OptionTable = {
  short: {
    A: 'yes',
    C: 'yes',
    D: 'no',
    F: 'yes',
    L: 'no',
    M: 'yes',
    P: 'yes',
    U: 'no',
    X: 'no',
    a: 'no',
    f: 'yes',
    m: 'yes',
    n: 'no',
    r: 'no',
    u: 'yes',
    v: 'no',
    w: 'yes',
    x: 'no',
    z: 'no',
  },
  long: {
    'override-acl': { letter: 'A', value: 'optional' },
    'keep-deletedprefix': { letter: 'D', value: 'no' },
    'input-file': { letter: 'F', value: 'yes' },
    'local-only': { letter: 'L', value: 'no' },
    'dest-mailbox': { letter: 'M', value: 'yes' },
    'dest-partition': { letter: 'P', value: 'yes' },
    'keep-uidvalidity': { letter: 'U', value: 'no' },
    'skip-expunged': { letter: 'X', value: 'no' },
    'all-mailboxes': { letter: 'a', value: 'no' },
    file: { letter: 'f', value: 'yes' },
    mailbox: { letter: 'm', value: 'yes' },
    'dry-run': { letter: 'n', value: 'no' },
    recursive: { letter: 'r', value: 'no' },
    userid: { letter: 'u', value: 'yes' },
    verbose: { letter: 'v', value: 'no' },
    'delayed-startup': { letter: 'w', value: 'yes' },
    'only-expunged': { letter: 'x', value: 'no' },
    'require-compression': { letter: 'z', value: 'no' },
    help: { letter: '?', value: 'no' },
  },
};

const MODES: Record<string, RestoreLine['mode']> = { f: 'file', m: 'mailbox', u: 'user' };

/** @throws UsageError where Cyrus prints its usage and exits with 64; `help` is set for --help */
export function parseRestore(argv: readonly string[]): RestoreLine {
  const { options, operands } = parseCommandLine(argv, OPTIONS);
  const line: RestoreLine = {
    server: '',
    mode: 'user',
    backup: '',
    objects: [],
    all: false,
    keepDeletedPrefix: false,
    localOnly: false,
    keepUidvalidity: false,
    expunged: 'both',
    dryRun: false,
    recursive: false,
    verbose: 0,
    wait: 0,
    requireCompression: false,
  };
  let mode: RestoreLine['mode'] | undefined;
  for (const option of options) {
    if (option.kind === 'unknown') throw new UsageError(option.text);
    const { letter } = option;
    // `-A` as the last word has no ACL.
    if (option.kind === 'missing' && letter !== 'A')
      throw new UsageError(`option requires an argument -- '${letter}'`);
    const value = (option.kind === 'option' ? option.value : undefined) ?? '';
    if (MODES[letter] !== undefined) {
      if (mode !== undefined) throw new UsageError('more than one of -f, -m and -u');
      mode = MODES[letter];
      line.backup = value;
    } else if (letter === 'x' || letter === 'X') {
      if (line.expunged !== 'both') throw new UsageError('-x and -X exclude each other');
      line.expunged = letter === 'x' ? 'only' : 'skip';
    } else if (letter === 'w') {
      // atoi(3): what is no number is 0.
      line.wait = Number.parseInt(value, 10) || 0;
      if (line.wait < 0) throw new UsageError('-w takes seconds');
    } else setOption(line, letter, value);
  }
  checkTogether(line);
  const [server, ...rest] = operands;
  if (server === undefined) throw new UsageError('no server');
  line.server = server;
  if (mode === undefined) {
    const backup = rest.shift();
    if (backup === undefined) throw new UsageError('no backup');
    line.backup = backup;
  } else line.mode = mode;
  const fromElsewhere = line.all || line.inputFile !== undefined;
  if (!fromElsewhere && rest.length === 0)
    throw new UsageError('nothing to restore: name objects, or give -a or -F');
  if (fromElsewhere && rest.length > 0) throw new UsageError('with -a or -F no objects are named');
  line.objects = rest;
  return line;
}

function setOption(line: RestoreLine, letter: string, value: string): void {
  if (letter === '?') throw new UsageError('', true);
  if (letter === 'A') line.acl = value;
  else if (letter === 'C') line.config = value;
  else if (letter === 'D') line.keepDeletedPrefix = true;
  else if (letter === 'F') line.inputFile = value;
  else if (letter === 'L') line.localOnly = true;
  else if (letter === 'M') line.destMailbox = value;
  else if (letter === 'P') line.destPartition = value;
  else if (letter === 'U') line.keepUidvalidity = true;
  else if (letter === 'a') line.all = true;
  else if (letter === 'n') line.dryRun = true;
  else if (letter === 'r') line.recursive = true;
  else if (letter === 'v') line.verbose++;
  else line.requireCompression = true;
}

function checkTogether(line: RestoreLine): void {
  const others = line.acl ?? line.destMailbox ?? line.destPartition;
  if (line.keepUidvalidity && others !== undefined) throw new UsageError('-U excludes -A, -M and -P');
  if (line.all && line.inputFile !== undefined) throw new UsageError('-a and -F exclude each other');
}
