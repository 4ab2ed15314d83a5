/**
 * Raw inflate of a stream in pieces, by native code and at constant memory. It is fast, but does not say at
 * which byte a damaged stream was good for the last time: whoever needs that decodes such a stream again with
 * src/store/chunk/inflater.ts.
 */
import { constants, createInflateRaw, deflateRawSync } from 'node:zlib';
import { addressOf, bind, loadLibrary } from './ffi.ts';

/**
 * - `input`: all input was used up. At the end of all input call `isAtEnd()`: it may have been just enough.
 * - `output`: the output is full; call again with what is left of the input (perhaps nothing).
 * - `end`: the final block has ended.
 * - `error`: what follows is no deflate stream. Some of what was produced may be wrong.
 */
export type StreamState = 'input' | 'output' | 'end' | 'error';

export interface StreamStep {
  state: StreamState;
  /** Bytes of input that were taken; some of them may lie behind the end, see `readAhead`. */
  consumed: number;
  /** Bytes written to the output. */
  produced: number;
}

export interface InflateStream {
  readonly name: 'isal' | 'zlib';
  /** Ready for the start of another stream, or to go on with the one that gave this `history`. */
  reset(history?: Uint8Array): void;
  /**
   * After `input`, what any stream of this engine needs to go on from here by its reset(): the last bytes that came out, at most
   * 32 kB. It is valid until the next call. Undefined where more is needed, as in the middle of a block, and always from
   * an engine that cannot tell: it takes no history either.
   */
  history(): Uint8Array | undefined;
  /** Goes on with `input` into `output`, which must not be empty. The result is valid until the next call. */
  run(input: Uint8Array, output: Uint8Array): StreamStep;
  /** After `input`: whether the final block has ended. If not the stream is of no more use. */
  isAtEnd(): boolean;
  /** After the end: bytes that were taken although they lie behind it. */
  readonly readAhead: number;
  /** Gives its memory back; it is of no use any more. */
  free(): void;
}

/** What isAtEnd() offers: an engine takes none of it behind the final block. */
const PROBE = new Uint8Array(16);
const PROBE_OUTPUT = new Uint8Array(64);

/** struct inflate_state of igzip_lib.h on 64-bit machines: offsets of its fields, the same from version 2.25 to 2.32. */
const ISAL = {
  nextOut: 0,
  availOut: 8,
  nextIn: 16,
  availIn: 32,
  /** Bits that were read and not used. */
  bitsReadAhead: 36,
  blockState: 21160,
  /** int16: bytes of a block header that is not complete. */
  headerBytes: 21206,
  /** Bytes of `out`, and how many of them were given out. */
  outValid: 21208,
  outProcessed: 21212,
  out: 21544,
} as const;

/** ISAL_BLOCK_NEW_HDR and ISAL_BLOCK_HDR: what comes next is the header of a block, or the rest of one. */
const ISAL_LAST_HEADER_STATE = 1;
/** How far back a deflate stream refers. */
const HISTORY_BYTES = 32 * 1024;

/** isa-l (libisal2 of Debian). */
export function newIsalStream(): InflateStream | undefined {
  const library = loadLibrary('libisal.so.2');
  if (!library) return undefined;
  const init = bind<(state: Uint8Array) => void>(library, 'void isal_inflate_init(void *state)');
  const inflate = bind<(state: Uint8Array) => number>(library, 'int isal_inflate(void *state)');
  const setDictionary = bind<(state: Uint8Array, bytes: Uint8Array, length: number) => number>(
    library,
    'int isal_inflate_set_dict(void *state, void *dict, uint32_t length)',
  );
  if (!init || !inflate || !setDictionary) return undefined;
  // 87 kB in version 2.30; twice that leaves room for later ones.
  const memory = new Uint8Array(192 * 1024);
  const fields = new DataView(memory.buffer);
  const step: StreamStep = { state: 'input', consumed: 0, produced: 0 };
  return {
    name: 'isal',
    // Its memory is garbage as soon as nobody refers to it.
    free: () => {},
    reset(history) {
      init(memory);
      if (history?.byteLength) setDictionary(memory, history, history.byteLength);
    },
    history() {
      const isBetweenBlocks =
        fields.getInt32(ISAL.blockState, true) <= ISAL_LAST_HEADER_STATE &&
        fields.getInt16(ISAL.headerBytes, true) === 0 &&
        fields.getInt32(ISAL.bitsReadAhead, true) === 0;
      const valid = fields.getInt32(ISAL.outValid, true);
      if (!isBetweenBlocks || fields.getInt32(ISAL.outProcessed, true) !== valid) return undefined;
      return memory.subarray(ISAL.out + Math.max(0, valid - HISTORY_BYTES), ISAL.out + valid);
    },
    isAtEnd() {
      return isAtEnd(this);
    },
    get readAhead() {
      return fields.getInt32(ISAL.bitsReadAhead, true) >> 3;
    },
    run(input, output) {
      fields.setBigUint64(ISAL.nextIn, input.byteLength === 0 ? 0n : addressOf(input), true);
      fields.setUint32(ISAL.availIn, input.byteLength, true);
      fields.setBigUint64(ISAL.nextOut, addressOf(output), true);
      fields.setUint32(ISAL.availOut, output.byteLength, true);
      const status = inflate(memory);
      step.consumed = input.byteLength - fields.getUint32(ISAL.availIn, true);
      step.produced = output.byteLength - fields.getUint32(ISAL.availOut, true);
      step.state = status < 0 ? 'error' : stateOf(step, input, output);
      return step;
    },
  };
}

