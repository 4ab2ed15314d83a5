import { expect, test } from 'vitest';
import { BackupSite } from '../support/backup-server.ts';
import { CrashWorld } from './crash-world.ts';
import { PowerLoss } from './power-loss.ts';

const ROUNDS = Math.max(1, Math.floor(Number(process.env.CRASH_ROUNDS ?? '0') / 5));

/** Steps at which the files differ most from what is synced. */
const STEPS = [
  'segment-written',
  'data-synced',
  'index-applied',
  'before-ack',
  'chunk-finish',
  'index-committed',
] as const;

test(`${ROUNDS} power failures lose nothing acknowledged`, {
  timeout: 60_000 + ROUNDS * 10_000,
}, async () => {
  const world = new CrashWorld(await BackupSite.create(), 'power', { pushers: 1 });
  try {
    for (let i = 0; i < ROUNDS; i++) {
      await world.restart(i % 3 === 0 ? undefined : `${world.random.pick(STEPS)}:${world.random.int(3, 20)}`);
      const power = new PowerLoss(world.site.partition, world.random);
      power.acknowledged();
      world.pushers[0]!.onAcknowledged = () => power.acknowledged();
      await world.pushUntilRandomKill(1200);
      await world.kill();
      const damage = power.strike();
      world.reboot();
      await world.restart().catch((error: unknown) => {
        throw new Error(`after ${damage.join('; ')}`, { cause: error });
      });
      await world.verify().catch((error: unknown) => {
        throw new Error(`after ${damage.join('; ')}\n${error}`, { cause: error });
      });
      await world.kill();
    }
    await world.restart();
    await world.pushEverythingInto();
    expect(world.server!.alive).toBe(true);
    expect(await world.server!.stop()).toBe(0);
    await world.restart();
    await world.verify();
  } finally {
    await world.close();
  }
});
