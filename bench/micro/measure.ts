/**
 * Measures one benchmark by turns with its calibrations, a few milliseconds each, so that what else goes on on the
 * machine slows all of them down alike. tinybench runs and times the loops.
 */
import { Bench, type Task } from 'tinybench';
import type { Benchmark, Clock, Size } from './benchmark.ts';
import { type CalibrationName, makeCalibration } from './calibrations.ts';
import { NOW } from './clocks.ts';

export interface MeasureOptions {
  size: Size;
  /** Milliseconds that all rounds may take. */
  budgetMs: number;
}

/** All times are of one run of a loop, in milliseconds by the benchmark's clock. */
export interface Measurement {
  name: string;
  clock: Clock;
  /** Quotient of the benchmark and the weighted sum of its calibrations: what is compared. */
  ratio: number;
  ms: number;
  calibrationMs: Partial<Record<CalibrationName, number>>;
  rounds: number;
  megabytesPerSecond?: number;
  itemsPerSecond?: number;
}

/** Of a turn: the benchmark or one of its calibrations. */
const TURN_MS = 12;
/** Threads compile for themselves, so what they do takes longer until it is as fast as it gets. */
const WARM_UP_MS: Record<Clock, number> = { thread: 300, wall: 300, process: 900 };
const CALIBRATION_WARM_UP_MS = 80;
const MIN_ROUNDS: Record<Size, number> = { small: 8, full: 3 };
/** The fastest share of the runs: those that were disturbed least. By the clock on the wall these are few. */
const BEST_SHARE: Record<Clock, number> = { thread: 0.25, process: 0.25, wall: 0.1 };
/** What time shows takes more runs to see. */
const BUDGET_TIMES: Record<Clock, number> = { thread: 1, process: 1, wall: 2 };

interface Loop {
  name: string;
  run(): unknown;
  isAsync: boolean;
  before?: (() => Promise<void> | void) | undefined;
  /** Runs in a turn. */
  iterations: number;
  samples: number[];
}

/** Undefined where the machine lacks what the benchmark needs. */
export async function measure(
  benchmark: Benchmark,
  options: MeasureOptions,
): Promise<Measurement | undefined> {
  const prepared = await benchmark.prepare(options.size);
  if (prepared === undefined) return undefined;
  const names = Object.keys(benchmark.calibrations) as CalibrationName[];
  const calibrations = names.map((name) => ({ name, ...makeCalibration(name) }));
  const loop = (name: string, run: () => unknown, isAsync = false, before?: Loop['before']): Loop => ({
    name,
    run,
    isAsync,
    before,
    iterations: 1,
    samples: [],
  });
  const work = loop(benchmark.name, () => prepared.run(), prepared.isAsync, prepared.before);
  const loops = [work, ...calibrations.map(({ name, run }) => loop(name, run))];
  const { clock } = benchmark;
  const now = NOW[clock];
  try {
    for (const each of loops)
      await warmUp(each, now, each === work ? WARM_UP_MS[clock] : CALIBRATION_WARM_UP_MS);
    let rounds = 0;
    for (
      const end = performance.now() + options.budgetMs * BUDGET_TIMES[clock];
      performance.now() < end || rounds < MIN_ROUNDS[options.size];
      rounds++
    ) {
      await round(loops, now);
    }
    const calibrationMs: Measurement['calibrationMs'] = {};
    let sum = 0;
    for (const [at, { name }] of calibrations.entries()) {
      const ms = (calibrationMs[name] = best(loops[at + 1]!.samples, BEST_SHARE[clock]));
      sum += ms * benchmark.calibrations[name]!;
    }
    const ms = best(work.samples, BEST_SHARE[clock]);
    const { bytes, items } = prepared;
    return {
      name: benchmark.name,
      clock,
      ratio: ms / sum,
      ms,
      calibrationMs,
      rounds,
      ...(bytes !== undefined && { megabytesPerSecond: bytes / 1e3 / ms }),
      ...(items !== undefined && { itemsPerSecond: (items * 1e3) / ms }),
    };
  } finally {
    for (const { close } of calibrations) close?.();
    await prepared.close?.();
  }
}

/** Until it is compiled; and finds out how many runs fill a turn. */
async function warmUp(loop: Loop, now: () => number, ms: number): Promise<void> {
  for (const end = performance.now() + ms; performance.now() < end; ) await round([loop], now);
  loop.iterations = Math.max(1, Math.round(TURN_MS / Math.max(best(loop.samples, BEST_SHARE.thread), 0.01)));
  loop.samples.length = 0;
}

async function round(loops: readonly Loop[], now: () => number): Promise<void> {
  for (const loop of loops) {
    const bench = new Bench({
      now,
      iterations: loop.iterations,
      time: 0,
      warmup: false,
      retainSamples: true,
      throws: true,
    });
    bench.add(loop.name, loop.run, { async: loop.isAsync, ...(loop.before && { beforeEach: loop.before }) });
    const [task] = await bench.run();
    loop.samples.push(...samplesOf(task!));
  }
}

function samplesOf(task: Task): readonly number[] {
  const { result } = task;
  if (!('latency' in result) || result.latency.samples === undefined)
    throw new Error(`${task.name} has no samples`);
  return result.latency.samples;
}

/** Mean of the fastest runs. */
export function best(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const count = Math.max(1, Math.floor(sorted.length * share));
  return sorted.slice(0, count).reduce((sum, ms) => sum + ms, 0) / count;
}
