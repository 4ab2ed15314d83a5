import fs from 'node:fs';
import { expect, test } from 'vitest';
import { tryLock } from '../../src/platform/file-lock.ts';
import { BackupStore } from './backup-store.ts';
import { run } from './run.ts';

function damage(file: string): void {
  const bytes = fs.readFileSync(file);
  bytes.fill(0xff, 50, 70);
  fs.writeFileSync(file, bytes);
}

test('verify -A of sound backups', async () => {
  using store = new BackupStore().enter();
  expect(await run(['verify', '-A', '-C', store.configFile])).toEqual({
    status: 0,
    stdout: 'verify carol: ok\nverify erik: ok\n2 backups: 2 ok, 0 faulty; 0 faults, 0 notices\n',
    stderr: '',
  });
});

test('verify prints each finding and a summary, and goes on with the next backup', async () => {
  using store = new BackupStore().enter();
  damage(store.carol);
  const { status, stdout, stderr } = await run(['verify', '-u', 'carol', 'erik', '-C', store.configFile]);
  expect({ status, stderr }).toEqual({ status: 65, stderr: '' });
  const lines = stdout.split('\n');
  expect(stdout).toMatch(/^carol: fault CHUNK_CORRUPT: chunk 1, byte \d+: its stream is damaged/m);
  expect(
    lines.filter((line) =>
      /^carol: fault MESSAGE_MISSING: chunk 1, line at \d+: message [0-9a-f]{40} /.test(line),
    ).length,
  ).toBeGreaterThan(5);
  expect(stdout).toMatch(
    /\nverify carol: failed \(\d+ faults, 0 notices\); the index was made anew; noted: 0 messages lost, \d mailboxes to be sent again\nverify erik: ok\n2 backups: 1 ok, 1 faulty; \d+ faults, 0 notices\n$/,
  );
});

test('verify -A compares backups.db with the partitions', async () => {
  using store = new BackupStore().enter();
  fs.renameSync(store.erik, `${store.folder}/part/e/erik_000000`);
  const { status, stdout, stderr } = await run(['verify', '-A', '-C', store.configFile]);
  expect({ status, stderr }).toEqual({ status: 65, stderr: '' });
  expect(stdout).toMatch(/^erik: fault FILE_MISSING: backups.db names .*erik_em7N7U, which does not exist$/m);
  expect(stdout).toMatch(/^erik: fault FILE_NOT_IN_CATALOG: backups.db names no user for .*erik_000000$/m);
  expect(stdout).toMatch(/\nverify carol: ok\n2 backups: 1 ok, 1 faulty; 2 faults, 0 notices\n$/);
});

test('verify --quick looks at the end, not at the rest', async () => {
  using store = new BackupStore().enter();
  damage(store.carol);
  const quick = ['verify', '-u', 'carol', '--quick', '--dry-run', '-C', store.configFile];
  expect(await run(quick)).toMatchObject({ status: 0 });
  fs.truncateSync(store.carol, fs.statSync(store.carol).size - 20);
  const { status, stdout } = await run(quick);
  expect(status).toBe(65);
  expect(stdout).toMatch(/^carol: fault CHUNK_UNFINISHED: chunk 8/m);
});

test('verify of a sound file needs no configuration', async () => {
  using store = new BackupStore();
  const args = ['verify', '-f', store.erik, '-C', `${store.folder}/nothing.conf`];
  expect(await run(args)).toMatchObject({ status: 0, stderr: '' });
});

test('verify --json of files', async () => {
  using store = new BackupStore();
  damage(store.carol);
  const { status, stdout } = await run(['verify', '--json', '--dry-run', '-f', store.carol, store.erik]);
  expect(status).toBe(65);
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines.find((line) => line.code === 'CHUNK_CORRUPT')).toMatchObject({
    type: 'finding',
    userid: null,
    path: store.carol,
    code: 'CHUNK_CORRUPT',
    severity: 'fault',
    chunk: 1,
    fileOffset: expect.any(Number),
    text: expect.any(String),
  });
  const [carol, erik] = lines.filter((line) => line.type === 'backup');
  expect(carol).toMatchObject({ path: store.carol, ok: false, chunks: 8, codes: { CHUNK_CORRUPT: 1 } });
  expect(carol.faults).toBe(lines.filter((line) => line.type === 'finding').length);
  expect(erik).toEqual({
    type: 'backup',
    userid: null,
    path: store.erik,
    ok: true,
    faults: 0,
    notices: 0,
    codes: {},
    sizeBytes: 128_693,
    contentBytes: 273_709,
    chunks: 6,
    messages: 12,
  });
  expect(lines.at(-1)).toEqual({
    type: 'summary',
    backups: 2,
    ok: 1,
    faulty: 1,
    notVerified: 0,
    faults: carol.faults,
    notices: 0,
  });
});

test('verify says which backups it could not read, and why', async () => {
  using store = new BackupStore().enter();
  store.put('gone', `${store.folder}/part/g/gone_x1Y2z3`);
  const fd = fs.openSync(store.carol, 'r+');
  expect(tryLock(fd, 'exclusive')).toBe(true);
  const { status, stdout, stderr } = await run([
    'verify',
    '-u',
    'carol',
    'erik',
    'gone',
    '--json',
    '-C',
    store.configFile,
  ]);
  expect(status).toBe(75);
  expect(stderr).toContain(`csync-backup: LOCKED: cannot lock ${store.carol}: `);
  expect(stderr).toContain('csync-backup: NOT_FOUND: cannot open ');
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines.filter((line) => line.type === 'error')).toMatchObject([
    { userid: 'carol', code: 'LOCKED' },
    { userid: 'gone', code: 'NOT_FOUND' },
  ]);
  expect(lines.at(-1)).toMatchObject({ backups: 3, ok: 1, notVerified: 2 });
  fs.closeSync(fd);
});

test.each([
  [['verify'], 'none are named'],
  [['verify', '-A', '-u', 'anne'], 'they are named in more than one way'],
  [['verify', '-u'], 'argument missing'],
])('wrong usage: %j', async (args, message) => {
  const { status, stdout, stderr } = await run(args);
  expect({ status, stdout }).toEqual({ status: 64, stdout: '' });
  expect(stderr).toContain(message);
});
