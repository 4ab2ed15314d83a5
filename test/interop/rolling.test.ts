import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BackupServer } from '../support/backup-server.ts';
import { readDataFile } from '../support/data-file.ts';
import { SharedBackup } from './harness/backup.ts';
import { CyrusSite, until } from './harness/cyrus.ts';
import { expectOwnMailOnly, expectSameMail } from './harness/expect.ts';
import { type Change, change, seedShared, seedUser } from './harness/mail.ts';
import { RecordingProxy } from './harness/proxy.ts';

describe('sync_client in rolling mode', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;
  let server: BackupServer;
  let proxy: RecordingProxy;
  let client: ReturnType<CyrusSite['rolling']>;

  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source']);
    // sync_client sends no RESTART after subscriptions and the like: only idleness frees these backups.
    backup = await SharedBackup.create(cyrus, { backup_idle_release: '1s' });
    server = await backup.site.start();
    proxy = await RecordingProxy.start(backup.site.port);
    for (const user of ['alice', 'bob', 'carol', 'frida']) await seedUser(cyrus, user);
    await seedShared(cyrus, ['alice', 'bob']);
    client = cyrus.rolling({ port: proxy.port });
    await until(
      'the backlog is pushed',
      () => proxy.commands.some((c) => c.command.includes('user.frida')) && quiet(),
    );
  });

  afterAll(async () => {
    await client?.stop();
    await proxy?.close();
    await server?.kill();
    backup?.site.remove();
    await cyrus?.close();
  });

  let last = '';
  let since = 0;

  /** Everything is answered and nothing new has come for longer than the client's interval of one second. */
  function quiet(): boolean {
    const commands = proxy.commands;
    const now = `${commands.length} ${commands.at(-1)?.kind}`;
    if (now !== last) {
      last = now;
      since = Date.now();
    }
    return commands.every((c) => c.kind !== '') && Date.now() - since > 2500;
  }

  async function rolled(...expected: RegExp[]): Promise<void> {
    for (const pattern of expected) {
      await until(`APPLY ${pattern}`, () => proxy.applies.some((c) => pattern.test(c)));
    }
    await until('the client is quiet', quiet);
    expect(proxy.commands.filter((c) => /^(NO|BAD)/.test(c.kind))).toEqual([]);
    expect(proxy.connections).toBe(1);
  }

  test('the backlog', async () => {
    await rolled(/^MAILBOX .*user\.alice /, /^SIEVE /, /^QUOTA /);
    await expectSameMail(cyrus, backup.site.port, ['alice', 'bob', 'carol', 'frida']);
  });

  const cases: [Change[], RegExp[]][] = [
    [['new'], [/^MESSAGE /, /^MAILBOX .*user\.alice /]],
    [['flags', 'expunge'], [/^MAILBOX .*\\Expunged/]],
    [
      ['sub', 'unsub'],
      [/^SUB .*Projekte/, /^UNSUB .*Sent/],
    ],
    [['seen'], [/^SEEN .*alice/]],
    [
      ['sieve', 'unsieve'],
      [/^SIEVE .*main/, /^UNSIEVE .*holiday/],
    ],
    [
      ['annot', 'acl'],
      [/^MAILBOX .*changed/, /^MAILBOX .*bob\tlrs/],
    ],
    [
      ['create', 'copy'],
      [/^MAILBOX .*New Folder/, /^MAILBOX .*user\.alice\.Sent/],
    ],
    [
      ['rename', 'delete'],
      [/^RENAME .*Old years/, /^RENAME .*DELETED/],
    ],
  ];
  for (const [what, patterns] of cases) {
    test(`${what.join(' and ')}`, async () => {
      proxy.clear();
      for (const one of what) await change(cyrus, 'alice', one);
      await rolled(...patterns);
      await expectSameMail(cyrus, backup.site.port, ['alice']);
    });
  }

  test('a shared mailbox', async () => {
    proxy.clear();
    const admin = await cyrus.imap();
    await admin.append('shared', Buffer.from('Subject: news\r\n\r\nfor all\r\n'));
    await admin.logout();
    await rolled(/^MAILBOX .*MBOXNAME shared /);
  });

  test('a user is renamed', async () => {
    proxy.clear();
    const admin = await cyrus.imap();
    await admin.command('RENAME "user/frida" "user/fritz"');
    await admin.logout();
    await rolled(/user\.fritz/);
    await expectSameMail(cyrus, backup.site.port, ['fritz']);
    await expectOwnMailOnly(backup, backup.site.port, ['fritz']);
  });

  test('a user is deleted', async () => {
    proxy.clear();
    const admin = await cyrus.imap();
    await admin.command('SETACL "user/carol" backup lrswipkxtecda');
    await admin.command('DELETE "user/carol"');
    await admin.logout();
    await rolled(/^RENAME .*user\.carol.*DELETED\.user\.carol/, /^UNUSER carol/);
  });

  test('the history of a deleted user is kept', async () => {
    expect(await backup.listed()).toContainEqual(expect.objectContaining({ userid: 'carol' }));
    const verbs = readDataFile(backup.dataFiles().get('carol')!).map((line) => line.verb);
    expect(verbs).toEqual(expect.arrayContaining(['MESSAGE', 'MAILBOX', 'RENAME', 'UNUSER']));
    await backup.cliOk(['verify', '-A']);
  });

  test('nothing is left to push', async () => {
    await client.stop();
    proxy.clear();
    await cyrus.sync(['-A'], { port: proxy.port });
    // The quota of the name that frida had is all that a rolling client does not take away by itself.
    expect(proxy.applies.filter((c) => c !== 'UNQUOTA user.frida')).toEqual([]);
    proxy.clear();
    await cyrus.sync(['-A'], { port: proxy.port });
    expect(proxy.applies).toEqual([]);
    await expectSameMail(cyrus, backup.site.port, ['alice', 'bob', 'fritz']);
  });
});
