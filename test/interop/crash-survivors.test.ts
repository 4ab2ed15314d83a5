import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CRASH_POINTS } from '../../src/platform/crash-points.ts';
import { CrashWorld } from '../crash/crash-world.ts';
import { readDataFile, storedMessages } from '../support/data-file.ts';
import { Random } from '../support/random.ts';
import { SharedBackup } from './harness/backup.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { expectOwnMailOnly, expectSameMail } from './harness/expect.ts';
import { change, seedUser } from './harness/mail.ts';

const KILLS = 25;

describe('what is left of a server that was killed again and again', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;
  let world: CrashWorld;

  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source']);
    backup = await SharedBackup.create(cyrus, { backup_chunk_max_size: '1M' });
    world = new CrashWorld(backup.site, 'survivors', { literals: false });
  });

  afterAll(async () => {
    await world?.close();
    await cyrus?.close();
  });

  test('our own client pushes while it is killed', async () => {
    for (let i = 0; i < KILLS; i++) {
      const byTime = world.random.chance(0.5);
      await world.restart(
        byTime ? undefined : `${world.random.pick(CRASH_POINTS)}:${world.random.int(1, 8)}`,
      );
      await world.pushUntilRandomKill(byTime ? 500 : 1500);
      await world.kill();
    }
    await world.restart();
    await world.pushUntilKilled(async (pusher) => {
      const wire = await world.server!.connect();
      await pusher.push(wire, 5);
      await wire.ok('EXIT');
      wire.destroy();
    });
    expect(await world.server!.stop()).toBe(0);
    await world.verify();
  });

  test('Cyrus’s ctl_backups verify finds nothing wrong', async () => {
    const said = await backup.toolOk('ctl_backups', ['verify', '-A']);
    const users = world.pushers.flatMap((pusher) => [...pusher.acknowledged.keys()]);
    expect(users.length).toBeGreaterThan(10);
    for (const user of users) expect(said).toContain(`verify ${user}: ok`);
  });

  test('Cyrus’s ctl_backups reindex reads all of it, and verifies that', async () => {
    const listed = await backup.listed();
    for (const { userid, path } of listed) {
      const stored = storedMessages(readDataFile(path)).map((m) => m.guid);
      const found = await backup.reindexCopy(userid);
      expect(new Set(found.filter((guid) => guid !== '')), userid).toEqual(new Set(stored));
    }
  });

  test('the real client completes its push after any crash', async () => {
    const random = new Random('real client');
    await seedUser(cyrus, 'alice', { messages: 40 });
    await seedUser(cyrus, 'bob', { sieve: false });
    const armed = path.join(backup.site.dir, 'armed');
    for (let i = 0; i < 12; i++) {
      await change(cyrus, 'alice', 'new');
      if (i % 3 === 0) await change(cyrus, 'alice', 'flags');
      writeFileSync(armed, '');
      const server = await backup.site.start({
        CSYNC_BACKUP_CRASH_AT: `${random.pick(CRASH_POINTS)}:${random.int(1, 4)}`,
      });
      const args = ['-n', 'backup', '-v', '-o', '-A'];
      await cyrus.tool('sync_client', cyrus.clientConf({ port: backup.site.port }), args, 5000);
      await server.kill();
    }
    rmSync(armed);
    const server = await backup.site.start();
    await cyrus.sync(['-A'], { port: backup.site.port });
    await expectSameMail(cyrus, backup.site.port, ['alice', 'bob']);
    await expectOwnMailOnly(backup, backup.site.port, ['alice', 'bob']);
    expect(await server.stop()).toBe(0);
    await backup.cliOk(['verify', '-A']);
    expect(await backup.toolOk('ctl_backups', ['verify', '-u', 'bob'])).toBe('verify bob: ok\n');
  });
});