/** What a call that went well says: the end is where an engine leaves input although it has room for output. */
function stateOf(step: StreamStep, input: Uint8Array, output: Uint8Array): StreamState {
  if (step.produced === output.byteLength) return 'output';
  return step.consumed < input.byteLength ? 'end' : 'input';
}

function isAtEnd(stream: InflateStream): boolean {
  const { state, consumed } = stream.run(PROBE, PROBE_OUTPUT);
  return state === 'end' && consumed === 0;
}

/** The parts of node:zlib's streams that work at once; they are no public interface of Node. */
interface SyncZlib {
  close(): void;
  _handle: {
    writeSync(
      flush: number,
      input: Uint8Array,
      inputAt: number,
      inputLength: number,
      output: Uint8Array,
      outputAt: number,
      outputLength: number,
    ): void;
    reset(): void;
    onerror: () => void;
  };
  /** Room left in the output, bytes left of the input. */
  _writeState: Uint32Array;
}

/** node:zlib; undefined where a release of Node has changed what this needs. */
export function newZlibStream(): InflateStream | undefined {
  // The smallest size of pieces: nothing comes out by way of the stream.
  const zlib = createInflateRaw({ chunkSize: constants.Z_MIN_CHUNK }) as unknown as SyncZlib;
  if (typeof zlib._handle?.writeSync !== 'function' || !(zlib._writeState instanceof Uint32Array)) {
    return undefined;
  }
  const handle = zlib._handle;
  let failed = false;
  // Its own handler would close the stream.
  handle.onerror = () => {
    failed = true;
  };
  const step: StreamStep = { state: 'input', consumed: 0, produced: 0 };
  return {
    name: 'zlib',
    free: () => zlib.close(),
    readAhead: 0,
    history: () => undefined,
    reset() {
      failed = false;
      handle.reset();
    },
    isAtEnd() {
      return isAtEnd(this);
    },
    run(input, output) {
      handle.writeSync(constants.Z_SYNC_FLUSH, input, 0, input.byteLength, output, 0, output.byteLength);
      const [room, left] = zlib._writeState as unknown as [number, number];
      step.consumed = input.byteLength - left;
      step.produced = output.byteLength - room;
      step.state = failed ? 'error' : stateOf(step, input, output);
      return step;
    },
  };
}

/** Whether the engine inflates a small stream in two pieces, finds its end, refuses nonsense and goes on. */
function works(stream: InflateStream): boolean {
  const raw = Buffer.from('one two three '.repeat(50));
  const deflated = deflateRawSync(raw);
  const output = new Uint8Array(raw.length + 1);
  const inflates = (behind: number): boolean => {
    const bytes = Buffer.concat([deflated, Buffer.alloc(behind, 0xff)]);
    stream.reset();
    const first = { ...stream.run(bytes.subarray(0, 7), output) };
    if (first.state !== 'input' || first.consumed !== 7) return false;
    const rest = { ...stream.run(bytes.subarray(7), output.subarray(first.produced)) };
    if (rest.state !== 'end' && !(rest.state === 'input' && stream.isAtEnd())) return false;
    if (7 + rest.consumed - stream.readAhead !== deflated.length) return false;
    return raw.equals(output.subarray(0, first.produced + rest.produced));
  };
  try {
    if (![0, 3, 8, 40].every(inflates)) return false;
    stream.reset();
    const torn = stream.run(deflated.subarray(0, -2), output);
    if (torn.state !== 'input' || stream.isAtEnd()) return false;
    if (!hasRightHistory(stream, raw)) return false;
    stream.reset();
    return stream.run(Buffer.alloc(16, 0xff), output).state === 'error';
  } catch {
    return false;
  }
}

/** Whether a stream that was flushed goes on from what history() gives, which is nothing in the middle of a block. */
function hasRightHistory(stream: InflateStream, raw: Buffer): boolean {
  const flushed = deflateRawSync(raw, { finishFlush: constants.Z_SYNC_FLUSH });
  const output = new Uint8Array(raw.length + 1);
  stream.reset();
  stream.run(flushed.subarray(0, -1), output);
  if (stream.history() !== undefined) return false;
  stream.run(flushed.subarray(-1), output);
  const history = stream.history()?.slice();
  if (history === undefined) return true;
  if (!raw.equals(history)) return false;
  stream.reset(history);
  const { produced } = stream.run(deflateRawSync(raw, { dictionary: raw }), output);
  return raw.equals(output.subarray(0, produced));
}

type MakeStream = () => InflateStream | undefined;

const makers: Record<InflateStream['name'], MakeStream> = { isal: newIsalStream, zlib: newZlibStream };
const working = new Map<InflateStream['name'], MakeStream | undefined>();

/** What makes streams of an engine, if that engine is there and does as it should; each holds up to 200 kB. */
export function inflateStreamMaker(name: InflateStream['name']): MakeStream | undefined {
  if (!working.has(name)) {
    const stream = makers[name]();
    working.set(name, stream !== undefined && works(stream) ? makers[name] : undefined);
  }
  return working.get(name);
}

/** A stream of the fastest engine of this machine; undefined where none works. */
export function newInflateStream(): InflateStream | undefined {
  return (inflateStreamMaker('isal') ?? inflateStreamMaker('zlib'))?.();
}
