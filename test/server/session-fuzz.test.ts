import { afterEach, beforeEach, expect, test } from 'vitest';
import { mutated } from '../csync/mutated.ts';
import { Random } from '../csync/random.ts';
import { eventually, Harness } from './harness.ts';

/** How long to go on; set CSYNC_FUZZ_SECONDS for more, CSYNC_FUZZ_SEED to run one failure again. */
const SECONDS = Number(process.env.CSYNC_FUZZ_SECONDS ?? 1);
const FIRST_SEED = Number(process.env.CSYNC_FUZZ_SEED ?? Date.now() % 2 ** 31);
/** Clients at a time. */
const CROWD = 8;

let harness: Harness;
beforeEach(async () => {
  harness = await new Harness({ options: { backup_max_message_size: '2M' } }).listen();
});
afterEach(async () => {
  const unexpected = await harness.unexpectedRefusals();
  await harness.close();
  expect(unexpected).toEqual([]);
});

/** One client: logs in, mostly, sends nonsense in pieces, and goes away in one way or another. */
async function attack(seed: number): Promise<void> {
  const random = new Random(seed);
  const wire = random.below(8) === 0 ? await harness.connect() : await harness.login();
  const bytes = mutated(random);
  for (let at = 0; at < bytes.length; ) {
    const next = at + 1 + random.below(random.below(2) === 0 ? 60 : 20_000);
    if (wire.socket.destroyed) break;
    wire.socket.write(bytes.subarray(at, next));
    at = next;
    if (random.below(4) === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  if (random.below(2) === 0) wire.socket.end();
  else wire.destroy();
}

test(
  'whatever clients send, others are served, nothing is kept, and nothing fails unexpectedly',
  async () => {
    const honest = await harness.login();
    const until = Date.now() + SECONDS * 1000;
    for (let seed = FIRST_SEED; Date.now() < until; seed += CROWD) {
      try {
        await Promise.all(Array.from({ length: CROWD }, (_, i) => attack(seed + i)));
        expect((await honest.command('GET USER honest')).kind).toBe('OK');
        // What was half sent is forgotten when its client is gone.
        await eventually(() => {
          for (const session of harness.sessions.slice(1)) session.transport.end();
          return harness.slabs.freeCount;
        }).toBe(harness.slabs.count);
        await Promise.all(harness.sessions.slice(1).map((session) => session.ended));
        harness.sessions.splice(1);
        expect(harness.slabs.smallBytes).toBe(0);
        expect(harness.slabs.waitingCount).toBe(0);
        expect(harness.guidBudget.usedBytes).toBe(0);
      } catch (error) {
        throw new Error(`with CSYNC_FUZZ_SEED=${seed}`, { cause: error });
      }
      const failures = harness.logLines.filter(({ code }) => code === 'INTERNAL');
      expect(failures, `with CSYNC_FUZZ_SEED=${seed}`).toEqual([]);
      harness.logLines.length = 0;
    }
  },
  60_000 + SECONDS * 1000,
);
