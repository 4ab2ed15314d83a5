import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BackupServer } from '../support/backup-server.ts';
import { readDataFile } from '../support/data-file.ts';
import { CsyncWire } from '../support/wire.ts';
import { SharedBackup } from './harness/backup.ts';
import { fullMailbox, internalName } from './harness/compare.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { ADMIN } from './harness/cyrus-conf.ts';
import { expectOwnMailOnly, expectSameMail } from './harness/expect.ts';
import { type Change, change, seedShared, seedUser } from './harness/mail.ts';
import { RecordingProxy } from './harness/proxy.ts';

describe('sync_client on command', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;
  let server: BackupServer;
  let proxy: RecordingProxy;

  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source']);
    backup = await SharedBackup.create(cyrus);
    server = await backup.site.start();
    proxy = await RecordingProxy.start(backup.site.port);
    await seedUser(cyrus, 'alice');
    await seedUser(cyrus, 'bob');
    await seedUser(cyrus, 'dora.m');
    await seedShared(cyrus, ['alice', 'bob']);
  });

  afterAll(async () => {
    await proxy?.close();
    await server?.kill();
    backup?.site.remove();
    await cyrus?.close();
  });

  async function sync(...args: string[]): Promise<string[]> {
    proxy.clear();
    await cyrus.sync(args, { port: proxy.port });
    return proxy.applies;
  }

  test('the first sync of a user', async () => {
    const applies = await sync('-u', 'alice');
    expect(applies.filter((c) => c.startsWith('MAILBOX'))).toHaveLength(6);
    expect(proxy.commands.filter((c) => /^(NO|BAD)/.test(c.kind))).toEqual([]);
    await expectSameMail(cyrus, backup.site.port, ['alice']);
  });

  test('a run without a change sends no APPLY', async () => {
    expect(await sync('-u', 'alice')).toEqual([]);
    expect(await sync('-u', 'alice')).toEqual([]);
  });

  const changes: Change[][] = [
    ['new'],
    ['flags'],
    ['expunge'],
    ['copy'],
    ['create'],
    ['rename', 'delete'],
    ['sub', 'unsub'],
    ['sieve', 'unsieve'],
    ['seen'],
    ['annot', 'acl'],
  ];
  for (const group of changes) {
    test(`after ${group.join(' and ')} it sends that, then nothing more`, async () => {
      for (const what of group) await change(cyrus, 'alice', what);
      expect(await sync('-u', 'alice')).not.toEqual([]);
      expect(proxy.commands.filter((c) => /^(NO|BAD)/.test(c.kind))).toEqual([]);
      expect(await sync('-u', 'alice')).toEqual([]);
      await expectSameMail(cyrus, backup.site.port, ['alice']);
    });
  }

  test('-A pushes all users and the shared mailboxes, then nothing more', async () => {
    expect(await sync('-A')).not.toEqual([]);
    expect(proxy.commands.filter((c) => /^(NO|BAD)/.test(c.kind))).toEqual([]);
    expect(await sync('-A')).toEqual([]);
    await expectSameMail(cyrus, backup.site.port, ['alice', 'bob', 'dora.m']);
  });

  test('-m pushes a shared mailbox', async () => {
    const admin = await cyrus.imap();
    await admin.append('shared', Buffer.from('Subject: one more\r\n\r\nfor all\r\n'));
    await admin.logout();
    expect((await sync('-m', 'shared')).some((c) => c.includes('MBOXNAME shared '))).toBe(true);
    expect(await sync('-m', 'shared')).toEqual([]);
  });

  test('a new mailbox with a message that another mailbox of the same run has had for long', async () => {
    const admin = await cyrus.imap();
    await admin.command('CREATE "shared/fresh"');
    await admin.command('SETACL "shared/fresh" anyone lrswipkxte');
    await admin.logout();
    const alice = await cyrus.imap('alice');
    await alice.command('SELECT INBOX');
    await alice.command('COPY 1 "Shared Folders/shared/fresh"');
    await alice.logout();
    const applies = await sync('-m', 'user/alice', 'shared/fresh');
    expect(proxy.commands.filter((c) => /^(NO|BAD)/.test(c.kind))).toEqual([]);
    // The client asks whether the server has it, by the name of the mailbox that the server has.
    expect(applies.filter((c) => /^RESERVE .*MBOXNAME \(user\.alice\)/.test(c))).toHaveLength(1);
    expect(applies.filter((c) => c.startsWith('MESSAGE'))).toEqual([]);
    const wire = await (await CsyncWire.connect(backup.site.port)).login();
    const guid = String((await fullMailbox(wire, 'shared.fresh'))[0]!.get('GUID'));
    await wire.ok('EXIT');
    const dumped = await backup.site.cli(['dump', 'message', guid, '-u', '%SHARED']);
    expect(dumped.status).toBe(0);
    expect(createHash('sha1').update(dumped.stdout).digest('hex')).toBe(guid);
  });

  test('a new mailbox with a message that nobody has, beside the mailbox of somebody else', async () => {
    const admin = await cyrus.imap();
    await admin.command('CREATE "shared/secret"');
    await admin.command(`SETACL "shared/secret" ${ADMIN.user} lrswipkxte`);
    await admin.append(
      'shared/secret',
      Buffer.from('From: a@example.com\r\nSubject: secret\r\n\r\nnobody’s\r\n'),
    );
    await admin.logout();
    const applies = await sync('-m', 'user/alice', 'shared/secret');
    expect(proxy.commands.filter((c) => /^(NO|BAD)/.test(c.kind))).toEqual([]);
    expect(applies.filter((c) => /^RESERVE .*MBOXNAME \(user\.alice\)/.test(c))).toHaveLength(1);
    expect(applies.filter((c) => c.startsWith('MESSAGE'))).toHaveLength(1);
    const wire = await (await CsyncWire.connect(backup.site.port)).login();
    const guid = String((await fullMailbox(wire, 'shared.secret'))[0]!.get('GUID'));
    await wire.ok('EXIT');
    expect((await backup.site.cli(['dump', 'message', guid, '-u', '%SHARED'])).status).toBe(0);
    expect((await backup.site.cli(['dump', 'message', guid, '-u', 'alice'])).status).not.toBe(0);
  });

  test('the same message twice in a mailbox, under two UIDs', async () => {
    const imap = await cyrus.imap('bob');
    await imap.command('SELECT INBOX');
    await imap.command('COPY 1 INBOX');
    await imap.logout();
    await sync('-u', 'bob');
    expect(await sync('-u', 'bob')).toEqual([]);
    await expectSameMail(cyrus, backup.site.port, ['bob']);
    const wire = await (await CsyncWire.connect(backup.site.port)).login();
    const guids = (await fullMailbox(wire, internalName('bob', 'INBOX'))).map((r) => r.get('GUID'));
    expect(guids.length).toBeGreaterThan(new Set(guids).size);
    wire.destroy();
  });

  test('XBACKUP makes imapd push', async () => {
    const other = await CyrusSite.start(['source'], proxy.port);
    try {
      await seedUser(other, 'erik');
      proxy.clear();
      const imap = await other.imap();
      const answers = (await imap.command('XBACKUP user/* backup')).map(String);
      await imap.logout();
      expect(answers).toEqual(['* OK USER erik\r\n']);
      expect(proxy.applies.length).toBeGreaterThan(6);
      proxy.clear();
      const again = await other.imap();
      await again.command('XBACKUP user/* backup');
      await again.logout();
      expect(proxy.applies).toEqual([]);
      await expectSameMail(other, backup.site.port, ['erik']);
    } finally {
      await other.close();
    }
  });

  test('each data file holds its own user’s mail, once, and nobody else’s', async () => {
    await expectOwnMailOnly(backup, backup.site.port, ['alice', 'bob', 'dora.m', 'erik']);
    expect([...backup.dataFiles().keys()].sort()).toEqual(['%SHARED', 'alice', 'bob', 'dora.m', 'erik']);
  });

  test('what backupd forgets is kept: quota and the active Sieve script', () => {
    const notes = readDataFile(backup.dataFiles().get('alice')!).filter((line) => line.command === 'NOTE');
    expect(notes.map((line) => line.verb)).toEqual(expect.arrayContaining(['QUOTA', 'ACTIVATE_SIEVE']));
  });

  test('all of it verifies, before and after a clean stop', async () => {
    await backup.cliOk(['verify', '-A']);
    expect(await server.stop()).toBe(0);
    await backup.cliOk(['verify', '-A']);
    server = await backup.site.start();
    expect(await sync('-u', 'alice')).toEqual([]);
  });
});
