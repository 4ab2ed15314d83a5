/**
 * Writes a data file and its index from lines: chunks of a wanted size, compressed by threads while the next lines
 * are being read.
 */
import { LineParser } from '../../csync/line-parser.ts';
import { crashPoint } from '../../platform/crash-points.ts';
import type { DeflateEngine } from '../../platform/deflate.ts';
import { ResumableSha1 } from '../../platform/sha1.ts';
import { LineReplay } from '../../store/apply-line.ts';
import { CHUNK_START } from '../../store/chunk/member.ts';
import { ChunkWriter } from '../../store/chunk/writer.ts';
import type { BackupIndex } from '../../store/index/backup-index.ts';

/** Content of a segment, from whose start alone a message can be read. */
export const PIECE_BYTES = 1 << 20;

export interface Deflated {
  /** Raw deflate of the piece, ended by a full flush. Valid until release(). */
  segment: Uint8Array;
  crc32: number;
  release(): void;
}

/** Compresses pieces of up to PIECE_BYTES. */
export interface PieceCompressor {
  /** How many pieces may be under way. */
  readonly depth: number;
  compress(raw: Uint8Array): Promise<Deflated>;
}

export interface OutputOptions {
  fd: number;
  path: string;
  index: BackupIndex;
  compressor: PieceCompressor;
  /** For the few bytes that are no piece. */
  engine: DeflateEngine;
  bootTag: Uint8Array;
}

type PieceStep = { kind: 'piece'; raw: Uint8Array; deflated: Promise<Deflated> | undefined };
type Step = { kind: 'begin'; time: number } | { kind: 'end'; time: number } | PieceStep;

export class Output {
  chunks = 0;
  /** Content of the chunk under construction; 0 if there is none. */
  chunkLength = 0;
  readonly #o: OutputOptions;
  readonly #steps: Step[] = [];
  #underWay = 0;
  readonly #free: Uint8Array[] = [];
  #piece: Uint8Array | undefined;
  #pieceLength = 0;
  #time = 0;
  // Of the chunk that is being written, which is behind what is being gathered.
  #writer: ChunkWriter | undefined;
  #chunkId = 0;
  #parser: LineParser | undefined;
  #fileEnd = 0;
  #fileSha1 = ResumableSha1.create();
  #trailer: Uint8Array = new Uint8Array(0);

  constructor(options: OutputOptions) {
    this.#o = options;
  }

  /** The latest time of a line, in seconds. */
  get lastTime(): number {
    return this.#time;
  }

  /** End of the last finished chunk. */
  get fileEnd(): number {
    return this.#fileEnd;
  }

  get fileSha1(): ResumableSha1 {
    return this.#fileSha1;
  }

  /** The trailer of the last finished chunk. */
  get trailer(): Uint8Array {
    return this.#trailer;
  }

  /** A chunk that somebody else has written behind the last one. */
  adopt(fileEnd: number, fileSha1: ResumableSha1, lastTime: number): void {
    this.#fileEnd = fileEnd;
    this.#fileSha1 = fileSha1;
    this.#trailer = new Uint8Array(0);
    this.#time = Math.max(this.#time, lastTime);
    this.chunks++;
  }

  /** Begins a line with `UNIXTIME APPLY `; its text follows by write(). */
  beginLine(time: number): void {
    this.#time = Math.max(this.#time, time);
    if (this.chunkLength === 0) {
      this.#steps.push({ kind: 'begin', time });
      this.chunkLength = CHUNK_START.length;
    }
    this.write(Buffer.from(`${time} APPLY `, 'latin1'));
  }

  /** Adds bytes, which are copied. drain() is to be awaited after some of them. */
  write(bytes: Uint8Array, start = 0, end: number = bytes.length): void {
    this.chunkLength += end - start;
    for (let at = start; at < end; ) {
      this.#piece ??= this.#free.pop() ?? new Uint8Array(PIECE_BYTES);
      const length = Math.min(end - at, PIECE_BYTES - this.#pieceLength);
      this.#piece.set(bytes.subarray(at, at + length), this.#pieceLength);
      this.#pieceLength += length;
      at += length;
      if (this.#pieceLength === PIECE_BYTES) this.#endPiece();
    }
  }

  /** Ends the chunk, if there is one, behind the last line. */
  endChunk(): void {
    if (this.chunkLength === 0) return;
    this.#endPiece();
    this.#steps.push({ kind: 'end', time: this.#time });
    this.chunkLength = 0;
  }

  /** Hands on what was gathered; waits while too much of it is under way. */
  async drain(): Promise<void> {
    for (const step of [...this.#steps]) {
      if (step.kind !== 'piece' || step.deflated !== undefined) continue;
      while (this.#underWay >= this.#o.compressor.depth) await this.#step();
      this.#compress(step);
    }
  }

  /** Everything is in the file and in the index; nothing is synced. */
  async finish(): Promise<void> {
    this.endChunk();
    await this.drain();
    while (this.#steps.length > 0) await this.#step();
  }

  #endPiece(): void {
    if (this.#piece === undefined || this.#pieceLength === 0) return;
    const raw = this.#piece.subarray(0, this.#pieceLength);
    this.#steps.push({ kind: 'piece', raw, deflated: undefined });
    this.#piece = undefined;
    this.#pieceLength = 0;
  }

  #compress(step: PieceStep): Promise<Deflated> {
    step.deflated = this.#o.compressor.compress(step.raw);
    step.deflated.catch(() => {}); // seen when its turn comes
    this.#underWay++;
    return step.deflated;
  }

  /** Writes what comes next. */
  async #step(): Promise<void> {
    const step = this.#steps.shift()!;
    if (step.kind === 'begin') this.#beginChunk(step.time);
    else if (step.kind === 'end') this.#finishChunk(step.time);
    else await this.#append(step);
  }

  #beginChunk(time: number): void {
    const { fd, path, engine, bootTag, index } = this.#o;
    const [fileEnd, fileSha1] = [this.#fileEnd, this.#fileSha1];
    this.#writer = new ChunkWriter({ fd, path, fileEnd, fileSha1, engine, bootTag, forgetsPages: true });
    const { memberOffset: offset, fileSha1Hex } = this.#writer;
    this.#chunkId = index.startChunk({ offset, tsStart: time, fileSha1: fileSha1Hex });
    this.#parser = new LineParser(new LineReplay(index, this.#chunkId));
    this.#parser.reset(0);
    this.#parser.push(CHUNK_START);
  }

  async #append(step: PieceStep): Promise<void> {
    const { raw } = step;
    const { segment, crc32, release } = await (step.deflated ?? this.#compress(step));
    this.#underWay--;
    try {
      this.#writer!.appendSegment(segment, raw, crc32);
    } finally {
      release();
    }
    this.#parser!.push(raw);
    this.#free.push(new Uint8Array(raw.buffer));
  }

  #finishChunk(time: number): void {
    const { index } = this.#o;
    const writer = this.#writer!;
    this.#parser!.end();
    const chunk = writer.finish();
    index.endChunk(this.#chunkId, { tsEnd: time, length: chunk.length, dataSha1: chunk.dataSha1 });
    for (const start of writer.segmentStarts()) {
      index.addSegmentStart(this.#chunkId, start.contentOffset, start.fileOffset);
    }
    writer.writeTrailer();
    crashPoint('compact-chunk-written');
    this.#fileEnd = chunk.fileEndAfterTrailer;
    this.#fileSha1 = ResumableSha1.load(chunk.fileSha1StateAfterTrailer);
    this.#trailer = chunk.trailer;
    this.#writer = undefined;
    this.chunks++;
  }
}
