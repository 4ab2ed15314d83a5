/**
 * What disks and people do to data files: blocks of zeros, of other files, in two places or none, files that are cut and
 * appended to. Whatever of it can be read is found again by whoever opens, indexes anew or compacts the backup.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compactBackup } from '../../src/maintenance/compact/compact.ts';
import { noteVerified } from '../../src/maintenance/heal.ts';
import { reindexBackup } from '../../src/maintenance/reindex.ts';
import { verifyBackup } from '../../src/maintenance/verify.ts';
import { bootTag } from '../../src/platform/boot.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { createLogger } from '../../src/platform/log.ts';
import { ResumableSha1 } from '../../src/platform/sha1.ts';
import { hashRange } from '../../src/store/chunk/hash-range.ts';
import { MEMBER_HEADER_BYTES } from '../../src/store/chunk/member.ts';
import { ChunkWriter } from '../../src/store/chunk/writer.ts';
import { DataFile } from '../../src/store/data-file.ts';
import { isReadable } from '../../src/store/heal.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { messages } from '../../src/store/index/queries.ts';
import { openTrusted } from '../../src/store/recovery.ts';
import { ShardFigures } from '../../src/store/shard-figures.ts';
import { guidOf, mailboxLine, messageLine } from './backup-files.ts';
import { nowFor } from './compact-runs.ts';

const BLOCK = 4096;
const engine = loadDeflateEngine('auto');
const OTHER_BOOT = Buffer.from('otherone');

/** Where a message lies in the file, and what of its chunk has to be sound for it to be found. */
interface Place {
  guid: string;
  /** Of its chunk, and its end if it was finished. */
  from: number;
  chunkEnd: number | undefined;
  /** Of its segment, if a line begins there. */
  begin: number | undefined;
  /** Of the segment that ends it, and of that which ends the MAILBOX that names it. */
  end: number;
  named: number;
}

interface Sample {
  bytes: Buffer;
  places: Place[];
  times: number;
}

/** Text and what does not compress, of this many bytes. */
function body(seed: string, length: number): Buffer {
  const parts: Buffer[] = [Buffer.from(`Subject: ${seed}\r\n\r\n`)];
  for (let i = 0, got = 0; got < length; i++) {
    const hash = createHash('sha1')
      .update(`${seed} ${i >> 3}`)
      .digest();
    const part =
      i % 16 < 8
        ? Buffer.from(`${hash.toString('hex')}\r\n`.repeat(3))
        : createHash('sha512').update(hash).update(`${i}`).digest();
    parts.push(part);
    got += part.length;
  }
  return Buffer.concat(parts);
}

/** Chunks of some messages and a mailbox each, a segment for each line. */
function sample(
  name: string,
  chunks: readonly (readonly number[])[],
  finished: boolean,
  start = 1_700_000_000,
): Sample {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'kinds-')), 'data');
  const fd = fs.openSync(file, 'wx+');
  const places: Place[] = [];
  let time = start;
  for (const [i, sizes] of chunks.entries()) {
    time += 10;
    const fileEnd = fs.fstatSync(fd).size;
    const fileSha1 = hashRange(fd, 0, fileEnd, ResumableSha1.create());
    const writer = new ChunkWriter({
      fd,
      fileEnd,
      fileSha1,
      engine,
      bootTag: finished ? OTHER_BOOT : bootTag(),
    });
    const contents = sizes.map((size, k) => body(`${name} ${i} ${k}`, size));
    const own: Place[] = [];
    const write = (text: Uint8Array | string): number => {
      const begin = fs.fstatSync(fd).size;
      writer.appendRaw(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
      writer.flush();
      return begin === fileEnd ? begin + MEMBER_HEADER_BYTES : begin;
    };
    for (const [k, content] of contents.entries()) {
      // Two to a line; what begins the line and what ends it are with them.
      const line = messageLine([content], time);
      const head =
        k % 2 === 0 ? line : Buffer.concat([Buffer.from(' '), line.subarray(line.indexOf('(') + 1)]);
      const isEnd = k % 2 === 1 || k === contents.length - 1;
      const begin = write(isEnd ? head : head.subarray(0, head.length - 3));
      own.push({
        guid: guidOf(content),
        from: fileEnd,
        begin: k % 2 === 0 ? begin : undefined,
        end: fs.fstatSync(fd).size,
        named: 0,
        chunkEnd: 0,
      });
    }
    const records = contents.map((content, k) => ({ uid: k + 1, content }));
    const box = mailboxLine(`user.anne.${name}${i}`, records, { time });
    write(box);
    const named = fs.fstatSync(fd).size;
    const isFinished = finished || i < chunks.length - 1;
    if (isFinished) {
      writer.finish();
      writer.writeTrailer();
    }
    const chunkEnd = isFinished ? fs.fstatSync(fd).size : undefined;
    for (const one of own) places.push({ ...one, named, chunkEnd });
  }
  const bytes = fs.readFileSync(file);
  fs.closeSync(fd);
  fs.rmSync(path.dirname(file), { recursive: true });
  return { bytes, places, times: time };
}

