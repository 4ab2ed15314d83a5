import { constants, deflateRawSync } from 'node:zlib';
import { BackupError } from './errors.ts';
import { addressOf, bind, loadLibrary } from './ffi.ts';

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

/** What deflateSegment() can need at most: stored blocks and the flush. */
export function maxDeflatedLength(rawLength: number): number {
  return storedLength(rawLength) + EMPTY_STORED_BLOCK.length + 16;
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
    if (out.byteLength < maxDeflatedLength(raw.byteLength))
      throw new RangeError('out is too short for a segment');
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
        remedy: 'Set backup_deflate: zlib and report this',
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

/** node:zlib's deflate of one segment. */
export function zlibSegment(raw: Uint8Array, out: Uint8Array, level: number): number {
  const deflated = deflateRawSync(raw, { level, memLevel: 9, finishFlush: constants.Z_FULL_FLUSH });
  out.set(deflated);
  return deflated.byteLength;
}

/**
 * The fastest engine of this machine, or the one that is asked for. Make one per thread: isa-l's has state.
 *
 * @throws BackupError UNAVAILABLE when `isal` is asked for and cannot be loaded
 */
export function loadDeflateEngine(choice: 'auto' | 'isal' | 'zlib'): DeflateEngine {
  const isal = choice === 'zlib' ? undefined : loadIsal();
  if (isal) return { name: 'isal', deflateSegment: (raw, out) => isal(raw, out, 3) };
  if (choice === 'isal') {
    throw new BackupError({
      code: 'UNAVAILABLE',
      tried: 'use the DEFLATE engine',
      subject: 'isal',
      reason: 'libisal.so.2 does not load',
      remedy: "Install Debian's libisal2, or set backup_deflate: auto",
    });
  }
  return { name: 'zlib', deflateSegment: (raw, out) => zlibSegment(raw, out, 1) };
}
