/**
 * What a first push is made of, each part alone on this machine, and how far the whole is from their sum:
 * `node bench/parts.ts [MESSAGES] [isal|zlib]` after `npm run build`. CPU seconds for each GB of text received; the whole is the
 * server's, when it has pushed the same amount before, so that nothing is compiled any more.
 */
import { fork } from 'node:child_process';
import { createHash, hash } from 'node:crypto';
import { closeSync, fdatasyncSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { MailGenerator } from '../src/cli/generated-mail.ts';
import { crc32 } from '../src/platform/crc32.ts';
import { loadDeflateEngine, maxDeflatedLength } from '../src/platform/deflate.ts';
import { LoadProcess } from './load/process.ts';
import { startOurs } from './peer/ours.ts';
import { treeCpuSeconds } from './peer/process-tree.ts';

const messages = Number(process.argv[2] ?? 4000);
const choice = process.argv[3] === 'zlib' ? 'zlib' : 'auto';
const SEGMENT_BYTES = 1 << 20;
const USERS = 4;
const ROUNDS = 3;

const generator = new MailGenerator(2);
const mail = Array.from({ length: messages }, () => generator.mixed().bytes);
const text = Buffer.concat(mail);
const gigabytes = text.length / 1e9;
const segments = Array.from({ length: Math.ceil(text.length / SEGMENT_BYTES) }, (_, at) =>
  text.subarray(at * SEGMENT_BYTES, (at + 1) * SEGMENT_BYTES),
);
const engine = loadDeflateEngine(choice);
const out = Buffer.alloc(maxDeflatedLength(SEGMENT_BYTES));

/** The least of some rounds, in CPU seconds of this thread for each GB. */
function perGigabyte(work: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.threadCpuUsage();
    work();
    const { user, system } = process.threadCpuUsage(before);
    least = Math.min(least, (user + system) / 1e6 / gigabytes);
  }
  return least;
}

async function receiving(): Promise<number> {
  const receiver = fork(path.join(import.meta.dirname, 'parts', 'receiver.ts'));
  const answer = <T>(): Promise<T> =>
    new Promise((resolve) => receiver.once('message', (said) => resolve(said as T)));
  const { port } = await answer<{ port: number }>();
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    receiver.send('begin');
    const socket = net.connect(port, '127.0.0.1');
    for (const segment of segments) {
      if (!socket.write(segment)) await new Promise((resolve) => socket.once('drain', resolve));
    }
    socket.end();
    await new Promise((resolve) => socket.resume().once('close', resolve));
    receiver.send('end');
    const { bytes, cpuSeconds } = await answer<{ bytes: number; cpuSeconds: number }>();
    if (bytes !== text.length) throw new Error(`${bytes} bytes of ${text.length} were received`);
    least = Math.min(least, cpuSeconds / gigabytes);
  }
  receiver.kill();
  return least;
}

/** The server's, for a push of as much; the first one is not counted. */
async function whole(): Promise<{ cpu: number; elapsed: number }> {
  const server = await startOurs(choice === 'zlib' ? { settings: { backup_deflate_engine: 'zlib' } } : {});
  const load = new LoadProcess();
  try {
    const push = { kind: 'first-push' as const, target: server.target, connections: 1, messages };
    let least = { cpu: Number.POSITIVE_INFINITY, elapsed: Number.POSITIVE_INFINITY };
    for (let round = 0; round <= ROUNDS; round++) {
      const before = treeCpuSeconds(server.pid);
      const result = await load.run({ ...push, users: USERS, from: round * USERS });
      const cpu = (treeCpuSeconds(server.pid) - before) / (result.bytes / 1e9);
      const elapsed = result.elapsedMs / 1e3 / (result.bytes / 1e9);
      if (round > 0 && cpu < least.cpu) least = { cpu, elapsed };
    }
    return least;
  } finally {
    load.stop();
    await server.stop();
  }
}

const deflated: Buffer[] = segments.map((raw) =>
  Buffer.from(out.subarray(0, engine.deflateSegment(raw, out))),
);
const folder = mkdtempSync(path.join(os.tmpdir(), 'csync-bench-'));
const fd = openSync(path.join(folder, 'parts'), 'w');
const slab = new Uint8Array(new SharedArrayBuffer(SEGMENT_BYTES));

const parts = {
  'receive from the loopback': await receiving(),
  'copy to shared memory': perGigabyte(() => {
    for (const raw of segments) slab.set(raw);
  }),
  [`DEFLATE (${engine.name})`]: perGigabyte(() => {
    for (const raw of segments) engine.deflateSegment(raw, out);
  }),
  'SHA-1 of each message': perGigabyte(() => {
    for (const message of mail) hash('sha1', message);
  }),
  'SHA-1 of the content of chunks': perGigabyte(() => {
    const sha1 = createHash('sha1');
    for (const raw of segments) sha1.update(raw);
    sha1.digest();
  }),
  'SHA-1 of the data file': perGigabyte(() => {
    const sha1 = createHash('sha1');
    for (const bytes of deflated) sha1.update(bytes);
    sha1.digest();
  }),
  'CRC-32': perGigabyte(() => {
    for (const raw of segments) crc32(raw);
  }),
  'write and sync the data file': perGigabyte(() => {
    ftruncateSync(fd); // new pages and blocks, as a file that grows needs them
    let at = 0;
    for (const bytes of deflated) at += writeSync(fd, bytes, 0, bytes.length, at);
    fdatasyncSync(fd);
  }),
};
closeSync(fd);
rmSync(folder, { recursive: true });

const sum = Object.values(parts).reduce((total, part) => total + part, 0);
const { cpu, elapsed } = await whole();
console.log('| CPU of a first push | s/GB |\n| --- | --- |');
for (const [name, seconds] of Object.entries(parts)) console.log(`| ${name} | ${seconds.toFixed(2)} |`);
console.log(`| the sum of these | ${sum.toFixed(2)} |`);
console.log(`| the whole server | ${cpu.toFixed(2)}, ${(cpu / sum).toFixed(2)} times the sum |`);
console.log(`| elapsed | ${elapsed.toFixed(2)} |`);
