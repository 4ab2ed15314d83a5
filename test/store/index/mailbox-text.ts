/** Texts of MAILBOX lines for tests. */
import { sizeOf } from './index-rig.ts';

export interface RecordText {
  uid: number;
  guid: string;
  modseq?: number | bigint;
  flags?: string[];
  expunged?: boolean;
  annotations?: string;
  /** More fields, as text. */
  more?: string;
}

export interface MailboxText {
  uniqueid: string;
  mboxname: string;
  highestmodseq?: number | bigint;
  lastUid?: number;
  crc?: number;
  partition?: string;
  uidvalidity?: number;
  since?: { modseq: number | bigint; crc?: number; crcAnnot?: number };
  annotations?: string;
  /** More fields, as text. */
  more?: string;
  records?: RecordText[];
}

/** A complete `MAILBOX %(...)` as sync_client sends it. */
export function mailboxText(mailbox: MailboxText): string {
  const { since } = mailbox;
  const fields = [
    `UNIQUEID ${mailbox.uniqueid}`,
    `MBOXNAME ${mailbox.mboxname}`,
    `SYNC_CRC ${mailbox.crc ?? 5} SYNC_CRC_ANNOT 12345678`,
    `LAST_UID ${mailbox.lastUid ?? 9} HIGHESTMODSEQ ${mailbox.highestmodseq ?? 10}`,
    'RECENTUID 1 RECENTTIME 1700000001 LAST_APPENDDATE 1700000002 POP3_LAST_LOGIN 0 POP3_SHOW_AFTER 0',
    `UIDVALIDITY ${mailbox.uidvalidity ?? 1600000000} PARTITION ${mailbox.partition ?? 'default'}`,
    'ACL "anne\tlrswipkxtecdan\t" OPTIONS P',
    ...(mailbox.annotations === undefined ? [] : [`ANNOTATIONS ${mailbox.annotations}`]),
    ...(mailbox.more === undefined ? [] : [mailbox.more]),
    ...(since === undefined
      ? []
      : [`SINCE_MODSEQ ${since.modseq} SINCE_CRC ${since.crc ?? 0} SINCE_CRC_ANNOT ${since.crcAnnot ?? 0}`]),
    `RECORD (${(mailbox.records ?? []).map((record) => recordText(record)).join(' ')})`,
  ];
  return `MAILBOX %(${fields.join(' ')})`;
}

function recordText(record: RecordText): string {
  const flags = [...(record.expunged ? ['\\Expunged'] : []), ...(record.flags ?? [])];
  const fields = [
    `UID ${record.uid} MODSEQ ${record.modseq ?? record.uid} LAST_UPDATED 1700000000`,
    `FLAGS (${flags.join(' ')}) INTERNALDATE 1690000000 SIZE ${sizeOf(record.guid)} GUID ${record.guid}`,
    ...(record.annotations === undefined ? [] : [`ANNOTATIONS ${record.annotations}`]),
    ...(record.more === undefined ? [] : [record.more]),
  ];
  return `%(${fields.join(' ')})`;
}
