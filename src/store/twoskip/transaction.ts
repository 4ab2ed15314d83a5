import { crc32 } from '../../platform/crc32.ts';
import type { TwoskipFile } from './file.ts';
import {
  BLANK,
  blanksBefore,
  DUMMY_BYTES,
  DUMMY_OFFSET,
  encodeHead,
  encodeHeader,
  encodeTail,
  HEADER_BYTES,
  MAX_LEVEL,
  type RecordHead,
  randomLevel,
  TYPE,
} from './format.ts';
import type { Place, TwoskipReader } from './reader.ts';

const NOTHING = new Uint8Array(0);

/** Bytes of a record that goes to `end`, with the blanks before it, and where it then lies. */
export function layRecord(
  end: number,
  head: Omit<RecordHead, 'keyLength' | 'valueLength' | 'tailCrc'>,
  key: Uint8Array = NOTHING,
  value: Uint8Array = NOTHING,
): { bytes: Buffer; offset: number; end: number } {
  const tail = encodeTail(key, value);
  const headBytes = encodeHead({
    ...head,
    keyLength: key.length,
    valueLength: value.length,
    tailCrc: crc32(tail),
  });
  const blanks = Array<Buffer>(blanksBefore(end, headBytes.length) / BLANK.length).fill(BLANK);
  const bytes = Buffer.concat([...blanks, headBytes, tail]);
  return { bytes, offset: end + blanks.length * BLANK.length, end: end + bytes.length };
}

/** An empty list, for a file without a single byte or one that never got its header. */
export function createEmpty(file: TwoskipFile): void {
  const dummy = layRecord(DUMMY_OFFSET, { type: TYPE.dummy, level: MAX_LEVEL, pointers: [] });
  // Without a header the file still counts as empty, so the rest is on disk before it.
  file.truncate(0);
  file.write(DUMMY_OFFSET, dummy.bytes);
  file.sync();
  file.write(
    0,
    encodeHeader({
      generation: 1,
      recordCount: 0,
      repackSize: dummy.end,
      currentSize: dummy.end,
      dirty: false,
    }),
  );
  file.sync();
}

/** Longer ones have entries, or had some. */
export const EMPTY_CATALOG_BYTES = HEADER_BYTES + DUMMY_BYTES;

/** Whether nothing was ever committed to this file: it is empty, or its creation was cut off. */
export function neverCreated(file: TwoskipFile): boolean {
  if (file.size() > EMPTY_CATALOG_BYTES) return false;
  return file.read(0, HEADER_BYTES).every((byte) => byte === 0);
}

/**
 * Changes that become visible all at once. The order of writes: header marked dirty, sync; records appended and
 * linked; commit record, sync; header with the new size and no mark, sync. Until the last one, everything behind
 * the old size is undone by recovery, for which each record keeps its old pointer at level 0.
 *
 * The caller holds the exclusive lock, and the file is clean. After an exception the file needs recovery.
 */
export class Transaction {
  readonly #reader: TwoskipReader;
  readonly #file: TwoskipFile;
  readonly #random: () => number;
  readonly #committedSize: number;
  #recordCount: number;

  constructor(reader: TwoskipReader, random: () => number = Math.random) {
    this.#reader = reader;
    this.#file = reader.file;
    this.#random = random;
    this.#committedSize = reader.header.currentSize;
    this.#recordCount = reader.header.recordCount;
  }

  get(key: Uint8Array): Buffer | undefined {
    return this.#reader.find(key).exact?.value;
  }

  put(key: Uint8Array, value: Uint8Array): void {
    if (key.length === 0) throw new RangeError('a twoskip key has at least one byte');
    const place = this.#reader.find(key);
    if (place.exact?.value.equals(value)) return;
    const level = randomLevel(this.#random);
    const after = this.#behind(place);
    const head = { type: TYPE.record, level, pointers: [0, ...after.slice(0, level)] };
    const offset = this.#append(head, key, value);
    this.#link(place, after.fill(offset, 0, level), Math.max(level, place.exact?.head.level ?? 0));
    if (!place.exact) this.#recordCount++;
  }

  /** False when there is no such key. */
  delete(key: Uint8Array): boolean {
    const place = this.#reader.find(key);
    if (!place.exact) return false;
    const after = this.#behind(place);
    // A delete record gives level 0 something to point to that is newer than the pointer it had before. It leads
    // to a live record always, never to another delete record.
    const following = this.#reader.readLive(after[0]!)?.offset ?? 0;
    after[0] = this.#append({ type: TYPE.delete, level: 0, pointers: [following] });
    this.#link(place, after, place.exact.head.level);
    this.#recordCount--;
    return true;
  }

  /** On return the changes are on disk. Writes nothing if there were none. */
  commit(): void {
    const { header } = this.#reader;
    if (!header.dirty) return;
    this.#append({ type: TYPE.commit, level: 0, pointers: [this.#committedSize] });
    this.#file.sync();
    header.currentSize = this.#reader.end;
    header.recordCount = this.#recordCount;
    header.dirty = false;
    this.#file.write(0, encodeHeader(header));
    this.#file.sync();
  }

  #append(
    head: { type: number; level: number; pointers: number[] },
    key?: Uint8Array,
    value?: Uint8Array,
  ): number {
    const { header } = this.#reader;
    if (!header.dirty) {
      header.dirty = true;
      this.#file.write(0, encodeHeader(header));
      this.#file.sync();
    }
    const laid = layRecord(this.#reader.end, head, key, value);
    this.#file.write(this.#reader.end, laid.bytes);
    this.#reader.end = laid.end;
    return laid.offset;
  }

  /** What comes at each level behind the place, the record there left out. */
  #behind(place: Place): number[] {
    const { after, exact } = place;
    return after.map((offset, level) =>
      exact && level < exact.head.level ? this.#reader.next(exact, level) : offset,
    );
  }

  /** Points the records before the place, on the levels below `levels`, to `links`. */
  #link(place: Place, links: number[], levels: number): void {
    for (let level = 0; level < levels; ) {
      const record = this.#reader.readRecord(place.before[level]!);
      const { pointers } = record.head;
      for (; level < levels && place.before[level] === record.offset; level++) {
        pointers[level === 0 ? replaceable(pointers, this.#committedSize) : level + 1] = links[level]!;
      }
      this.#file.write(record.offset, encodeHead(record.head));
    }
  }
}

/** Which of the two pointers of level 0 to write: the one from this transaction, or else the older one. */
function replaceable(pointers: number[], committedSize: number): 0 | 1 {
  const [first, second] = pointers as [number, number];
  if (first >= committedSize) return 0;
  if (second >= committedSize) return 1;
  return second > first ? 0 : 1;
}
