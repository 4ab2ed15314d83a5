/** The committed baseline: one entry for each kind of machine and size. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Size } from './benchmark.ts';
import type { Fact, MachineFacts } from './machine.ts';

export const BASELINE_FILE: string = path.join(import.meta.dirname, '..', 'baseline.json');

export interface BaselineResult {
  /** Median of several runs. */
  ratio: number;
  /** Of these runs: (largest - smallest) / median. */
  spread: number;
}

export interface Baseline {
  size: Size;
  at: string;
  commit: string;
  facts: MachineFacts;
  results: Record<string, BaselineResult>;
}

/** Machines that differ in one of these are of another kind; what else differs is only told. */
export const KIND: readonly Fact[] = ['cpu', 'cpuFlags', 'arch', 'node', 'deflate', 'inflate', 'sha1'];

export function readBaselines(file = BASELINE_FILE): Baseline[] {
  if (!existsSync(file)) return [];
  return JSON.parse(readFileSync(file, 'utf8')) as Baseline[];
}

/**
 * In place of the entry of the same kind and size, if there is one.
 *
 * @param keep results of that one that are not measured anew stay, with the facts of the new one
 */
export function writeBaseline(baseline: Baseline, file = BASELINE_FILE, keep = false): void {
  const all = readBaselines(file);
  const former = all.find(
    ({ size, facts }) => size === baseline.size && differing(facts, baseline.facts, KIND).length === 0,
  );
  const results = { ...(keep && former?.results), ...baseline.results };
  const others = all.filter((one) => one !== former);
  writeFileSync(file, `${JSON.stringify([...others, { ...baseline, results }], undefined, 1)}\n`);
}

/** The one whose machine is most like this; undefined if there is none of this size. */
export function nearestBaseline(
  baselines: readonly Baseline[],
  size: Size,
  facts: MachineFacts,
): Baseline | undefined {
  const distance = ({ facts: theirs }: Baseline): number => differing(facts, theirs, KIND).length;
  return baselines
    .filter((one) => one.size === size)
    .reduce<Baseline | undefined>(
      (a, b) => (a !== undefined && distance(a) <= distance(b) ? a : b),
      undefined,
    );
}

export function differing(a: MachineFacts, b: MachineFacts, facts: readonly Fact[]): Fact[] {
  return facts.filter((fact) => a[fact] !== b[fact]);
}
