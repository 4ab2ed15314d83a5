/** Dovecot serves what was restored into files: UIDs, flags, dates and bytes are those of the backup. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { MAILBOXES, MailStore, UIDVALIDITY } from '../restore/files/mail-store.ts';
import { Dovecot } from './harness/dovecot.ts';
import type { ImapClient } from './harness/imap.ts';
import { requireCyrus } from './harness/requirements.ts';

/** As IMAP shows them: each line ends with CR LF. */
function inImap(content: string): string {
  return content.replaceAll(/\r?\n/g, '\r\n');
}

const DATE = '13-Sep-2020 12:26:40 +0000';

/** Of a folder: the server's word on what was restored. */
async function view(client: ImapClient, folder: string) {
  const answers = await client.command(`EXAMINE "${folder}"`);
  const uidvalidity = Number(/UIDVALIDITY (\d+)/.exec(answers.join(''))?.[1]);
  const fetched = answers.join('').includes('* 0 EXISTS')
    ? []
    : await client.command('UID FETCH 1:* (UID INTERNALDATE)');
  const dates = fetched.flatMap((unit) => /INTERNALDATE "([^"]+)"/.exec(unit.toString())?.[1] ?? []);
  await client.command('UNSELECT');
  const messages = await client.messages(folder);
  return {
    uidvalidity,
    dates: dates.map((date) => new Date(date).getTime()),
    messages: messages.map(({ uid, flags, body }) => ({
      uid,
      flags: flags.filter((flag) => flag !== '\\Recent').sort(),
      body: body.toString('latin1'),
    })),
  };
}

function expected(at: number) {
  const { records } = MAILBOXES[at]!;
  return {
    uidvalidity: UIDVALIDITY,
    dates: records.map(() => new Date(DATE).getTime()),
    messages: records.map(({ uid, flags = '', content }) => ({
      uid,
      flags: flags.split(' ').filter(Boolean).sort(),
      body: inImap(content as string),
    })),
  };
}

/** Restores anne to where this Dovecot looks for her mail. */
function restoreTo(store: MailStore, home: string, to: string, ...more: string[]): void {
  const ran = store.run(['restore', '-u', 'anne', '--to', to, '--in-place', '--yes', ...more]);
  expect(ran.status).toBe(0);
  const { uid, gid } = requireCyrus();
  expect(spawnSync('chown', ['-R', `${uid}:${gid}`, home]).status).toBe(0);
}

