/** Piscina entry of the deflate pool. */
import { workerData } from 'piscina';
import { type DeflateResult, type DeflateTask, runDeflateTask } from '../src/pipeline/deflate-task.ts';
import { loadDeflateEngine } from '../src/platform/deflate.ts';

const { memory, engine: choice } = workerData as {
  memory: SharedArrayBuffer;
  engine: 'auto' | 'isal' | 'zlib';
};
const engine = loadDeflateEngine(choice);

export default (task: DeflateTask): DeflateResult => runDeflateTask(task, memory, engine);
