import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { SmallStore } from '../support/small-store.ts';
import { runOnTerminal } from './terminal.ts';

describe('csync-backup restore --to imap:', () => {
  test('says what is wrong with the target before it asks for a password', () => {
    using store = new SmallStore();
    store.add('anne');
    const password = path.join(store.folder, 'password');
    writeFileSync(password, 'secret\n', { mode: 0o600 });
    const stderr = (to: string, ...args: string[]) =>
      store.run(['restore', '-u', 'anne', '--to', to, ...args]).stderr;
    const secret = stderr('imap://anne:hush@mail.example.com');
    expect(secret).toMatch(
      /^csync-backup: USAGE: .*a password on the command line is for all to see.*--password-file/,
    );
    expect(secret).not.toContain('hush');
    expect(stderr('imaps://anne@mail.example.com/Folder')).toMatch(/USAGE: .*a folder is given with --into/);
    expect(stderr('imap://anne@mail.example.com')).toMatch(
      /USAGE: .*no terminal to ask at.*Give --password-file FILE/,
    );
    const given = ['--password-file', password];
    expect(stderr('imap://h', ...given, '--sieve', 'a/b')).toMatch(
      /USAGE: cannot use --sieve a\/b: .*Give HOST, HOST:PORT or :PORT/,
    );
    expect(stderr('imap://[::1]:1', ...given)).toMatch(
      /UNAVAILABLE: cannot restore to imap:\/\/::1:1: .*Check the port/,
    );
    const all = store.run(['restore', '--all-users', '--to', 'imap://admin@h', ...given]);
    expect(all.stderr).toMatch(/USAGE: .*their mail would be mixed in one account.*Give --as \{user\}/);
    expect(all.status).toBe(64);
  });
});

describe('csync-backup restore --to csync:', () => {
  test('asks for a password that is given nowhere, and takes none on the command line', async () => {
    using store = new SmallStore();
    store.add('anne');
    const args = ['restore', '-u', 'anne', '--to'];
    const secret = store.run([...args, 'csync://admin:hush@127.0.0.1:1']);
    expect(secret).toMatchObject({
      status: 64,
      stderr: expect.stringMatching(/for all to see.*--password-file/),
    });
    expect(secret.stderr).not.toContain('hush');
    const nobodyThere = /USAGE: .*no terminal to ask at.*--password-file PATH.* or sync_authname/;
    expect(store.run([...args, 'csync://admin@127.0.0.1:1']).stderr).toMatch(nobodyThere);
    const { status, screen } = await runOnTerminal(
      [...args, 'csync://admin@127.0.0.1:1', '-C', store.configFile],
      [{ await: 'Password of admin at 127.0.0.1: ', type: 'hush\r' }],
    );
    expect([status, screen]).toEqual([69, expect.stringContaining('UNAVAILABLE')]);
    expect(screen).not.toContain('hush');
  });
});
