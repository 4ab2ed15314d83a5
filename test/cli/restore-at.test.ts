import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { parsePastTime, parseTime } from '../../src/cli/time-option.ts';
import { mailboxLine, messageLine } from '../maintenance/backup-files.ts';
import { SmallStore } from '../support/small-store.ts';

const T = 1_700_000_000; // 2023-11-14T22:13:20Z

/** Anne's backup, in which one message was expunged and another came a day later. */
function storeOfAnne(): SmallStore {
  const store = new SmallStore();
  const later = T + 86_400;
  store.add('anne', {
    lines: [
      messageLine(['later'], later),
      mailboxLine('user.anne', [{ uid: 4, content: 'later' }], { time: later }),
      `${later} APPLY EXPUNGE %(MBOXNAME user.anne UNIQUEID id-user.anne UID (2))\r\n`,
    ],
  });
  return store;
}

const store = storeOfAnne();
afterAll(() => store[Symbol.dispose]());

describe('csync-backup restore --at', () => {
  test('gives back what was there then', () => {
    const to = path.join(store.folder, 'given');
    const args = ['restore', '-u', 'anne', '--in-place', '--to'];
    const texts = (dir: string) =>
      globSync('**/*.eml', { cwd: dir })
        .map((name) => readFileSync(path.join(dir, name), 'latin1'))
        .sort();
    expect(store.run([...args, `eml:${to}/now`])).toMatchObject({ status: 0, stderr: '' });
    expect(texts(`${to}/now`)).toEqual(['later', 'of anne', 'three']);
    const then = store.run([...args, `eml:${to}/then`, '--at', '2023-11-15T12:00:00Z']);
    expect(then).toMatchObject({ status: 0, stderr: '' });
    expect(texts(`${to}/then`)).toEqual(['of anne', 'three', 'two']);
    expect(store.files().filter((name) => name.includes('-restore-'))).toEqual([]);
  });

  test.each([
    [['--at', 'yesterday'], 64, /cannot take --at "yesterday": it is no time.*Give one of 2026-11-20, .*-3d/],
    [['--at', '2023-02-30 12:00'], 64, /there is no such day/],
    [['--at', '2999-01-01'], 64, /that is in the future: it is now|is in the future.*Leave --at out/],
    [
      ['--at', '2023-11-14T22:13:19Z'],
      65,
      /find the state of 2023-11-14T22:13:19Z: the history that .* keeps begins at 2023-11-14T22:13:20Z\. Give 2023-11-14T22:13:20Z or/,
    ],
    [['--at', '2023-11-14T22:13:20Z', 'Drafts'], 65, /cannot find Drafts: .* at 2023-11-14T22:13:20/],
  ])('%j is answered with what to give instead', (more, status, message) => {
    const ran = store.run(['restore', '-u', 'anne', '--to', `eml:${store.folder}/out`, ...more]);
    expect(ran.status).toBe(status);
    expect(ran.stderr).toMatch(message);
    expect(globSync('out', { cwd: store.folder })).toEqual([]);
  });

  test('a moment before a user was renamed has the old names, and goes to the new user', () => {
    using renamed = storeOfAnne();
    expect(renamed.run(['rename', 'anne', 'anna']).status).toBe(0);
    const args = ['restore', '-u', 'anna', '--in-place', '--to', `eml:${renamed.folder}/out`, '-n'];
    expect(renamed.run([...args, 'Sent']).stdout).toBe('user/anna/Sent\tINBOX/Sent\t0\t0\n');
    const then = [...args, '--at', '2023-11-15T12:00:00Z'];
    expect(renamed.run([...then, 'Sent']).stdout).toBe('user/anne/Sent\tINBOX/Sent\t0\t0\n');
    const named = renamed.run(['history', 'anna', 'Sent', '--json']).stdout.trim().split('\n');
    expect(JSON.parse(named.at(-1)!)).toMatchObject({
      change: 'renamed',
      from: 'user/anne/Sent',
      to: 'user/anna/Sent',
    });
  });

  test('a backup whose index is lost is given back all the same', () => {
    using store = storeOfAnne();
    const [index] = store.files().filter((name) => name.endsWith('.index'));
    const bytes = readFileSync(path.join(store.folder, index!));
    bytes.fill(0, 0, 100);
    store.spoil(index!, bytes);
    const ran = store.run(['restore', '-u', 'anne', '--to', `eml:${store.folder}/out`, '--in-place']);
    expect(ran.status).toBe(0);
    expect(ran.stderr).toMatch(
      /^csync-backup: the index of .* cannot be used .*reading the data file instead\n$/,
    );
    expect(ran.stdout).toMatch(/: 3 messages /);
  });
});

describe('times', () => {
  const now = Date.UTC(2026, 10, 25, 12, 0, 0);
  test.each([
    ['2026-11-20T14:00:00Z', Date.UTC(2026, 10, 20, 14)],
    ['2026-11-20 14:00 UTC', Date.UTC(2026, 10, 20, 14)],
    ['2026-11-20T14:00:30+01:00', Date.UTC(2026, 10, 20, 13, 0, 30)],
    ['2026-11-20T14:00-0530', Date.UTC(2026, 10, 20, 19, 30)],
    ['2026-11-20 14:00', new Date(2026, 10, 20, 14).getTime()],
    ['2026-11-20', new Date(2026, 10, 20).getTime()],
    ['2024-02-29', new Date(2024, 1, 29).getTime()],
    ['@1700000000', T * 1000],
    ['-3d', now - 3 * 86_400_000],
    ['-1h30m', now - 5_400_000],
    ['-90', now - 90_000],
  ])('%s', (text, expected) => {
    expect(parseTime(text, '--at', now)).toBe(expected / 1000);
    expect(parsePastTime(text, '--at', now)).toBe(expected / 1000);
  });

  test.each([
    '',
    'now',
    '14:00',
    '2026-13-01',
    '2025-02-29',
    '2026-11-20 24:00',
    '2026-11-20 14:60',
    '-3w',
    '20.11.2026',
  ])('%j is none', (text) => expect(() => parseTime(text, '--since', now)).toThrow(/--since/));
});
