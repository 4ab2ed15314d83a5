/** Cyrus's programs and a real client on a store that is moved, renamed, deleted and made anew. */
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BackupServer } from '../support/backup-server.ts';
import { SharedBackup } from './harness/backup.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { change, seedUser } from './harness/mail.ts';

describe('operations on the store, beside Cyrus’s programs', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;
  let server: BackupServer;

  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source']);
    backup = await SharedBackup.create(cyrus, {});
    const other = path.join(backup.site.dir, 'other');
    mkdirSync(other, { mode: 0o700 });
    const conf = readFileSync(backup.site.configFile, 'utf8');
    const options = Object.fromEntries(
      [...conf.matchAll(/^([^:\n]+): (.*)$/gm)].map(([, key, value]) => [key!, value!]),
    );
    backup.site.configure({ ...options, 'backuppartition-other': other });
    server = await backup.site.start();
    await seedUser(cyrus, 'alice');
    await seedUser(cyrus, 'bob', { sieve: false });
    await sync('-A');
  });

  afterAll(async () => {
    await server?.kill();
    backup?.site.remove();
    await cyrus?.close();
  });

  const sync = (...args: string[]) => cyrus.sync(args, { port: backup.site.port });

  /** Rows of Cyrus's list by userid: path. */
  async function listed(): Promise<Map<string, string>> {
    const text = await backup.toolOk('ctl_backups', ['list', '-A']);
    const rows = text.trim().split('\n');
    return new Map(rows.map((row) => [row.split('\t')[2]!, row.split('\t')[3]!]));
  }

  async function allVerify(): Promise<void> {
    const said = await backup.toolOk('ctl_backups', ['verify', '-A']);
    expect(said).not.toContain('failed');
    await backup.cliOk(['verify', '-A']);
  }

  test('a moved backup is found and verified by Cyrus, and the client goes on in it', async () => {
    const from = (await listed()).get('alice')!;
    const to = from.includes('/other/') ? 'default' : 'other';
    await backup.cliOk(['move', '-u', 'alice', '--to', to, '--wait']);
    const moved = (await listed()).get('alice')!;
    expect(moved).not.toBe(from);
    await allVerify();
    const stored = await server.metric('csync_backup_messages_received_total');
    await change(cyrus, 'alice', 'new');
    await sync('-u', 'alice');
    expect((await listed()).get('alice')).toBe(moved);
    expect((await server.metric('csync_backup_messages_received_total')) - stored).toBeLessThan(5);
    await allVerify();
  });

  test('a deleted backup stands in Cyrus’s list under its key, and comes back', async () => {
    const before = await listed();
    await backup.cliOk(['delete', 'bob', '--yes', '--wait']);
    const names = [...(await listed()).keys()];
    expect(names).not.toContain('bob');
    expect(names.some((name) => name.startsWith('%DELETED.bob.'))).toBe(true);
    await allVerify();
    await backup.cliOk(['delete', '--undo', 'bob']);
    expect(await listed()).toEqual(before);
  });

  test('Cyrus reads the catalog that reconstruct has written', async () => {
    const before = await listed();
    rmSync(path.join(backup.site.dir, 'conf/backups.db'));
    await backup.cliOk(['reconstruct', '--apply']);
    expect(await listed()).toEqual(before);
    const shown = await backup.toolOk('cyr_dbtool', [
      path.join(backup.site.dir, 'conf/backups.db'),
      'twoskip',
      'show',
    ]);
    expect(
      new Map(
        shown
          .trim()
          .split('\n')
          .map((row) => row.split('\t') as [string, string]),
      ),
    ).toEqual(before);
    await change(cyrus, 'bob', 'new');
    await sync('-A');
    expect(await listed()).toEqual(before);
    await allVerify();
  });

  test('a renamed backup is read by Cyrus under its new name', async () => {
    const dataPath = (await listed()).get('bob');
    await backup.cliOk(['rename', 'bob', 'robert', '--wait']);
    const now = await listed();
    expect([now.get('robert'), now.get('bob')]).toEqual([dataPath, undefined]);
    await allVerify();
    // And with what Cyrus makes of the data file by itself.
    await backup.toolOk('ctl_backups', ['reindex', 'robert']);
    await allVerify();
    const mailboxes = await backup.toolOk('cyr_backup', ['-u', 'robert', 'list', 'mailboxes']);
    expect(mailboxes).toContain(' user.robert\n');
    expect(mailboxes).not.toMatch(/ user\.bob\b/);
  });
});
