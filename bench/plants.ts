/**
 * Shows that the gate catches a slowdown: measures a baseline of this very moment, passes the gate with it, plants each
 * slowdown of micro/plants.ts and expects the gate to fail and to name the right benchmarks. `npm run bench:plants`.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Command } from 'commander';
import { PLANTS, type Plant } from './micro/plants.ts';

const BASELINE_RUNS = '3';

interface Run {
  status: number | null;
  stdout: string;
}

function run(script: string, ...args: string[]): Run {
  const { status, stdout } = spawnSync(process.execPath, [path.join(import.meta.dirname, script), ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return { status, stdout };
}

/** What a noisy machine has hidden the first time has to show the second time. */
function tryPlantTwice(name: string, plant: Plant, file: string): string[] {
  return tryPlant(name, plant, file).length === 0 ? [] : tryPlant(name, plant, file);
}

/** @returns what is not as it should be */
function tryPlant(name: string, { fails, passes }: Plant, file: string): string[] {
  const only = ['--only', ...fails, passes];
  const made = run('baseline.ts', '--file', file, '--runs', BASELINE_RUNS, ...only);
  if (made.status !== 0) return ['no baseline could be made'];
  const clean = run('gate.ts', '--baseline', file, ...only);
  const planted = run('gate.ts', '--baseline', file, '--plant', name, ...only);
  process.stdout.write(`\n--- ${name}: without\n${clean.stdout}--- ${name}: planted\n${planted.stdout}`);
  const named = new Set([...planted.stdout.matchAll(/^SLOWER: (\S+)/gm)].map(([, benchmark]) => benchmark));
  return [
    ...(clean.status === 0 ? [] : ['the gate fails without a slowdown']),
    ...(planted.status === 1 ? [] : [`the gate ends with ${planted.status} and not with 1`]),
    ...fails
      .filter((benchmark) => !named.has(benchmark))
      .map((benchmark) => `the gate does not name ${benchmark}`),
    ...(named.has(passes) ? [`the gate names ${passes}, which is as fast as ever`] : []),
  ];
}

function tryPlants({ only }: { only?: string[] }): void {
  const folder = mkdtempSync(path.join(tmpdir(), 'csync-bench-plants-'));
  try {
    const wrong = Object.entries(PLANTS)
      .filter(([name]) => only?.includes(name) ?? true)
      .flatMap(([name, plant]) =>
        tryPlantTwice(name, plant, path.join(folder, name)).map((problem) => `${name}: ${problem}`),
      );
    process.stdout.write(
      wrong.length === 0 ? '\nall planted slowdowns were caught\n' : `\n${wrong.join('\n')}\n`,
    );
    if (wrong.length > 0) process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

await new Command('bench:plants')
  .description('Show that bench:gate catches slowdowns.')
  .option('--only <plant...>', `only these: ${Object.keys(PLANTS).join(' ')}`)
  .action(tryPlants)
  .parseAsync();