type Damage = (bytes: Buffer) => Buffer;

const at = fc.double({ min: 0, max: 1, noNaN: true });
const other = sample('other', [[9000, 500], [12_000]], true).bytes;
const later = sample('later', [[700, 300]], true, 1_700_001_000);

const over = (bytes: Buffer, place: number, block: Uint8Array): Buffer => {
  const from = place - (place % BLOCK);
  return Buffer.concat([
    bytes.subarray(0, from),
    block.subarray(0, Math.max(0, bytes.length - from)),
    bytes.subarray(from + block.length),
  ]);
};
const blockOf = (bytes: Buffer, place: number): Buffer => {
  const from = place - (place % BLOCK);
  return bytes.subarray(from, from + BLOCK);
};
const place = (bytes: Buffer, part: number): number =>
  Math.min(bytes.length - 1, Math.floor(part * bytes.length));

const DAMAGES: Record<string, fc.Arbitrary<Damage>> = {
  flip: fc.tuple(at, fc.nat(7)).map(([part, bit]) => (bytes) => {
    const copy = Buffer.from(bytes);
    copy[place(bytes, part)]! ^= 1 << bit;
    return copy;
  }),
  fill: fc.tuple(at, fc.constantFrom(0, 0, 255, 0x78)).map(
    ([part, value]) =>
      (bytes) =>
        over(bytes, place(bytes, part), Buffer.alloc(BLOCK, value)),
  ),
  duplicate: fc.tuple(at, at).map(
    ([from, to]) =>
      (bytes) =>
        over(bytes, place(bytes, to), blockOf(bytes, place(bytes, from))),
  ),
  insert: fc.tuple(at, at).map(([from, to]) => (bytes) => {
    const where = place(bytes, to) - (place(bytes, to) % BLOCK);
    return Buffer.concat([
      bytes.subarray(0, where),
      blockOf(bytes, place(bytes, from)),
      bytes.subarray(where),
    ]);
  }),
  foreign: fc.tuple(at, at).map(
    ([from, to]) =>
      (bytes) =>
        over(bytes, place(bytes, to), blockOf(other, place(other, from))),
  ),
  lose: at.map((part) => (bytes) => {
    const where = place(bytes, part) - (place(bytes, part) % BLOCK);
    return Buffer.concat([bytes.subarray(0, where), bytes.subarray(where + BLOCK)]);
  }),
  cut: at.map((part) => (bytes) => bytes.subarray(0, place(bytes, part))),
  cutAndAppend: at.map(
    (part) => (bytes) => Buffer.concat([bytes.subarray(0, place(bytes, part)), later.bytes]),
  ),
};

const damage = fc.oneof(
  ...Object.entries(DAMAGES).map(([name, arbitrary]) =>
    arbitrary.map((run) => Object.assign(run, { [fc.toStringMethod]: () => `${name}` })),
  ),
);

/**
 * Messages that can be read: their chunk is sound from its beginning to the segment that holds them, or from the line that
 * brings them to its end. At the end of a chunk that was never finished those that no mailbox names are nobody's.
 */
function readable(whole: Buffer, places: readonly Place[], now: Buffer): string[] {
  const keepsPlace = now.length === whole.length;
  const isSound = (from: number, to: number): boolean =>
    whole.subarray(from, to).equals(now.subarray(from, to));
  return places
    .filter(({ from, begin, end, named, chunkEnd }) => {
      if (keepsPlace && chunkEnd !== undefined && begin !== undefined && isSound(begin, chunkEnd)) {
        // Where the chunk before ends, and the next begins, is plain.
        if (isSound(0, from) && isSound(chunkEnd, whole.length)) return true;
      }
      const found = now.indexOf(whole.subarray(from, end));
      if (found === -1) return false;
      // Who named it may be what was hit, but no chunk is torn that others follow.
      if (keepsPlace && found === from && chunkEnd !== undefined && chunkEnd < whole.length) return true;
      return now.includes(whole.subarray(from, named)) || now.indexOf(later.bytes, found) !== -1;
    })
    .map(({ guid }) => guid);
}

function guidsOf(dataPath: string): Set<string> {
  const index = BackupIndex.open(`${dataPath}.index`, { readonly: true });
  const fd = fs.openSync(dataPath, 'r');
  try {
    const found = [...messages(index)].map(({ guid }) => guid);
    return new Set(found.filter((guid) => isReadable(fd, index, index.findMessage(guid)!)));
  } finally {
    fs.closeSync(fd);
    index.close();
  }
}

