import { crc32 } from '../../platform/crc32.ts';
import type { TwoskipFile } from './file.ts';
import {
  catalogCorrupt,
  DUMMY_OFFSET,
  decodeHead,
  decodeHeader,
  FormatFault,
  type Header,
  headLength,
  MAX_LEVEL,
  type RecordHead,
  TYPE,
  tailLength,
} from './format.ts';

/** Enough for a record of a low level with its key and a path: one read is then all it takes. */
const FIRST_READ_BYTES = 512;

/** A record as it stands in the file. */
export interface StoredRecord {
  offset: number;
  /** Offset behind its padding. */
  end: number;
  head: RecordHead;
  key: Buffer;
  value: Buffer;
}

/** Where a key is, or would be: what has to be relinked to put a record there. */
export interface Place {
  /** Offset, by level, of the last record before the key; at least the dummy. */
  before: number[];
  /** What the record in `before` points to at this level; 0: the end. At level 0 it may be a delete record. */
  after: number[];
  exact: StoredRecord | undefined;
}

/** Reads a twoskip file as of one committed size, or within a transaction as of its end. Checks every CRC. */
export class TwoskipReader {
  readonly file: TwoskipFile;
  readonly header: Header;
  /** Pointers from here on do not count. */
  end: number;

  /** @throws BackupError CATALOG_CORRUPT when the header is damaged */
  constructor(file: TwoskipFile) {
    this.file = file;
    try {
      this.header = decodeHeader(file.read(0, DUMMY_OFFSET));
    } catch (error) {
      throw this.corrupt(error);
    }
    this.end = this.header.currentSize;
  }

  /** Nothing is left over from a transaction that did not end: no recovery is needed. */
  get clean(): boolean {
    return !this.header.dirty && this.file.size() === this.header.currentSize;
  }

  corrupt(error: unknown, offset?: number): unknown {
    if (!(error instanceof FormatFault)) return error;
    return catalogCorrupt(this.file.path, error.message, offset);
  }

  /** @throws BackupError CATALOG_CORRUPT */
  readRecord(offset: number): StoredRecord {
    try {
      let bytes = this.file.read(offset, FIRST_READ_BYTES);
      if (bytes.length < 24) throw new FormatFault('a pointer leads behind the end of the file');
      const headBytes = headLength(bytes);
      if (bytes.length < headBytes) throw new FormatFault('a record is cut off');
      const head = decodeHead(bytes);
      const tailBytes = tailLength(head.keyLength, head.valueLength);
      if (offset + headBytes + tailBytes > this.file.size()) throw new FormatFault('a record is cut off');
      if (bytes.length < headBytes + tailBytes) bytes = this.file.read(offset, headBytes + tailBytes);
      const tail = bytes.subarray(headBytes, headBytes + tailBytes);
      if (tail.length < tailBytes) throw new FormatFault('a record is cut off');
      if (crc32(tail) !== head.tailCrc) throw new FormatFault('the key or value of a record has a wrong CRC');
      const key = tail.subarray(0, head.keyLength);
      const value = tail.subarray(head.keyLength, head.keyLength + head.valueLength);
      return { offset, end: offset + headBytes + tailBytes, head, key, value };
    } catch (error) {
      throw this.corrupt(error, offset);
    }
  }

  /** The head of the list. */
  readDummy(): StoredRecord {
    const dummy = this.readRecord(DUMMY_OFFSET);
    if (dummy.head.type !== TYPE.dummy || dummy.head.level !== MAX_LEVEL) {
      throw catalogCorrupt(this.file.path, 'it does not begin with a dummy record', DUMMY_OFFSET);
    }
    return dummy;
  }

  /** Where a record leads to at a level. Level 0 has two pointers: the one that was written last and counts. */
  next(record: StoredRecord, level: number): number {
    const { pointers } = record.head;
    if (level > 0) return pointers[level + 1]!;
    const [first, second] = pointers as [number, number];
    if (first >= this.end) return second;
    if (second >= this.end) return first;
    return Math.max(first, second);
  }

