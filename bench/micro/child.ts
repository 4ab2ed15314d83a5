/** Measures one benchmark in a process of its own and sends the result to the parent: `child.ts NAME SIZE BUDGET_MS`. */
import { BENCHMARKS } from './all.ts';
import type { Size } from './benchmark.ts';
import { measure } from './measure.ts';

const [, , name, size, budgetMs] = process.argv;
const benchmark = BENCHMARKS.find((one) => one.name === name);
if (benchmark === undefined) throw new Error(`there is no benchmark ${name}`);
const measurement = await measure(benchmark, { size: size as Size, budgetMs: Number(budgetMs) });
process.send!({ measurement }, () => process.disconnect());
