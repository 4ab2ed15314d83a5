import type { FileHeader } from './file-header.ts';

export type ScalarKind = 'nil' | 'atom' | 'flag' | 'quoted' | 'literal';

/**
 * What the scanner reports. Ranges of bytes are valid only during the call. Offsets are `base` of the push plus
 * the position in it. Handlers may call `DlistScanner.stop()`.
 */
export interface ScanEvents {
  begin(kind: 'list' | 'kvlist', offset: number): void;
  end(offset: number): void;
  key(bytes: Uint8Array, from: number, to: number, offset: number): void;
  /** `size` is the value's true length; a value longer than `keepBytes` comes with an empty range. */
  scalar(kind: ScalarKind, bytes: Uint8Array, from: number, to: number, size: number, offset: number): void;
  /** The `+` of a literal's size was the byte just consumed. */
  plus(): void;
  /** A line feed without a carriage return after a literal's size was the byte just consumed. */
  bareLf(): void;
  /** A literal's size is complete, its bytes come next. */
  literal(size: number, synchronising: boolean): void;
  /** A file's header is complete, its bytes come next; the offset is that of the first. */
  file(file: FileHeader, offset: number): void;
  fileBytes(bytes: Uint8Array, from: number, to: number): void;
  fileEnd(offset: number): void;
}

export interface ScanLimits {
  maxWordBytes: number;
  maxQuotedBytes: number;
  maxLiteralBytes: number;
  /** One file; -1 where no file belongs. */
  maxFileBytes: number;
  maxDepth: number;
  /** Longest value that is handed over; what is longer is passed through and reported by its size only. */
  keepBytes: number;
}

export interface ScanFailure {
  kind: 'malformed' | 'limit';
  text: string;
  /** Bytes of a literal that the sender has announced and that follow. */
  literalBytes: number;
  /** The announced literal waits for a go-ahead that it will not get: the line is over. */
  refused: boolean;
  /** What the failure lies in the middle of. */
  inside?: 'word' | 'file header';
}
