import { constants, deflateRawSync, type ZlibOptions } from 'node:zlib';
import { splitByEntropy } from './entropy.ts';
import { BackupError } from './errors.ts';
import { addressOf, bind, loadLibrary } from './ffi.ts';
import { loadLibdeflate } from './libdeflate.ts';
import { loadLiteralDeflate } from './literal-deflate.ts';

/** What the time is worth: a client waits for `ingest`, nobody for `compact`. */
export type DeflateEffort = 'ingest' | 'compact';

/**
 * Mixed mail (86 % of what is stored is incompressible), compared with one stream of zlib level 6: 1.0017 at 255 MB per CPU
 * second with level 3, 1.001 at 240 with 4, 0.9999 at 200 with 5, 0.9993 at 170 with 6, 0.9984 at 113 with 9, 0.9962 at 68
 * with 10, 0.9960 at 50 with 12, which is as small as DEFLATE gets it: six bits of each character of base64 stay. Of nothing
 * but generated text: 1.06 with level 3, 1.05 with 4, 1.03 with 5, 1.02 with 6; of base64 of half a document 1.022 with
 * level 3, which is too much for what it saves. A smaller index makes up for some of that, and compaction for the rest.
 */
const LIBDEFLATE_LEVEL: Record<DeflateEffort, number> = { ingest: 4, compact: 6 };

export interface DeflateEngine {
  readonly name: 'isal' | 'zlib';
  /**
   * Compresses `raw` into `out` as raw deflate without a final block, ended by a full flush: the result starts
   * and ends at byte borders, refers to nothing before it, and its last four bytes are `00 00 FF FF`.
   *
   * @param out at least maxDeflatedLength(raw.byteLength) bytes
   * @returns length of the segment
   */
  deflateSegment(raw: Uint8Array, out: Uint8Array): number;
}

/** Bytes of an empty stored block that starts at a byte border: what a full flush leaves at the end. */
const EMPTY_STORED_BLOCK = [0x00, 0x00, 0x00, 0xff, 0xff] as const;
const MAX_STORED_BLOCK = 65535;

/** What deflateSegment() can need at most: every engine stores what does not compress, in blocks of 16 KiB or more. */
export function maxDeflatedLength(rawLength: number): number {
  return rawLength + 8 * Math.ceil(rawLength / 4096) + 64;
}

/** Length of the bytes in stored blocks: 5 bytes of header per 65535. */
function storedLength(rawLength: number): number {
  return rawLength + 5 * Math.max(1, Math.ceil(rawLength / MAX_STORED_BLOCK));
}

/** struct isal_zstream of igzip_lib.h: offsets of its public fields on 64-bit machines. */
const ZSTREAM = {
  nextIn: 0,
  availIn: 8,
  nextOut: 16,
  availOut: 24,
  totalOut: 28,
  level: 40,
  levelBufferSize: 44,
  levelBuffer: 48,
  endOfStream: 56,
  flush: 58,
} as const;

/** Larger than the struct (83 kB in version 2.30) and the level buffer (ISAL_DEF_LVL3_EXTRA_LARGE, 594 kB) need. */
const ZSTREAM_BYTES = 256 * 1024;
const LEVEL_BUFFER_BYTES = 640 * 1024;
const FULL_FLUSH = 2;

/** One isa-l stream of this thread: compresses a segment at a level from 1 to 3. Undefined without libisal2. */
export function loadIsal(): ((raw: Uint8Array, out: Uint8Array, level: number) => number) | undefined {
  const library = loadLibrary('libisal.so.2');
  if (!library) return undefined;
  const init = bind<(s: Uint8Array) => void>(library, 'void isal_deflate_stateless_init(void *stream)');
  const deflate = bind<(s: Uint8Array) => number>(library, 'int isal_deflate_stateless(void *stream)');
  if (!init || !deflate) return undefined;
  const stream = new Uint8Array(ZSTREAM_BYTES);
  const levelBuffer = new Uint8Array(LEVEL_BUFFER_BYTES);
  const fields = new DataView(stream.buffer);
  return (raw, out, level) => {
    if (out.byteLength < storedLength(raw.byteLength) + EMPTY_STORED_BLOCK.length) {
      throw new RangeError('out is too short for a segment');
    }
    init(stream);
    fields.setBigUint64(ZSTREAM.nextIn, raw.byteLength > 0 ? addressOf(raw) : 0n, true);
    fields.setUint32(ZSTREAM.availIn, raw.byteLength, true);
    fields.setBigUint64(ZSTREAM.nextOut, addressOf(out), true);
    fields.setUint32(ZSTREAM.availOut, out.byteLength, true);
    fields.setUint32(ZSTREAM.level, level, true);
    fields.setUint32(ZSTREAM.levelBufferSize, LEVEL_BUFFER_BYTES, true);
    fields.setBigUint64(ZSTREAM.levelBuffer, addressOf(levelBuffer), true);
    fields.setUint16(ZSTREAM.endOfStream, 0, true);
    fields.setUint16(ZSTREAM.flush, FULL_FLUSH, true);
    const status = deflate(stream);
    if (status !== 0 || fields.getUint32(ZSTREAM.availIn, true) !== 0) {
      throw new BackupError({
        code: 'INTERNAL',
        tried: 'compress with isa-l',
        subject: `a segment of ${raw.byteLength} bytes`,
        reason: `it says ${status}`,
        remedy: 'Set backup_deflate_engine: zlib and report this',
      });
    }
    const length = fields.getUint32(ZSTREAM.totalOut, true);
    // What isa-l cannot compress it stores, and then leaves the flush out. A stored end that looks like a flush
    // by chance must get one too; a real one gains nothing but 5 bytes.
    const flushed = length >= 5 && out[length - 1] === 0xff && out[length - 2] === 0xff;
    if (
      flushed &&
      out[length - 3] === 0 &&
      out[length - 4] === 0 &&
      length !== storedLength(raw.byteLength)
    ) {
      return length;
    }
    out.set(EMPTY_STORED_BLOCK, length);
    return length + EMPTY_STORED_BLOCK.length;
  };
}

