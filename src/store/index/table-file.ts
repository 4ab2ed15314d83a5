/**
 * Tables of a small index straight from its bytes, for tools that look at tens of thousands of indexes. SQLite reads
 * and prepares the whole schema for each file that it opens, which costs ten times what there is to read.
 *
 * Format: https://www.sqlite.org/fileformat2.html. Only what Cyrus and we write is taken: a rollback journal that is
 * not there, UTF-8, one file of moderate size. For everything else the caller asks SQLite.
 */
import fs from 'node:fs';
import { hasErrno } from '../../platform/errors.ts';
import { isKnownVersion } from './schema.ts';

/** Larger indexes are SQLite's: there, to open them is the smaller part. */
const MAX_BYTES = 2 << 20;
const MAGIC = 'SQLite format 3\0';
const FILE_HEADER_BYTES = 100;
const PAGE_SIZE_AT = 16;
const WRITE_VERSION_AT = 18;
const READ_VERSION_AT = 19;
const RESERVED_AT = 20;
const CHANGE_COUNTER_AT = 24;
const ENCODING_AT = 56;
const USER_VERSION_AT = 60;
const LEGACY_VERSION = 1;
const UTF_8 = 1;
const PAGE_SIZES = [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536];
const INTERIOR = 5;
const LEAF = 13;

/** A value of a row. Text is a string of one character per byte (latin1). */
export type TableValue = number | string | null;

/** Thrown inside where the file is not of the plain kind. */
class NotPlain extends Error {}

export class TableFile {
  readonly #bytes: Buffer;
  readonly #pageBytes: number;
  readonly #usableBytes: number;
  readonly #roots = new Map<string, number>();

  private constructor(bytes: Buffer) {
    this.#bytes = bytes;
    const declared = bytes.readUInt16BE(PAGE_SIZE_AT);
    this.#pageBytes = declared === 1 ? 65_536 : declared;
    this.#usableBytes = this.#pageBytes - bytes[RESERVED_AT]!;
    if (!PAGE_SIZES.includes(this.#pageBytes)) throw new NotPlain();
    this.#walk(1, 4, (_, [type, name, , root]) => {
      if (type === 'table') this.#roots.set(String(name), Number(root));
    });
  }

  /**
   * The file as one consistent state, or undefined where SQLite has to be asked (which also says what is wrong). It is
   * valid until this thread reads the next.
   */
  static read(path: string): TableFile | undefined {
    const journal = `${path}-journal`;
    try {
      if (fs.statSync(journal, { throwIfNoEntry: false }) !== undefined) return undefined;
      const bytes = readSmall(path);
      if (bytes === undefined || !isPlain(bytes)) return undefined;
      // A writer that came in between has left its journal, or counted its change.
      if (fs.statSync(journal, { throwIfNoEntry: false }) !== undefined) return undefined;
      return new TableFile(bytes);
    } catch (error) {
      if (error instanceof NotPlain || error instanceof RangeError) return undefined;
      if (hasErrno(error, 'ENOENT') || hasErrno(error, 'EACCES')) return undefined;
      throw error;
    }
  }

  has(table: string): boolean {
    return this.#roots.has(table);
  }

  /**
   * Visits the rows of a table in the order of their rowids, with the values of its first `columns` columns. A column
   * that is the rowid (INTEGER PRIMARY KEY) is null in them. The array is used again for the next row.
   *
   * @returns false where SQLite has to be asked instead; rows may have been visited before that is known.
   */
  rows(
    table: string,
    columns: number,
    visit: (rowid: number, values: readonly TableValue[]) => void,
  ): boolean {
    const root = this.#roots.get(table);
    if (root === undefined) return false;
    try {
      this.#walk(root, columns, visit);
      return true;
    } catch (error) {
      if (error instanceof NotPlain || error instanceof RangeError) return false;
      throw error;
    }
  }

