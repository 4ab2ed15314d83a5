import { renameSync, statSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { differences } from '../../src/maintenance/compact/differences.ts';
import { Retention } from '../../src/maintenance/compact/window.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import type { BackupServer } from '../support/backup-server.ts';
import { readDataFile, storedMessages } from '../support/data-file.ts';
import { SharedBackup } from './harness/backup.ts';
import { sourceView } from './harness/compare.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { change, seedShared, seedUser } from './harness/mail.ts';

describe('a store that csync-backup compact has compacted', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;
  let server: BackupServer;
  /** Index of bob's data file that Cyrus made before the compaction. */
  let before: string;
  let since: number;

  // Without Sieve scripts: histories without text literals, which Cyrus's reindex can read.
  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source']);
    backup = await SharedBackup.create(cyrus, { backup_retention: '1s' });
    server = await backup.site.start();
    for (const user of ['alice', 'bob']) await seedUser(cyrus, user, { sieve: false });
    await seedShared(cyrus, ['alice', 'bob']);
    for (const user of ['alice', 'bob']) {
      for (const what of ['new', 'flags', 'expunge', 'copy', 'create', 'rename', 'seen', 'annot'] as const) {
        await change(cyrus, user, what);
        await cyrus.sync(['-u', user], { port: backup.site.port });
      }
    }
    expect(await server.stop()).toBe(0);
    await backup.reindexCopy('bob');
    before = `${copyOf('bob')}.before`;
    await backup.toolOk('ctl_backups', ['verify', '-f', copyOf('bob')]);
    renameSync(`${copyOf('bob')}.index`, before);
    await pause(2500);
    since = Math.floor(Date.now() / 1000) - 1;
    const said = (await backup.cliOk(['compact', '-A', '--json', '--force'])).toString().trim().split('\n');
    const reports = said.map((line) => JSON.parse(line) as { type: string; keptAll: string | null });
    for (const { type, keptAll } of reports) if (type === 'backup') expect(keptAll).toBeNull();
  });

  afterAll(async () => {
    await server?.kill();
    backup?.site.remove();
    await cyrus?.close();
  });

  const copyOf = (user: string): string =>
    path.join(backup.site.dir, 'copies', path.basename(backup.dataFiles().get(user)!));

  test('passes Cyrus’s verify, and ours', async () => {
    const said = await backup.toolOk('ctl_backups', ['verify', '-A']);
    expect(said.trim().split('\n').sort()).toEqual(['verify alice: ok', 'verify bob: ok']);
    await backup.cliOk(['verify', '-A']);
  });

  test('has every message that is not past the retention, and cyr_backup gives them back', async () => {
    const view = await sourceView(cyrus, 'bob');
    const live = new Set([...view.values()].flatMap((mailbox) => mailbox.map(({ guid }) => guid)));
    const stored = storedMessages(readDataFile(backup.dataFiles().get('bob')!));
    expect(new Set(stored.map(({ guid }) => guid))).toEqual(live);
    const { guid, bytes } = stored[0]!;
    const dumped = await backup.tool('cyr_backup', ['-u', 'bob', 'dump', 'message', guid]);
    expect(dumped.stdout.equals(bytes)).toBe(true);
    const listed = await backup.toolOk('cyr_backup', ['-u', 'bob', 'list', 'mailboxes']);
    for (const name of view.keys()) expect(listed).toContain(` ${name}\n`);
  });

  test('gives Cyrus’s reindex the state that it had before, less what is past the retention', async () => {
    const found = await backup.reindexCopy('bob');
    const stored = storedMessages(readDataFile(backup.dataFiles().get('bob')!));
    expect(found.sort()).toEqual(stored.map(({ guid }) => guid).sort());
    const [old, fresh] = [before, `${copyOf('bob')}.index`].map((file) =>
      BackupIndex.open(file, { readonly: true }),
    ) as [BackupIndex, BackupIndex];
    try {
      expect(differences(old, fresh, new Retention(since))).toEqual([]);
    } finally {
      old.close();
      fresh.close();
    }
  });

  test('can be compacted by Cyrus, and is what clients believe it to be: they send nothing', async () => {
    server = await backup.site.start();
    const file = backup.dataFiles().get('alice')!;
    const { size } = statSync(file);
    await cyrus.sync(['-u', 'alice'], { port: backup.site.port });
    expect(statSync(file).size).toBe(size);
    await change(cyrus, 'alice', 'new');
    await cyrus.sync(['-u', 'alice'], { port: backup.site.port });
    expect(statSync(file).size).toBeGreaterThan(size);
    expect(await server.stop()).toBe(0);
    await backup.toolOk('ctl_backups', ['-F', 'compact', '-u', 'alice']);
    await backup.toolOk('ctl_backups', ['verify', '-u', 'alice']);
  });
});
