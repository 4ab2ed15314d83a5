import { flagsCrc, recordCrc } from '../csync/sync-crc.ts';
import { crc32 } from '../platform/crc32.ts';
import type { CsyncRecord, SyncCrcs } from './csync-mailbox.ts';

/** SYNC_CRC_ANNOT of a mailbox without annotated records. */
const EMPTY_ANNOT = 12_345_678;

/**
 * SYNC_CRC and SYNC_CRC_ANNOT of a mailbox: the exclusive or of one CRC-32 for each record (and for each
 * annotation of a record), so that records may be added and taken away in any order. Expunged records do not
 * count. Checked against what Cyrus 3.6.1 sends (facts: Cyrus IMAP imap/mailbox.c, crc_basic and crc_annot).
 */
export function syncCrcs(records: Iterable<CsyncRecord>): SyncCrcs {
  const sum = new CrcSum();
  for (const record of records) sum.add(record);
  return sum.crcs;
}

/** The same, a record at a time. */
export class CrcSum {
  #basic = 0;
  #annot = EMPTY_ANNOT;

  add(record: CsyncRecord): void {
    if (record.flags.includes('\\Expunged')) return;
    const { uid } = record;
    this.#basic ^= recordCrc(record, flagsCrc(record.flags));
    for (const { entry, userid, value } of record.annotations ?? []) {
      this.#annot ^= crcOf(`${uid} ${entry} ${userid} ${value ?? ''}`);
    }
  }

  get crcs(): SyncCrcs {
    return { basic: this.#basic >>> 0, annot: this.#annot >>> 0 };
  }
}

function crcOf(text: string): number {
  return crc32(Buffer.from(text, 'latin1'));
}
