import { createHash } from 'node:crypto';
import { globSync, readFileSync, renameSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { mailboxLine, messageLine } from '../maintenance/backup-files.ts';
import { SmallStore } from '../support/small-store.ts';
import { runOnTerminal } from './terminal.ts';

describe('csync-backup restore', () => {
  test('messages as files, named by mailbox and UID, byte for byte', () => {
    using store = new SmallStore();
    store.add('anne');
    const to = path.join(store.folder, 'out');
    const ran = store.run(['restore', '-u', 'anne', '--to', `eml:${to}`, '--in-place']);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout).toMatch(/^restored to eml:.*: 3 messages \(\d+ bytes\) in 2 mailboxes\n$/);
    const files = globSync('**/*.eml', { cwd: to }).sort();
    expect(files).toEqual(['INBOX/000000001.eml', 'INBOX/000000002.eml', 'INBOX/000000003.eml']);
    expect(readFileSync(path.join(to, files[1]!), 'latin1')).toBe('two');
    expect(statSync(path.join(to, files[0]!)).mode & 0o777).toBe(0o600);
  });

  test('goes into a new folder unless told otherwise', () => {
    using store = new SmallStore();
    store.add('anne');
    const to = path.join(store.folder, 'out');
    const args = ['restore', '-u', 'anne', '--to', `eml:${to}`, 'INBOX'];
    const ran = store.run(args);
    expect(ran.status).toBe(0);
    expect(globSync('INBOX/*/*', { cwd: to })).toHaveLength(3);
    const [folder] = globSync('INBOX/*', { cwd: to });
    expect(folder).toMatch(/^INBOX\/RESTORED-\d{8}T\d{6}$/);
    expect(ran.stdout).toBe(`restored to eml:${to}, in ${folder}: 3 messages (15 bytes) in 1 mailboxes\n`);
    const again = store.run([...args, '--into', folder!, '--yes']);
    expect(again.stdout).toContain(`in ${folder}: 0 messages (0 bytes) in 1 mailboxes, 3 were there already`);
    const json = JSON.parse(store.run([...args, '--into', 'Back again', '--json']).stdout) as object;
    expect(json).toMatchObject({ type: 'summary', into: 'Back again' });
  });

  test('tells whoever may interrupt it which folder to name then', async () => {
    using store = new SmallStore();
    store.add('anne');
    const args = ['restore', '-u', 'anne', '--to', `eml:${store.folder}/out`, '-C', store.configFile];
    const { screen } = await runOnTerminal(args, []);
    const folder = /into the folder (RESTORED-\w+); if this is cut off, the same with --into \1 --yes/.exec(
      screen,
    )?.[1];
    expect(globSync('INBOX/*', { cwd: `${store.folder}/out` })).toEqual([`INBOX/${folder}`]);
    expect((await runOnTerminal([...args, '--into', 'Here'], [])).screen).not.toContain('cut off');
  });

  test('says what is in the way before it writes, and adds nothing twice', () => {
    using store = new SmallStore();
    store.add('anne');
    const args = ['restore', '-u', 'anne', '--to', `eml:${store.folder}/out`, '--in-place'];
    expect(store.run([...args, '--dry-run']).stdout).toMatch(
      /^user\/anne\tINBOX\t3\t\d+\nuser\/anne\/Sent\tINBOX\/Sent\t0\t0\n$/,
    );
    expect(globSync('out', { cwd: store.folder })).toEqual([]);
    expect(store.run(args).status).toBe(0);
    const again = store.run(args);
    expect(again.status).toBe(64);
    expect(again.stderr).toMatch(/INBOX is there already: .*\n.*EXISTS: .*Give --yes/s);
    expect(store.run([...args, '--yes']).stdout).toContain(
      '0 messages (0 bytes) in 2 mailboxes, 3 were there already',
    );
  });

  test('what is deleted only on request', () => {
    using store = new SmallStore();
    store.add('anne');
    const args = ['restore', '-u', 'anne', '--to', `eml:${store.folder}/out`, '--in-place', '--dry-run'];
    expect(store.run([...args, '--deleted']).stdout).toContain(
      'DELETED/user/anne/Old/6B04A1C0\tINBOX/Old-DELETED-20261123T202744\t',
    );
  });

  test('a folder that is deleted, by the name that it had', () => {
    using store = new SmallStore();
    const live = mailboxLine('user.anne.Old', [{ uid: 1, content: 'new' }], { uniqueid: 'live' });
    const below = mailboxLine('DELETED.user.anne.Old.2025.6B04A1C1', [{ uid: 1, content: 'old' }]);
    store.add('anne', { lines: [messageLine(['old']), below] });
    const args = ['restore', '-u', 'anne', '--to', `eml:${store.folder}/out`, '--into', 'x', '-n'];
    const old = store.run([...args, 'Old', '--recursive']);
    expect(old.status).toBe(0);
    expect(old.stdout.replaceAll(/^.*\t(.*)\t(\d+)\t\d+$/gm, '$1 $2')).toBe(
      'INBOX/x/Old-DELETED-20261123T202744 0\nINBOX/x/Old/2025-DELETED-20261123T202745 1\n',
    );
    expect(old.stderr).toBe(
      'csync-backup: user/anne/Old was deleted at 2026-11-23T20:27:44Z: it comes back as INBOX/x/Old-DELETED-20261123T202744\n' +
        'csync-backup: user/anne/Old/2025 was deleted at 2026-11-23T20:27:45Z: it comes back as INBOX/x/Old/2025-DELETED-20261123T202745\n',
    );
    const identity = ['--in-place', '--identity', '--to', 'csync://x@127.0.0.1:1', 'Old'];
    expect(store.run(['restore', '-u', 'anne', ...identity]).stderr).toMatch(
      /deleted: leave --identity out, or give --at/,
    );
    expect(store.run([...args, 'old']).stderr).toMatch(/NOT_FOUND: .*Did you mean Old/);

    // Of a name that there is now, that is meant, unless all that is deleted is wanted.
    store.add('bob', {
      lines: [messageLine(['new', 'old']), live.replaceAll('anne', 'bob'), below.replaceAll('anne', 'bob')],
    });
    const bob = args.map((arg) => (arg === 'anne' ? 'bob' : arg));
    expect(store.run([...bob, 'Old'])).toMatchObject({
      stdout: expect.stringMatching(/^user\/bob\/Old\t.*\n$/),
      stderr: '',
    });
    expect(store.run([...bob, 'Old', '--deleted']).stdout.split('\n')).toHaveLength(3);
  });

  test('a message by its GUID, a mailbox that is not there', () => {
    using store = new SmallStore();
    store.add('anne');
    const guid = createHash('sha1').update('three').digest('hex');
    const args = ['restore', '-u', 'anne', '--to', `eml:${store.folder}/out`, '--in-place', '--json'];
    const ran = store.run([...args, guid]);
    expect(JSON.parse(ran.stdout)).toMatchObject({ type: 'summary', messages: 1, bytes: 5, mailboxes: 1 });
    expect(store.run([...args, 'sent']).stderr).toContain('Did you mean Sent?');
    const refused = store.run([...args, 'Drafts', 'user.anne']);
    expect(refused.status).toBe(65);
    expect(refused.stderr).toMatch(/NOT_FOUND: cannot find Drafts: .* See csync-backup show mailboxes for/);
    expect(store.run(['restore', '-u', 'anne']).stderr).toMatch(/USAGE: .*no target.*eml:DIR/);
    expect(store.run(['restore', '--to', 'eml:out']).stderr).toMatch(/USAGE: .*-u USERID/);
    expect(store.run(['restore', '-u', 'anne', '--to', 'tape:1']).stderr).toMatch(
      /USAGE: .*no such kind of target/,
    );
  });
});

