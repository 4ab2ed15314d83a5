import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { crcOf, guidOf, mailboxValue, messageValue } from '../store/support/store-rig.ts';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';

/** CI kills at each. */
const isLong = process.env.CRASH_ROUNDS !== undefined;
/** Messages that a client sends at once (`sync_batchsize`). */
const BATCH = 5;
const OLD = Array.from({ length: 12 }, (_, i) => `old ${i}\r\n`);
const LOST = [...OLD, 'lost\r\n'];
/** By UID less one: put back and gone on, with two messages that were never there. */
const NOW = [...OLD, 'reused\r\n', 'new\r\n'].map((one, i) => (i === 2 || i === 8 ? undefined : one));

/** Killed between and in the parts of a mailbox that is to come as a whole. */
describe('a mailbox that comes again in parts, killed at', () => {
  const points = isLong ? ['data-synced', 'index-committed', 'any'] : ['index-committed', 'any'];
  const userOf = (point: string): string => point.replace('-', '');
  let site: BackupSite;
  let server: BackupServer | undefined;

  beforeAll(async () => {
    site = await BackupSite.create();
    server = await site.start();
    for (const point of points) {
      while (await sync(userOf(point), LOST)) {
        // until all has come
      }
      await sync(userOf(point), NOW, LOST.length);
    }
    expect(await server.stop()).toBe(0);
  });
  afterAll(async () => {
    await server?.kill();
    site?.remove();
  });

  /**
   * As a rolling sync_client does (sync_support.c, calculate_intermediate_state), in a session of its own.
   *
   * @param from what is not new to it, whatever the backup says
   * @returns whether more is to come
   */
  async function sync(
    user: string,
    contents: readonly (string | undefined)[],
    from?: number,
    ends: 'EXIT' | 'never' = 'EXIT',
  ): Promise<boolean> {
    const wire = await server!.connect();
    const [answered] = (await wire.ok(`GET MAILBOXES (user.${user})`)).lines;
    const last = from ?? Number(/LAST_UID (\d+)/.exec(answered ?? '')?.[1] ?? '0');
    const rest = contents.flatMap((one, i) => (one === undefined || i < last ? [] : [i + 1]));
    const to = rest.length > BATCH ? rest[BATCH - 1]! : contents.length;
    if (rest.length > 0) {
      const sent = contents.slice(0, to).map((one, i) => (i < last ? undefined : one));
      await wire.ok(`APPLY MESSAGE ${messageValue(sent.filter((one) => one !== undefined)).value}`);
      const isPart = to < contents.length;
      let text = mailboxValue(`user.${user}`, sent, { SYNC_CRC: isPart ? 0 : crcOf(contents) });
      if (isPart) text = text.replace(/ SYNC_CRC_ANNOT \d+/, '');
      await wire.ok(`APPLY MAILBOX ${text}`);
    }
    if (ends === 'never') return to < contents.length;
    await wire.ok('EXIT');
    await wire.closed();
    return to < contents.length;
  }

  async function full(user: string): Promise<string> {
    const wire = await server!.connect();
    const { lines } = await wire.ok(`GET FULLMAILBOX user.${user}`);
    await wire.ok('EXIT');
    return lines.join('\n');
  }

  for (const point of points) {
    test(point, async () => {
      const user = userOf(point);
      server = await site.start({ ...(point !== 'any' && { CSYNC_BACKUP_CRASH_AT: `${point}:2` }) });
      // The first part is stored; the server dies with the second.
      expect(await sync(user, NOW)).toBe(true);
      if (point === 'any') {
        expect(await sync(user, NOW, undefined, 'never')).toBe(true);
        await server.kill();
      } else {
        await sync(user, NOW).catch(() => undefined);
        await expect.poll(() => server!.alive).toBe(false);
      }
      server = await site.start();
      expect(await full(user)).not.toMatch(/Expunged|UID (3|9|13|14) /);
      let parts = 0;
      while (await sync(user, NOW)) parts++;
      expect(parts).toBeLessThanOrEqual(1);
      const text = await full(user);
      for (const message of NOW) if (message !== undefined) expect(text).toContain(guidOf(message));
      expect(text).not.toContain(guidOf('lost\r\n'));
      expect(text.match(/%\(UID (3|9) [^)]*FLAGS \(\\Expunged\)/g)).toHaveLength(2);
      expect(text.match(/Expunged/g)).toHaveLength(2);
      expect(await sync(user, NOW)).toBe(false);
      expect(await server.stop()).toBe(0);
    });
  }

  test('and what is left verifies', async () => {
    const { status, stdout } = await site.cli(['verify', '-A']);
    expect(status, stdout.toString()).toBe(0);
  });
});
