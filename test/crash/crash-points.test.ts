import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CRASH_POINTS } from '../../src/platform/crash-points.ts';
import { BackupSite } from '../support/backup-server.ts';
import { CrashWorld } from './crash-world.ts';

/** How many kills the long run makes: CI sets it to hundreds. */
const ROUNDS = Number(process.env.CRASH_ROUNDS ?? '1');
const WORLD_ROUNDS = 20;

// Chunks that are full soon, so that their end also falls into the middle of a session.
const CONFIG = { backup_chunk_max_size: '1M', backup_shards: '2' };

describe('killed at each step of the write order', () => {
  let world: CrashWorld;

  beforeAll(async () => {
    world = new CrashWorld(await BackupSite.create(CONFIG), 'steps');
  });

  afterAll(() => world?.close());

  for (const point of CRASH_POINTS) {
    test(point, async () => {
      await world.restart(`${point}:1`);
      await world.pushEverythingInto();
      expect((await world.kill()).itself, 'the server passed that step and died there').toBe(true);
    });
  }

  test('all that was acknowledged is there, verify is clean, the next push completes', async () => {
    await world.restart();
    await world.verify();
    await world.pushEverythingInto();
    expect(world.server!.alive).toBe(true);
    expect(await world.server!.stop()).toBe(0);
    await world.restart();
    await world.verify();
  });
});

describe('killed at random', () => {
  for (let first = 0; first < ROUNDS; first += WORLD_ROUNDS) {
    const count = Math.min(WORLD_ROUNDS, ROUNDS - first);
    test(`${count} times, from ${first}`, { timeout: 30_000 + count * 10_000 }, async () => {
      const world = new CrashWorld(await BackupSite.create(CONFIG), `random ${first}`);
      try {
        for (let i = 0; i < count; i++) {
          const byTime = world.random.chance(0.5);
          await world.restart(
            byTime ? undefined : `${world.random.pick(CRASH_POINTS)}:${world.random.int(1, 12)}`,
          );
          if (i % 5 === 4) await world.verify();
          await world.pushUntilRandomKill(byTime ? 600 : 2000);
          await world.kill();
        }
        await world.restart();
        await world.verify();
        await world.pushEverythingInto();
        expect(world.server!.alive).toBe(true);
      } finally {
        await world.close();
      }
    });
  }
});
