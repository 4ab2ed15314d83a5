/** Runs benchmarks, each in a process of its own: none meets code, heap or files as another one left them. */
import { fork } from 'node:child_process';
import path from 'node:path';
import type { Benchmark, Size } from './benchmark.ts';
import type { Measurement } from './measure.ts';

export interface RunOptions {
  size: Size;
  /** Milliseconds of measuring for each benchmark. */
  budgetMs: number;
  /** See plants.ts. */
  plant?: string | undefined;
  /** Gets each as it comes. */
  onMeasured?(measurement: Measurement): void;
  /** The machine lacks what it needs. */
  onMissing?(name: string): void;
}

/** As launch.cjs starts the server; but threads that help to collect garbage would do it on nobody's account. */
const EXEC_ARGV = ['--max-semi-space-size=1', '--single-threaded-gc'];
const ENVIRONMENT = { UV_THREADPOOL_SIZE: '16', MALLOC_ARENA_MAX: '2' };
const CHILD = path.join(import.meta.dirname, 'child.ts');
const PLANT_HOOK = path.join(import.meta.dirname, 'plant-hook.ts');

export async function runBenchmarks(
  benchmarks: readonly Benchmark[],
  options: RunOptions,
): Promise<Measurement[]> {
  const measured: Measurement[] = [];
  for (const { name, processes = 1 } of benchmarks) {
    const measurement = await runMedian(name, processes, options);
    if (measurement === undefined) {
      options.onMissing?.(name);
      continue;
    }
    measured.push(measurement);
    options.onMeasured?.(measurement);
  }
  return measured;
}

async function runMedian(
  name: string,
  processes: number,
  options: RunOptions,
): Promise<Measurement | undefined> {
  const measured: Measurement[] = [];
  for (let run = 0; run < processes; run++) {
    const one = await runOne(name, { ...options, budgetMs: options.budgetMs / processes });
    if (one === undefined) return undefined;
    measured.push(one);
  }
  return measured.sort((a, b) => a.ratio - b.ratio)[Math.floor(processes / 2)];
}

/** @throws Error when the child fails */
function runOne(name: string, { size, budgetMs, plant }: RunOptions): Promise<Measurement | undefined> {
  const child = fork(CHILD, [name, size, String(budgetMs)], {
    execArgv: [...EXEC_ARGV, ...(plant === undefined ? [] : ['--import', PLANT_HOOK])],
    env: { ...process.env, ...ENVIRONMENT, ...(plant !== undefined && { CSYNC_BENCH_PLANT: plant }) },
  });
  return new Promise((resolve, reject) => {
    let answer: { measurement?: Measurement } | undefined;
    child.on('message', (message: { measurement?: Measurement }) => (answer = message));
    child.on('error', reject);
    child.on('exit', (status, signal) => {
      if (answer !== undefined && status === 0) resolve(answer.measurement);
      else reject(new Error(`the benchmark ${name} ended (${signal ?? status})`));
    });
  });
}
