/** Piscina entry of the deflate pool. */
import { workerData } from 'node:worker_threads';
import { watchThread } from '../src/metrics/thread-figures.ts';
import { type DeflateResult, type DeflateTask, runDeflateTask } from '../src/pipeline/deflate-task.ts';
import { type DeflateEffort, loadDeflateEngine } from '../src/platform/deflate.ts';

const {
  memory,
  threadMemory,
  engine: choice,
  effort,
} = workerData as {
  memory: SharedArrayBuffer;
  threadMemory: SharedArrayBuffer | undefined;
  engine: 'auto' | 'isal' | 'zlib';
  effort: DeflateEffort;
};
if (threadMemory !== undefined) watchThread(threadMemory);
const engine = loadDeflateEngine(choice, effort);

export default (task: DeflateTask): DeflateResult => runDeflateTask(task, memory, engine);
