/** What the deflate pool does with a slab; no state is kept between tasks. */
import { hash } from 'node:crypto';
import { crc32 } from '../platform/crc32.ts';
import type { DeflateEngine } from '../platform/deflate.ts';
import { slabDeflated, slabText } from './slabs.ts';

export interface DeflateTask {
  slab: number;
  /** Bytes of text in the slab. */
  length: number;
  /** Messages that lie wholly in the slab: positions in its text. */
  messages: { start: number; end: number }[];
}

export interface DeflateResult {
  /** Length of the segment in the slab's second half. */
  deflatedLength: number;
  /** Of the text. */
  crc32: number;
  /** SHA-1 of each message, 40 lower-case hex digits. */
  digests: string[];
  /** CPU time that compressing and hashing took in this thread. */
  cpuMs: number;
  /** Time that it took in this thread. */
  tookMs: number;
}

/** Compresses a slab's text into its second half and hashes the messages in it. */
export function runDeflateTask(
  task: DeflateTask,
  memory: SharedArrayBuffer,
  engine: DeflateEngine,
): DeflateResult {
  const before = process.threadCpuUsage();
  const startedMs = performance.now();
  const text = slabText(memory, task.slab, task.length);
  const deflatedLength = engine.deflateSegment(text, slabDeflated(memory, task.slab));
  const digests = task.messages.map(({ start, end }) => hash('sha1', text.subarray(start, end)));
  const used = process.threadCpuUsage(before);
  const cpuMs = (used.user + used.system) / 1000;
  return { deflatedLength, crc32: crc32(text), digests, cpuMs, tookMs: performance.now() - startedMs };
}
