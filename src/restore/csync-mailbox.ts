import { printKvlist, printNumber, printString } from '../csync/encoder.ts';

/** Exact unsigned integer of up to 64 bits; modseqs may need a bigint. */
export type Count = number | bigint;

/** An annotation of a message or of a mailbox. Strings hold one byte per character. */
export interface CsyncAnnotation {
  entry: string;
  /** Empty for a shared (`value.shared`) annotation. */
  userid: string;
  modseq: Count;
  value: string | null;
}

/** One RECORD of APPLY MAILBOX. Times are UNIX seconds. */
export interface CsyncRecord {
  uid: number;
  modseq: Count;
  lastUpdated: number;
  /** System flags with their backslash, `\Expunged` included, then keywords, in the order they are sent. */
  flags: readonly string[];
  internaldate: number;
  size: number;
  /** 40 lower-case hex digits: SHA-1 of the message. */
  guid: string;
  annotations?: readonly CsyncAnnotation[];
}

/** What APPLY MAILBOX says of a mailbox besides its RECORDs; optional fields are left out where undefined. */
export interface CsyncMailboxFields {
  uniqueid: string;
  mboxname: string;
  mboxtype?: string;
  lastUid: number;
  highestmodseq: Count;
  recentuid: number;
  recenttime: number;
  lastAppenddate: number;
  pop3LastLogin: number;
  pop3ShowAfter?: number;
  uidvalidity: number;
  partition: string;
  acl: string;
  options: string;
  quotaroot?: string;
  xconvmodseq?: Count;
  raclmodseq?: Count;
  createdmodseq?: Count;
  foldermodseq?: Count;
  annotations?: readonly CsyncAnnotation[];
  /** Fields of newer releases, printed as they came. */
  more?: readonly (readonly [key: string, printed: string])[];
}

/** A mailbox as the sending side holds it; `records` by ascending UID. */
export interface CsyncMailbox extends CsyncMailboxFields {
  records: readonly CsyncRecord[];
}

/** CRCs over all records of a mailbox; both ends compare them. */
export interface SyncCrcs {
  basic: number;
  annot: number;
}

/** What the sender believes the server to hold; the server refuses with IMAP_SYNC_CHECKSUM where it does not. */
export interface Since extends SyncCrcs {
  modseq: Count;
}

const OURS = { nonSynchronising: true };
/** Records printed at once; a piece is some 100 kB. */
const RECORDS_PER_PIECE = 512;

/**
 * `APPLY MAILBOX %(...)` without CRLF, in pieces, so that a mailbox of a million records is never one string.
 * Order of the keys as Cyrus 3.6.1's sync_client sends them.
 * @param records those to send, by ascending UID; all of them for a mailbox that the server does not have
 * @param crcs over all of the mailbox's records, sent or not
 */
export function* printApplyMailbox(
  mailbox: CsyncMailboxFields,
  records: readonly CsyncRecord[],
  crcs: SyncCrcs,
  since?: Since,
): Generator<string> {
  const fields = printFields([
    ['UNIQUEID', mailbox.uniqueid],
    ['MBOXNAME', mailbox.mboxname],
    ['MBOXTYPE', mailbox.mboxtype],
    ['SYNC_CRC', crcs.basic],
    ['SYNC_CRC_ANNOT', crcs.annot],
    ['LAST_UID', mailbox.lastUid],
    ['HIGHESTMODSEQ', mailbox.highestmodseq],
    ['RECENTUID', mailbox.recentuid],
    ['RECENTTIME', mailbox.recenttime],
    ['LAST_APPENDDATE', mailbox.lastAppenddate],
    ['POP3_LAST_LOGIN', mailbox.pop3LastLogin],
    ['POP3_SHOW_AFTER', mailbox.pop3ShowAfter],
    ['UIDVALIDITY', mailbox.uidvalidity],
    ['PARTITION', mailbox.partition],
    ['ACL', mailbox.acl],
    ['OPTIONS', mailbox.options],
    ['QUOTAROOT', mailbox.quotaroot],
    ['XCONVMODSEQ', mailbox.xconvmodseq],
    ['RACLMODSEQ', mailbox.raclmodseq],
    ['CREATEDMODSEQ', mailbox.createdmodseq],
    ['FOLDERMODSEQ', mailbox.foldermodseq],
  ]);
  const annotations = printAnnotations(mailbox.annotations);
  if (annotations !== undefined) fields.push(`ANNOTATIONS ${annotations}`);
  if (since !== undefined) {
    fields.push(
      ...printFields([
        ['SINCE_MODSEQ', since.modseq],
        ['SINCE_CRC', since.basic],
        ['SINCE_CRC_ANNOT', since.annot],
      ]),
    );
  }
  for (const [key, printed] of mailbox.more ?? []) fields.push(`${key} ${printed}`);
  yield `APPLY MAILBOX %(${fields.join(' ')} RECORD (`;
  yield* printRecords(records);
  yield '))';
}

/** What stands between the parentheses of RECORD, in pieces. */
export function* printRecords(records: readonly CsyncRecord[]): Generator<string> {
  for (let from = 0; from < records.length; from += RECORDS_PER_PIECE) {
    const printed = records
      .slice(from, from + RECORDS_PER_PIECE)
      .map(printRecord)
      .join(' ');
    yield from === 0 ? printed : ` ${printed}`;
  }
}

function printFields(
  fields: readonly (readonly [key: string, value: string | Count | undefined])[],
): string[] {
  return fields
    .filter(([, value]) => value !== undefined)
    .map(
      ([key, value]) =>
        `${key} ${typeof value === 'string' ? printString(value, OURS) : printNumber(value!)}`,
    );
}

function printRecord(record: CsyncRecord): string {
  return printKvlist([
    ['UID', printNumber(record.uid)],
    ['MODSEQ', printNumber(record.modseq)],
    ['LAST_UPDATED', printNumber(record.lastUpdated)],
    ['FLAGS', `(${record.flags.join(' ')})`],
    ['INTERNALDATE', printNumber(record.internaldate)],
    ['SIZE', printNumber(record.size)],
    ['GUID', record.guid],
    ['ANNOTATIONS', printAnnotations(record.annotations)],
  ]);
}

function printAnnotations(annotations: readonly CsyncAnnotation[] | undefined): string | undefined {
  if (annotations === undefined || annotations.length === 0) return undefined;
  const printed = annotations.map((annotation) =>
    printKvlist([
      ['ENTRY', printString(annotation.entry, OURS)],
      ['USERID', printString(annotation.userid, OURS)],
      ['MODSEQ', printNumber(annotation.modseq)],
      ['VALUE', printString(annotation.value, OURS)],
    ]),
  );
  return `(${printed.join(' ')})`;
}
