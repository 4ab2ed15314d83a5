import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { BENCHMARKS } from '../../bench/micro/all.ts';
import {
  BASELINE_FILE,
  type Baseline,
  nearestBaseline,
  readBaselines,
  writeBaseline,
} from '../../bench/micro/baseline.ts';
import type { Benchmark } from '../../bench/micro/benchmark.ts';
import { judge, LOOSE_TOLERANCE } from '../../bench/micro/compare.ts';
import { HISTORY_FILE } from '../../bench/micro/history.ts';
import type { MachineFacts } from '../../bench/micro/machine.ts';
import { best, type Measurement } from '../../bench/micro/measure.ts';
import { PLANTS } from '../../bench/micro/plants.ts';

const FACTS: MachineFacts = {
  cpu: 'A',
  cpuFlags: 'sha_ni avx2',
  arch: 'x64',
  cores: 2,
  memoryGigabytes: 8,
  kernel: '6.1',
  node: 'v24.21.0',
  deflate: 'isal+libdeflate',
  inflate: 'isal',
  sha1: 'openssl',
  fileSystem: 'ext2/ext3',
};
const HASHING: Benchmark = {
  name: 'hashing',
  clock: 'thread',
  calibrations: { sha1: 1 },
  facts: ['cpuFlags', 'sha1'],
  prepare: () => undefined,
};

function baseline(facts: Partial<MachineFacts> = {}, ratio = 2): Baseline {
  return {
    size: 'small',
    at: '2026-01-01T00:00:00Z',
    commit: 'abc',
    facts: { ...FACTS, ...facts },
    results: { hashing: { ratio, spread: 0.02 } },
  };
}

function measured(ratio: number): Measurement {
  return { name: 'hashing', clock: 'thread', ratio, ms: ratio, calibrationMs: { sha1: 1 }, rounds: 9 };
}

describe('judge', () => {
  it.each([
    [2, 'ok'],
    [2.29, 'ok'],
    [2.31, 'slower'],
    [1.69, 'faster'],
  ])('takes a ratio of %d beside 2 for %s', (ratio, verdict) => {
    expect(judge(HASHING, measured(ratio), FACTS, baseline())).toMatchObject({ verdict, baseline: 2 });
  });

  it('has the tolerance of a benchmark that has one of its own', () => {
    const benchmark = { ...HASHING, tolerance: 0.3 };
    expect(judge(benchmark, measured(2.5), FACTS, baseline()).verdict).toBe('ok');
    expect(judge(benchmark, measured(2.7), FACTS, baseline()).verdict).toBe('slower');
  });

  it('compares nothing that depends on what differs, and says what', () => {
    const judged = judge(HASHING, measured(9), FACTS, baseline({ cpuFlags: 'avx2' }));
    expect(judged).toMatchObject({ verdict: 'skipped', change: undefined });
    expect(judged.why).toContain('cpuFlags sha_ni avx2, there avx2');
  });

  it('compares what does not depend on what differs', () => {
    const judged = judge(
      HASHING,
      measured(2.4),
      FACTS,
      baseline({ deflate: 'zlib', fileSystem: 'xfs', cores: 8 }),
    );
    expect(judged).toMatchObject({ verdict: 'slower', tolerance: 0.15 });
  });

  it('is loose, and says so, on another model of CPU', () => {
    const judged = judge(HASHING, measured(2.4), FACTS, baseline({ cpu: 'B' }));
    expect(judged).toMatchObject({ verdict: 'ok', tolerance: LOOSE_TOLERANCE });
    expect(judged.why).toContain('cpu A, there B');
    expect(judge(HASHING, measured(3.1), FACTS, baseline({ cpu: 'B' })).verdict).toBe('slower');
  });

  it('says that there is nothing to compare with', () => {
    expect(judge(HASHING, measured(1), FACTS, undefined)).toMatchObject({ verdict: 'skipped' });
    const other = { ...baseline(), results: {} };
    expect(judge(HASHING, measured(1), FACTS, other)).toMatchObject({ verdict: 'skipped' });
  });
});

describe('baselines', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'csync-backup-baseline-'));
  const file = path.join(folder, 'baseline.json');
  afterEach(() => rmSync(file, { force: true }));
  afterAll(() => rmSync(folder, { recursive: true }));

  it('keeps one for each kind of machine and size', () => {
    writeBaseline(baseline({}, 1), file);
    writeBaseline(baseline({ cpu: 'B' }, 2), file);
    writeBaseline({ ...baseline({}, 3), size: 'full' }, file);
    writeBaseline(baseline({ kernel: '6.2', memoryGigabytes: 16 }, 4), file);
    expect(
      readBaselines(file).map(({ size, facts, results }) => [size, facts.cpu, results.hashing!.ratio]),
    ).toEqual([
      ['small', 'B', 2],
      ['full', 'A', 3],
      ['small', 'A', 4],
    ]);
  });

  it('keeps what is not measured anew, if asked to', () => {
    writeBaseline(baseline({}, 1), file);
    const other = { ...baseline({}, 1), results: { parsing: { ratio: 5, spread: 0 } } };
    writeBaseline(other, file, true);
    expect(Object.keys(readBaselines(file)[0]!.results)).toEqual(['hashing', 'parsing']);
    writeBaseline(other, file);
    expect(Object.keys(readBaselines(file)[0]!.results)).toEqual(['parsing']);
  });

  it('finds that of the most similar machine', () => {
    const all = [
      baseline({ cpu: 'B', cpuFlags: '' }, 1),
      baseline({ cpu: 'B' }, 2),
      { ...baseline({}, 3), size: 'full' as const },
    ];
    expect(nearestBaseline(all, 'small', FACTS)?.results.hashing?.ratio).toBe(2);
    expect(nearestBaseline([], 'small', FACTS)).toBeUndefined();
  });

  it('is there for every benchmark that is compared, with a history', () => {
    const names = BENCHMARKS.filter(({ onlyTold, only }) => !onlyTold && only !== 'full').map(
      ({ name }) => name,
    );
    const small = readBaselines(BASELINE_FILE).filter(({ size }) => size === 'small');
    expect(small.length).toBeGreaterThan(0);
    for (const { results } of small) expect(Object.keys(results).sort()).toEqual([...names].sort());
    const history = readFileSync(HISTORY_FILE, 'utf8').trimEnd().split('\n');
    for (const line of history)
      expect(JSON.parse(line)).toMatchObject({
        commit: expect.stringMatching(/^[0-9a-f]{10}/),
        facts: { node: expect.any(String) },
      });
  });
});

describe('benchmarks', () => {
  it('have names of their own', () => {
    const names = BENCHMARKS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });

  it('count the fastest of the samples', () => {
    expect(best([9, 1, 3, 9, 9, 9, 9, 9], 0.25)).toBe(2);
    expect(best([5], 0.25)).toBe(5);
  });

  it.each(Object.entries(PLANTS))(
    'can be slowed down by the plant %s',
    (_, { file, from, fails, passes }) => {
      const source = readFileSync(path.join(import.meta.dirname, '..', '..', file), 'utf8');
      expect(source.split(from)).toHaveLength(2);
      for (const name of [...fails, passes]) expect(BENCHMARKS.map((one) => one.name)).toContain(name);
    },
  );
});
