import { expect, test } from 'vitest';
import { mailboxValue } from '../store/support/store-rig.ts';
import { ask } from '../support/admin.ts';
import { BackupSite } from '../support/backup-server.ts';
import { HttpCollector } from '../support/http-collector.ts';

test('a running server tells backup_ping_url of each kind of maintenance that went well, and of no other', async () => {
  const collector = await HttpCollector.start();
  const site = await BackupSite.create({
    backup_verify_every: 'off',
    backup_ping_url: collector.url('/{task}'),
  });
  const server = await site.start();
  const paths = () => collector.requests.map(({ path }) => path);
  const until = (wanted: string[]) =>
    expect.poll(() => paths().toSorted(), { timeout: 20_000, interval: 30 }).toEqual(wanted);
  try {
    // A drill without anything to compare shows nothing.
    await ask(site, 'run-maintenance', { kind: 'drill' });
    const wire = await server.connect();
    await wire.ok(`APPLY MAILBOX ${mailboxValue('user.anne', [])}`);
    await wire.ok('EXIT');
    wire.destroy();
    await ask(site, 'run-maintenance', { kind: 'compact' });
    await until(['/compact']);
    // One run over all, of each of which it could be told, and of the run itself.
    await ask(site, 'run-maintenance', { kind: 'verify' });
    await until(['/compact', '/verify']);
    await expect
      .poll(() => server.log.join('\n'), { timeout: 20_000 })
      .toMatch(/verify.*a run of maintenance has ended/);
    await ask(site, 'run-maintenance', { kind: 'compact' });
    await until(['/compact', '/compact', '/verify']);
  } finally {
    await server.kill();
    site.remove();
    await collector.stop();
  }
}, 60_000);
