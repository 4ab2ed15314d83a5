import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { guidOf } from '../../maintenance/backup-files.ts';
import { INTERNALDATE, LOST, MAILBOXES, MailStore, UIDVALIDITY } from './mail-store.ts';

interface FoundMessage {
  uid: number | undefined;
  flags: string[];
  content: string;
  date: number;
}

/** A folder of a Maildir as the documents about Maildir and dovecot-uidlist say how to read it. */
function readFolder(folder: string): { uidvalidity: number; messages: FoundMessage[] } {
  const read = (name: string): string => fs.readFileSync(path.join(folder, name), 'latin1');
  const [header, ...lines] = read('dovecot-uidlist').trimEnd().split('\n');
  const uids = new Map(lines.map((line) => [line.slice(line.indexOf(':') + 1), Number.parseInt(line, 10)]));
  const keywords = fs.existsSync(path.join(folder, 'dovecot-keywords'))
    ? read('dovecot-keywords').split('\n')
    : [];
  const system: Record<string, string> = {
    D: '\\Draft',
    F: '\\Flagged',
    R: '\\Answered',
    S: '\\Seen',
    T: '\\Deleted',
  };
  const messages = fs.readdirSync(path.join(folder, 'cur')).map((name) => {
    const [base, letters] = name.split(':2,') as [string, string];
    const flags = [...letters].flatMap((letter) => {
      const keyword = keywords.find((line) => line.startsWith(`${letter.charCodeAt(0) - 0x61} `));
      return system[letter] ?? keyword?.split(' ')[1] ?? [];
    });
    const file = path.join(folder, 'cur', name);
    const content = fs.readFileSync(file, 'latin1');
    expect(base).toContain(`,S=${content.length}`);
    return { uid: uids.get(base), flags: flags.sort(), content, date: fs.statSync(file).mtimeMs / 1000 };
  });
  expect(fs.readdirSync(path.join(folder, 'tmp'))).toEqual([]);
  return {
    uidvalidity: Number(/^3 V(\d+) N\d+$/.exec(header!)![1]),
    messages: messages.sort((a, b) => a.uid! - b.uid!),
  };
}

const FOLDERS = ['', '.Archive.2025', '.Entw&APw-rfe', '.v1%2e2', '.%2e%2e', undefined, '.Empty'];

function expectAll(dir: string): void {
  const cut = fs.readFileSync(path.join(dir, 'mailbox-names.tsv'), 'utf8').split('\t');
  expect(cut[1]).toBe(`.long${'g'.repeat(300)}\n`);
  for (const [at, { records }] of MAILBOXES.entries()) {
    const { uidvalidity, messages } = readFolder(path.join(dir, FOLDERS[at] ?? cut[0]!));
    expect(uidvalidity).toBe(UIDVALIDITY);
    expect(messages).toEqual(
      records.map(({ uid, content, flags = '' }) => ({
        uid,
        content,
        flags: flags.split(' ').filter(Boolean).sort(),
        date: INTERNALDATE,
      })),
    );
  }
}

