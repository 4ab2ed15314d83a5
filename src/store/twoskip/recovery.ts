import type { TwoskipFile } from './file.ts';
import { catalogCorrupt, encodeHead, encodeHeader, MAX_LEVEL, TYPE } from './format.ts';
import { type StoredRecord, TwoskipReader } from './reader.ts';

/**
 * Undoes what an unfinished transaction left behind, as Cyrus does it: follows the pointers of level 0 that lead
 * to below the committed size (each record has kept one), and makes every other pointer fit that list. Needs no
 * more than the committed records, so it works whichever of the unsynced writes reached the disk. Can itself be
 * cut off and run again.
 *
 * The caller holds the exclusive lock.
 *
 * @returns number of records that were changed
 * @throws BackupError CATALOG_CORRUPT when a committed record is damaged or missing
 */
export function recover(file: TwoskipFile): number {
  const reader = new TwoskipReader(file);
  if (reader.clean) return 0;
  const { header } = reader;
  if (file.size() < header.currentSize) {
    throw catalogCorrupt(file.path, `it has ${file.size()} bytes, the header says ${header.currentSize}`);
  }
  if (!header.dirty) {
    header.dirty = true;
    file.write(0, encodeHeader(header));
    file.sync();
  }

  const changed = new Map<number, StoredRecord>();
  const setPointer = (record: StoredRecord, index: number, offset: number): void => {
    if (record.head.pointers[index] === offset) return;
    record.head.pointers[index] = offset;
    changed.set(record.offset, record);
  };
  const dropUncommitted = (record: StoredRecord): void => {
    const { pointers } = record.head;
    if (pointers[0]! >= header.currentSize && pointers[1]! >= header.currentSize) {
      throw catalogCorrupt(file.path, 'a record has no committed pointer', record.offset);
    }
    for (const index of [0, 1]) if (pointers[index]! >= header.currentSize) setPointer(record, index, 0);
  };

  let record = reader.readDummy();
  /** The last record seen that is linked at each level. */
  const last = Array<StoredRecord>(MAX_LEVEL).fill(record);
  let count = 0;
  dropUncommitted(record);
  for (;;) {
    const following = reader.readLive(reader.next(record, 0));
    if (!following) break;
    if (record.head.type !== TYPE.dummy && following.key.compare(record.key) <= 0) {
      throw catalogCorrupt(file.path, 'its keys are out of order', following.offset);
    }
    record = following;
    count++;
    dropUncommitted(record);
    for (let level = 1; level < record.head.level; level++)
      setPointer(last[level]!, level + 1, record.offset);
    last.fill(record, 0, record.head.level);
  }
  for (let level = 1; level < MAX_LEVEL; level++) setPointer(last[level]!, level + 1, 0);

  for (const fixed of changed.values()) file.write(fixed.offset, encodeHead(fixed.head));
  file.truncate(header.currentSize);
  file.sync();
  header.dirty = false;
  header.recordCount = count;
  file.write(0, encodeHeader(header));
  file.sync();
  return changed.size;
}
