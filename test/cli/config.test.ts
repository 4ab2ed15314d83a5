import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OPTION_LIST } from '../../src/config/options.ts';
import { run } from './run.ts';

const root = mkdtempSync(path.join(os.tmpdir(), 'cli-config-'));
const file = path.join(root, 'imapd.conf');
beforeAll(() => {
  mkdirSync(path.join(root, 'p'));
  writeFileSync(
    file,
    `configdirectory: ${root}\nbackuppartition-main: ${root}/p\nbackup_retention_days: 9\n`,
  );
});
afterAll(() => rmSync(root, { recursive: true }));

test('text: each option, its value, its origin', async () => {
  const { status, stdout, stderr } = await run(['config', '-C', file]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toMatch(new RegExp(`^configdirectory: ${root} +# ${file}:1$`, 'm'));
  expect(stdout).toMatch(new RegExp(`^backuppartition-main: ${root}/p +# ${file}:2$`, 'm'));
  expect(stdout).toMatch(new RegExp(`^backup_retention: 9d +# ${file}:3 as backup_retention_days$`, 'm'));
  expect(stdout).toMatch(/^allowplaintext: no +# default$/m);
  expect(stdout).toMatch(/^tls_server_cert +# no value$/m);
});

test('--json: one object a line', async () => {
  const { status, stdout } = await run(['config', '--json', '--config', file]);
  expect(status).toBe(0);
  const rows = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { option: string });
  expect(rows.map((row) => row.option)).toEqual([
    ...OPTION_LIST.map(([name]) => name),
    'backuppartition-main',
  ]);
  expect(rows).toContainEqual({
    option: 'backup_retention',
    value: '9d',
    source: 'file',
    file,
    line: 3,
    writtenAs: 'backup_retention_days',
  });
  expect(rows).toContainEqual({ option: 'maxword', value: '128K', source: 'default' });
  expect(rows).toContainEqual({ option: 'tls_server_key', value: null, source: 'default' });
});

test('what is printed is a configuration with the same values', async () => {
  const text = (await run(['config', '-C', file])).stdout;
  const copy = path.join(root, 'copy.conf');
  const lines = text.split('\n').filter((line) => line.includes(': '));
  writeFileSync(copy, lines.map((line) => `${line.replace(/ +# .*$/, '')}\n`).join(''));
  const again = (await run(['config', '-C', copy])).stdout;
  const values = (output: string) => output.replaceAll(/ +# .*$/gm, '');
  expect(values(again)).toBe(values(text));
});

test('without a file: the embedded default, of which nothing is made', async () => {
  const { stdout } = await run(['config', '--json'], { cwd: root });
  // A machine with a backup server of its own would answer for that one.
  if (!stdout.includes('/etc/imapd.conf')) {
    const data = path.join(root, 'var/csync-backup');
    expect(stdout).toContain(`{"option":"configdirectory","value":"${data}/conf","source":"embedded"}`);
  }
  expect(existsSync(path.join(root, 'var'))).toBe(false);
});

test('every problem of a file is named', async () => {
  const bad = path.join(root, 'bad.conf');
  writeFileSync(
    bad,
    `configdirectory: ${root}\nbackuppartition-a: ${root}/gone\nbackup_workers: many\nbackup_worker: 1\n`,
  );
  const { status, stdout, stderr } = await run(['config', '-C', bad]);
  expect(status).toBe(78);
  expect(stdout).toBe('');
  expect(stderr).toContain(`${bad}:2: backuppartition-a "${root}/gone" does not exist; allowed: `);
  expect(stderr).toContain(
    `${bad}:3: backup_workers "many" is not a whole number; allowed: a whole number from 1 to 256`,
  );
  expect(stderr).toContain(`${bad}:4: backup_worker "1" is no option; backup_workers is; allowed: `);
});

test('--describe says what each option means, in Markdown', async () => {
  const { status, stdout } = await run(['config', '--describe']);
  expect(status).toBe(0);
  for (const [name, option] of OPTION_LIST) expect(stdout).toContain(`### ${name}\n\n${option.help}`);
  expect(stdout).toContain('Default: `7d`. Allowed: a duration');
});
