import fs from 'node:fs';
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { compactBackup } from '../../src/maintenance/compact/compact.ts';
import { reindexBackup } from '../../src/maintenance/reindex.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { type SourceOptions, withSource } from '../../src/restore/open-source.ts';
import type { Moment } from '../../src/store/past-index.ts';
import { StoreRig } from '../store/support/store-rig.ts';
import { type ModelState, Player, type Step, stateOf, steps } from './recorded-history.ts';

afterEach(() => void vi.restoreAllMocks());

const numRuns = Number(process.env.PAST_RUNS ?? '12');

async function withRig<T>(use: (rig: StoreRig) => Promise<T>): Promise<T> {
  const rig = new StoreRig();
  try {
    return await use(rig);
  } finally {
    await rig.shard.handle({ op: 'stop' });
    rig.remove();
    vi.restoreAllMocks();
  }
}

/** State of a backup at a moment, and the remarks made about it. */
async function stateAt(
  rig: StoreRig,
  moment: Moment,
  more: Partial<SourceOptions> = {},
): Promise<{ state: ModelState; remarks: string[] }> {
  const remarks: string[] = [];
  const remark = (text: string): void => void remarks.push(text);
  const options = { config: rig.config, moment, remark, ...more };
  const state = await withSource(rig.dataPath('anne'), options, stateOf);
  return { state, remarks };
}

async function expectRecorded(rig: StoreRig, player: Player, since = 0): Promise<void> {
  for (const [time, recorded] of player.recorded) {
    if (time < since || JSON.stringify(recorded) === NOTHING) continue;
    const { state, remarks } = await stateAt(rig, { kind: 'time', time });
    expect(state, `at ${time}`).toEqual(recorded);
    // A chunk that is still being written may hold lines of this moment.
    expect(remarks.filter((text) => !/has no end; what is complete/.test(text))).toEqual([]);
  }
}

const NOTHING = JSON.stringify({ mailboxes: [], subscriptions: [], scripts: [] });

/** So that there is always something. */
const FIRST: Step = { what: 'create', a: 0, b: 0, pause: 0, ends: false };

describe('the state at a moment', () => {
  test('is what was so then, while it is written, after reindex and after compaction', {
    timeout: 300_000,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.nat(), async (list, place) => {
        await withRig(async (rig) => {
          const player = new Player(rig);
          await player.play([FIRST, ...list]);
          const last = player.state();
          await expectRecorded(rig, player);
          const before = fs.readFileSync(rig.dataPath('anne'));
          expect((await stateAt(rig, { kind: 'latest' })).state).toEqual(last);
          expect(fs.readFileSync(rig.dataPath('anne')).equals(before)).toBe(true);
          await player.end();
          const dataPath = rig.dataPath('anne');
          await reindexBackup({ dataPath, engine: loadDeflateEngine('zlib'), keepPrevious: false });
          await expectRecorded(rig, player);

          const times = [...player.recorded.keys()];
          const since = times[place % times.length]!;
          const now = since * 1000 + rig.config.backupRetentionMs;
          const report = await compactBackup({ dataPath, config: rig.config, force: true, now });
          expect(report.keptAll).toBeNull();
          await expectRecorded(rig, player, since);
          const early = times.findLast((time) => time < since);
          if (early === undefined) return;
          // The moment that the error names can be had.
          const error = await stateAt(rig, { kind: 'time', time: early }).catch((thrown: unknown) => thrown);
          expect(error).toMatchObject({ code: 'NOT_FOUND' });
          const named = /begins at (\S+?)\. /.exec((error as Error).message)![1]!;
          const first = Date.parse(named) / 1000;
          expect(first).toBeGreaterThan(early);
          expect(first).toBeLessThanOrEqual(since);
          const { state } = await stateAt(rig, { kind: 'time', time: first });
          expect(state).toEqual(player.recorded.get(since));
          expect(fs.readdirSync(rig.config.backupStagingPath)).toEqual([]);
        });
      }),
      { numRuns },
    );
  });

  test('read while it is written is one that there was', { timeout: 120_000 }, async () => {
    await withRig(async (rig) => {
      const player = new Player(rig);
      await player.play([FIRST]);
      const list = fc.sample(steps, { numRuns: 12, seed: 4711 }).flat();
      let isPlaying = true;
      const play = async (): Promise<void> => {
        for (const step of list) {
          await player.play([step]);
          // The writer may be so quick that nobody else gets a turn.
          await new Promise((resolve) => setImmediate(resolve));
        }
      };
      const playing = play().finally(() => {
        isPlaying = false;
      });
      const seen: string[] = [];
      while (isPlaying) {
        seen.push(JSON.stringify((await stateAt(rig, { kind: 'latest' })).state));
        await new Promise((resolve) => setImmediate(resolve));
      }
      await playing;
      for (const state of seen) expect(player.states.has(state), state).toBe(true);
      expect(new Set(seen).size).toBeGreaterThan(3);
    });
  });
});