describe('Dovecot', () => {
  test('serves the Maildir as it was, and what is added later keeps what it has given', async () => {
    using store = new MailStore(MAILBOXES, [
      '1700000000 APPLY SUB %(USERID anne MBOXNAME "user.anne.Entw&APw-rfe")\r\n',
      '1700000000 APPLY SUB %(USERID anne MBOXNAME "user.anne.Archive.2025")\r\n',
      '1700000000 APPLY SUB %(USERID anne MBOXNAME "user.anne.v1^2")\r\n',
    ]);
    const dovecot = await Dovecot.start({
      more: 'mail_plugins = $mail_plugins listescape\nprotocol imap {\n  mail_plugins = $mail_plugins listescape\n}\nplugin {\n  listescape_char = "%%"\n}\n',
    });
    try {
      const home = path.join(dovecot.dir, 'mail', 'anne');
      fs.mkdirSync(home, { recursive: true });
      // In two runs, as if the first had been interrupted.
      restoreTo(store, home, `maildir:${home}/Maildir`, 'id-user.anne:5');
      restoreTo(store, home, `maildir:${home}/Maildir`);
      const client = await dovecot.imap('anne');
      const folders = await client.folders();
      const known = ['INBOX', 'Archive/2025', 'Entw&APw-rfe', 'v1.2', '..', undefined, 'Empty'];
      for (const name of known) if (name !== undefined) expect(folders).toContain(name);
      for (const [at, name] of known.entries()) {
        if (name !== undefined) expect(await view(client, name)).toEqual(expected(at));
      }
      const subscribed = (await client.command('LSUB "" "*"')).map(
        (line) => /"\/" "?(.*?)"?\r\n/.exec(line.toString())?.[1],
      );
      expect(subscribed.filter(Boolean).sort()).toEqual(['Archive/2025', 'Entw&APw-rfe', 'v1.2']);

      // A client expunges one and changes another, and it is all restored once more.
      await client.command('SELECT INBOX');
      await client.command('UID STORE 2 +FLAGS.SILENT (\\Answered)');
      await client.command('UID STORE 9 +FLAGS.SILENT (\\Deleted)');
      await client.command('EXPUNGE');
      await client.logout();
      restoreTo(store, home, `maildir:${home}/Maildir`);
      const again = await dovecot.imap('anne');
      const { messages, uidvalidity } = await view(again, 'INBOX');
      expect(uidvalidity).toBe(UIDVALIDITY);
      expect(messages.map(({ uid }) => uid)).toEqual([2, 5, expect.any(Number)]);
      expect(messages[0]!.flags).toContain('\\Answered');
      expect(messages[2]!.uid).toBeGreaterThan(9);
      await again.logout();
    } finally {
      await dovecot.close();
    }
  });

  test('serves the mbox with its UIDs and flags', async () => {
    using store = new MailStore();
    const dovecot = await Dovecot.start({ more: 'mail_location = mbox:~/mail:INBOX=~/mail/INBOX.mbox\n' });
    try {
      const home = path.join(dovecot.dir, 'mail', 'anne');
      restoreTo(store, home, `mbox:${home}/mail`);
      const client = await dovecot.imap('anne');
      const found = await view(client, 'INBOX');
      const wanted = expected(0);
      expect(found.uidvalidity).toBe(wanted.uidvalidity);
      expect(found.dates).toEqual(wanted.dates);
      expect(found.messages.map(({ uid, flags }) => ({ uid, flags }))).toEqual(
        wanted.messages.map(({ uid, flags }) => ({ uid, flags })),
      );
      await client.logout();
    } finally {
      await dovecot.close();
    }
  });
});

describe('a disk that is full', () => {
  for (const kind of ['maildir', 'eml', 'mbox', 'tar', 'json']) {
    test(`under ${kind}: says so and what to do, leaves nothing half, and the next run completes it`, () => {
      // Incompressible or not, it does not fit.
      const records = Array.from({ length: 20 }, (_, i) => ({
        uid: i + 1,
        content: `Subject: ${i}\r\n\r\n${'x'.repeat(20_000)}`,
      }));
      using store = new MailStore([{ name: '', records }]);
      fs.mkdirSync(store.out);
      const mount = (options: string) =>
        spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', store.out]).status;
      expect(mount('size=200k')).toBe(0);
      try {
        const to = kind === 'tar' || kind === 'json' ? `${kind}:${store.out}/anne` : `${kind}:${store.out}`;
        const args = ['restore', '-u', 'anne', '--to', to, '--in-place', '--yes', 'INBOX'];
        const full = store.run(args);
        expect(full).toMatchObject({
          status: 75,
          stderr: expect.stringMatching(/NO_SPACE: .*Free space there.*run the same again/),
        });
        const named = (): string[] =>
          fs
            .readdirSync(store.out, { recursive: true, encoding: 'utf8' })
            .filter((name) => /\.eml$|:2,|\.mbox$|^anne$/.test(name));
        // Of single messages those that are whole are there already.
        const contents = records.map(({ content }) => content);
        for (const name of named())
          expect(contents).toContain(fs.readFileSync(path.join(store.out, name), 'latin1'));
        expect(named().length > 0).toBe(kind === 'maildir' || kind === 'eml');
        const left = (): string[] => fs.globSync('**/{*.part,tmp/*}', { cwd: store.out });
        expect(left()).toEqual([]);
        expect(mount('remount,size=4m')).toBe(0);
        expect(store.run(args)).toMatchObject({ status: 0 });
        expect(named()).toHaveLength(kind === 'maildir' || kind === 'eml' ? 20 : 1);
        expect(left()).toEqual([]);
      } finally {
        spawnSync('umount', [store.out]);
      }
    });
  }
});
