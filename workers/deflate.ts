/** Piscina entry of the deflate pool. */
import { workerData } from 'piscina';
import { type DeflateResult, type DeflateTask, runDeflateTask } from '../src/pipeline/deflate-task.ts';
import { type DeflateEffort, loadDeflateEngine } from '../src/platform/deflate.ts';

const {
  memory,
  engine: choice,
  effort,
} = workerData as {
  memory: SharedArrayBuffer;
  engine: 'auto' | 'isal' | 'zlib';
  effort: DeflateEffort;
};
const engine = loadDeflateEngine(choice, effort);

export default (task: DeflateTask): DeflateResult => runDeflateTask(task, memory, engine);
