import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Finished } from '../support/backup-server.ts';
import { dataFilesOf, SharedBackup } from './harness/backup.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { ADMIN } from './harness/cyrus-conf.ts';
import { type FullView, fullView } from './harness/full-view.ts';
import { change, seedShared, seedUser } from './harness/mail.ts';

const USERS = ['alice', 'bob', 'carol', 'dora', 'erik'];

describe('restore over csync into Cyrus', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;
  const before = new Map<string, FullView>();

  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source', 'peer', 'target']);
    backup = await SharedBackup.create(cyrus);
    const server = await backup.site.start();
    for (const user of USERS) {
      await seedUser(cyrus, user, { messages: 30 });
      for (const what of ['new', 'flags', 'expunge', 'copy', 'create', 'rename', 'acl'] as const) {
        if (what !== 'acl' || user !== 'bob') await change(cyrus, user, what);
      }
    }
    await seedShared(cyrus, ['alice', 'bob']);
    await cyrus.sync(['-A'], { port: backup.site.port });
    await cyrus.sync(['-u', 'dora'], { port: cyrus.ports('peer').csync });
    for (const user of USERS) before.set(user, await fullView(cyrus, user, 'source'));
    expect(await server.stop()).toBe(0);
  }, 120_000);

  afterAll(async () => {
    await cyrus?.close();
    backup?.site.remove();
  });

  const at = (service: 'csync' | 'imap' = 'csync'): string =>
    `csync://${ADMIN.user}@127.0.0.1:${cyrus.ports('target')[service]}`;
  const restore = (...args: string[]): Promise<Finished> =>
    backup.site.cli(['restore', '--to', at(), ...args]);
  const asTheyWere = ['--in-place', '--identity'];

  test('shared mailboxes, then two users, as they were: nobody can tell the servers apart', async () => {
    for (const user of ['%SHARED', 'alice']) {
      const done = await restore('-u', user, ...asTheyWere);
      expect(done).toMatchObject({ status: 0, stderr: '' });
    }
    const done = await backup.site.cli(['restore', '--to', at('imap'), '-u', 'bob', ...asTheyWere]);
    expect(done).toMatchObject({ status: 0, stderr: '' });
    for (const user of ['alice', 'bob'])
      expect(await fullView(cyrus, user, 'target')).toEqual(before.get(user));
  });

  test('again, without a change', async () => {
    const done = await restore('-u', 'alice', ...asTheyWere);
    expect(done).toMatchObject({ status: 0, stderr: '' });
    expect(done.stdout.toString()).toMatch(
      /: 0 messages \(0 bytes\) in 7 mailboxes, \d+ were there already\n$/,
    );
    expect(await fullView(cyrus, 'alice', 'target')).toEqual(before.get('alice'));
  });

  test('from a store of Cyrus’s backupd, which keeps neither quota nor the active script', async () => {
    const file = dataFilesOf(path.join(cyrus.dir, 'peer', 'backup')).get('dora')!;
    const done = await restore('-f', file, ...asTheyWere);
    expect(done).toMatchObject({ status: 0, stderr: '' });
    const { quota, scripts, ...after } = await fullView(cyrus, 'dora', 'target');
    const { quota: _, scripts: theirs, ...rest } = before.get('dora')!;
    expect(after).toEqual(rest);
    expect(scripts).toEqual(theirs.map((script) => script.replace(' ACTIVE', '')));
    expect(quota).toEqual(['* QUOTAROOT INBOX']);
  });
});
