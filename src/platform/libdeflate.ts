import { findStreamEnd } from './deflate-blocks.ts';
import { BackupError } from './errors.ts';
import { bind, loadLibrary } from './ffi.ts';

/** What findStreamEnd() may read behind the stream, and more than the flush needs. */
const SLACK_BYTES = 16;

/**
 * libdeflate (libdeflate0 of Debian), which compresses a whole buffer faster and better than zlib does but knows
 * neither streams nor flushes: its result ends with a final block. Undefined where it is not installed.
 *
 * The returned function makes a segment of that result: it clears the final block's flag and puts an empty stored
 * block behind it, which is what a full flush is. 0 when `out` is too short.
 */
export function loadLibdeflate(): ((raw: Uint8Array, out: Uint8Array, level: number) => number) | undefined {
  const library = loadLibrary('libdeflate.so.0');
  if (!library) return undefined;
  const allocate = bind<(level: number) => unknown>(library, 'void *libdeflate_alloc_compressor(int level)');
  const compress = bind<
    (compressor: unknown, raw: Uint8Array, rawLength: number, out: Uint8Array, outLength: number) => number
  >(
    library,
    'size_t libdeflate_deflate_compress(void *c, const void *in, size_t inLength, void *out, size_t outLength)',
  );
  if (!allocate || !compress) return undefined;
  // Compressors live as long as the thread: 0.3 MB up to level 7.
  const compressors = new Map<number, unknown>();
  return (raw, out, level) => {
    let compressor = compressors.get(level);
    if (!compressor) compressors.set(level, (compressor = allocate(level)));
    if (out.byteLength <= SLACK_BYTES) return 0;
    const length = Number(compress(compressor, raw, raw.byteLength, out, out.byteLength - SLACK_BYTES));
    return length === 0 ? 0 : endWithFlush(out, length);
  };
}

/**
 * Turns the deflate stream in out[0..length) into a segment and returns its length.
 *
 * @param out has SLACK_BYTES behind the stream
 * @throws BackupError INTERNAL when the stream does not end there
 */
export function endWithFlush(out: Uint8Array, length: number): number {
  const end = findStreamEnd(out.subarray(0, length + SLACK_BYTES), length);
  if ((end.endBit + 7) >>> 3 !== length) {
    throw new BackupError({
      code: 'INTERNAL',
      tried: 'compress with libdeflate',
      subject: 'a segment',
      reason: `its result of ${length} bytes ends at bit ${end.endBit}`,
      remedy: 'Set backup_deflate_engine: zlib and report this',
    });
  }
  out[end.finalFlagBit >>> 3]! &= ~(1 << (end.finalFlagBit & 7));
  // The empty block's three header bits are zeros, as are the bits up to the next byte border.
  if ((end.endBit & 7) !== 0) out[end.endBit >>> 3]! &= (1 << (end.endBit & 7)) - 1;
  const border = (end.endBit + 3 + 7) >>> 3;
  out.fill(0, length, border);
  out.set([0x00, 0x00, 0xff, 0xff], border);
  return border + 4;
}
