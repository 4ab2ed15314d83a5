import { afterEach, describe, expect, test } from 'vitest';
import { parseBackupd } from '../../../src/cli/compat/backupd.ts';
import { parseCtlBackups } from '../../../src/cli/compat/ctl-backups-line.ts';
import { parseCyrBackup } from '../../../src/cli/compat/cyr-backup-line.ts';
import { parseCommandLine } from '../../../src/cli/compat/getopt.ts';
import { UsageError } from '../../../src/cli/compat/usage-error.ts';

const TABLE = {
  short: { a: 'no', b: 'yes', c: 'optional' },
  long: {
    all: { letter: 'a', value: 'no' },
    alter: { letter: 'A', value: 'no' },
    base: { letter: 'b', value: 'yes' },
    colour: { letter: 'c', value: 'optional' },
  },
} as const;

describe('getopt_long', () => {
  afterEach(() => void delete process.env.POSIXLY_CORRECT);
  const options = (argv: string[]): string =>
    parseCommandLine(argv, TABLE)
      .options.map((option) =>
        option.kind === 'option'
          ? option.letter + (option.value === undefined ? '' : `=${option.value}`)
          : option.kind,
      )
      .join(' ');

  test.each([
    [['-a', '-b', 'x', '-c'], 'a b=x c'],
    [['-abx', '-cred'], 'a b=x c=red'],
    [['-ab'], 'a missing'],
    [['-c', 'red'], 'c'],
    [['--base=x', '--base', 'y', '--colour=z', '--colour'], 'b=x b=y c=z c'],
    [['--ba', 'x', '--al'], 'b=x unknown'],
    [['--all=x', '-z', '--nope', '--base'], 'unknown unknown unknown missing'],
  ])('%j', (argv, expected) => {
    expect(options(argv)).toBe(expected);
  });

  test('takes options behind operands, but not behind --', () => {
    const argv = ['one', '-a', '-', 'two', '--', '-b', 'x'];
    expect(parseCommandLine(argv, TABLE).operands).toEqual(['one', '-', 'two', '-b', 'x']);
    expect(options(argv)).toBe('a');
    process.env.POSIXLY_CORRECT = '1';
    expect(parseCommandLine(argv, TABLE)).toEqual({ options: [], operands: argv });
  });
});

describe('ctl_backups', () => {
  test('takes the command lines of the manual page', () => {
    expect(parseCtlBackups(['compact', '-A'])).toMatchObject({ command: 'compact', mode: 'all', names: [] });
    expect(parseCtlBackups(['list'])).toMatchObject({ command: 'list', mode: 'all' });
    expect(parseCtlBackups(['list']).stale).toBeUndefined();
    expect(parseCtlBackups(['list', 'anne'])).toMatchObject({ mode: 'user', names: ['anne'] });
    expect(parseCtlBackups(['list', '-t'])).toMatchObject({ mode: 'all', stale: 24 });
    expect(parseCtlBackups(['list', '-t', '48', '-f', 'x'])).toMatchObject({ stale: 48, mode: 'file' });
    expect(parseCtlBackups(['list', '--stale'])).toMatchObject({ stale: 24 });
    expect(parseCtlBackups(['-vvFwSVC', '/etc/x', 'verify', '-D', 'a', 'b'])).toMatchObject({
      verbose: 2,
      force: true,
      wait: true,
      stopOnError: true,
      noVerify: true,
      config: '/etc/x',
      mode: 'domain',
      names: ['a', 'b'],
    });
    expect(parseCtlBackups(['lock', '-c', '-x', 'ls -l', 'anne'])).toMatchObject({
      create: true,
      lock: 'execute',
      execute: 'ls -l',
      names: ['anne'],
    });
    expect(parseCtlBackups(['--json', 'stat', '--prefixes', 'a'])).toMatchObject({
      json: true,
      mode: 'prefix',
    });
    expect(parseCtlBackups(['lock', '--sqlite3', '-m', 'user/anne'])).toMatchObject({
      lock: 'sqlite3',
      mode: 'mailbox',
    });
  });

  test.each([
    [],
    ['nothing'],
    ['-j', '-v', 'stat', 'x'],
    ['-v', '-j', 'stat', 'x'],
    ['stat', '-A', 'x'],
    ['stat', '-A', '-u', 'x'],
    ['lock', '-A'],
    ['lock', '-P', 'x'],
    ['lock', 'a', 'b'],
    ['lock', '-p', '-s', 'a'],
    ['list', '-s'],
    ['list', '-t', 'soon'],
    ['lock', '-x'],
    ['-C'],
    ['-z', 'list'],
    ['reconstruct', 'x'],
  ])('refuses %j', (...argv) => {
    expect(() => parseCtlBackups(argv)).toThrow(UsageError);
  });
});

test('cyr_backup takes its command lines and refuses others', () => {
  expect(parseCyrBackup(['anne', 'list', 'chunks'])).toEqual({
    mode: 'user',
    backup: 'anne',
    command: 'list chunks',
    args: [],
    config: undefined,
    verbose: 0,
  });
  expect(parseCyrBackup(['-vf', 'x', '-C', 'y', 'show', 'messages', 'a', 'b'])).toMatchObject({
    mode: 'file',
    args: ['a', 'b'],
    config: 'y',
    verbose: 1,
  });
  for (const line of [
    '',
    'x',
    'x list',
    'x list foo',
    'x list chunks y',
    'x dump chunk',
    'x dump chunk 1 2',
    '-fm x list all',
    '-q x list all',
  ])
    expect(() => parseCyrBackup(line.split(' ').filter((word) => word !== '')), line).toThrow(UsageError);
});

test('backupd takes what cyrus.conf may say', () => {
  expect(parseBackupd(['-C', '/etc/x', '-U', '1', '-T', '0', '-D', '-p', '2'])).toEqual({
    config: '/etc/x',
    ssf: 2,
    tls: false,
  });
  expect(parseBackupd(['-s', '-N'])).toMatchObject({ tls: true });
  for (const argv of [['-z'], ['-U'], ['-U', 'many'], ['x'], ['-?']])
    expect(() => parseBackupd(argv)).toThrow(UsageError);
});
