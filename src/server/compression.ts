/**
 * What COMPRESS DEFLATE of all connections share: the engine that inflates what clients send, with buffers and states that
 * are in use only while there is something to inflate, and the one that deflates answers.
 */
import { constants, deflateRawSync } from 'node:zlib';
import { loadIsal, maxDeflatedLength } from '../platform/deflate.ts';
import { type InflateStream, inflateStreamMaker } from '../platform/inflate-stream.ts';

/** What comes out at a time. It stays in the processor's cache until it is decoded. */
const OUTPUT_BYTES = 64 * 1024;
/** The same while memory is short: what a session finds no room for it has to keep. */
const SMALL_OUTPUT_BYTES = 4 * 1024;
/** States that are kept for the next one who needs one: as many as there are connections in the middle of a command. */
const MOST_IDLE_STREAMS = 64;
/** Answers are deflated in pieces of this size at most. */
const PIECE_BYTES = 64 * 1024;
/** Most answers are a line such as `OK Success`: as a stored block it is as short as deflated, and costs nothing. */
const MOST_STORED_BYTES = 64;
const STORED_HEADER_BYTES = 5;
/** An answer is compressed as quickly as can be: it goes to one client once. */
const LEVEL = 1;

export class ConnectionCompression {
  /** What inflates; undefined where nothing does: then compression is not offered. */
  readonly inflates: InflateStream['name'] | undefined;
  /** What deflates answers. */
  readonly deflates: 'isal' | 'zlib';
  readonly #makeStream: (() => InflateStream | undefined) | undefined;
  readonly #idle: InflateStream[] = [];
  #lent = 0;
  readonly #isal: ReturnType<typeof loadIsal>;
  #output: Uint8Array | undefined;
  #deflated: Uint8Array | undefined;

  /** @param choice as `backup_deflate_engine`; where isa-l is not there it is zlib, whoever asks for more has to look */
  constructor(choice: 'auto' | 'isal' | 'zlib') {
    const names = choice === 'zlib' ? (['zlib'] as const) : (['isal', 'zlib'] as const);
    this.inflates = names.find((name) => inflateStreamMaker(name) !== undefined);
    this.#makeStream = this.inflates && inflateStreamMaker(this.inflates);
    this.#isal = choice === 'zlib' ? undefined : loadIsal();
    this.deflates = this.#isal === undefined ? 'zlib' : 'isal';
  }

  /** A stream at its beginning, or where the one that gave `history` was. Give it back as soon as its history is all it knows. */
  lend(history?: Uint8Array): InflateStream {
    const stream = this.#idle.pop() ?? this.#makeStream?.();
    if (stream === undefined) throw new Error('compression is not offered here');
    stream.reset(history);
    this.#lent++;
    return stream;
  }

  /** How many are in use. */
  get lent(): number {
    return this.#lent;
  }

  giveBack(stream: InflateStream): void {
    this.#lent--;
    if (this.#idle.length < MOST_IDLE_STREAMS) this.#idle.push(stream);
    else stream.free();
  }

  /** Room for what comes out next, the same for all: it is valid until anything else is inflated. */
  output(isTight: boolean): Uint8Array {
    this.#output ??= new Uint8Array(OUTPUT_BYTES);
    return isTight ? this.#output.subarray(0, SMALL_OUTPUT_BYTES) : this.#output;
  }

  /**
   * Answers as raw deflate blocks that end at a byte border and refer to nothing before them, so that a connection needs no state
   * for what it sends. None of them is final.
   */
  *deflate(answers: Uint8Array): Generator<Uint8Array, void> {
    for (let at = 0; at < answers.length; at += PIECE_BYTES) {
      const piece = answers.subarray(at, at + PIECE_BYTES);
      yield piece.length <= MOST_STORED_BYTES ? storedBlock(piece) : this.#deflatePiece(piece);
    }
  }

  #deflatePiece(piece: Uint8Array): Uint8Array {
    if (this.#isal === undefined) {
      return deflateRawSync(piece, { level: LEVEL, finishFlush: constants.Z_SYNC_FLUSH });
    }
    this.#deflated ??= new Uint8Array(maxDeflatedLength(PIECE_BYTES));
    return Buffer.from(this.#deflated.subarray(0, this.#isal(piece, this.#deflated, LEVEL)));
  }
}

/** RFC 1951, 3.2.4: not final, not compressed, then the length and its complement. */
function storedBlock(bytes: Uint8Array): Uint8Array {
  const block = Buffer.allocUnsafe(STORED_HEADER_BYTES + bytes.length);
  block[0] = 0;
  block.writeUInt16LE(bytes.length, 1);
  block.writeUInt16LE(~bytes.length & 0xffff, 3);
  block.set(bytes, STORED_HEADER_BYTES);
  return block;
}
