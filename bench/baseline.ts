/**
 * Makes the baseline of this kind of machine anew: `npm run bench:baseline`. The median of several runs, each of
 * every benchmark, and how far they lie apart. docs/benchmarks.md says when.
 */
import { Command, Option } from 'commander';
import { median } from './load/latency.ts';
import { benchmarksOf } from './micro/all.ts';
import { BASELINE_FILE, type BaselineResult, writeBaseline } from './micro/baseline.ts';
import { type Size, TOLERANCE } from './micro/benchmark.ts';
import { choose } from './micro/choose.ts';
import { appendHistory } from './micro/history.ts';
import { commit, machineFacts } from './micro/machine.ts';
import type { Measurement } from './micro/measure.ts';
import { runBenchmarks } from './micro/run.ts';

const BUDGET_MS: Record<Size, number> = { small: 1000, full: 5000 };

interface BaselineOptions {
  size: Size;
  runs: string;
  only?: string[];
  file: string;
}

async function make(options: BaselineOptions): Promise<void> {
  const { size } = options;
  const benchmarks = choose(benchmarksOf(size), options.only).filter(({ onlyTold }) => !onlyTold);
  const facts = machineFacts();
  const at = new Date().toISOString();
  const runs: Measurement[][] = [];
  for (let run = 1; run <= Number(options.runs); run++) {
    process.stderr.write(`run ${run} of ${options.runs}\n`);
    runs.push(await runBenchmarks(benchmarks, { size, budgetMs: BUDGET_MS[size] }));
  }
  const results: Record<string, BaselineResult> = {};
  for (const { name, tolerance = TOLERANCE } of benchmarks) {
    const ratios = runs.flatMap((run) => run.filter((one) => one.name === name)).map(({ ratio }) => ratio);
    if (ratios.length === 0) continue;
    const ratio = median(ratios);
    const spread = (Math.max(...ratios) - Math.min(...ratios)) / ratio;
    results[name] = { ratio: round(ratio), spread: round(spread) };
    const much = spread > tolerance ? '  more than is tolerated' : '';
    process.stdout.write(
      `${name.padEnd(24)} ${ratio.toPrecision(4).padStart(9)} ±${(50 * spread).toFixed(1)} %${much}\n`,
    );
  }
  writeBaseline({ size, at, commit: commit(), facts, results }, options.file, options.only !== undefined);
  if (options.file === BASELINE_FILE && options.only === undefined)
    appendHistory({ size, at, commit: commit(), facts, measurements: runs.at(-1)! });
}

/** Four significant digits are more than it is good for. */
function round(value: number): number {
  return Number(value.toPrecision(4));
}

await new Command('bench:baseline')
  .description('Measure every benchmark several times and make that the baseline of this kind of machine.')
  .addOption(new Option('--size <size>').choices(['small', 'full']).default('small'))
  .option('--runs <count>', 'runs of which the median is taken', '5')
  .option('--only <name...>', 'only these benchmarks; the others stay as they are')
  .option('--file <file>', 'where to write it', BASELINE_FILE)
  .action(make)
  .parseAsync();