describe('csync-backup restore --all-users', () => {
  test('everybody, less those who fail, and these in the next run', () => {
    using store = new SmallStore();
    const files = Object.fromEntries(['anne', 'bob', 'carol'].map((userid) => [userid, store.add(userid)]));
    const resume = path.join(store.folder, 'resume');
    const args = [
      'restore',
      '--all-users',
      '--to',
      `eml:${store.folder}/out/{user}`,
      '--resume',
      resume,
      '--json',
    ];
    renameSync(files.bob!, `${files.bob}.away`);
    const first = store.run(args);
    expect(first.status).toBe(65);
    const lines = first.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(
      lines
        .filter(({ type }) => type === 'user')
        .map(({ userid }) => userid)
        .sort(),
    ).toEqual(['anne', 'carol']);
    expect(lines.find(({ type }) => type === 'error')).toMatchObject({ userid: 'bob', code: 'NOT_FOUND' });
    expect(lines.at(-1)).toMatchObject({ type: 'summary', users: 3, complete: 2, failed: 1, messages: 6 });

    renameSync(`${files.bob}.away`, files.bob!);
    const second = store.run([...args, '--recent', '30d']);
    expect(second).toMatchObject({ status: 0, stderr: '' });
    expect(second.stdout).toContain('"userid":"bob"');
    expect(second.stdout).not.toContain('"userid":"anne"');
    // In the same tree, although the second run began later.
    expect(globSync('out/*/INBOX/*/', { cwd: store.folder })).toHaveLength(3);
    expect(
      new Set(globSync('out/*/INBOX/*', { cwd: store.folder }).map((name) => path.basename(name))).size,
    ).toBe(1);
    expect(globSync('out/*/INBOX/*/*.eml', { cwd: store.folder })).toHaveLength(9);
  });

  test('a dry run with recent mail first counts it once', () => {
    using store = new SmallStore();
    store.add('anne');
    const args = ['restore', '--all-users', '--in-place', '--to', `eml:${store.folder}/out/{user}`];
    const { stdout } = store.run([...args, '--recent', '20000d', '--dry-run']);
    expect(stdout).toMatch(/^anne\trecent\t\d\t3\t/);
    expect(stdout).toContain('1 complete, 3 messages ');
  });

  test('says what contradicts itself', () => {
    using store = new SmallStore();
    store.add('anne');
    const said = (...args: string[]) => store.run(['restore', '--all-users', ...args]).stderr;
    expect(said('--to', 'eml:out')).toMatch(/USAGE: .*mixed in one place.*eml:out\/\{user\}/);
    expect(said('--to', 'eml:{user}', '-u', 'anne')).toMatch(/USAGE: .*Leave out/);
    expect(said('--to', 'eml:{user}', '--parallel', 'many')).toMatch(/USAGE: .*1 to 64/);
  });
});
