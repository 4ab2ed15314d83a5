import { copyFileSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { mailboxLine, messageLine, SampleBackup } from '../maintenance/backup-files.ts';
import { ACCOUNT, type BackupServer, BackupSite } from '../support/backup-server.ts';
import { SmallStore } from '../support/small-store.ts';

const T = 1_700_000_000; // 2023-11-14T22:13:20Z, when anne's backup begins
const THEN = '2023-11-14T22:15:00Z'; // T + 100

describe('csync-backup restore --all-users --at', () => {
  let store: SmallStore;
  beforeEach(() => {
    store = new SmallStore();
    const later = [`${T + 5000} APPLY SUB %(USERID anne MBOXNAME user.anne.Sent)\r\n`];
    store.add('anne', { lines: later });
    using begunLater = new SampleBackup([
      [
        messageLine(['new'], T + 500),
        mailboxLine('user.bob', [{ uid: 1, content: 'new' }], { time: T + 500 }),
      ],
    ]);
    const file = store.add('bob');
    copyFileSync(begunLater.dataPath, file);
    copyFileSync(begunLater.indexPath, `${file}.index`);
  });
  afterEach(() => store[Symbol.dispose]());

  const restore = (...more: string[]) =>
    store.run(['restore', '--all-users', '--in-place', '--to', `eml:${store.folder}/out/{user}`, ...more]);

  test('who was not there yet is no failure, and named once', () => {
    const ran = restore('--at', `@${T + 100}`, '--recent', '1d');
    expect(ran.status).toBe(0);
    expect(ran.stderr).toMatch(
      /^csync-backup: bob: not yet there at 2023-11-14T22:15:00Z: the backup begins at 2023-11-14T22:21:40Z\n$/,
    );
    expect(ran.stdout).toMatch(
      /\n2 users: 1 complete, 3 messages \(\d+ bytes\) restored; 1 not yet there at 2023-11-14T22:15:00Z: bob\n$/,
    );
    const json = restore('--at', THEN, '--yes', '--json');
    expect(json).toMatchObject({ status: 0, stderr: '' });
    const lines = json.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    expect(lines).toContainEqual({ type: 'not-yet-there', userid: 'bob', since: '2023-11-14T22:21:40Z' });
    expect(lines.at(-1)).toMatchObject({ users: 2, complete: 1, failed: 0, notYetThere: 1 });
  });

  test('where nobody was there yet it is an error', () => {
    const ran = restore('--at', `@${T - 100}`);
    expect(ran.status).toBe(65);
    expect(ran.stderr).toMatch(/NOT_FOUND: .* nobody .* Give 2023-11-14T22:13:20Z or a later time/);
  });

  test('who was there, but whose state of then a compaction has dropped, is a failure', () => {
    expect(store.run(['compact', '-F', '-u', 'anne'])).toMatchObject({ status: 0 });
    const ran = restore('--at', THEN);
    expect(ran.status).toBe(65);
    expect(ran.stderr).toMatch(/anne: NOT_FOUND: .*the history that .* keeps begins at 2023-11-14T23:36:40Z/);
    expect(ran.stdout).toContain(`1 users failed: anne; 1 not yet there at ${THEN}: bob`);
    // Of bob it is known when he began, as long as his first line is.
    expect(store.run(['compact', '-F', '-u', 'bob'])).toMatchObject({ status: 0 });
    expect(restore('--at', THEN).stdout).toContain(`1 not yet there at ${THEN}: bob`);
  });

  test('who was there then and is put aside now is named, with what brings the mail back', () => {
    store.add('carol', { random: 'c' });
    expect(store.run(['delete', 'carol', '--yes']).status).toBe(0);
    const [key] = Object.keys(store.entries()).filter((name) => name.startsWith('%DELETED'));
    const ran = restore('--at', `@${T + 1000}`);
    expect(ran.status).toBe(0);
    const command = `restore -u '${key}' --at 2023-11-14T22:30:00Z`;
    expect(ran.stderr).toMatch(/carol: .*put aside/);
    expect(ran.stderr).toContain(`csync-backup ${command}`);
    const args = ['restore', '-u', key!, '--at', '2023-11-14T22:30:00Z'];
    const one = store.run([...args, '--to', `eml:${store.folder}/carol`, '--in-place']);
    expect(one.stdout).toMatch(/: 3 messages/);
    expect(restore('--yes').stderr).not.toContain('put aside');
  });

  test('a moment ago is counted from the first run', () => {
    const resume = path.join(store.folder, 'resume');
    const ago = `-${Math.floor(Date.now() / 1000) - (T + 1000)}s`;
    const args = ['--at', ago, '--resume', resume, '--yes'];
    expect(restore(...args).stdout).toContain('2 complete');
    // As if the first run had been some time ago, and interrupted before anybody was done.
    const header = JSON.parse(readFileSync(resume, 'utf8').split('\n')[0]!) as { at: number };
    expect(header.at).toBeGreaterThanOrEqual(T + 1000);
    writeFileSync(resume, `${JSON.stringify({ ...header, at: T + 100 })}\n`);
    expect(restore(...args).stdout).toContain(`1 not yet there at ${THEN}: bob`);
    const other = restore('--at', '-2d', '--resume', resume);
    expect(other.status).toBe(64);
    expect(other.stderr).toContain(`it is of a restore at ${THEN}. Give --at ${ago} as then`);
  });
});

describe('a user whom the mail server has deleted', () => {
  const gone = ['user.carol', 'user.carol.Sent'].map(
    (name, i) =>
      `${T + 700} APPLY RENAME %(OLDMBOXNAME ${name} NEWMBOXNAME DELETED.${name}.6B08246${i} PARTITION default UIDVALIDITY 1)\r\n`,
  );
  let store: SmallStore;
  let site: BackupSite;
  let server: BackupServer;
  beforeAll(async () => {
    site = await BackupSite.create();
    server = await site.start();
    store = new SmallStore(`sync_authname: ${ACCOUNT.user}\nsync_password: ${ACCOUNT.password}`);
    store.add('anne');
    const lines = [...gone, `${T + 700} APPLY UNUSER carol\r\n`];
    store.add('carol', { lines });
  });
  afterAll(async () => {
    await server?.kill();
    site?.remove();
    store?.[Symbol.dispose]();
  });

  test('has nothing to come back when all users do, and is no failure', () => {
    const ran = store.run(['restore', '--all-users', '--in-place', '--to', `eml:${store.folder}/out/{user}`]);
    expect(ran.status).toBe(0);
    expect(ran.stderr).toMatch(/^csync-backup: carol: .*no live mailbox.*--at/);
    expect(ran.stdout).toContain('\n2 users: 2 complete, 3 messages');
    expect(readdirSync(path.join(store.folder, 'out'))).toEqual(['anne']);
    const to = `csync://127.0.0.1:${site.port}`;
    const whole = store.run(['restore', '--all-users', '--in-place', '--identity', '--to', to]);
    expect(whole).toMatchObject({ status: 0, stderr: ran.stderr });
    expect(whole.stdout).toContain('\n2 users: 2 complete, 3 messages');
  });

  test('comes back into the deleted namespace with --deleted', async () => {
    const to = `csync://127.0.0.1:${site.port}`;
    const args = ['restore', '--all-users', '--in-place', '--identity', '--deleted', '--yes', '--to', to];
    const ran = store.run(args);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    const shown = (await site.cli(['show', 'mailboxes', '-u', 'carol', '--json'])).stdout.toString();
    const names = shown
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { internalName: string }).internalName);
    expect(names).toContain('DELETED.user.carol.6B082460');
  });
});