  #walk(
    root: number,
    columns: number,
    visit: (rowid: number, values: readonly TableValue[]) => void,
    // A damaged tree may have circles.
    left = { pages: this.#bytes.length / this.#pageBytes },
  ): void {
    const bytes = this.#bytes;
    const start = (root - 1) * this.#pageBytes;
    if (root < 1 || start + this.#pageBytes > bytes.length || left.pages-- <= 0) throw new NotPlain();
    const header = root === 1 ? FILE_HEADER_BYTES : start;
    const type = bytes[header];
    const cells = bytes.readUInt16BE(header + 3);
    if (type === INTERIOR) {
      for (let i = 0; i < cells; i++) {
        const cell = start + bytes.readUInt16BE(header + 12 + 2 * i);
        this.#walk(bytes.readUInt32BE(cell), columns, visit, left);
      }
      this.#walk(bytes.readUInt32BE(header + 8), columns, visit, left);
      return;
    }
    if (type !== LEAF) throw new NotPlain();
    const values: TableValue[] = new Array(columns).fill(null);
    const cursor = new Cursor(bytes);
    for (let i = 0; i < cells; i++) {
      cursor.at = start + bytes.readUInt16BE(header + 8 + 2 * i);
      const payload = cursor.varint();
      const rowid = cursor.varint();
      const local = this.#localBytes(payload);
      if (local === payload) cursor.record(values, cursor.at + payload);
      else new Cursor(this.#gather(cursor.at, local, payload)).record(values, payload);
      visit(rowid, values);
    }
  }

  /** A payload of which only `local` bytes stand in the leaf, at `at`; the others are in a chain of overflow pages. */
  #gather(at: number, local: number, payload: number): Buffer {
    const bytes = this.#bytes;
    if (payload > bytes.length) throw new NotPlain();
    const whole = Buffer.allocUnsafe(payload);
    let filled = bytes.copy(whole, 0, at, at + local);
    let page = bytes.readUInt32BE(at + local);
    while (filled < payload) {
      const start = (page - 1) * this.#pageBytes;
      if (page < 1 || start + this.#pageBytes > bytes.length) throw new NotPlain();
      filled += bytes.copy(whole, filled, start + 4, start + this.#usableBytes);
      page = bytes.readUInt32BE(start);
    }
    return whole;
  }

  /** Bytes of a payload that stand in the leaf itself. */
  #localBytes(payload: number): number {
    const usable = this.#usableBytes;
    if (payload <= usable - 35) return payload;
    const least = Math.floor(((usable - 12) * 32) / 255) - 23;
    const most = least + ((payload - least) % (usable - 4));
    return most <= usable - 35 ? most : least;
  }
}

class Cursor {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  varint(): number {
    let value = 0;
    for (let i = 0; i < 8; i++) {
      const byte = this.#bytes[this.at++]!;
      value = value * 128 + (byte & 0x7f);
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) throw new NotPlain();
        return value;
      }
    }
    throw new NotPlain(); // nine bytes: a negative number
  }

  /** Decodes the record that begins here and ends at `end`. */
  record(values: TableValue[], end: number): void {
    const headerStart = this.at;
    const headerEnd = headerStart + this.varint();
    if (headerEnd > end) throw new NotPlain();
    let body = headerEnd;
    for (let column = 0; column < values.length; column++) {
      if (this.at >= headerEnd) {
        values[column] = null; // of a table to which columns were added
        continue;
      }
      const type = this.varint();
      const length = lengthOf(type);
      if (body + length > end) throw new NotPlain();
      values[column] = this.#value(type, body, length);
      body += length;
    }
  }

  #value(type: number, at: number, length: number): TableValue {
    if (type === 0) return null;
    if (type === 8) return 0;
    if (type === 9) return 1;
    if (type <= 5) return this.#bytes.readIntBE(at, length);
    if (type === 6) {
      const value = Number(this.#bytes.readBigInt64BE(at));
      if (!Number.isSafeInteger(value)) throw new NotPlain();
      return value;
    }
    if (type === 7) return this.#bytes.readDoubleBE(at);
    return this.#bytes.toString('latin1', at, at + length);
  }
}

/** Bytes of a value of this serial type. */
function lengthOf(type: number): number {
  if (type >= 12) return (type - 12) >> 1;
  if (type <= 4) return type;
  if (type === 5) return 6;
  return type <= 7 ? 8 : 0;
}

/** Used again for each file: buffers of their own would pile up until the next garbage collection. */
let scratch: Buffer = Buffer.alloc(64 * 1024);
const counter: Buffer = Buffer.alloc(4);

/** The whole file; undefined if it is too large or was changed meanwhile. */
function readSmall(path: string): Buffer | undefined {
  const fd = fs.openSync(path, 'r');
  try {
    const { size } = fs.fstatSync(fd);
    if (size < FILE_HEADER_BYTES || size > MAX_BYTES) return undefined;
    if (size > scratch.length) scratch = Buffer.alloc(Math.min(size * 2, MAX_BYTES));
    const bytes = scratch.subarray(0, size);
    if (fs.readSync(fd, bytes, 0, size, 0) !== size) return undefined;
    if (fs.readSync(fd, counter, 0, 4, CHANGE_COUNTER_AT) !== 4) return undefined;
    return counter.readUInt32BE() === bytes.readUInt32BE(CHANGE_COUNTER_AT) ? bytes : undefined;
  } finally {
    fs.closeSync(fd);
  }
}

function isPlain(bytes: Buffer): boolean {
  return (
    bytes.toString('latin1', 0, MAGIC.length) === MAGIC &&
    bytes[WRITE_VERSION_AT] === LEGACY_VERSION &&
    bytes[READ_VERSION_AT] === LEGACY_VERSION &&
    bytes.readUInt32BE(ENCODING_AT) === UTF_8 &&
    isKnownVersion(bytes.readUInt32BE(USER_VERSION_AT))
  );
}
