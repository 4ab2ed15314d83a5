import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { run } from '../cli/run.ts';

const page = readFileSync(path.join(import.meta.dirname, '../../docs/commands.md'), 'utf8');

describe('docs/commands.md', () => {
  test('ends with what the commands say with --help; "npm run docs:commands" writes that anew', async () => {
    const { stdout, status, stderr } = await run(['describe']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(page.slice(page.indexOf('## Reference\n'))).toBe(stdout);
  });

  test('has every command of the program in its table of jobs', async () => {
    const { stdout } = await run(['--help']);
    const list = stdout.slice(stdout.indexOf('\nCommands:'), stdout.indexOf('\nExamples:'));
    const commands = [...list.matchAll(/^ {2}([a-z]+) /gm)]
      .map(([, name]) => name!)
      .filter((name) => name !== 'help');
    const jobs = page.slice(page.indexOf('| to |'), page.indexOf('## What all'));
    const named = [...jobs.matchAll(/`([a-z]+)`/g)].map(([, name]) => name);
    expect(commands.length).toBeGreaterThan(10);
    expect(named.toSorted()).toEqual(commands.toSorted());
  });

  test('names the keys that --help of list, stat and show names', () => {
    const reference = page.slice(page.indexOf('## Reference\n'));
    for (const command of [
      'list',
      'stat',
      'show chunks',
      'show mailboxes',
      'show mailbox',
      'show messages',
    ]) {
      const row = page.split('\n').find((line) => line.startsWith(`| \`${command}\` |`))!;
      const named = [...row.matchAll(/`([a-zA-Z0-9]+)`/g)].map(([, key]) => key!);
      const start = reference.indexOf(`### csync-backup ${command}\n`);
      const help = reference.slice(start, reference.indexOf('\n### ', start)).replaceAll(/\s+/g, ' ');
      const json = /--json one JSON object a line: (.*?) (?:--push-gateway|-h,|Examples:)/.exec(help)![1]!;
      const keys = json
        .replaceAll(/\([^)]*\)/g, '')
        .split(/[ ,]+/)
        .filter((key) => key !== '');
      expect(named, command).toEqual(expect.arrayContaining(keys));
    }
  });
});