describe('a user who was renamed, of whom the mail server never said that the old name is gone', () => {
  const names = ['old', 'new'] as const;
  let store: SmallStore;
  let site: BackupSite;
  let server: BackupServer;
  beforeAll(async () => {
    site = await BackupSite.create();
    server = await site.start();
    store = new SmallStore(`sync_authname: ${ACCOUNT.user}\nsync_password: ${ACCOUNT.password}`);
    for (const [i, name] of names.entries()) {
      const mailbox = mailboxLine(`user.${name}`, [{ uid: 1, content: 'mail' }], {
        time: T + i * 500,
        uniqueid: 'the-inbox',
      }).replace(' SYNC_CRC ', ` FOLDERMODSEQ ${i + 1} SYNC_CRC `);
      using sample = new SampleBackup([[messageLine(['mail'], T + i * 500), mailbox]]);
      const file = store.add(name);
      copyFileSync(sample.dataPath, file);
      copyFileSync(sample.indexPath, `${file}.index`);
      // A compaction, for instance.
      utimesSync(file, T + 9000 - i * 500, T + 9000 - i * 500);
    }
  });
  afterAll(async () => {
    await server?.kill();
    site?.remove();
    store?.[Symbol.dispose]();
  });

  const restore = (...more: string[]) => {
    const to = `csync://127.0.0.1:${site.port}`;
    return store.run([
      'restore',
      '--all-users',
      '--in-place',
      '--identity',
      '--to',
      to,
      '--parallel',
      '1',
      ...more,
    ]);
  };

  test('comes back under the new name, and the old one is named', async () => {
    const ran = restore();
    expect(ran.stdout).toMatch(/^old\tall\t0\t0\t0\t0\nnew\tall\t1\t1\t\d+\t0\n/);
    expect(ran.stderr).toMatch(
      /^csync-backup: old: not taken: the user: .* that of new, .*csync-backup delete old/,
    );
    expect(ran.status).toBe(69);
    const listed = (await site.cli(['list', '--json'])).stdout.toString().trim().split('\n');
    expect(listed.map((line) => (JSON.parse(line) as { userid: string }).userid)).toEqual(['new']);
  });

  test('comes back under the old name as of a moment before', () => {
    const ran = restore('--at', `@${T + 100}`, '--dry-run');
    expect(ran.stdout).toMatch(/^old\tall\t1\t1\t/);
    expect(ran.stderr).toMatch(/^csync-backup: new: not yet there .*\n$/);
    expect(ran.status).toBe(0);
  });
});