describe('restore --to maildir', () => {
  test('mailboxes with flags, keywords, dates and UIDs, and nothing twice', () => {
    using store = new MailStore(MAILBOXES, [
      '1700000000 APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n',
      '1700000000 APPLY SUB %(USERID anne MBOXNAME user.anne.v1^2)\r\n',
      '1700000000 APPLY SUB %(USERID anne MBOXNAME user.bob.Shared)\r\n',
    ]);
    const ran = store.restore(`maildir:${store.out}`);
    expect(ran).toMatchObject({ status: 0 });
    expect(ran.stdout).toMatch(/: 9 messages \(\d+ bytes\) in 8 mailboxes\n$/);
    expect(ran.stderr).toContain('mailboxes of others have no place in a Maildir: user.bob.Shared');
    expectAll(store.out);
    expect(fs.readFileSync(path.join(store.out, 'subscriptions'), 'utf8')).toBe('INBOX\nv1%2e2\n');
    expect(fs.existsSync(path.join(store.out, '.Empty/maildirfolder'))).toBe(true);
    expect(fs.statSync(path.join(store.out, 'cur')).mode & 0o777).toBe(0o700);

    const again = store.restore(`maildir:${store.out}`);
    expect(again.status).toBe(64);
    expect(again.stderr).toMatch(/Empty is there already: messages that are there stay/);
    expect(store.restore(`maildir:${store.out}`, '--yes').stdout).toContain(
      ': 0 messages (0 bytes) in 8 mailboxes, 9 were there already\n',
    );
    expectAll(store.out);
  });

  test('what a reader has done meanwhile stays, and what it has removed comes back under its UID', () => {
    using store = new MailStore();
    store.restore(`maildir:${store.out}`, '--no-settings', 'INBOX');
    const cur = path.join(store.out, 'cur');
    const [first, second] = fs.readdirSync(cur).sort();
    fs.renameSync(path.join(cur, first!), path.join(store.out, 'new', first!.replace(/:2,.*/, ':2,T')));
    fs.rmSync(path.join(cur, second!));
    const ran = store.restore(`maildir:${store.out}`, '--no-settings', '--yes', 'INBOX');
    expect(ran).toMatchObject({ status: 0, stderr: expect.stringContaining('is there already') });
    expect(ran.stdout).toContain('1 messages (');
    expect(fs.readdirSync(path.join(store.out, 'new'))).toHaveLength(1);
    expect(readFolder(store.out).messages.map(({ uid }) => uid)).toEqual(
      [5, 9]
        .filter((uid) => !first!.includes(`.U${uid}G`))
        .concat(first!.includes('.U2G') ? [] : [2])
        .sort(),
    );
  });

  test('messages that are added one after the other get one list of UIDs', () => {
    using store = new MailStore();
    for (const uid of [9, 2, 5]) {
      store.restore(`maildir:${store.out}`, '--yes', `id-user.anne:${uid}`);
    }
    expect(readFolder(store.out).messages.map(({ uid }) => uid)).toEqual([2, 5, 9]);
  });

  test('UIDs that Dovecot has given are left to it', () => {
    using store = new MailStore();
    fs.mkdirSync(path.join(store.out, 'cur'), { recursive: true });
    const list = '3 V77 N12\n11 :123.host,S=3\n';
    fs.writeFileSync(path.join(store.out, 'dovecot-uidlist'), list);
    const ran = store.restore(`maildir:${store.out}`, '--yes', 'INBOX');
    expect(ran.stderr).toMatch(/has UIDs of its own, .* the 3 messages that were added get new ones/);
    expect(fs.readFileSync(path.join(store.out, 'dovecot-uidlist'), 'utf8')).toBe(list);
    expect(fs.readdirSync(path.join(store.out, 'cur'))).toHaveLength(3);
  });

  test('a damaged message is named, and is not there', () => {
    using store = new MailStore();
    store.damage();
    const ran = store.restore(`maildir:${store.out}`, '--no-settings', '--json');
    expect(ran.status).toBe(65);
    const lines = ran.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines[0]).toMatchObject({
      type: 'shortfall',
      kind: 'damaged',
      mailbox: 'user.anne.Lost',
      uid: 1,
      guid: guidOf(LOST),
    });
    expect(lines[1]).toMatchObject({ type: 'summary', messages: 8, damaged: 1 });
    for (const name of ['cur', 'tmp'])
      expect(fs.readdirSync(path.join(store.out, '.Lost', name))).toEqual([]);
    expectAll(store.out);
  });

  test('places that will not do', () => {
    using store = new MailStore();
    fs.writeFileSync(store.out, '');
    const file = store.restore(`maildir:${store.out}`);
    expect(file).toMatchObject({
      status: 64,
      stderr: expect.stringMatching(/EXISTS: .*it is a file, and a folder is needed. Name a folder/),
    });
    const below = store.restore(`maildir:${store.out}/below`);
    expect(below).toMatchObject({
      status: 64,
      stderr: expect.stringMatching(/EXISTS: .*out: it is a file, and a folder is needed/),
    });
    const proc = store.restore('maildir:/proc/nothing');
    expect(proc.status).not.toBe(0);
    // Root may write there, as far as access(2) knows.
    expect(proc.stderr).toMatch(/cannot (?:make the folder|restore to) \/proc\/nothing/);
  });
});
