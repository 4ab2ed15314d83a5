import { globSync } from 'node:fs';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { crcOf, guidOf, mailboxValue, messageValue } from '../store/support/store-rig.ts';
import { allFaults } from '../support/admin.ts';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';
import type { CsyncWire } from '../support/wire.ts';

/** CI kills at each. */
const isLong = process.env.CRASH_ROUNDS !== undefined;
const ALL = ['sound\r\n', 'lost\r\n'];

/** Killed as a client asks what there is, and is to be asked again for a message that it could not send some days ago. */
describe('a mailbox that is asked for again, killed at', () => {
  const points = isLong ? ['data-synced', 'index-committed'] : ['index-committed'];
  const userOf = (point: string): string => point.replace('-', '');
  let site: BackupSite;
  let server: BackupServer | undefined;

  beforeAll(async () => {
    site = await BackupSite.create();
    server = await site.start();
    for (const user of points.map(userOf)) {
      const wire = await server.connect();
      await wire.ok(`GET USER ${user}`);
      await wire.ok(`APPLY MAILBOX ${mailboxValue(`user.${user}.Sent`, [])}`);
      await wire.ok(`APPLY MESSAGE ${messageValue([ALL[0]!]).value.replace(/\)$/, ' NIL)')}`);
      await push(wire, user);
      await end(wire);
    }
    expect(await server.stop()).toBe(0);
    for (const file of globSync(`${site.partition}/*/*.index`)) {
      const db = new Database(file);
      db.exec("UPDATE cb_state SET value = '2:1700000000:1700000000' WHERE name = 'lacking'");
      db.close();
    }
  });
  afterAll(async () => {
    await server?.kill();
    site?.remove();
  });

  function push(wire: CsyncWire, user: string): Promise<unknown> {
    return wire.ok(`APPLY MAILBOX ${mailboxValue(`user.${user}`, ALL, { SYNC_CRC: crcOf(ALL) })}`);
  }

  async function end(wire: CsyncWire): Promise<void> {
    await wire.ok('EXIT');
    await wire.closed();
  }

  async function told(wire: CsyncWire, user: string): Promise<string[]> {
    const { lines } = await wire.ok(`GET USER ${user}`);
    return lines.map((line) => /MBOXNAME (\S+)/.exec(line)![1]!);
  }

  for (const point of points) {
    test(point, async () => {
      const user = userOf(point);
      server = await site.start({ CSYNC_BACKUP_CRASH_AT: `${point}:1` });
      const first = await server.connect();
      await (async () => {
        await told(first, user);
        await end(first);
      })().catch(() => undefined);
      await expect.poll(() => server!.alive).toBe(false);
      server = await site.start();
      const wire = await server.connect();
      expect(await told(wire, user)).toEqual([`user.${user}.Sent`]);
      await wire.ok(`APPLY MESSAGE ${messageValue([ALL[1]!]).value}`);
      await push(wire, user);
      await wire.ok('RESTART');
      expect(await told(wire, user)).toContain(`user.${user}`);
      const of = `MBOXNAME user.${user} UNIQUEID x GUID ${guidOf(ALL[1]!)} UID 2`;
      expect((await wire.ok(`GET FETCH %(${of})`)).lines[0]).toContain('lost');
      await end(wire);
      expect(await server.stop()).toBe(0);
    });
  }

  test('and what is left verifies', async () => {
    expect(await allFaults(site)).toEqual([]);
  });
});
