import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { SmallStore } from '../support/small-store.ts';

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
