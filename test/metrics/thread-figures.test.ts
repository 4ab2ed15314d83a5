import { threadId, Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { DELAY_BOUNDS } from '../../src/metrics/bounds.ts';
import { createThreadMemory, threadFigures, watchThread } from '../../src/metrics/thread-figures.ts';

const count = (numbers: Float64Array<ArrayBufferLike>) => numbers.slice(0, -1).reduce((sum, n) => sum + n, 0);

/** The thread does nothing else for so long. */
function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

test('a thread that is kept busy shows it in the delay of its event loop, whenever one would have looked', async () => {
  const memory = createThreadMemory();
  const stop = watchThread(memory, 100);
  await expect.poll(() => count(threadFigures(memory, threadId)!.delay.numbers)).toBeGreaterThan(0);
  block(1000);
  await expect.poll(() => threadFigures(memory, threadId)!.delay.numbers.at(-1)).toBeGreaterThan(3);
  stop();
  // About 0.9, 0.8, 0.7 ... 0.1 s: what came due at any moment of this second waited for the rest of it.
  const { numbers } = threadFigures(memory, threadId)!.delay;
  const above = (seconds: number) =>
    numbers.slice(DELAY_BOUNDS.indexOf(seconds) + 1, -1).reduce((sum, n) => sum + n, 0);
  expect(above(0.5)).toBeGreaterThanOrEqual(4);
  expect(above(0.1)).toBeGreaterThanOrEqual(7);
});

test('another thread writes its own, garbage collections too, and is found by its number', async () => {
  const memory = createThreadMemory();
  const source = `
    const { workerData, parentPort } = require('node:worker_threads');
    import(workerData.module).then(({ watchThread }) => {
      watchThread(workerData.memory, 100);
      setInterval(() => Array.from({ length: 100_000 }, (_, i) => ({ i })), 1);
    });`;
  const module = new URL('../../src/metrics/thread-figures.ts', import.meta.url).href;
  const worker = new Worker(source, { eval: true, workerData: { memory, module } });
  try {
    expect(threadFigures(memory, worker.threadId)).toBeUndefined();
    const collections = () =>
      count(threadFigures(memory, worker.threadId)?.gc.minor.numbers ?? new Float64Array(1));
    await expect.poll(collections, { timeout: 20_000 }).toBeGreaterThan(5);
    expect(threadFigures(memory, worker.threadId)!.gc.minor.numbers.at(-1)).toBeGreaterThan(0);
    expect(threadFigures(memory, threadId)).toBeUndefined();
  } finally {
    await worker.terminate();
  }
});

test('threads that are too many go without', () => {
  const memory = createThreadMemory();
  new Int32Array(memory, 0, 1)[0] = 10_000;
  watchThread(memory)();
  expect(threadFigures(memory, threadId)).toBeUndefined();
});
