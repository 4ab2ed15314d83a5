import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CredentialStore } from '../../src/sasl/credentials.ts';
import { run } from './run.ts';
import { runOnTerminal } from './terminal.ts';

let root: string;
let file: string;
let passwd: string;
beforeEach(() => {
  root = mkdtempSync(path.join(os.tmpdir(), 'cli-passwd-'));
  mkdirSync(path.join(root, 'p'));
  file = path.join(root, 'imapd.conf');
  passwd = path.join(root, 'secrets', 'passwd');
  writeFileSync(
    file,
    `configdirectory: ${root}\nbackuppartition-a: ${root}/p\nadmins: backup\nbackup_passwd_file: ${passwd}\n`,
  );
});
afterEach(() => rmSync(root, { recursive: true }));

const accepts = (user: string, password: string) => new CredentialStore(passwd).checkPassword(user, password);

test('add, list, change, remove', async () => {
  expect(await run(['passwd', 'add', 'backup', '-C', file], { input: 'one\n' })).toEqual({
    status: 0,
    stdout: '',
    stderr: `added backup in ${passwd}\n`,
  });
  expect(statSync(passwd).mode & 0o777).toBe(0o600);
  expect(statSync(path.dirname(passwd)).mode & 0o777).toBe(0o700);
  expect(await accepts('backup', 'one')).toBe(true);

  const { stderr } = await run(['passwd', 'add', 'anne', '-C', file], { input: 'two' });
  expect(stderr).toContain('anne is not among "admins"');
  expect((await run(['passwd', 'list', '-C', file])).stdout).toBe('backup\nanne\n');
  const json = (await run(['passwd', 'list', '--json', '-C', file])).stdout.trimEnd().split('\n');
  const mechanisms = ['SCRAM-SHA-256', 'SCRAM-SHA-1'];
  expect(json.map((line) => JSON.parse(line))).toEqual([
    { user: 'backup', mechanisms, admin: true },
    { user: 'anne', mechanisms, admin: false },
  ]);

  expect((await run(['passwd', 'add', 'backup', '-C', file], { input: 'three\r\n' })).stderr).toContain(
    'changed backup',
  );
  expect([await accepts('backup', 'one'), await accepts('backup', 'three')]).toEqual([false, true]);

  expect((await run(['passwd', 'remove', 'backup', '-C', file])).status).toBe(0);
  expect(await accepts('backup', 'three')).toBe(false);
  expect((await run(['passwd', 'list', '-C', file])).stdout).toBe('anne\n');
});

test('removing who is not there is an error, and makes no file', async () => {
  const { status, stderr } = await run(['passwd', 'remove', 'ghost', '-C', file]);
  expect(status).toBe(65);
  expect(stderr).toMatch(/^csync-backup: NOT_FOUND: cannot remove the user ghost: /);
  expect(() => statSync(passwd)).toThrow(/ENOENT/);
});

test('list without a file is empty', async () => {
  expect(await run(['passwd', 'list', '-C', file])).toEqual({ status: 0, stdout: '', stderr: '' });
});

test.each([
  ['no password', 'backup', ''],
  ['an empty line', 'backup', '\n'],
  ['two lines', 'backup', 'a\nb\n'],
  ['bytes that are no UTF-8', 'backup', Buffer.from([0xff])],
  ['far too much', 'backup', Buffer.alloc(70_000, 'x')],
  ['a name with a space', 'back up', 'x'],
])('%s is refused', async (_, name, input) => {
  expect((await run(['passwd', 'add', name, '-C', file], { input })).status).toBe(64);
  expect(() => statSync(passwd)).toThrow(/ENOENT/);
});

describe('on a terminal', () => {
  const dialogue = (first: string, second: string) =>
    runOnTerminal(
      ['passwd', 'add', 'backup', '-C', file],
      [
        { await: 'Password for backup: ', type: first },
        { await: 'Once more: ', type: second },
      ],
    );

  test('the password is asked for twice and never shown', async () => {
    const { status, screen } = await dialogue('s\u00e9same\r', 's\u00e9same\r');
    expect(status).toBe(0);
    expect(screen.replaceAll('\r', '')).toBe(
      `Password for backup: \nOnce more: \nadded backup in ${passwd}\n`,
    );
    expect(await accepts('backup', 's\u00e9same')).toBe(true);
  });

  test('erasing a character, erasing all', async () => {
    expect((await dialogue('wrong\x15sesamX\u007fe\r', 'sesame\n')).status).toBe(0);
    expect(await accepts('backup', 'sesame')).toBe(true);
  });

  test('both lines pasted at once', async () => {
    expect((await dialogue('sesame\rsesame\r', '')).status).toBe(0);
    expect(await accepts('backup', 'sesame')).toBe(true);
  });

  test('two that differ, and Ctrl-C, change nothing', async () => {
    await run(['passwd', 'add', 'backup', '-C', file], { input: 'old' });
    const before = readFileSync(passwd);
    const differ = await dialogue('sesame\r', 'Sesame\r');
    expect(differ.status).toBe(64);
    expect(differ.screen).toContain('the two differ');
    expect((await dialogue('ses\x03', '')).status).toBe(64);
    expect((await dialogue('\x04', '')).status).toBe(64);
    expect(readFileSync(passwd)).toEqual(before);
  });
});
