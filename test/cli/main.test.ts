import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { LAUNCHER, run } from './run.ts';

const { version } = JSON.parse(
  readFileSync(path.join(import.meta.dirname, '../../package.json'), 'utf8'),
) as {
  version: string;
};

test('--version', async () => {
  expect(await run(['--version'])).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
});

test('--help lists every command, with examples and exit statuses', async () => {
  const { status, stdout, stderr } = await run(['--help']);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  for (const name of ['serve', 'passwd', 'config', 'list', 'verify', 'dump', 'demo']) {
    expect(stdout).toMatch(new RegExp(`^  ${name} +\\S`, 'm'));
  }
  expect(stdout).toContain('Examples:');
  expect(stdout).toMatch(/^ {2}78 {2}wrong configuration$/m);
});

test.each([
  ['help', 'passwd'],
  ['passwd', '--help'],
  ['passwd', 'help'],
])('%s %s', async (...args) => {
  const { status, stdout } = await run(args);
  expect(status).toBe(0);
  expect(stdout).toContain('csync-backup passwd add backup < secret');
});

test.each([
  [[], 'Usage: csync-backup'],
  [['passwd'], 'Usage: csync-backup passwd'],
  [['frobnicate'], "csync-backup: USAGE: unknown command 'frobnicate'"],
  [['confg'], 'Did you mean config?'],
  [['--frob'], "csync-backup: USAGE: unknown option '--frob'"],
  [['config', '--frob'], "csync-backup: USAGE: unknown option '--frob'"],
  [['config', 'extra'], 'csync-backup: USAGE: too many arguments'],
  [['config', '-C'], "csync-backup: USAGE: option '-C, --config <file>' argument missing"],
  [['passwd', 'add'], "csync-backup: USAGE: missing required argument 'name'"],
] as const)('wrong usage: %j', async (args, message) => {
  const { status, stdout, stderr } = await run([...args]);
  expect(status).toBe(64);
  expect(stdout).toBe('');
  expect(stderr).toContain(message);
});

test('an error is one message with its code, and the exit status of sysexits', async () => {
  const { status, stdout, stderr } = await run(['config', '-C', '/nonexistent/imapd.conf']);
  expect(status).toBe(78);
  expect(stdout).toBe('');
  expect(stderr).toMatch(
    /^csync-backup: CONFIG_INVALID: cannot load the configuration \/nonexistent\/imapd\.conf: cannot be read \(ENOENT\)\. .*\n$/,
  );
});

test('a reader that goes away is no reason for a stack trace', async () => {
  const child = spawn(process.execPath, [LAUNCHER, 'config', '--describe'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stdout!.destroy();
  let stderr = '';
  child.stderr!.on('data', (bytes: Buffer) => (stderr += bytes));
  const status = await new Promise((resolve) => child.on('close', resolve));
  expect(stderr).toBe('');
  expect(status).toBe(74);
});
