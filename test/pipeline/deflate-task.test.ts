import { createHash } from 'node:crypto';
import { crc32, inflateRawSync } from 'node:zlib';
import { Piscina } from 'piscina';
import { describe, expect, test } from 'vitest';
import { type DeflateResult, type DeflateTask, runDeflateTask } from '../../src/pipeline/deflate-task.ts';
import { createSlabMemory, SLAB_BYTES, slabDeflated, slabText } from '../../src/pipeline/slabs.ts';
import { workerFile } from '../../src/pipeline/worker-file.ts';
import { loadDeflateEngine, maxDeflatedLength } from '../../src/platform/deflate.ts';
import { samples } from '../platform/samples.ts';

const memory = createSlabMemory(4);
const mail = samples(SLAB_BYTES);

/** Fills a slab and checks what the task made of it. */
function fill(slab: number, kind: string, length: number): DeflateTask {
  slabText(memory, slab).set(mail[kind]!.subarray(0, length));
  return {
    slab,
    length,
    messages: [
      { start: 0, end: length },
      { start: 10, end: 10 },
      { start: 100, end: length - 50 },
    ],
  };
}

function check(task: DeflateTask, result: DeflateResult, kind: string): void {
  const raw = mail[kind]!.subarray(0, task.length);
  const deflated = Buffer.from(slabDeflated(memory, task.slab, result.deflatedLength));
  expect(deflated.subarray(-4).toString('hex')).toBe('0000ffff');
  expect(inflateRawSync(Buffer.concat([deflated, Buffer.from('0300', 'hex')])).equals(raw)).toBe(true);
  expect(result.crc32).toBe(crc32(raw));
  expect(result.digests).toEqual(
    task.messages.map(({ start, end }) => createHash('sha1').update(raw.subarray(start, end)).digest('hex')),
  );
  expect(result.cpuMs).toBeGreaterThanOrEqual(0);
}

describe('a deflate task', () => {
  test('fits every content of a slab into its second half', () => {
    expect(slabDeflated(memory, 0).length).toBeGreaterThanOrEqual(maxDeflatedLength(SLAB_BYTES));
    for (const choice of ['auto', 'zlib'] as const) {
      const engine = loadDeflateEngine(choice);
      for (const kind of ['noise', 'mail', 'attachment']) {
        for (const length of [200, 70_000, SLAB_BYTES]) {
          const task = fill(1, kind, length);
          check(task, runDeflateTask(task, memory, engine), kind);
        }
      }
    }
  });

  test('leaves the neighbouring slabs alone', () => {
    slabText(memory, 2).fill(0x5a);
    const task = fill(1, 'noise', SLAB_BYTES);
    runDeflateTask(task, memory, loadDeflateEngine('auto'));
    expect(slabText(memory, 2).every((byte) => byte === 0x5a)).toBe(true);
  });

  test('runs in the threads of a pool on the same memory', async () => {
    const pool = new Piscina<DeflateTask, DeflateResult>({
      filename: workerFile('deflate'),
      maxThreads: 2,
      workerData: { memory, engine: 'auto' },
    });
    try {
      const kinds = ['text', 'mail', 'noise', 'zeros'];
      const tasks = kinds.map((kind, slab) => fill(slab, kind, SLAB_BYTES - slab));
      const results = await Promise.all(tasks.map((task) => pool.run(task)));
      tasks.forEach((task, i) => {
        check(task, results[i]!, kinds[i]!);
      });
    } finally {
      await pool.destroy();
    }
  });
});
