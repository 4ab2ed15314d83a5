import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { crcOf, guidOf, mailboxValue, messageValue } from '../store/support/store-rig.ts';
import { allFaults } from '../support/admin.ts';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';

/** CI kills at each. */
const isLong = process.env.CRASH_ROUNDS !== undefined;
const LOST = ['old\r\n', 'lost\r\n'];
const NOW = ['old\r\n', 'reused\r\n', 'new\r\n'];

/** Killed while it stores a MAILBOX by which the mailbox is not the mail server's, and the note that says so. */
describe('a mailbox that is to be asked for as its checksum differs, killed at', () => {
  const points = isLong ? ['data-synced', 'index-committed'] : ['data-synced'];
  const userOf = (point: string): string => point.replace('-', '');
  let site: BackupSite;
  let server: BackupServer | undefined;

  beforeAll(async () => {
    site = await BackupSite.create();
    server = await site.start();
    for (const point of points) await sync(userOf(point), LOST);
    expect(await server.stop()).toBe(0);
  });
  afterAll(async () => {
    await server?.kill();
    site?.remove();
  });

  /** As sync_client does: what is above the modseq that is answered, or all if nothing is. */
  async function sync(user: string, contents: readonly string[]): Promise<void> {
    const wire = await server!.connect();
    const [answered] = (await wire.ok(`GET MAILBOXES (user.${user})`)).lines;
    const modseq = Number(/HIGHESTMODSEQ (\d+)/.exec(answered ?? '')?.[1] ?? '0');
    const count = contents.filter((_, i) => i + 2 > modseq).length;
    if (count > 0) {
      const { value } = messageValue(contents.slice(-count));
      await wire.ok(`APPLY MESSAGE ${value}`);
    }
    const whole = mailboxValue(`user.${user}`, contents, { SYNC_CRC: crcOf(contents) });
    const at = whole.indexOf('RECORD (') + 'RECORD ('.length;
    const records = [...whole.matchAll(/%\(UID .*?GUID \w+\)/g)].map(String).slice(contents.length - count);
    if (count > 0) await wire.ok(`APPLY MAILBOX ${whole.slice(0, at)}${records.join(' ')}))`);
    await wire.ok('EXIT');
    await wire.closed();
  }

  for (const point of points) {
    test(point, async () => {
      const user = userOf(point);
      server = await site.start({ CSYNC_BACKUP_CRASH_AT: `${point}:1` });
      await sync(user, NOW).catch(() => undefined);
      await expect.poll(() => server!.alive).toBe(false);
      server = await site.start();
      // Whatever of it was stored: two more runs bring all that there is.
      await sync(user, NOW);
      await sync(user, NOW);
      const wire = await server.connect();
      const full = (await wire.ok(`GET FULLMAILBOX user.${user}`)).lines.join('\n');
      await wire.ok('EXIT');
      for (const message of NOW) expect(full).toContain(guidOf(message));
      expect(full).not.toContain(guidOf('lost\r\n'));
      expect(await server.stop()).toBe(0);
    });
  }

  test('and what is left verifies', async () => {
    expect(await allFaults(site)).toEqual([]);
  });
});
