/** Whether a backup is worth compacting, and what would go: from its index, without reading the data file. */
import type { BackupIndex } from '../../store/index/backup-index.ts';
import { type ChunkSizes, wantsCombine, wantsSplit } from './copy.ts';

export interface CompactWork {
  /** Chunks of which nothing, or not enough, is needed any more. */
  discard: number;
  /** Chunks to be joined with the next. */
  combine: number;
  /** Chunks to be split. */
  split: number;
  /** Messages that are past the retention, and their size. */
  expiredMessages: number;
  expiredBytes: number;
}

/** A chunk is worth work when this share of its content has expired. */
const EXPIRED_SHARE = 0.25;

/**
 * As Cyrus counts it (backup/lcb_compact.c, compact_required), and besides chunks that are half empty.
 *
 * @param since seconds; what had gone by then is past the retention
 */
export function workOf(index: BackupIndex, since: number, sizes: ChunkSizes): CompactWork {
  const chunks = index.chunks().map((chunk) => ({ ...chunk, length: chunk.length ?? 0 }));
  const work: CompactWork = { discard: 0, combine: 0, split: 0, expiredMessages: 0, expiredBytes: 0 };
  if (since >= 0) {
    const live = new Set(index.statement(LIVE_CHUNKS, 'pluck').all({ since }) as number[]);
    const expired = new Map<number, number>();
    for (const [id, count, bytes] of index.statement(EXPIRED, 'raw').all({ since }) as [
      number,
      number,
      number,
    ][]) {
      expired.set(id, bytes);
      work.expiredMessages += count;
      work.expiredBytes += bytes;
    }
    const old = chunks.filter(({ tsEnd }) => (tsEnd ?? 0) <= since);
    const dead = old.filter(({ id }) => !live.has(id));
    // What is dead is folded into a snapshot, which needs a chunk of its own if there is no other.
    work.discard = dead.length === old.length ? Math.max(dead.length - 1, 0) : dead.length;
    for (const { id, length } of old) {
      if (live.has(id) && (expired.get(id) ?? 0) >= EXPIRED_SHARE * length) work.discard++;
    }
  }
  const { min, max } = sizes;
  if (min > 0 && max > 0 && min >= max) return work;
  for (const [i, { length }] of chunks.entries()) {
    const next = chunks[i + 1];
    if (min > 0 && next !== undefined && wantsCombine(length, next.length, sizes)) work.combine++;
    if (wantsSplit(length, sizes)) work.split++;
  }
  return work;
}

const INSIDE_MAILBOX = '(b.deleted IS NULL OR b.deleted > :since)';
const INSIDE_RECORD = '(r.expunged IS NULL OR r.expunged > :since)';
const LIVE_CHUNKS = `SELECT b.last_chunk_id FROM mailbox b WHERE ${INSIDE_MAILBOX}
  UNION SELECT r.last_chunk_id FROM mailbox_message r JOIN mailbox b ON b.id = r.mailbox_id
    WHERE ${INSIDE_RECORD} AND ${INSIDE_MAILBOX}
  UNION SELECT r.last_chunk_id FROM cb_record r JOIN mailbox b ON b.id = r.mailbox_id
    WHERE ${INSIDE_RECORD} AND ${INSIDE_MAILBOX}
  UNION SELECT m.chunk_id FROM message m JOIN mailbox_message r ON r.message_id = m.id
    JOIN mailbox b ON b.id = r.mailbox_id WHERE ${INSIDE_RECORD} AND ${INSIDE_MAILBOX}
  UNION SELECT last_chunk_id FROM subscription WHERE unsubscribed IS NULL OR unsubscribed > :since
  UNION SELECT last_chunk_id FROM seen
  UNION SELECT chunk_id FROM sieve WHERE deleted IS NULL OR deleted > :since`;
/** Sets, and no look-ups for each message: there is no index by message. */
const EXPIRED = `SELECT m.chunk_id, count(*), sum(m.size) FROM message m
  WHERE m.id NOT IN (SELECT r.message_id FROM mailbox_message r JOIN mailbox b ON b.id = r.mailbox_id
      WHERE ${INSIDE_RECORD} AND ${INSIDE_MAILBOX})
    AND m.guid NOT IN (SELECT r.guid FROM cb_record r JOIN mailbox b ON b.id = r.mailbox_id
      WHERE ${INSIDE_RECORD} AND ${INSIDE_MAILBOX})
  GROUP BY m.chunk_id`;
