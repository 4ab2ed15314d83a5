/** What came of a compaction. */
import type { ReindexLosses } from '../reindex.ts';
import type { CompactWork } from './required.ts';

export interface CompactReport {
  path: string;
  /** False: it was not worth it, or a dry run. */
  compacted: boolean;
  /** What there was to do; from the index. */
  work: CompactWork;
  /** Of the data file; the new one's is null where there is none. */
  sizeBytes: number;
  newSizeBytes: number | null;
  /** Of the index. */
  indexBytes: number;
  newIndexBytes: number | null;
  chunks: number;
  newChunks: number | null;
  messages: number;
  newMessages: number | null;
  /** What was appended meanwhile and taken over. */
  carriedOverBytes: number;
  /** Chunks that are not whole; their bytes are in `damagedPath`. */
  damagedChunks: number;
  damagedMessages: number;
  damagedPath: string | null;
  /** Why nothing was dropped although something could have been; null otherwise. */
  keptAll: string | null;
  /** What was found lost before it began, as the index did not fit and was made anew; null if nothing was. */
  lost: ReindexLosses | null;
}

/** By how much data file and index are smaller; what was appended meanwhile would have made the old ones larger, too. */
export function freedBytes({
  sizeBytes,
  newSizeBytes,
  carriedOverBytes,
  indexBytes,
  newIndexBytes,
}: CompactReport): number {
  if (newSizeBytes === null || newIndexBytes === null) return 0;
  return sizeBytes + carriedOverBytes - newSizeBytes + indexBytes - newIndexBytes;
}