  /** The record at an offset, or the one that the delete record there leads to; undefined: the end. */
  readLive(offset: number): StoredRecord | undefined {
    if (offset === 0) return undefined;
    const record = this.readRecord(offset);
    if (record.head.type === TYPE.record) return record;
    if (record.head.type !== TYPE.delete)
      throw catalogCorrupt(this.file.path, 'a pointer leads astray', offset);
    const target = record.head.pointers[0]!;
    if (target === 0) return undefined;
    const live = this.readRecord(target);
    if (live.head.type !== TYPE.record) throw catalogCorrupt(this.file.path, 'a delete leads astray', offset);
    return live;
  }

  /** Finds a key in O(log n) reads. @throws BackupError CATALOG_CORRUPT */
  find(key: Uint8Array): Place {
    const before: number[] = [];
    const after: number[] = [];
    let record = this.readDummy();
    /** The first record not before the key, as known from the level above, and what points to it. */
    let bound: StoredRecord | undefined;
    let boundOffset = -1;
    for (let level = MAX_LEVEL - 1; level >= 0; level--) {
      for (;;) {
        const offset = this.next(record, level);
        before[level] = record.offset;
        after[level] = offset;
        if (offset === 0 || offset === boundOffset) break;
        const candidate = this.readLive(offset);
        if (candidate && candidate.key.compare(key) < 0) {
          this.#checkOrder(record, candidate);
          if (candidate.head.level <= level) throw this.#brokenLink(record.offset);
          record = candidate;
          continue;
        }
        bound = candidate;
        boundOffset = offset;
        break;
      }
    }
    return { before, after, exact: bound?.key.equals(key) ? bound : undefined };
  }

  /** The first record whose key is greater than `key`; the first of all for an empty key. */
  findAfter(key: Uint8Array): StoredRecord | undefined {
    const place = this.find(key);
    if (place.exact) return this.readLive(this.next(place.exact, 0));
    return this.readLive(place.after[0]!);
  }

  /** Live records in the order of their keys, all or from behind `key`. */
  *records(key: Uint8Array = new Uint8Array(0)): Generator<StoredRecord> {
    let record = this.findAfter(key);
    while (record) {
      yield record;
      const following = this.readLive(this.next(record, 0));
      if (following) this.#checkOrder(record, following);
      record = following;
    }
  }

  /**
   * Walks over everything: order, links of every level, number of records.
   *
   * @throws BackupError CATALOG_CORRUPT
   */
  check(): void {
    const dummy = this.readDummy();
    const expected = Array.from({ length: MAX_LEVEL }, (_, level) => this.next(dummy, level));
    let count = 0;
    for (const record of this.records()) {
      for (let level = 0; level < record.head.level; level++) {
        const leads = level === 0 ? this.readLive(expected[0]!)?.offset : expected[level];
        if (leads !== record.offset) throw this.#brokenLink(record.offset);
        expected[level] = this.next(record, level);
      }
      count++;
    }
    if (expected.some((offset, level) => (level === 0 ? this.readLive(offset) : offset !== 0))) {
      throw catalogCorrupt(this.file.path, 'the list does not end at every level');
    }
    if (count !== this.header.recordCount) {
      throw catalogCorrupt(
        this.file.path,
        `it has ${count} records, the header says ${this.header.recordCount}`,
      );
    }
  }

  /** Also keeps a walk over bad pointers from going round for ever. */
  #checkOrder(record: StoredRecord, following: StoredRecord): void {
    if (record.head.type !== TYPE.dummy && following.key.compare(record.key) <= 0) {
      throw catalogCorrupt(this.file.path, 'its keys are out of order', following.offset);
    }
  }

  #brokenLink(offset: number): unknown {
    return catalogCorrupt(this.file.path, 'a link of its list is broken', offset);
  }
}
