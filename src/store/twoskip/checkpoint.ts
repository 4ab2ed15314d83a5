import type { TwoskipFile } from './file.ts';
import { catalogCorrupt, DUMMY_OFFSET, encodeHeader, MAX_LEVEL, randomLevel, TYPE } from './format.ts';
import type { TwoskipReader } from './reader.ts';
import { layRecord } from './transaction.ts';

/** Cyrus's own thresholds, so that neither of us rewrites what the other one finds good. */
const SMALLEST_REWRITE_BYTES = 16_834;
const REWRITE_FACTOR = 2;

/** Bytes of records that are gathered before they are written. */
const WRITE_BYTES = 256 * 1024;

/** Whether so much of the file is replaced or deleted records that rewriting it in order pays. */
export function checkpointPays(reader: TwoskipReader): boolean {
  const { currentSize, repackSize } = reader.header;
  return currentSize > SMALLEST_REWRITE_BYTES && currentSize > REWRITE_FACTOR * repackSize;
}

/** Records in the order of their keys, that can be gone through twice; a TwoskipReader is one. */
export interface RecordSource {
  readonly header: { recordCount: number; generation: number };
  /** For messages. */
  readonly file: { path: string };
  records(): Iterable<{ key: Uint8Array; value: Uint8Array }>;
}

/**
 * Writes the live records in order into an empty file, which is complete and on disk on return. In memory are
 * their levels and offsets only (some 30 bytes each).
 *
 * @throws BackupError CATALOG_CORRUPT
 */
export function writeCheckpoint(reader: RecordSource, target: TwoskipFile, random = Math.random): void {
  const count = reader.header.recordCount;
  const levels = new Uint8Array(count);
  const offsets = new Float64Array(count);

  // First pass: what goes where, since every pointer leads forward.
  let end = layRecord(DUMMY_OFFSET, { type: TYPE.dummy, level: MAX_LEVEL, pointers: [] }).end;
  const first = end;
  let index = 0;
  for (const record of reader.records()) {
    if (index === count) throw miscounted(reader);
    levels[index] = randomLevel(random);
    const laid = layRecord(
      end,
      { type: TYPE.record, level: levels[index]!, pointers: [] },
      record.key,
      record.value,
    );
    offsets[index++] = laid.offset;
    end = laid.end;
  }
  if (index !== count) throw miscounted(reader);

  // From the last to the first: the next record at each level.
  const starts = new Float64Array(count + 1);
  for (let i = 0; i < count; i++) starts[i + 1] = starts[i]! + levels[i]!;
  const pointers = new Float64Array(starts[count]!);
  const next = new Float64Array(MAX_LEVEL);
  for (let i = count - 1; i >= 0; i--) {
    pointers.set(next.subarray(0, levels[i]), starts[i]!);
    next.fill(offsets[i]!, 0, levels[i]);
  }

  let gathered: Buffer[] = [];
  let gatheredBytes = 0;
  let written = DUMMY_OFFSET;
  const flush = (): void => {
    if (gatheredBytes > 0) target.write(written, Buffer.concat(gathered));
    written += gatheredBytes;
    gathered = [];
    gatheredBytes = 0;
  };
  const add = (
    ...laying: Parameters<typeof layRecord> extends [number, ...infer Rest] ? Rest : never
  ): void => {
    const { bytes } = layRecord(written + gatheredBytes, ...laying);
    gathered.push(bytes);
    gatheredBytes += bytes.length;
    if (gatheredBytes >= WRITE_BYTES) flush();
  };
  target.truncate(0);
  add({ type: TYPE.dummy, level: MAX_LEVEL, pointers: [0, ...next] });
  index = 0;
  for (const record of reader.records()) {
    const own = pointers.subarray(starts[index]!, starts[index + 1]!);
    add({ type: TYPE.record, level: levels[index]!, pointers: [0, ...own] }, record.key, record.value);
    index++;
  }
  const repackSize = written + gatheredBytes;
  add({ type: TYPE.commit, level: 0, pointers: [first] });
  flush();
  target.sync();
  target.write(
    0,
    encodeHeader({
      generation: reader.header.generation + 1,
      recordCount: count,
      repackSize,
      currentSize: written,
      dirty: false,
    }),
  );
  target.sync();
}

function miscounted(reader: RecordSource): unknown {
  const reason = `its list is not of the ${reader.header.recordCount} records that the header says`;
  return catalogCorrupt(reader.file.path, reason);
}
