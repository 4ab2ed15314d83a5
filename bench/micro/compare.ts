/** Judges measurements by a baseline: like with like only, and nothing is left out without a word. */
import { type Baseline, differing } from './baseline.ts';
import { type Benchmark, TOLERANCE } from './benchmark.ts';
import type { Fact, MachineFacts } from './machine.ts';
import type { Measurement } from './measure.ts';

/** On another model of CPU, or under another Node, the same work is another multiple of the same loops. */
export const LOOSE_TOLERANCE = 0.5;
const LOOSENING: readonly Fact[] = ['cpu', 'node'];

export interface Judged {
  name: string;
  ratio: number;
  /** Undefined if there is none to compare with. */
  baseline: number | undefined;
  /** 0.1: a tenth slower than the baseline. */
  change: number | undefined;
  tolerance: number;
  /** `told`: not compared, on purpose. `skipped`: cannot be compared, see `why`. */
  verdict: 'ok' | 'faster' | 'slower' | 'told' | 'skipped';
  why?: string;
}

export function judge(
  benchmark: Benchmark,
  measurement: Measurement,
  facts: MachineFacts,
  baseline: Baseline | undefined,
): Judged {
  const { name, ratio } = measurement;
  const tolerance = benchmark.tolerance ?? TOLERANCE;
  const skipped = (why: string): Judged => ({
    name,
    ratio,
    baseline: undefined,
    change: undefined,
    tolerance,
    verdict: 'skipped',
    why,
  });
  if (benchmark.onlyTold) return { ...skipped(''), verdict: 'told' };
  const before = baseline?.results[name]?.ratio;
  if (baseline === undefined) return skipped('there is no baseline of this size');
  if (before === undefined) return skipped('it is not in the baseline');
  const unlike = differing(facts, baseline.facts, ['arch', ...(benchmark.facts ?? [])]);
  if (unlike.length > 0)
    return skipped(`another machine than the baseline's: ${told(unlike, facts, baseline.facts)}`);
  const loosening = differing(facts, baseline.facts, LOOSENING);
  const allowed = loosening.length > 0 ? Math.max(LOOSE_TOLERANCE, tolerance) : tolerance;
  const change = ratio / before - 1;
  const verdict = change > allowed ? 'slower' : change < -allowed ? 'faster' : 'ok';
  return {
    name,
    ratio,
    baseline: before,
    change,
    tolerance: allowed,
    verdict,
    ...(loosening.length > 0 && { why: `loosened: ${told(loosening, facts, baseline.facts)}` }),
  };
}

/** `deflate zlib, there isal`: this machine's and the baseline's. */
export function told(facts: readonly Fact[], here: MachineFacts, there: MachineFacts): string {
  return facts.map((fact) => `${fact} ${here[fact]}, there ${there[fact]}`).join('; ');
}
