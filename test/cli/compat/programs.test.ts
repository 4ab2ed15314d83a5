import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BackupStore, FIXTURES } from '../backup-store.ts';

const COMPAT = path.join(import.meta.dirname, '../../../src/cli/compat');

interface Done {
  status: number | null;
  stdout: string;
  stderr: string;
}

function run(program: string, args: string[], input = ''): Promise<Done> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, TZ: 'UTC' };
    const child = spawn(process.execPath, [path.join(COMPAT, `${program}.cjs`), ...args], { env });
    const done: Done = { status: null, stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (done.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (done.stderr += text));
    child.on('error', reject);
    child.on('close', (status) => resolve({ ...done, status }));
    child.stdin.end(input);
  });
}

/*
 * One after the other, each with few processes: starting one is nearly all that it costs, and side by side each test
 * would take as long as all of them.
 */
describe('programs with Cyrus’s command lines', () => {
  let store: BackupStore;
  beforeAll(() => {
    store = new BackupStore().enter();
    store.put('anne@example.com', store.erik);
  });
  afterAll(() => store[Symbol.dispose]());

  const ctl = (...args: string[]): Promise<Done> => run('ctl_backups', ['-C', store.configFile, ...args]);
  const cyr = (...args: string[]): Promise<Done> => run('cyr_backup', ['-C', store.configFile, ...args]);
  const fixture = (name: string): string => fs.readFileSync(path.join(FIXTURES, name), 'utf8');

  test('cyr_backup lists what Cyrus’s listed', async () => {
    expect((await cyr('carol', 'list', 'chunks')).stdout).toBe(fixture('carol.list-chunks.txt'));
    expect(await cyr('-f', store.erik, 'list', 'messages')).toEqual({
      status: 0,
      stdout: fixture('erik.list-messages.txt'),
      stderr: '',
    });
  });

  test('cyr_backup finds a backup by a mailbox, and says what it does not find', async () => {
    const found = await cyr('-m', 'user/erik/Sent', 'show', 'mailboxes', 'user/erik', 'nothing');
    expect(found.stdout).toMatch(/^mboxname: user\.erik\nuniqueid: 5a44wbzaqk9e9xd9me1on1mv\nmessages:\n/);
    expect(found.stdout).toContain(
      '         5  2026-11-23 00:56:03  ee344aaf924f354da3bdab043ac7f8f799a78f21\n',
    );
    expect(await cyr('nobody', 'list', 'all')).toMatchObject({
      status: 75,
      stderr: 'nobody: not found in backups.db\n',
    });
    expect(await cyr('carol', 'dump', 'chunk', '99')).toMatchObject({
      status: 75,
      stderr: 'carol: Item does not exist\n',
    });
  });

  test('ctl_backups list, of all, by domain and by prefix', async () => {
    const row = '2026-11-23 01:01:24\t128693';
    expect((await ctl('list')).stdout).toBe(
      `${row}\tanne@example.com\t${store.erik}\n2026-11-23 01:02:38\t440585\tcarol\t${store.carol}\n${row}\terik\t${store.erik}\n`,
    );
    expect((await ctl('list', '-D', 'example.com')).stdout).toBe(`${row}\tanne@example.com\t${store.erik}\n`);
    expect((await ctl('-j', 'list', '-P', 'car', 'x')).stdout).toBe(
      `{\n  "timestamp": "2026-11-23 01:02:38",\n  "compressed": 440585,\n  "userid": "carol",\n  "fname": "${store.carol}"\n}\n`,
    );
  });

  test('ctl_backups stat, of files', async () => {
    const stat = await ctl('stat', '-f', store.carol, '/nowhere/at/all');
    expect(stat).toMatchObject({ status: 0, stderr: '/nowhere/at/all: Mailbox does not exist\n' });
    expect(stat.stdout.split('\t').slice(1)).toEqual([
      '440585',
      '972983',
      '297351',
      '  45.3%',
      '  30.6%',
      '  2026-11-23 01:02:38',
      '2026-11-23 01:02:38\n',
    ]);
  });

  test('ctl_backups verify: a line for each, names that are not there count as failures', async () => {
    using own = new BackupStore().enter(); // while it is verified it is locked
    const verify = (...args: string[]): Promise<Done> => run('ctl_backups', ['-C', own.configFile, ...args]);
    expect(await verify('verify', 'nobody', 'carol')).toEqual({
      status: 75,
      stdout: 'verify carol: ok\n',
      stderr: 'nobody: not found in backups.db\n',
    });
    const verbose = await verify('-vv', 'verify', 'erik');
    expect(verbose.stdout.split('\n').slice(0, 9)).toEqual([
      'checking chunk 1 checksums...',
      '  checking file checksum...',
      '  checking data length',
      '  checking data checksum...',
      'ok',
      'checking chunk 1 messages...',
      'ok',
      'checking chunk 1 mailbox links...',
      'ok',
    ]);
  });

  test('ctl_backups move and delete, of which Cyrus has only the names, say what to type', async () => {
    expect(await ctl('move', 'carol')).toEqual({
      status: 75,
      stdout: 'move carol: failed (use csync-backup move -u carol --to PARTITION)\n',
      stderr: '',
    });
    expect((await ctl('delete', 'carol')).stdout).toBe(
      'delete carol: failed (use csync-backup delete carol --yes)\n',
    );
  });

  test('ctl_backups lock holds the lock while the command runs, and tells it the files', async () => {
    const command = `echo "$ctl_backups_lock_data_fname $ctl_backups_lock_index_fname"; ${process.execPath} ${COMPAT}/ctl_backups.cjs -C ${store.configFile} verify carol`;
    const done = await ctl('lock', '-x', command, 'carol');
    expect(done.stdout).toBe(`${store.carol} ${store.carol}.index\nverify carol: locked\n`);
    expect(done).toMatchObject({ status: 75, stderr: 'trying to obtain lock on carol...\n' });
    expect(await ctl('lock', 'carol')).toEqual({
      status: 0,
      stdout: '* Trying to obtain lock on carol...\nOK locked\n',
      stderr: '',
    });
  });

  test('ctl_backups lock -c creates a backup that others find, once', async () => {
    const lock = (): Promise<Done> => ctl('lock', '-c', '-x', 'exit 0', 'zoe');
    expect(await lock()).toMatchObject({ status: 0 });
    const { stdout } = await ctl('list', 'zoe');
    expect(stdout).toMatch(/^\[unknown\]\t0\tzoe\t.*\/z\/zoe_[a-zA-Z0-9]{6}\n$/);
    const again = await ctl('lock', '-c', 'zoe');
    expect(again).toMatchObject({ status: 75 });
    expect(again.stdout).toContain('NO failed (Mailbox already exists)\n');
  });

  test('ctl_backups reconstruct makes a lost catalog anew', async () => {
    using store = new BackupStore().enter();
    const config = ['-C', store.configFile];
    const before = (await run('ctl_backups', [...config, 'list', '-A'])).stdout;
    fs.rmSync(store.databasePath);
    const lost = await run('ctl_backups', [...config, 'verify', '-A']);
    expect([lost.status, lost.stderr]).toEqual([65, expect.stringContaining('CATALOG_CORRUPT')]);
    const made = await run('ctl_backups', [...config, 'reconstruct']);
    expect(made.status).toBe(0);
    expect(made.stdout).toContain('added\tcarol\t');
    expect((await run('ctl_backups', [...config, 'list', '-A'])).stdout).toBe(before);
  });

  test('ctl_backups verify says what is wrong, and that it failed', async () => {
    using damaged = new BackupStore().enter();
    const bytes = fs.readFileSync(damaged.carol);
    bytes[1000]! ^= 0xff;
    fs.writeFileSync(damaged.carol, bytes);
    const done = await run('ctl_backups', ['-C', damaged.configFile, '-v', 'verify', '-A']);
    expect(done.status).toBe(75);
    const lines = done.stdout.trimEnd().split('\n');
    expect(lines.filter((line) => line.startsWith('verify '))).toEqual([
      expect.stringMatching(/^verify carol: failed \(\d+ faults\)$/),
      'verify erik: ok',
    ]);
    expect(lines.slice(0, lines.indexOf('checking chunk 1 messages...'))).toEqual(
      expect.arrayContaining([
        'checking chunk 1 checksums...',
        expect.stringMatching(/^CHUNK_CORRUPT in chunk 1: /),
        'error',
      ]),
    );
    const list = await run('ctl_backups', ['-C', damaged.configFile, 'list', '-A']);
    expect(list).toMatchObject({ status: 0, stderr: '' }); // its last chunk is well
  });

  test('ctl_backups compact: ok, and skipped when there is nothing left to do', async () => {
    using own = new BackupStore().enter();
    const compact = (...args: string[]): Promise<Done> =>
      run('ctl_backups', ['-C', own.configFile, ...args, 'compact', 'erik']);
    const before = fs.statSync(own.erik).size;
    expect(await compact('-F')).toMatchObject({ status: 0, stdout: 'compact erik: ok\n' });
    expect(fs.statSync(own.erik).size).toBeLessThan(before);
    expect(await compact()).toMatchObject({ status: 75, stdout: 'compact erik: skipped\n' });
  });

  test('wrong usage is 64, a wrong configuration 78, --help 0', async () => {
    const [usage, config, help] = await Promise.all([
      ctl('stat', '-A', 'carol'),
      run('ctl_backups', ['-C', '/nowhere/imapd.conf', 'list']),
      run('cyr_backup', ['--help']),
    ]);
    expect(usage).toMatchObject({ status: 64, stdout: '' });
    expect(usage.stderr).toContain('Usage:');
    expect(config.status).toBe(78);
    expect(help).toMatchObject({ status: 0, stderr: '' });
  });
});
