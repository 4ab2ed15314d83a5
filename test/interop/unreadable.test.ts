import fs from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BackupServer } from '../support/backup-server.ts';
import { SharedBackup } from './harness/backup.ts';
import { CyrusSite, until } from './harness/cyrus.ts';
import { expectSameMail } from './harness/expect.ts';
import { seedUser } from './harness/mail.ts';
import { RecordingProxy } from './harness/proxy.ts';

const USER = 'alice';
const DAY = 86_400;

/** The mail server cannot read a file of its spool for a while. */
describe('a message that the mail server cannot send', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;
  let server: BackupServer;
  let proxy: RecordingProxy;

  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source']);
    backup = await SharedBackup.create(cyrus, { backup_idle_release: '1s' });
    server = await backup.site.start();
    proxy = await RecordingProxy.start(backup.site.port);
    await seedUser(cyrus, USER, { messages: 12 });
    await cyrus.sync(['-u', USER], { port: proxy.port });
  });

  afterAll(async () => {
    await proxy?.close();
    await server?.kill();
    backup?.site.remove();
    await cyrus?.close();
  });

  async function append(folder: string, text: string): Promise<string> {
    const imap = await cyrus.imap(USER);
    await imap.append(folder, Buffer.from(`From: a@example.com\r\nSubject: ${text}\r\n\r\n${text}\r\n`), []);
    await imap.logout();
    const spool = path.join(cyrus.dir, 'source', 'spool');
    const names = fs.readdirSync(spool, { recursive: true, encoding: 'utf8' });
    const files = names.filter((name) => /\/\d+\.$/.test(name)).map((name) => path.join(spool, name));
    return files.find((file) => fs.readFileSync(file, 'latin1').includes(`Subject: ${text}\r\n`))!;
  }

  const indexPath = (): string => `${backup.dataFiles().get(USER)!}.index`;

  /** As if so much time had passed. */
  async function pass(days: number): Promise<void> {
    await until('the backup is at rest', () => !fs.existsSync(`${indexPath()}-journal`));
    const db = new Database(indexPath());
    const stored = "SELECT value FROM cb_state WHERE name = 'lacking'";
    const text = db.prepare(stored).pluck().get() as string;
    const earlier = text.replaceAll(/:(\d+)/g, (_, time) => `:${Number(time) - days * DAY}`);
    db.prepare("UPDATE cb_state SET value = ? WHERE name = 'lacking'").run(earlier);
    db.close();
  }

  const kinds = (): string[] =>
    proxy.commands.map(({ kind }) => kind).filter((kind) => /^(NO|BAD)/.test(kind));
  const sync = (args: string[] = ['-u', USER]) => {
    proxy.clear();
    return cyrus.sync(args, { port: proxy.port });
  };

  test.each([
    ['alone', []],
    ['among others', ['sound one', 'sound two']],
  ])('%s, keeps nothing else from coming, and comes when it can be read another day', async (how, others) => {
    const file = await append('INBOX', `lost ${how}`);
    for (const text of others) await append('INBOX', text);
    await append('Sent', `behind it, ${how}`);
    fs.renameSync(file, `${file}away`);
    await sync();
    expect(proxy.applies.filter((c) => /^MESSAGE .*NIL/.test(c))).not.toEqual([]);
    expect(kinds()).toEqual([]);
    expect(proxy.applies.filter((c) => /^MAILBOX .*MBOXNAME user\.alice /.test(c))).toHaveLength(1);
    await sync();
    expect(proxy.applies).toEqual([]);

    await pass(2);
    await sync();
    // Still not: it is asked for all of the INBOX, and sends what is missing of it, which is nothing.
    expect(kinds()).toEqual([]);
    expect(proxy.applies.map((c) => c.replace(/ .*/, ''))).toEqual(['RESERVE', 'MESSAGE', 'MAILBOX']);
    await sync();
    expect(proxy.applies).toEqual([]);

    fs.renameSync(`${file}away`, file);
    await sync();
    expect(proxy.applies).toEqual([]);
    await pass(4);
    await sync();
    expect(kinds()).toEqual([]);
    expect(proxy.applies.map((c) => c.replace(/ .*/, ''))).toEqual(['RESERVE', 'MESSAGE', 'MAILBOX']);
    expect(proxy.applies.filter((c) => /^MESSAGE .*NIL/.test(c))).toEqual([]);
    const guid = /\b[0-9a-f]{40}\b/.exec(proxy.applies.find((c) => c.startsWith('MESSAGE'))!)![0];
    const dumped = await backup.site.cli(['dump', 'message', guid, '-u', USER]);
    expect(dumped.stdout.toString()).toContain(`Subject: lost ${how}`);
    await sync();
    expect(proxy.applies).toEqual([]);
    await expectSameMail(cyrus, backup.site.port, [USER]);
    await pass(1000).catch(() => {});
    await sync();
    expect(proxy.applies).toEqual([]);
  });

  test('in one mailbox comes from another in which it can be read, with a sync some days later', async () => {
    const file = await append('INBOX', 'in two mailboxes');
    const imap = await cyrus.imap(USER);
    await imap.command('SELECT INBOX');
    await imap.command('UID COPY * "Sent"');
    await imap.logout();
    fs.renameSync(file, `${file}away`);
    const warned = () =>
      server.log.filter((line) => /messages? that (?:it|they) names?|that it does not send/.test(line))
        .length;
    const counter = 'csync_backup_store_records_without_content_total';
    const [before, warnedBefore] = [await server.metric(counter), warned()];
    await sync();
    // It counts as sent when it comes to the second mailbox, in which it is missing, too.
    expect(proxy.applies.filter((c) => /^MESSAGE .*NIL/.test(c))).toHaveLength(1);
    expect(await server.metric(counter)).toBe(before + 2);
    expect(warned()).toBe(warnedBefore + 2);
    await sync();
    expect(proxy.applies).toEqual([]);

    await pass(2);
    const asked = async (): Promise<string[]> => {
      await sync();
      const names = proxy.applies.flatMap((c) => /^MAILBOX .*MBOXNAME (\S+)/.exec(c)?.[1] ?? []);
      return names;
    };
    expect(await asked()).toEqual(['user.alice']);
    expect(proxy.applies.filter((c) => /^MESSAGE .*NIL/.test(c))).toHaveLength(1);
    expect(await asked()).toEqual(['user.alice.Sent']);
    expect(proxy.applies.filter((c) => /^MESSAGE .*NIL/.test(c))).toEqual([]);
    expect(await asked()).toEqual([]);
    fs.renameSync(`${file}away`, file);
    await expectSameMail(cyrus, backup.site.port, [USER]);
    const { status, stdout } = await backup.site.cli(['verify', '-u', USER, '--wait', '--json']);
    expect(status, stdout.toString()).toBe(0);
    expect(stdout.toString()).not.toContain('CONTENT_MISSING');
  });

  test('by names of mailboxes, and in rolling mode', async () => {
    const file = await append('INBOX', 'lost while rolling');
    fs.renameSync(file, `${file}away`);
    await sync();
    await pass(2);
    await sync(['-m', 'user/alice']);
    expect(proxy.applies).toEqual([]);
    await sync(['-m', 'user/alice', 'user/alice/Sent']);
    expect(kinds()).toEqual([]);
    expect(proxy.applies.map((c) => c.replace(/ .*/, ''))).toEqual(['RESERVE', 'MESSAGE', 'MAILBOX']);
    expect(proxy.applies[1]).toMatch(/^MESSAGE \(NIL\)/);
    fs.renameSync(`${file}away`, file);
    await pass(20);
    const client = cyrus.rolling({ port: proxy.port });
    try {
      proxy.clear();
      await append('INBOX', 'a new one');
      const came = (c: string): boolean => /^MAILBOX .*MBOXNAME user\.alice /.test(c);
      await until('the INBOX came', () => proxy.applies.some(came));
      await until('all was answered', () => proxy.commands.every(({ kind }) => kind !== ''));
      expect(kinds()).toEqual([]);
    } finally {
      await client.stop();
    }
    await expectSameMail(cyrus, backup.site.port, [USER]);
    const { status, stdout } = await backup.site.cli(['verify', '-u', USER, '--wait', '--json']);
    expect(status, stdout.toString()).toBe(0);
    expect(stdout.toString()).not.toContain('CONTENT_MISSING');
  });
});
