import { constants, inflateRawSync } from 'node:zlib';
import { BackupError } from './errors.ts';
import { addressOf, bind, loadLibrary } from './ffi.ts';

/** What one call made of its input. */
export interface Inflated {
  /** Bytes written to the output. */
  produced: number;
  /** Bytes of input up to the end of the last block. */
  consumed: number;
  /** The deflate stream ended with a final block inside the input: what follows `consumed` is a gzip trailer. */
  ended: boolean;
}

/** Whole-buffer raw inflate. Inputs that do not fit or are damaged give a reason. */
export interface InflateEngine {
  readonly name: 'isal' | 'libdeflate' | 'zlib';
  /** `input` ends with a final block. `isTooLong`: the output is full, and the input not at its end. */
  run(
    input: Uint8Array,
    output: Uint8Array,
  ): { produced: number; consumed: number } | { reason: string; isTooLong?: true };
}

/**
 * An empty final block. A segment ends at a byte border without one; with it behind, engines for whole streams
 * can read it, and a torn segment is told from a complete one.
 */
const FINAL_BLOCK = [0x03, 0x00] as const;

const TOO_LONG = 'it inflates to more than expected';

/** isa-l (libisal2 of Debian): struct inflate_state of igzip_lib.h, of which the fields below are its public ones. */
export function loadIsalInflate(): InflateEngine | undefined {
  const library = loadLibrary('libisal.so.2');
  if (!library) return undefined;
  const init = bind<(state: Uint8Array) => void>(library, 'void isal_inflate_init(void *state)');
  const inflate = bind<(state: Uint8Array) => number>(library, 'int isal_inflate_stateless(void *state)');
  if (!init || !inflate) return undefined;
  // 90 kB in version 2.30; twice that leaves room for later ones.
  const state = new Uint8Array(192 * 1024);
  const fields = new DataView(state.buffer);
  const [nextOut, availOut, totalOut, nextIn, availIn] = [0, 8, 12, 16, 32];
  const ISAL_OUT_OVERFLOW = 2;
  return {
    name: 'isal',
    run(input, output) {
      init(state);
      fields.setBigUint64(nextIn, addressOf(input), true);
      fields.setUint32(availIn, input.byteLength, true);
      fields.setBigUint64(nextOut, addressOf(output), true);
      fields.setUint32(availOut, output.byteLength, true);
      const status = inflate(state);
      if (status === ISAL_OUT_OVERFLOW) return { reason: TOO_LONG, isTooLong: true };
      if (status !== 0) return { reason: `isa-l says ${status}` };
      return {
        produced: fields.getUint32(totalOut, true),
        consumed: input.byteLength - fields.getUint32(availIn, true),
      };
    },
  };
}

/** libdeflate (libdeflate0 of Debian). */
export function loadLibdeflateInflate(): InflateEngine | undefined {
  const library = loadLibrary('libdeflate.so.0');
  if (!library) return undefined;
  const allocate = bind<() => bigint>(library, 'void *libdeflate_alloc_decompressor()');
  const inflate = bind<
    (
      decompressor: bigint,
      input: Uint8Array,
      inputLength: number,
      output: Uint8Array,
      outputLength: number,
      consumed: BigUint64Array,
      produced: BigUint64Array,
    ) => number
  >(
    library,
    'int libdeflate_deflate_decompress_ex(void *d, const void *in, size_t inLength, void *out, size_t outLength, void *consumed, void *produced)',
  );
  if (!allocate || !inflate) return undefined;
  const decompressor = allocate();
  const consumed = new BigUint64Array(1);
  const produced = new BigUint64Array(1);
  const LIBDEFLATE_INSUFFICIENT_SPACE = 3;
  return {
    name: 'libdeflate',
    run(input, output) {
      const status = inflate(
        decompressor,
        input,
        input.byteLength,
        output,
        output.byteLength,
        consumed,
        produced,
      );
      if (status === LIBDEFLATE_INSUFFICIENT_SPACE) return { reason: TOO_LONG, isTooLong: true };
      if (status !== 0) return { reason: `libdeflate says ${status}` };
      return { produced: Number(produced[0]), consumed: Number(consumed[0]) };
    },
  };
}

/** node:zlib, which is everywhere. */
export function loadZlibInflate(): InflateEngine {
  return {
    name: 'zlib',
    run(input, output) {
      try {
        const { buffer, engine } = inflateRawSync(input, {
          info: true,
          finishFlush: constants.Z_FINISH,
          chunkSize: Math.max(output.byteLength, 64),
          maxOutputLength: Math.max(output.byteLength, 1),
        }) as unknown as { buffer: Buffer; engine: { bytesWritten: number } };
        if (buffer.byteLength > output.byteLength) return { reason: TOO_LONG, isTooLong: true };
        output.set(buffer);
        return { produced: buffer.byteLength, consumed: engine.bytesWritten };
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        if (code === 'ERR_BUFFER_TOO_LARGE') return { reason: TOO_LONG, isTooLong: true };
        return { reason: error instanceof Error ? error.message : String(error) };
      }
    },
  };
}

let best: InflateEngine | undefined;
let scratch = new Uint8Array(0);

/** The engine that inflateInto() and inflateSegment() use in this thread. */
export function inflateEngine(): InflateEngine {
  best ??= loadIsalInflate() ?? loadLibdeflateInflate() ?? loadZlibInflate();
  return best;
}

/**
 * Inflates one or more whole segments (raw deflate that starts at a full flush and ends at one, or with the
 * final block and then anything) into `output`.
 *
 * @throws BackupError CHUNK_CORRUPT when the input is damaged, torn or inflates to more than `output` holds
 */
export function inflateInto(
  deflated: Uint8Array,
  output: Uint8Array,
  engine: InflateEngine = inflateEngine(),
): Inflated {
  const length = deflated.byteLength;
  if (scratch.byteLength < length + 2) scratch = new Uint8Array(Math.max(length + 2, 2 * scratch.byteLength));
  scratch.set(deflated);
  scratch.set(FINAL_BLOCK, length);
  const result = engine.run(scratch.subarray(0, length + 2), output);
  if ('reason' in result) {
    throw new BackupError({
      code: 'CHUNK_CORRUPT',
      tried: 'inflate',
      subject: `a segment of ${length} bytes`,
      reason: result.reason,
      remedy: 'Run csync-backup verify on this backup',
    });
  }
  const ended = result.consumed <= length;
  return { produced: result.produced, consumed: Math.min(result.consumed, length), ended };
}

/**
 * inflateInto() a new array of the right length.
 *
 * @param maxLength what it may inflate to at most
 * @throws BackupError CHUNK_CORRUPT as inflateInto()
 */
export function inflateSegment(deflated: Uint8Array, maxLength: number): Uint8Array {
  const output = new Uint8Array(maxLength);
  const { produced } = inflateInto(deflated, output);
  return produced === maxLength ? output : output.slice(0, produced);
}