async function open(dataPath: string): Promise<void> {
  const env = {
    config: { backupKeepPrevious: false },
    engine,
    bootTag: bootTag(),
    figures: new ShardFigures(),
    log: createLogger('silent'),
  };
  const file = DataFile.open(dataPath);
  try {
    (await openTrusted(file, 'anne', env)).index.close();
  } finally {
    file.close();
  }
}

const config = {
  backupRetentionMs: 100_000,
  backupKeepPrevious: false,
  backupCompactMinSizeBytes: 0,
  backupCompactMaxSizeBytes: 0,
  backupCompactWorkThreshold: 1,
  chunkMaxBytes: 64 << 20,
  deflateEngine: 'auto' as const,
};

const CHUNKS = [
  [3000, 200, 6000],
  [500, 9000],
  [100, 100, 4000, 100],
  [7000, 2500],
];
const samples = [true, false].map((finished) => sample('own', CHUNKS, finished));

async function check(isFinished: boolean, hasIndex: boolean, damages: Damage[]): Promise<void> {
  const { bytes: whole, places, times } = samples[isFinished ? 0 : 1]!;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'kinds-'));
  const dataPath = path.join(folder, 'anne_x1Y2z3');
  try {
    fs.writeFileSync(dataPath, whole);
    if (hasIndex) {
      await open(dataPath);
      // As a server that was killed leaves it, the index describes what was finished.
      if (!isFinished) {
        const before = places.at(-1)!.from;
        fs.writeFileSync(dataPath, whole.subarray(0, before));
        fs.rmSync(`${dataPath}.index`);
        await open(dataPath);
      }
    }
    const bytes = damages.reduce((now, one) => one(now), whole);
    fs.writeFileSync(dataPath, bytes);
    const wanted = readable(whole, [...places], bytes);
    if (bytes.indexOf(later.bytes) !== -1) wanted.push(...later.places.map(({ guid }) => guid));
    const expectAll = (what: string, only = wanted): void => {
      const found = guidsOf(dataPath);
      const lost = only.filter((guid) => !found.has(guid));
      expect(
        lost.map((guid) => places.findIndex((one) => one.guid === guid)),
        `lost by ${what}`,
      ).toEqual([]);
    };
    // An index that is there is trusted, and made anew when verify has found that things are elsewhere.
    const inPlace = wanted.filter((guid) => {
      const one = places.find((place) => place.guid === guid);
      return (
        !hasIndex || (one !== undefined && bytes.indexOf(whole.subarray(one.from, one.end)) === one.from)
      );
    });
    if (hasIndex && isFinished && !bytes.equals(whole)) {
      const { ok, findings } = await verifyBackup({ dataPath });
      expect(ok && !findings.some(({ code }) => code === 'RECOVERY_PENDING'), 'verify finds nothing').toBe(
        false,
      );
    }
    await open(dataPath);
    expectAll('open', inPlace);
    await noteVerified(await verifyBackup({ dataPath }), { engine });
    expectAll('verify', inPlace);
    const noted = (await verifyBackup({ dataPath })).findings.filter(({ severity }) => severity === 'fault');
    // A chunk that is whole and another one: only a person can tell whose file that is.
    const others = noted.filter(({ code }) => code === 'CHUNK_SHA1_WRONG').map(({ chunk }) => chunk);
    const missing = noted.filter(({ code, chunk }) => code === 'MESSAGE_MISSING' && !others.includes(chunk));
    expect(missing, 'missing, and not noted').toEqual([]);
    await reindexBackup({ dataPath, engine, keepPrevious: false });
    expectAll('reindex');
    const { findings } = await verifyBackup({ dataPath });
    // A chunk that stands there twice stays in the file.
    const faults = findings.filter(({ code, severity }) => severity === 'fault' && code !== 'TIME_BACKWARDS');
    expect(faults).toEqual([]);
    await compactBackup({ dataPath, config, force: true, now: nowFor(times - 15) });
    expectAll('compact');
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

test('damage of all kinds costs nothing that can still be read', async () => {
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.boolean(), fc.array(damage, { minLength: 1, maxLength: 3 }), check),
    { numRuns: Number(process.env.DAMAGE_KINDS_RUNS ?? '20') },
  );
});

test('messages of which only the mailbox was hit stay through compaction', async () => {
  for (const hasIndex of [true, false]) {
    const { named } = samples[0]!.places[0]!;
    await check(true, hasIndex, [(bytes) => Buffer.from(bytes).fill(0xfe, named - 60, named - 30)]);
  }
});
