/** The three SHA-1s of a backup: of each message, of a chunk's content, of the file so far, and its saved state. */
import { createHash, hash } from 'node:crypto';
import { MailGenerator } from '../../src/cli/generated-mail.ts';
import { ResumableSha1, sha1Engines } from '../../src/platform/sha1.ts';
import type { Benchmark, Prepared } from './benchmark.ts';

const engines = await sha1Engines();
const BYTES = 4 << 20;
const PIECE_BYTES = 1 << 20;

function pieces(): Buffer[] {
  return Array.from({ length: BYTES / PIECE_BYTES }, (_, at) => Buffer.alloc(PIECE_BYTES, at));
}

/** Of many small messages: half of the cost is the call. */
function guids(): Prepared {
  const mail = new MailGenerator(13);
  const messages: Buffer[] = [];
  let bytes = 0;
  for (; bytes < BYTES; bytes += messages.at(-1)!.length)
    messages.push(mail.text(1000 + ((bytes * 7) % 6000)).bytes);
  return {
    bytes,
    run() {
      for (const message of messages) hash('sha1', message);
    },
  };
}

function content(): Prepared {
  const all = pieces();
  return {
    bytes: BYTES,
    run() {
      const sha1 = createHash('sha1');
      for (const piece of all) sha1.update(piece);
      sha1.digest('hex');
    },
  };
}

function file(engine = engines[0]): Prepared | undefined {
  if (engine === undefined) return undefined;
  const all = pieces();
  return {
    bytes: BYTES,
    run() {
      const sha1 = ResumableSha1.create(engine);
      for (const piece of all) sha1.update(piece);
      sha1.save();
    },
  };
}

/** A small append: the state goes on, is saved, and gives a digest. */
function states(): Prepared {
  const bytes = Buffer.alloc(5000, 1);
  return {
    items: 1000,
    run() {
      let sha1 = ResumableSha1.create();
      for (let at = 0; at < 1000; at++) {
        sha1 = ResumableSha1.load(sha1.update(bytes).save());
        sha1.digestHex();
      }
    },
  };
}

export const HASHING: readonly Benchmark[] = [
  { name: 'sha1-guid', clock: 'thread', calibrations: { sha1: 1 }, facts: ['cpuFlags'], prepare: guids },
  { name: 'sha1-content', clock: 'thread', calibrations: { sha1: 1 }, prepare: content },
  { name: 'sha1-file', clock: 'thread', calibrations: { sha1: 1 }, facts: ['sha1'], prepare: () => file() },
  {
    name: 'sha1-file-wasm',
    clock: 'thread',
    calibrations: { javascript: 1 },
    facts: ['arch'],
    prepare: () => file(engines.find(({ name }) => name === 'wasm')),
  },
  {
    name: 'sha1-state',
    clock: 'thread',
    calibrations: { sha1: 2, javascript: 0.5 },
    facts: ['sha1', 'cpuFlags'],
    prepare: states,
  },
];