/**
 * Segments as short as this are those of small updates, of which there are many. isa-l level 3 takes a quarter of
 * libdeflate's time for them and makes them 3 to 4 % larger, until they are compacted.
 */
const SMALL_BYTES = 16 * 1024;
const SMALL_LEVEL = 3;

/** node:zlib's deflate of one run. */
function zlibRun(raw: Uint8Array, out: Uint8Array, options: ZlibOptions): number {
  const deflated = deflateRawSync(raw, { finishFlush: constants.Z_FULL_FLUSH, ...options });
  out.set(deflated);
  return deflated.byteLength;
}

type CompressRun = (raw: Uint8Array, out: Uint8Array) => number;

/** zlib level 6 is what backupd uses: what compresses must not become larger than its. */
const zlibStrong: CompressRun = (raw, out) => zlibRun(raw, out, { level: 6 });
const zlibStrongest: CompressRun = (raw, out) => zlibRun(raw, out, { level: 9, memLevel: 9 });

/** literal-deflate.ts, made when it is first needed: many threads compress nothing but short texts. */
function quickRun(): CompressRun {
  let literals: CompressRun | undefined;
  return (raw, out) => (literals ??= loadLiteralDeflate())(raw, out);
}

/**
 * Mail is mostly base64 of compressed data, in which there is nothing to find: whoever is quickest makes it as
 * small as the best. The rest is worth the time. So a segment is split by entropy; its runs follow each other
 * in it, each ended by a full flush.
 */
function splitting(
  name: DeflateEngine['name'],
  strong: CompressRun,
  quick: CompressRun,
  small?: CompressRun,
): DeflateEngine {
  return {
    name,
    deflateSegment(raw, out) {
      if (out.byteLength < maxDeflatedLength(raw.byteLength)) throw new RangeError('out is too short');
      if (raw.byteLength === 0) {
        out.set(EMPTY_STORED_BLOCK);
        return EMPTY_STORED_BLOCK.length;
      }
      if (small !== undefined && raw.byteLength <= SMALL_BYTES) return small(raw, out);
      let length = 0;
      for (const run of splitByEntropy(raw)) {
        const bytes = raw.subarray(run.start, run.end);
        length += (run.incompressible ? quick : strong)(bytes, out.subarray(length));
      }
      return length;
    },
  };
}

/**
 * The best engine of this machine, or the one that is asked for. Make one per thread: it has state.
 *
 * What is incompressible goes to a coder of our own (literal-deflate.ts). `isal`: isa-l level 3 for short segments; libdeflate
 * level 4 for the rest or, where libdeflate is not installed, zlib level 6. `zlib`: zlib level 6.
 *
 * Segments of 1 MiB, compared to one stream of zlib 1.2.13 level 6, which is what backupd writes (on the same
 * machine 33 MB/s on text, 31 on base64 of random bytes), MB per CPU second and size:
 *
 * | engine | text | HTML | base64 of random bytes | base64 of programs | half documents |
 * | ------ | ---- | ---- | ---------------------- | ------------------ | -------------------- |
 * | isal   | 50, 0.997 | 97, 1.006 | 250-420, 0.998 | 57, 0.996 | 101, 0.998 |
 * | zlib   | 48, 1.004 | 100, 1.013 | 167, 1.000 | 41, 0.999 | 69, 1.000 |
 *
 * The isal row is that of libdeflate level 6. Since four fifths of the benchmark's mail are incompressible (as of
 * attachments in real mail), it runs at 170 MB/s there with level 6 (size 0.999), 200 with level 5 (1.000), 240 with
 * level 4 (1.001) and 255 with level 3 (1.0017), beside 46 of zlib level 6.
 *
 * isa-l alone runs at 350 (level 3) to 450 MB/s (level 1) on text, but its result is 8 to 13 % larger there.
 *
 * @throws BackupError UNAVAILABLE when `isal` is asked for and cannot be loaded
 */
export function loadDeflateEngine(
  choice: 'auto' | 'isal' | 'zlib',
  effort: DeflateEffort = 'ingest',
): DeflateEngine {
  const isal = choice === 'zlib' ? undefined : loadIsal();
  if (isal) {
    const libdeflate = loadLibdeflate();
    // 0: it has no room to spare, that is, the run does not compress; isa-l then stores it.
    const strong: CompressRun = (raw, out) =>
      libdeflate?.(raw, out, LIBDEFLATE_LEVEL[effort]) || isal(raw, out, 2);
    const small: CompressRun = (raw, out) => isal(raw, out, SMALL_LEVEL);
    return splitting(
      'isal',
      libdeflate ? strong : zlibStrong,
      quickRun(),
      effort === 'ingest' ? small : undefined,
    );
  }
  if (choice === 'isal') {
    throw new BackupError({
      code: 'UNAVAILABLE',
      tried: 'use the DEFLATE engine',
      subject: 'isal',
      reason: 'libisal.so.2 does not load',
      remedy: "Install Debian's libisal2 and libdeflate0, or set backup_deflate_engine: auto",
    });
  }
  return splitting('zlib', effort === 'compact' ? zlibStrongest : zlibStrong, quickRun());
}
