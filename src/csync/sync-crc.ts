/**
 * SYNC_CRC of a mailbox: the exclusive or of one CRC-32 for each record that is not expunged, so that records may be
 * added and taken away in any order. The same in Cyrus 2.4 to 3.12 (facts: Cyrus IMAP imap/mailbox.c, crc_basic; 2.4:
 * make_sync_crc). An empty mailbox has 0, which is also what clients send that do not know it.
 */
import { crc32 } from 'node:zlib';

/** What counts of a record. Times in seconds since 1970. */
export interface CountedRecord {
  uid: number;
  /** As text: its decimal digits. */
  modseq: number | bigint | string;
  lastUpdated: number;
  internaldate: number;
  /** 40 lower-case hex digits. */
  guid: string;
}

/** Of a record that is not expunged; `flags`: flagsCrc() of its flags. */
export function recordCrc(record: CountedRecord, flags: number): number {
  const { uid, modseq, lastUpdated, internaldate, guid } = record;
  return crc32(`${uid} ${modseq} ${lastUpdated} (${flags}) ${internaldate} ${guid}`);
}

/** Byte strings; their order and the case of ASCII letters do not count. */
export function flagsCrc(flags: Iterable<string>): number {
  let crc = 0;
  for (const flag of flags) crc ^= crc32(Buffer.from(lowerCase(flag), 'latin1'));
  return crc >>> 0;
}

function lowerCase(flag: string): string {
  return flag.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
