/** Piscina entry of the thread that keeps the health of the backups. */
import os from 'node:os';
import { workerData } from 'node:worker_threads';
import { type HealthAnswer, type HealthTask, HealthThread } from '../src/maintenance/health-thread.ts';
import { watchThread } from '../src/metrics/thread-figures.ts';

const { file, catalogPath, threadMemory } = workerData as {
  file: string;
  catalogPath: string;
  threadMemory: SharedArrayBuffer;
};

// Of this thread alone: Linux keeps one for each.
os.setPriority(os.constants.priority.PRIORITY_LOW);
watchThread(threadMemory);
const thread = new HealthThread(file, catalogPath);

export default (task: HealthTask): HealthAnswer => thread.carryOut(task);
