/** For what only sometimes needs threads: Piscina is read when there are to be some. */
import { createRequire } from 'node:module';
import type * as piscina from 'piscina';

const require = createRequire(import.meta.url);

/** A pool of Piscina. Commands that stay without threads do without the 16 ms of CPU time that reading it takes. */
export function createPool<Task, Result>(
  options: ConstructorParameters<typeof piscina.Piscina>[0],
): piscina.Piscina<Task, Result> {
  const { Piscina } = require('piscina') as typeof piscina;
  return new Piscina<Task, Result>(options);
}
