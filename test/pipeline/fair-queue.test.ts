import type { PiscinaTask } from 'piscina';
import { afterEach, describe, expect, test } from 'vitest';
import { DeflatePool } from '../../src/pipeline/deflate-pool.ts';
import { FairQueue, taskOf } from '../../src/pipeline/fair-queue.ts';
import { createSlabMemory, slabText } from '../../src/pipeline/slabs.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';

type Named = PiscinaTask & { name: string };

function task(name: string, holder: object): Named {
  return taskOf({ name }, holder) as unknown as Named;
}

function drain(queue: FairQueue): string[] {
  const names: string[] = [];
  for (let next = queue.shift(); next !== null; next = queue.shift()) names.push((next as Named).name);
  return names;
}

describe('FairQueue', () => {
  test('serves holders in turn, and the tasks of each in their order', () => {
    const queue = new FairQueue();
    const [a, b, c] = [{}, {}, {}];
    for (let i = 1; i <= 4; i++) queue.push(task(`a${i}`, a));
    for (let i = 1; i <= 2; i++) queue.push(task(`b${i}`, b));
    expect(queue.size).toBe(6);
    expect((queue.shift() as Named).name).toBe('a1');
    queue.push(task('c1', c));
    expect(drain(queue)).toEqual(['b1', 'a2', 'c1', 'b2', 'a3', 'a4']);
    expect([queue.size, queue.shift()]).toEqual([0, null]);
  });

  test('tasks can be taken out, and those of nobody count as those of one', () => {
    const queue = new FairQueue();
    const a = {};
    const [a1, a2] = [task('a1', a), task('a2', a)];
    const [x1, x2] = ['x1', 'x2'].map((name) => ({ name }) as Named) as [Named, Named];
    for (const each of [a1, a2, x1, x2]) queue.push(each);
    queue.remove(a1);
    queue.remove(a1);
    expect(queue.size).toBe(3);
    expect(drain(queue)).toEqual(['a2', 'x1', 'x2']);
    queue.push(a1);
    queue.remove(a1);
    expect([queue.size, queue.shift()]).toEqual([0, null]);
  });
});

describe('DeflatePool', () => {
  let pool: DeflatePool | undefined;
  afterEach(() => pool?.stop());

  test('does not let one who has filled many slabs keep another waiting', async () => {
    const slabs = 12;
    const memory = createSlabMemory(slabs);
    const done: number[] = [];
    pool = new DeflatePool({
      memory,
      threads: 1,
      engine: loadDeflateEngine('auto').name === 'zlib' ? 'zlib' : 'auto',
      onThreadError: () => {},
      onDone: ({ slab }) => done.push(slab),
    });
    const length = 100_000;
    for (let slab = 0; slab < slabs; slab++) slabText(memory, slab, length).fill(0x41 + slab);
    const [busy, other] = [{}, {}];
    const all = Array.from({ length: slabs - 1 }, (_, slab) =>
      pool!.run({ slab, length, messages: [] }, busy),
    );
    all.push(pool.run({ slab: slabs - 1, length, messages: [] }, other));
    await Promise.all(all);
    expect(done).toHaveLength(slabs);
    // One may be with the thread already, and one of the first comes before.
    expect(done.indexOf(slabs - 1)).toBeLessThanOrEqual(2);
  });
});
