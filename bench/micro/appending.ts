/** Appending to a chunk and making that durable, as the store does before each OK: what the disk takes is in it. */
import { closeSync, fstatSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { MailGenerator } from '../../src/cli/generated-mail.ts';
import { bootTag } from '../../src/platform/boot.ts';
import { crc32 } from '../../src/platform/crc32.ts';
import { loadDeflateEngine, maxDeflatedLength } from '../../src/platform/deflate.ts';
import { ResumableSha1 } from '../../src/platform/sha1.ts';
import { DiskSync } from '../../src/store/disk-sync.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { OpenChunk } from '../../src/store/open-chunk.ts';
import { ShardFigures } from '../../src/store/shard-figures.ts';
import { messageSteps } from '../load/session.ts';
import type { Benchmark, Prepared } from './benchmark.ts';

/** A chunk of usual size, then another one. */
const CHUNK_BYTES = 64 << 20;
const SEGMENT_BYTES = 1 << 20;
/** What a disk takes for a short file is no fixed multiple of what it takes for another while others use it, too. */
const BUSY_DISK_TOLERANCE = 0.6;
const COMMAND = 'APPLY ';

/**
 * Does not sync: what that takes of the CPU, and whether DiskSync has another thread do it, depends on how busy the disk is
 * at the moment. The benchmarks of time have it.
 */
class NoDisk extends DiskSync {
  override async sync(): Promise<number> {
    return 0;
  }
}

class Appending {
  readonly #disk: DiskSync;
  readonly #folder = mkdtempSync(path.join(tmpdir(), 'csync-bench-append-'));
  readonly #fd = openSync(path.join(this.#folder, 'data'), 'wx+');
  readonly #index = BackupIndex.open(path.join(this.#folder, 'index'), { create: true });
  readonly #indexFd = openSync(path.join(this.#folder, 'index'), 'r+');
  #chunk: OpenChunk | undefined;

  constructor(disk: DiskSync) {
    this.#disk = disk;
  }

  chunk(): OpenChunk {
    if (this.#chunk !== undefined && this.#chunk.contentLength >= CHUNK_BYTES) {
      this.#index.rollback();
      ftruncateSync(this.#fd);
      this.#chunk = undefined;
    }
    this.#chunk ??= new OpenChunk({
      fd: this.#fd,
      path: this.#folder,
      indexFd: this.#indexFd,
      index: this.#index,
      fileSha1: ResumableSha1.create(),
      fileEnd: 0,
      lastTime: 0,
      engine: loadDeflateEngine('auto'),
      bootTag: bootTag(),
      durability: 'ack',
      disk: this.#disk,
      figures: new ShardFigures(),
    });
    return this.#chunk;
  }

  get length(): number {
    return fstatSync(this.#fd).size;
  }

  close(): void {
    this.#index.close();
    for (const fd of [this.#fd, this.#indexFd]) closeSync(fd);
    rmSync(this.#folder, { recursive: true });
  }
}

/** A MESSAGE of one text of this size: compressed, hashed, written and synced in the store's thread. */
function small(messageBytes: number, disk: DiskSync): Prepared {
  const appending = new Appending(disk);
  const [step] = messageSteps([new MailGenerator(19).text(messageBytes)]);
  const text = step!.bytes.subarray(COMMAND.length);
  return {
    bytes: text.length,
    isAsync: true,
    async run() {
      const chunk = appending.chunk();
      chunk.beginLine();
      chunk.appendText(text);
      await chunk.commit();
    },
    close: () => appending.close(),
  };
}

/** A segment that the deflate pool has made: hashed, written and synced. */
function segment(disk: DiskSync): Prepared {
  const appending = new Appending(disk);
  const mail = new MailGenerator(23);
  const pieces: Buffer[] = [];
  for (let length = 0; length < SEGMENT_BYTES; length += pieces.at(-1)!.length)
    pieces.push(mail.mixed().bytes);
  const raw = Buffer.concat(pieces).subarray(0, SEGMENT_BYTES);
  const out = Buffer.alloc(maxDeflatedLength(SEGMENT_BYTES));
  const deflated = out.subarray(0, loadDeflateEngine('auto').deflateSegment(raw, out));
  const crc = crc32(raw);
  return {
    bytes: SEGMENT_BYTES,
    isAsync: true,
    async run() {
      const chunk = appending.chunk();
      chunk.beginLine();
      chunk.appendSegment(deflated, raw, crc);
      await chunk.commit();
    },
    close: () => appending.close(),
  };
}

export const APPENDING: readonly Benchmark[] = [
  {
    name: 'append-small',
    clock: 'thread',
    calibrations: { javascript: 0.02, zlib: 0.02 },
    facts: ['deflate', 'sha1', 'cpuFlags', 'fileSystem'],
    prepare: () => small(4096, new NoDisk()),
  },
  {
    name: 'append-segment',
    clock: 'thread',
    calibrations: { sha1: 1, memcpy: 0.2 },
    facts: ['sha1', 'cpuFlags', 'fileSystem'],
    prepare: () => segment(new NoDisk()),
  },
  {
    name: 'append-small-wall',
    clock: 'wall',
    tolerance: BUSY_DISK_TOLERANCE,
    calibrations: { fdatasync: 1, zlib: 0.02 },
    facts: ['deflate', 'fileSystem'],
    prepare: () => small(4096, new DiskSync()),
  },
  {
    name: 'append-segment-wall',
    clock: 'wall',
    tolerance: BUSY_DISK_TOLERANCE,
    calibrations: { fdatasync1m: 1, sha1: 1 },
    facts: ['sha1', 'fileSystem'],
    prepare: () => segment(new DiskSync()),
  },
];
