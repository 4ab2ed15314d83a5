/** What the deflate pool does with a slab of mail, for each engine and effort, and with its levels alone. */
import { MailGenerator } from '../../src/cli/generated-mail.ts';
import { type DeflateTask, runDeflateTask } from '../../src/pipeline/deflate-task.ts';
import { createSlabMemory, SLAB_BYTES, slabText } from '../../src/pipeline/slabs.ts';
import {
  type DeflateEffort,
  type DeflateEngine,
  loadDeflateEngine,
  loadIsal,
  maxDeflatedLength,
} from '../../src/platform/deflate.ts';
import { inflateEngine, inflateInto } from '../../src/platform/inflate.ts';
import { loadLibdeflate } from '../../src/platform/libdeflate.ts';
import type { Benchmark, Prepared } from './benchmark.ts';

/** Slabs in turn, as one is not like another; the sample is all of them. */
const SLABS = 4;

/** Slabs full of mixed mail, with the messages that lie wholly in each. */
function fillSlabs(): { memory: SharedArrayBuffer; tasks: DeflateTask[] } {
  const memory = createSlabMemory(SLABS);
  const mail = new MailGenerator(11);
  const tasks = Array.from({ length: SLABS }, (_, slab) => {
    const text = slabText(memory, slab);
    const messages: DeflateTask['messages'] = [];
    for (let at = 0; at < SLAB_BYTES; ) {
      const { bytes } = mail.mixed();
      text.set(bytes.subarray(0, SLAB_BYTES - at), at);
      if (at + bytes.length <= SLAB_BYTES) messages.push({ start: at, end: at + bytes.length });
      at += bytes.length;
    }
    return { slab, length: SLAB_BYTES, messages };
  });
  return { memory, tasks };
}

function task(engine: DeflateEngine): Prepared {
  const { memory, tasks } = fillSlabs();
  return {
    bytes: SLABS * SLAB_BYTES,
    run() {
      for (const each of tasks) runDeflateTask(each, memory, engine);
    },
  };
}

function level(
  compress: ((raw: Uint8Array, out: Uint8Array, level: number) => number) | undefined,
  at: number,
) {
  if (compress === undefined) return undefined;
  const { memory, tasks } = fillSlabs();
  const slabs = tasks.map(({ slab }) => slabText(memory, slab));
  const out = Buffer.alloc(maxDeflatedLength(SLAB_BYTES));
  return {
    bytes: SLABS * SLAB_BYTES,
    run() {
      for (const raw of slabs) compress(raw, out, at);
    },
  };
}

function inflating(): Prepared {
  const { memory, tasks } = fillSlabs();
  const engine = loadDeflateEngine('auto');
  const out = Buffer.alloc(maxDeflatedLength(SLAB_BYTES));
  const segments = tasks.map(({ slab }) =>
    Buffer.from(out.subarray(0, engine.deflateSegment(slabText(memory, slab), out))),
  );
  const inflate = inflateEngine();
  return {
    bytes: SLABS * SLAB_BYTES,
    run() {
      for (const segment of segments) inflateInto(segment, out, inflate);
    },
  };
}

const EFFORTS: readonly DeflateEffort[] = ['ingest', 'compact'];

export const SEGMENTS: readonly Benchmark[] = [
  ...EFFORTS.flatMap((effort): Benchmark[] => [
    {
      name: `segment-best-${effort}`,
      clock: 'thread',
      calibrations: { zlib: 1 },
      facts: ['deflate', 'cpuFlags'],
      prepare: () => task(loadDeflateEngine('auto', effort)),
    },
    {
      name: `segment-zlib-${effort}`,
      clock: 'thread',
      calibrations: { zlib: 1 },
      prepare: () => task(loadDeflateEngine('zlib', effort)),
    },
  ]),
  {
    name: 'segment-inflate',
    clock: 'thread',
    calibrations: { zlib: 1 },
    facts: ['inflate', 'cpuFlags'],
    prepare: inflating,
  },
  // Levels of the libraries themselves: to choose by, not ours to slow down.
  ...[1, 2, 3].map(
    (at): Benchmark => ({
      name: `isal-level-${at}`,
      clock: 'thread',
      calibrations: { zlib: 1 },
      onlyTold: true,
      only: 'full',
      prepare: () => level(loadIsal(), at),
    }),
  ),
  ...[1, 4, 5, 6, 9, 12].map(
    (at): Benchmark => ({
      name: `libdeflate-level-${at}`,
      clock: 'thread',
      calibrations: { zlib: 1 },
      onlyTold: true,
      only: 'full',
      prepare: () => level(loadLibdeflate(), at),
    }),
  ),
];
