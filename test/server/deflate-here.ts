import { hash } from 'node:crypto';
import { constants, crc32, deflateRawSync } from 'node:zlib';
import type { DeflateResult, DeflateTask } from '../../src/pipeline/deflate-task.ts';
import { slabDeflated, slabText } from '../../src/pipeline/slabs.ts';

/** What the deflate pool does with a slab, in this thread. */
export async function runDeflateTask(memory: SharedArrayBuffer, task: DeflateTask): Promise<DeflateResult> {
  const text = slabText(memory, task.slab, task.length);
  const deflated = deflateRawSync(text, { level: 1, finishFlush: constants.Z_FULL_FLUSH });
  slabDeflated(memory, task.slab).set(deflated);
  await new Promise((resolve) => setImmediate(resolve));
  return {
    deflatedLength: deflated.length,
    crc32: crc32(text),
    digests: task.messages.map(({ start, end }) => hash('sha1', text.subarray(start, end))),
    cpuMs: 0,
  };
}
