/**
 * The benchmarks of the parts: `npm run bench [-- --size full] [--only NAME...] [--json FILE] [--record]`. Each is told
 * by its own time and by its ratio to calibration loops of the same moments; bench/gate.ts compares those.
 */
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { Command, Option } from 'commander';
import { benchmarksOf } from './micro/all.ts';
import type { Size } from './micro/benchmark.ts';
import { choose } from './micro/choose.ts';
import { appendHistory } from './micro/history.ts';
import { commit, machineFacts } from './micro/machine.ts';
import type { Measurement } from './micro/measure.ts';
import { runBenchmarks } from './micro/run.ts';

interface BenchOptions {
  size: Size;
  only?: string[];
  json?: string;
  record?: boolean;
}

const BUDGET_MS: Record<Size, number> = { small: 1500, full: 8000 };

async function bench(options: BenchOptions): Promise<void> {
  const { size } = options;
  const facts = machineFacts();
  const at = new Date().toISOString();
  const measurements = await runBenchmarks(choose(benchmarksOf(size), options.only), {
    size,
    budgetMs: BUDGET_MS[size],
    onMissing: (name) => process.stderr.write(`${name}: this machine lacks what it needs\n`),
    onMeasured: ({ name }) => process.stderr.write(`${name}\n`),
  });
  console.table(Object.fromEntries(measurements.map((one) => [one.name, row(one)])));
  process.stdout.write(`${Object.values(facts).join(', ')}; load ${loadavg()[0]!.toFixed(1)}\n`);
  const entry = { size, at, commit: commit(), facts, measurements };
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(entry, undefined, 1)}\n`);
  if (options.record) appendHistory(entry);
}

function row({ ms, clock, ratio, calibrationMs, megabytesPerSecond, itemsPerSecond }: Measurement) {
  return {
    ms: Number(ms.toPrecision(3)),
    of: clock === 'wall' ? 'time' : `CPU of the ${clock}`,
    'MB/s': megabytesPerSecond === undefined ? '' : Math.round(megabytesPerSecond),
    'per second': itemsPerSecond === undefined ? '' : Math.round(itemsPerSecond),
    ratio: Number(ratio.toPrecision(3)),
    to: Object.keys(calibrationMs).join(' + '),
  };
}

await new Command('bench')
  .description('Measure the parts of the server.')
  .addOption(
    new Option('--size <size>', 'small: a minute; full: five').choices(['small', 'full']).default('small'),
  )
  .option('--only <name...>', 'only these benchmarks')
  .option('--json <file>', 'write all figures and the facts about the machine there')
  .option('--record', 'add them to bench/history.jsonl')
  .action(bench)
  .parseAsync();
