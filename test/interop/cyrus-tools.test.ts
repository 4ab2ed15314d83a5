import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BackupServer } from '../support/backup-server.ts';
import { readDataFile, storedMessages } from '../support/data-file.ts';
import { SharedBackup } from './harness/backup.ts';
import { type MailboxView, sourceView } from './harness/compare.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { change, FOLDERS, seedShared, seedUser } from './harness/mail.ts';

describe('Cyrus’s own programs over a store that we wrote', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;
  let server: BackupServer;
  let alice: Map<string, MailboxView>;

  // bob has no Sieve script: a history without text literals, which Cyrus's reindex can read.
  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source', 'target']);
    backup = await SharedBackup.create(cyrus);
    server = await backup.site.start();
    await seedUser(cyrus, 'alice');
    await seedUser(cyrus, 'bob', { sieve: false });
    await seedShared(cyrus, ['alice']);
    const to = { port: backup.site.port };
    await cyrus.sync(['-A'], to);
    for (const user of ['alice', 'bob']) {
      for (const what of ['new', 'flags', 'expunge', 'copy', 'create', 'rename', 'seen', 'annot'] as const) {
        await change(cyrus, user, what);
        if (what !== 'copy') await cyrus.sync(['-u', user], to);
      }
    }
    await cyrus.sync(['-A'], to);
    alice = await sourceView(cyrus, 'alice');
  });

  afterAll(async () => {
    await server?.kill();
    backup?.site.remove();
    await cyrus?.close();
  });

  const guids = (view: Map<string, MailboxView>): Set<string> =>
    new Set([...view.values()].flatMap((mailbox) => mailbox.map((m) => m.guid)));

  test('ctl_backups verify, while the server runs', async () => {
    const said = await backup.toolOk('ctl_backups', ['verify', '-A']);
    expect(said.trim().split('\n').sort()).toEqual([
      'verify %SHARED: ok',
      'verify alice: ok',
      'verify bob: ok',
    ]);
  });

  test('ctl_backups list and stat', async () => {
    const files = backup.dataFiles();
    const list = await backup.toolOk('ctl_backups', ['list', '-A']);
    const rows = list
      .trim()
      .split('\n')
      .map((line) => line.split('\t'));
    expect(new Map(rows.map((row) => [row[2], row[3]]))).toEqual(files);
    const stat = await backup.toolOk('ctl_backups', ['stat', '-A']);
    expect(
      stat
        .trim()
        .split('\n')
        .map((line) => line.split('\t')[0])
        .sort(),
    ).toEqual(['%SHARED', 'alice', 'bob']);
  });

  test('cyr_backup list', async () => {
    const mailboxes = await backup.toolOk('cyr_backup', ['-u', 'alice', 'list', 'mailboxes']);
    for (const name of alice.keys()) expect(mailboxes).toContain(` ${name}\n`);
    const messages = await backup.toolOk('cyr_backup', ['-u', 'alice', 'list', 'messages']);
    for (const guid of guids(alice)) expect(messages).toContain(guid);
    const chunks = await backup.toolOk('cyr_backup', ['-u', 'alice', 'list', 'chunks']);
    expect(chunks.trim().split('\n').length).toBeGreaterThan(2);
  });

  test('cyr_backup show and json', async () => {
    const inbox = alice.get('user.alice')!;
    const shown = await backup.toolOk('cyr_backup', ['-u', 'alice', 'show', 'mailboxes', 'user/alice']);
    for (const { uid, guid } of inbox) expect(shown).toMatch(new RegExp(`^\\s*${uid}\\s+${guid}$`, 'm'));
    const message = await backup.toolOk('cyr_backup', ['-u', 'alice', 'show', 'messages', inbox[0]!.guid]);
    expect(message).toContain('user.alice');
    const json = JSON.parse(await backup.toolOk('cyr_backup', ['-u', 'alice', 'json', 'mailboxes'])) as {
      mboxname: string;
      messages: { uid: number; guid: string; expunged?: string }[];
    }[];
    const live = json
      .find((m) => m.mboxname === 'user.alice')!
      .messages.filter((m) => m.expunged === undefined);
    expect(live.map(({ uid, guid }) => `${uid} ${guid}`).sort()).toEqual(
      inbox.map((m) => `${m.uid} ${m.guid}`).sort(),
    );
  });

  test('cyr_backup dump gives every message back byte for byte', async () => {
    const stored = storedMessages(readDataFile(backup.dataFiles().get('alice')!));
    expect(new Set(stored.map((m) => m.guid)).size).toBeGreaterThan(10);
    for (const { guid, bytes } of stored) {
      const dumped = await backup.tool('cyr_backup', ['-u', 'alice', 'dump', 'message', guid]);
      expect(dumped.stdout.equals(bytes), guid).toBe(true);
    }
  });

  test('ctl_backups reindex, where there are no text literals, finds all and verifies', async () => {
    expect(await server.stop()).toBe(0);
    const found = await backup.reindexCopy('bob');
    const stored = storedMessages(readDataFile(backup.dataFiles().get('bob')!));
    expect(found.sort()).toEqual(stored.map((m) => m.guid).sort());
  });

  test('restore puts the mail back on a server', async () => {
    const admin = await cyrus.imap(undefined, 'target');
    await admin.command('CREATE "user/alice"');
    for (const folder of [...FOLDERS, 'New Folder', 'Archive/Old years']) {
      await admin.command(`CREATE "user/alice/${folder}"`);
    }
    await admin.logout();
    const port = cyrus.ports('target').csync;
    await backup.toolOk('restore', ['-v', '-u', 'alice', '-a', `127.0.0.1:${port}`]);
    const restored = await sourceView(cyrus, 'alice', 'target');
    for (const [name, mailbox] of alice) {
      expect(
        restored
          .get(name)!
          .map((m) => m.guid)
          .sort(),
        name,
      ).toEqual(mailbox.map((m) => m.guid).sort());
    }
  });

  test('a lock held by ctl_backups keeps us out, and the client tries again later', async () => {
    server = await backup.site.start();
    await backup.toolOk('ctl_backups', ['verify', '-u', 'alice']);
    const lock = cyrus.tool('ctl_backups', backup.site.configFile, ['lock', '-u', 'alice', '-x', 'sleep 8']);
    await change(cyrus, 'alice', 'new');
    let status: number | null = 0;
    // The lock is taken a moment after the program starts; until then a sync may slip through.
    for (let i = 0; i < 20 && status === 0; i++) {
      await change(cyrus, 'alice', 'new');
      status = (
        await cyrus.tool('sync_client', cyrus.clientConf({ port: backup.site.port }), [
          '-n',
          'backup',
          '-o',
          '-u',
          'alice',
        ])
      ).status;
    }
    expect(status).toBe(1);
    expect((await lock).status).toBe(0);
    await cyrus.sync(['-u', 'alice'], { port: backup.site.port });
    await backup.cliOk(['verify', '-A']);
  });

  test('a store that grew by many small syncs still verifies', async () => {
    for (let i = 0; i < 10; i++) {
      await change(cyrus, 'bob', 'new');
      await cyrus.sync(['-u', 'bob'], { port: backup.site.port });
    }
    expect(await backup.toolOk('ctl_backups', ['verify', '-A'])).not.toContain('failed');
    await backup.cliOk(['verify', '-A']);
  });
});
