/** Every benchmark, in the order in which they are told. */
import { APPENDING } from './appending.ts';
import type { Benchmark, Size } from './benchmark.ts';
import { FILES } from './files.ts';
import { HASHING } from './hashing.ts';
import { INDEXING } from './indexing.ts';
import { INGEST } from './ingest.ts';
import { PARSING } from './parsing.ts';
import { SEGMENTS } from './segments.ts';

export const BENCHMARKS: readonly Benchmark[] = [
  ...PARSING,
  ...SEGMENTS,
  ...HASHING,
  ...APPENDING,
  ...INDEXING,
  ...FILES,
  ...INGEST,
];

export function benchmarksOf(size: Size): Benchmark[] {
  return BENCHMARKS.filter(({ only }) => only === undefined || only === size);
}
