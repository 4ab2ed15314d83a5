/**
 * How fast and how small each DEFLATE engine of this machine makes the benchmark's mail, in segments of 1 MiB,
 * beside one stream of zlib level 6: `node bench/deflate.ts`.
 */
import { deflateRawSync } from 'node:zlib';
import { Bench } from 'tinybench';
import { MailGenerator } from '../src/cli/generated-mail.ts';
import { loadDeflateEngine, maxDeflatedLength } from '../src/platform/deflate.ts';
import {
  inflateInto,
  loadIsalInflate,
  loadLibdeflateInflate,
  loadZlibInflate,
} from '../src/platform/inflate.ts';

const SEGMENT_BYTES = 1 << 20;
const MAIL_BYTES = 24 << 20;

const generator = new MailGenerator(1);
const messages: Buffer[] = [];
for (let length = 0; length < MAIL_BYTES; length += messages.at(-1)!.length) {
  messages.push(generator.mixed().bytes);
}
const mail = Buffer.concat(messages).subarray(0, MAIL_BYTES);
const segments = Array.from({ length: MAIL_BYTES / SEGMENT_BYTES }, (_, i) =>
  mail.subarray(i * SEGMENT_BYTES, (i + 1) * SEGMENT_BYTES),
);
const out = Buffer.alloc(maxDeflatedLength(SEGMENT_BYTES));

const bench = new Bench({ iterations: 3, time: 0, warmupIterations: 1, warmupTime: 0 });
const sizes = new Map<string, number>();
const deflated: Buffer[] = [];

const engines = [
  ...new Map(
    (['auto', 'zlib'] as const).map((choice) => loadDeflateEngine(choice)).map((e) => [e.name, e]),
  ).values(),
];
for (const engine of engines) {
  const name = `deflate ${engine.name}`;
  const run = (): number => segments.reduce((sum, raw) => sum + engine.deflateSegment(raw, out), 0);
  sizes.set(name, run());
  bench.add(name, run);
}
sizes.set('deflate zlib level 6, one stream', deflateRawSync(mail, { level: 6 }).length);
bench.add('deflate zlib level 6, one stream', () => deflateRawSync(mail, { level: 6 }));

for (const raw of segments) deflated.push(Buffer.from(out.subarray(0, engines[0]!.deflateSegment(raw, out))));
for (const engine of [loadIsalInflate(), loadLibdeflateInflate(), loadZlibInflate()]) {
  if (!engine) continue;
  bench.add(`inflate ${engine.name}`, () => {
    for (const segment of deflated) inflateInto(segment, out, engine);
  });
}

await bench.run();
console.table(
  bench.tasks.map((task) => {
    const ms = task.result && 'latency' in task.result ? task.result.latency.mean : Number.NaN;
    const size = sizes.get(task.name);
    return {
      name: task.name,
      'MB/s': Math.round(MAIL_BYTES / 1000 / ms),
      ...(size && { ratio: Number((MAIL_BYTES / size).toFixed(3)) }),
    };
  }),
);
