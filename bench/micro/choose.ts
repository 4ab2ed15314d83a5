import type { Benchmark } from './benchmark.ts';

/** Those with these names, or all. @throws Error for a name that no benchmark has */
export function choose(benchmarks: readonly Benchmark[], names: readonly string[] | undefined): Benchmark[] {
  if (names === undefined) return [...benchmarks];
  return names.map((name) => {
    const found = benchmarks.find((one) => one.name === name);
    if (found === undefined) {
      throw new Error(`there is no benchmark ${name}, but ${benchmarks.map((one) => one.name).join(' ')}`);
    }
    return found;
  });
}
