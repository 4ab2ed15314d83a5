import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { expect, test } from 'vitest';
import { guidOf, mailboxLine, messageLine, SampleBackup } from '../maintenance/backup-files.ts';
import { BackupStore, FIXTURES } from './backup-store.ts';
import { run } from './run.ts';

const GUIDS = fs.readFileSync(path.join(FIXTURES, 'carol.list-messages.txt'), 'utf8').trim().split('\n');

test('dump message prints the bytes and nothing else', async () => {
  using store = new BackupStore().enter();
  for (const [argument, file] of [
    [GUIDS[0]!, ['-u', 'carol', '-C', store.configFile]],
    [GUIDS.at(-1)!.toUpperCase(), ['-f', store.carol]],
  ] as const) {
    const { status, stdout, stderr } = await run(['dump', 'message', argument, ...file]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(createHash('sha1').update(stdout, 'utf8').digest('hex')).toBe(argument.toLowerCase());
  }
});

test('dump chunk prints its content', async () => {
  using store = new BackupStore().enter();
  const { status, stdout, stderr } = await run(['dump', 'chunk', '4', '-u', 'carol', '-C', store.configFile]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  // Offsets as `cyr_backup list chunks` prints them.
  expect(stdout).toBe(zlib.gunzipSync(fs.readFileSync(store.carol).subarray(434_464, 434_954)).toString());
});

test('dump finds a message where the index is lost', async () => {
  using store = new BackupStore();
  fs.rmSync(`${store.carol}.index`);
  const { status, stdout, stderr } = await run(['dump', 'message', GUIDS[0]!, '-f', store.carol]);
  expect(stderr).toMatch(
    /^csync-backup: the index of .* cannot be used \(it does not exist\); reading the data file instead\. csync-backup reindex makes one anew\n$/,
  );
  expect([status, createHash('sha1').update(stdout, 'utf8').digest('hex')]).toEqual([0, GUIDS[0]]);
  expect(fs.existsSync(`${store.carol}.index`)).toBe(false);
});

test('dump says that a message is damaged', async () => {
  using store = new BackupStore();
  const bytes = fs.readFileSync(store.carol);
  bytes.fill(0xff, 1000, 1100);
  fs.writeFileSync(store.carol, bytes);
  const { status, stderr } = await run(['dump', 'message', GUIDS[0]!, '-f', store.carol]);
  expect(status).toBe(65);
  expect(stderr).toMatch(
    /^csync-backup: CHUNK_CORRUPT: cannot read the chunk at 0 of .*: its stream is damaged at byte/,
  );
});

test('a damaged message of a backup of ours is noted, so that it comes again', async () => {
  using store = new BackupStore();
  using backup = new SampleBackup([
    [messageLine(['one\r\n']), mailboxLine('user.anne', [{ uid: 1, content: 'one\r\n' }])],
  ]);
  const file = `${store.folder}/part/a/anne_x1Y2z3`;
  fs.mkdirSync(path.dirname(file));
  const bytes = backup.bytes();
  bytes.fill(0, 60, 120);
  fs.writeFileSync(file, bytes);
  fs.copyFileSync(backup.indexPath, `${file}.index`);
  store.put('anne', file);
  const dump = ['dump', 'message', guidOf('one\r\n'), '-u', 'anne', '-C', store.configFile];
  const first = await run(dump);
  expect(first.status).toBe(65);
  expect(first.stderr).toContain('CHUNK_CORRUPT');
  expect(first.stderr).toContain('noted: the mail server sends this message again');
  expect((await run(dump)).stderr).toContain('NOT_FOUND');
  const { stdout } = await run(['verify', '-u', 'anne', '--dry-run', '-C', store.configFile]);
  expect(stdout).toContain('HEAL_PENDING');
});

test.each([
  [['message', 'abc', '-u', 'carol'], 64, 'USAGE: cannot dump abc: it is no GUID'],
  [['chunk', 'x', '-u', 'carol'], 64, 'USAGE: cannot dump x: it is no number'],
  [['message', GUIDS[0]!], 64, 'USAGE: cannot choose a backup: none is named'],
  [['message', '0'.repeat(40), '-u', 'carol'], 65, 'NOT_FOUND: cannot find message 0000'],
  [['chunk', '99', '-u', 'carol'], 65, 'NOT_FOUND: cannot find chunk 99'],
  [['chunk', '1', '-f', '/nonexistent/x'], 65, 'NOT_FOUND: cannot open /nonexistent/x'],
])('dump %j', async (args, status, message) => {
  using store = new BackupStore().enter();
  const result = await run(['dump', ...args, '-C', store.configFile]);
  expect(result).toMatchObject({ status, stdout: '' });
  expect(result.stderr).toContain(message);
});
