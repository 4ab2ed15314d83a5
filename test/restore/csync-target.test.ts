import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RestoreFlags } from '../../src/cli/restore/restore.ts';
import { openTarget } from '../../src/cli/restore/targets.ts';
import { ACCOUNT, type BackupServer, BackupSite } from '../support/backup-server.ts';
import { SmallStore } from '../support/small-store.ts';

describe('restore over csync, into another backup server', () => {
  let site: BackupSite;
  let server: BackupServer;
  const store = new SmallStore(`sync_authname: ${ACCOUNT.user}\nsync_password: ${ACCOUNT.password}`);

  beforeAll(async () => {
    site = await BackupSite.create();
    server = await site.start();
    store.add('anne');
  });

  afterAll(async () => {
    await server?.kill();
    site?.remove();
    store[Symbol.dispose]();
  });

  const restore = (...args: string[]) =>
    store.run(['restore', '-u', 'anne', '--to', `csync://127.0.0.1:${site.port}`, ...args]);

  test('everything as it was, and again without a change', async () => {
    const first = restore('--in-place', '--identity');
    expect(first).toMatchObject({ status: 0, stderr: '' });
    expect(first.stdout).toMatch(/3 messages \(\d+ bytes\) in 2 mailboxes\n$/);
    const file = (await site.cli(['list', '--json'])).stdout.toString();
    const { path: data } = JSON.parse(file) as { path: string };
    const before = readFileSync(data);
    const again = restore('--in-place', '--identity');
    expect(again).toMatchObject({ status: 0, stderr: '' });
    expect(again.stdout).toContain('0 messages (0 bytes) in 2 mailboxes, 3 were there already');
    expect(readFileSync(data).equals(before)).toBe(true);
    const shown = (await site.cli(['show', 'mailboxes', '-u', 'anne', '--json'])).stdout.toString();
    const mailboxes = shown
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(mailboxes).toMatchObject([
      {
        internalName: 'user.anne',
        uniqueid: 'id-user.anne',
        uidvalidity: 1_500_000_000,
        lastUid: 1000,
        messages: 3,
      },
      { internalName: 'user.anne.Sent', messages: 0, acl: 'anne\tlrswipkxtecdan\t' },
    ]);
  });

  test('an active Sieve script whose text is lost is named, and nobody is asked to make it active', () => {
    const note = 'NOTE ACTIVATE_SIEVE VALUE %(USERID lois FILENAME main.bc)';
    store.add('lois', { lines: [`1700000001 APPLY RESERVE %(${note})\r\n`] });
    const target = `csync://127.0.0.1:${site.port}`;
    const ran = store.run(['restore', '-u', 'lois', '--to', target, '--in-place', '--identity']);
    expect(ran.stderr).toMatch(
      /active Sieve script main: the backup has lost its text, so no script is active/,
    );
    expect(ran.status).toBe(65);
  });

  test('a target without RESTORE is said to refuse, and the rest goes on', () => {
    const ran = restore('--in-place', '--yes', '--json', 'INBOX');
    // All is there: nothing has to be added.
    expect(ran.status).toBe(0);
    const lines = restore('--into', 'Again', '--json').stdout.trim().split('\n');
    const last = JSON.parse(lines.at(-1)!) as Record<string, unknown>;
    expect(last).toMatchObject({ type: 'summary', messages: 0, refused: 1 });
    expect(lines.join()).toContain('mailbox user.anne.Again');
  });

  test('what a person can get wrong is answered with what to type', async () => {
    const imap = { config: store.configFile, inPlace: true, to: '' };
    const cases: [to: string, flags: Partial<RestoreFlags>, code: string, said: RegExp][] = [
      ['csync://127.0.0.1', { identity: true, inPlace: false }, 'USAGE', /Give --in-place/],
      ['csync://nobody@127.0.0.1', {}, 'USAGE', /--password-file/],
      ['csync:somewhere', {}, 'USAGE', /csync:\/\/USER@HOST/],
      ['csync://127.0.0.1:99999', {}, 'USAGE', /no port 99999/],
      ['csync://127.0.0.1:1', {}, 'UNAVAILABLE', /127\.0\.0\.1:1/],
      ['eml:/nowhere', { identity: true }, 'USAGE', /csync:\/\//],
    ];
    for (const [to, flags, code, said] of cases) {
      const opened = openTarget(to, { ...imap, ...flags });
      await expect(opened).rejects.toMatchObject({ code, message: expect.stringMatching(said) as string });
    }
    const partial = restore('--in-place', '--identity', 'a'.repeat(40));
    expect(partial).toMatchObject({
      status: 64,
      stderr: expect.stringMatching(/USAGE: .*Name mailboxes/) as string,
    });
  });

  test('a quota root without a limit of its own comes back without one', async () => {
    // What Cyrus says of no limit on STORAGE: LIMIT is the largest number of 32 bits.
    const quota = (root: string, limits: string): string =>
      `1700009000 APPLY QUOTA %(ROOT ${root} LIMIT 4294967295${limits})\r\n`;
    store.add('ben', { lines: [quota('user.ben', ' MESSAGE 5'), quota('user.ben.Sent', '')] });
    const json = store.run(['restore', '-u', 'ben', '--in-place', '--no-content', '--to', 'json:-']).stdout;
    const limits = json
      .split('\n')
      .filter((line) => line.includes('"type":"quota"'))
      .map((line) => JSON.parse(line) as { root: string; limits: object });
    expect(limits).toMatchObject([
      { root: 'user.ben', limits: { MESSAGE: 5 } },
      { root: 'user.ben.Sent', limits: {} },
    ]);
    expect(limits[0]!.limits).not.toHaveProperty('STORAGE');
    const to = `csync://127.0.0.1:${site.port}`;
    const ran = store.run(['restore', '-u', 'ben', '--in-place', '--identity', '--to', to]);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    const wire = await server.connect();
    const { lines } = await wire.ok('GET USER ben');
    expect(lines.filter((line) => line.startsWith('* QUOTA')).map((line) => line.trim())).toEqual([
      '* QUOTA %(ROOT user.ben LIMIT 4294967295 MESSAGE 5)',
      '* QUOTA %(ROOT user.ben.Sent LIMIT 4294967295)',
    ]);
    wire.destroy();
  });

  test('a wrong password', () => {
    const file = path.join(store.folder, 'password');
    writeFileSync(file, 'wrong\n', { mode: 0o600 });
    const ran = restore('--in-place', '--password-file', file);
    expect(ran.status).toBe(77);
    expect(ran.stderr).toMatch(/CREDENTIALS_INVALID: .*Check/);
  });
});
