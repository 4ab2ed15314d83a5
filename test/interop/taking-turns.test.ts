import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../support/backup-server.ts';
import { readDataFile, storedMessages } from '../support/data-file.ts';
import { dataFilesOf, SharedBackup } from './harness/backup.ts';
import { CyrusSite, until } from './harness/cyrus.ts';
import { expectSameMail } from './harness/expect.ts';
import { change, seedShared, seedUser } from './harness/mail.ts';

describe('a store that backupd began', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;

  const users = ['alice', 'bob'];

  /** Points our site at the peer's data: backups.db and partition, under the same paths. */
  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source', 'peer']);
    const peer = path.join(cyrus.dir, 'peer');
    backup = await SharedBackup.create(cyrus, {
      'backuppartition-default': path.join(peer, 'backup'),
      backup_db_path: path.join(peer, 'conf', 'backups.db'),
      backup_staging_path: path.join(peer, 'staging'),
    });
    for (const user of users) await seedUser(cyrus, user);
    await seedShared(cyrus, ['alice']);
    await cyrus.sync(['-A'], { port: cyrus.ports('peer').csync });
    await change(cyrus, 'alice', 'new');
    await cyrus.sync(['-u', 'alice'], { port: cyrus.ports('peer').csync });
    await backupdIsDone();
  });

  afterAll(async () => {
    backup?.site.remove();
    await cyrus?.close();
  });

  const peerFiles = (): Map<string, string> => dataFilesOf(path.join(cyrus.dir, 'peer', 'backup'));

  /** Waits until backupd, which finishes its files after the client has gone, has given them up. */
  async function backupdIsDone(): Promise<void> {
    for (const user of users) {
      const args = ['lock', '-u', user, '-x', 'true'];
      await until(`backupd is done with ${user}`, async () => {
        return (await cyrus.tool('ctl_backups', cyrus.conf('peer'), args)).status === 0;
      });
    }
  }

  /** Our server runs as root; backupd must be able to go on with what it wrote. */
  async function giveBack(): Promise<void> {
    const { uid, gid } = cyrus.account;
    await run('chown', ['-R', `${uid}:${gid}`, path.join(cyrus.dir, 'peer')]);
  }

  test('our list, verify and dump read it', async () => {
    const listed = await backup.listed();
    expect(new Map(listed.map((row) => [row.userid, row.path]))).toEqual(peerFiles());
    await backup.cliOk(['verify', '-A']);
    const { guid, bytes } = storedMessages(readPeerFile('alice')).at(-1)!;
    expect((await backup.cliOk(['dump', 'message', guid, '-u', 'alice'])).equals(bytes)).toBe(true);
  });

  /** backupd writes literals as the client does, `{n+}`; the reader of the tests takes both. */
  function readPeerFile(user: string): ReturnType<typeof readDataFile> {
    return readDataFile(peerFiles().get(user)!);
  }

  test('our server goes on where backupd stopped', async () => {
    const before = readFileSync(peerFiles().get('alice')!);
    const server = await backup.site.start();
    for (const what of ['new', 'flags', 'expunge', 'sieve'] as const) await change(cyrus, 'alice', what);
    await cyrus.sync(['-A'], { port: backup.site.port });
    await expectSameMail(cyrus, backup.site.port, users);
    expect(await server.stop()).toBe(0);
    const after = readFileSync(peerFiles().get('alice')!);
    expect(after.length).toBeGreaterThan(before.length);
    expect(after.subarray(0, before.length).equals(before)).toBe(true);
    await backup.cliOk(['verify', '-A']);
  });

  test('backupd and ours append in turn, and both verify each time', async () => {
    for (let round = 0; round < 3; round++) {
      await giveBack();
      for (const user of users) await change(cyrus, user, 'new');
      await change(cyrus, 'bob', 'flags');
      await cyrus.sync(['-A'], { port: cyrus.ports('peer').csync });
      await expectSameMail(cyrus, cyrus.ports('peer').csync, users);
      await backupdIsDone();
      await backup.cliOk(['verify', '-A']);

      const server = await backup.site.start();
      for (const user of users) await change(cyrus, user, 'new');
      await change(cyrus, 'alice', 'expunge');
      await cyrus.sync(['-A'], { port: backup.site.port });
      await expectSameMail(cyrus, backup.site.port, users);
      expect(await server.stop()).toBe(0);
      await backup.cliOk(['verify', '-A']);
      await giveBack();
      for (const user of users) {
        const said = await cyrus.tool('ctl_backups', cyrus.conf('peer'), ['verify', '-u', user]);
        expect(`${said.stdout}`, `round ${round}`).toBe(`verify ${user}: ok\n`);
      }
    }
  });

  test('an index that was lost is rebuilt from what both wrote', async () => {
    const copy = path.join(cyrus.dir, 'copy');
    cpSync(path.join(cyrus.dir, 'peer'), copy, { recursive: true });
    const file = peerFiles().get('alice')!;
    writeFileSync(`${file}.index`, '');
    const server = await backup.site.start();
    await expectSameMail(cyrus, backup.site.port, users);
    expect(await server.stop()).toBe(0);
    await backup.cliOk(['verify', '-A']);
  });
});
