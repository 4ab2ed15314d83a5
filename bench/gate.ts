/**
 * Fails when a benchmark has become slower than in the committed baseline, in relation to the calibration loops of
 * the same run, and a second run of it says so too. `npm run bench:gate`; docs/benchmarks.md.
 */
import { appendFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { Command, Option } from 'commander';
import { benchmarksOf } from './micro/all.ts';
import { BASELINE_FILE, differing, KIND, nearestBaseline, readBaselines } from './micro/baseline.ts';
import type { Benchmark, Size } from './micro/benchmark.ts';
import { choose } from './micro/choose.ts';
import { type Judged, judge, told } from './micro/compare.ts';
import { commit, machineFacts } from './micro/machine.ts';
import { PLANTS } from './micro/plants.ts';
import { runBenchmarks } from './micro/run.ts';

interface GateOptions {
  size: Size;
  only?: string[];
  baseline: string;
  plant?: string;
  strict?: boolean;
  json?: string;
}

const BUDGET_MS: Record<Size, number> = { small: 1000, full: 5000 };
/** The second run measures longer, and twice: what is compiled how differs from process to process. */
const SECOND = 1.5;
const SECOND_TIMES = 2;

async function gate(options: GateOptions): Promise<void> {
  const { size, plant } = options;
  const benchmarks = choose(benchmarksOf(size), options.only);
  const facts = machineFacts();
  const baseline = nearestBaseline(readBaselines(options.baseline), size, facts);
  const unlike = baseline === undefined ? [] : differing(facts, baseline.facts, KIND);
  if (baseline === undefined)
    loud(`NO BASELINE of the size ${size} in ${options.baseline}: nothing is compared`);
  else if (unlike.length > 0)
    loud(`ANOTHER KIND OF MACHINE than any baseline's: ${told(unlike, facts, baseline.facts)}`);

  const run = async (chosen: readonly Benchmark[], budgetMs: number): Promise<Judged[]> => {
    const judged: Judged[] = [];
    const of = new Map(chosen.map((benchmark) => [benchmark.name, benchmark]));
    await runBenchmarks(chosen, {
      size,
      budgetMs,
      plant,
      onMeasured(measurement) {
        const one = judge(of.get(measurement.name)!, measurement, facts, baseline);
        judged.push(one);
        process.stdout.write(`${line(one)}\n`);
      },
      onMissing: (name) => loud(`${name.toUpperCase()} IS NOT MEASURED: this machine lacks what it needs`),
    });
    return judged;
  };

  const first = await run(benchmarks, BUDGET_MS[size]);
  const suspects = first.filter(({ verdict }) => verdict === 'slower').map(({ name }) => name);
  const second: Judged[] = [];
  if (suspects.length > 0) {
    process.stdout.write('once more, what was slower:\n');
    for (let time = 0; time < SECOND_TIMES; time++) {
      second.push(...(await run(choose(benchmarks, suspects), SECOND * BUDGET_MS[size])));
    }
  }
  const failed = suspects
    .map((name) => second.filter((one) => one.name === name).reduce((a, b) => (b.ratio < a.ratio ? b : a)))
    .filter(({ verdict }) => verdict === 'slower');
  const skipped = first.filter(({ verdict }) => verdict === 'skipped');
  const faster = first.filter(({ verdict }) => verdict === 'faster').map(({ name }) => name);
  if (options.json !== undefined) {
    const report = {
      at: new Date().toISOString(),
      commit: commit(),
      size,
      facts,
      load: loadavg()[0],
      first,
      second,
    };
    appendFileSync(options.json, `${JSON.stringify(report)}\n`);
  }
  if (skipped.length > 0) loud(`NOT COMPARED: ${skipped.map(({ name }) => name).join(' ')}`);
  if (faster.length > 0) {
    process.stdout.write(`faster than the baseline: ${faster.join(' ')} (keep it: npm run bench:baseline)\n`);
  }
  for (const { name, change, tolerance } of failed) {
    process.stdout.write(
      `SLOWER: ${name} by ${percent(change)}, in the second run too; ${percent(tolerance)} are tolerated\n`,
    );
  }
  if (failed.length > 0 || (options.strict && skipped.length > 0)) process.exitCode = 1;
  else process.stdout.write(`gate passed: ${first.length - skipped.length} benchmarks\n`);
}

function line({ name, ratio, baseline, change, verdict, why }: Judged): string {
  const compared = baseline === undefined ? '' : `${figure(baseline)} ${percent(change)}`;
  const told = why ? ` (${why})` : '';
  return `${name.padEnd(24)} ${figure(ratio)} ${compared.padEnd(18)} ${verdict}${told}`;
}

function figure(ratio: number): string {
  return ratio.toPrecision(4).padStart(9);
}

function percent(change: number | undefined): string {
  if (change === undefined) return '';
  return `${change >= 0 ? '+' : ''}${(change * 100).toFixed(1)} %`;
}

function loud(text: string): void {
  process.stderr.write(`\n*** ${text}\n\n`);
}

await new Command('bench:gate')
  .description('Compare the benchmarks with the committed baseline, as ratios to calibration loops.')
  .addOption(new Option('--size <size>').choices(['small', 'full']).default('small'))
  .option('--only <name...>', 'only these benchmarks')
  .option('--baseline <file>', 'another baseline', BASELINE_FILE)
  .option('--strict', 'fail also where something cannot be compared')
  .option('--json <file>', 'append all figures there, one line')
  .addOption(
    new Option('--plant <name>', 'plant a slowdown, to see the gate fail').choices(Object.keys(PLANTS)),
  )
  .action(gate)
  .parseAsync();
