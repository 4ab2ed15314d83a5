/**
 * A library of corruptions: what happens to data files and indexes, each with what verify has to say of it. All
 * of them are for the backup that corruptible() makes.
 */
import fs from 'node:fs';
import type { Finding } from '../../src/store/verify/finding.ts';
import { guidOf, mailboxLine, messageLine, SampleBackup } from './backup-files.ts';

export const A = `Subject: a\r\n\r\n${'first '.repeat(20)}\r\n`;
/** Its chunk has to be the longest, by whatever engine: one of the others may stand in its place. */
export const B = `Subject: b\r\n\r\n${'second '.repeat(20)} and more 0123456789\r\n`;
export const C = `Subject: c\r\n\r\n${'third '.repeat(20)}\r\n`;
const OTHER = 'Subject: other\r\n\r\nsomebody else\r\n';

/** Three chunks with a message and a mailbox each. */
export function corruptible(): SampleBackup {
  const chunk = (name: string, content: string, time: number): (string | Uint8Array)[] => [
    messageLine([content], time),
    mailboxLine(name, [{ uid: 1, content }], { time }),
  ];
  return new SampleBackup([
    chunk('user.anne', A, 1_700_000_000),
    chunk('user.anne.Old', B, 1_700_000_010),
    chunk('user.anne.Sent', C, 1_700_000_020),
  ]);
}

/** Where the chunks of a sound backup begin, and its end. */
export interface Layout {
  first: number;
  second: number;
  third: number;
  end: number;
}

export interface Corruption {
  name: string;
  apply(backup: SampleBackup, at: Layout): void;
  /** The findings, in order, as far as they matter. */
  expected(at: Layout): Partial<Finding>[];
}

const HEADER_BYTES = 24;
const FOOTER_BYTES = 8;

function edit(backup: SampleBackup, change: (bytes: Buffer) => Uint8Array | undefined): void {
  const bytes = backup.bytes();
  backup.write(change(bytes) ?? bytes);
}

const flip =
  (at: (layout: Layout) => number, bit = 0) =>
  (backup: SampleBackup, layout: Layout) =>
    edit(backup, (bytes) => {
      bytes[at(layout)]! ^= 1 << bit;
      return undefined;
    });

const truncate = (to: (layout: Layout) => number) => (backup: SampleBackup, layout: Layout) =>
  edit(backup, (bytes) => bytes.subarray(0, to(layout)));

/** The rows of one chunk's message, mailbox and record. */
const rowsOf = (chunk: number, content: string, mailbox: string): Partial<Finding>[] => [
  { code: 'MESSAGE_MISSING', chunk, lineOffset: 29, guid: guidOf(content) },
  { code: 'MAILBOX_MISSING', chunk, mailbox, uniqueid: `id-${mailbox}` },
  { code: 'RECORD_MISSING', chunk, mailbox, uid: 1, guid: guidOf(content) },
];
const second = rowsOf(2, B, 'user.anne.Old');
const third = rowsOf(3, C, 'user.anne.Sent');
/** All messages first, then all mailboxes, then all records. */
const inOrder = (...rows: Partial<Finding>[][]): Partial<Finding>[] =>
  [0, 1, 2].flatMap((kind) => rows.map((row) => row[kind]!));
const hashesBehind = (chunk: number, fileOffset: number): Partial<Finding>[] => [
  { code: 'FILE_SHA1_WRONG', severity: 'fault', chunk, fileOffset },
];
/** A chunk whose content is whole and another one than the index says. */
const otherContent = (chunk: number): Partial<Finding>[] => [
  { code: 'CHUNK_LENGTH_WRONG', chunk },
  { code: 'CHUNK_SHA1_WRONG', chunk },
];
const stale: Partial<Finding> = { code: 'INDEX_STALE', severity: 'fault' };

export const CORRUPTIONS: readonly Corruption[] = [
  {
    name: 'a flipped bit in the magic of a chunk',
    apply: flip((at) => at.second),
    expected: (at) => [
      { code: 'CHUNK_MISSING', chunk: 2, fileOffset: at.second },
      ...hashesBehind(3, at.third),
      stale,
      ...second,
    ],
  },
  {
    name: 'a flipped bit in the boot tag, which means nothing to the content',
    apply: flip((at) => at.second + 17),
    expected: (at) => [...hashesBehind(3, at.third), stale],
  },
  {
    name: 'a flipped bit in the type of a deflate block',
    apply: flip((at) => at.second + HEADER_BYTES, 1),
    expected: (at) => [{ code: 'CHUNK_CORRUPT', chunk: 2 }, ...hashesBehind(3, at.third), stale, ...second],
  },
  {
    name: 'a flipped bit in the CRC of the last chunk',
    apply: flip((at) => at.end - FOOTER_BYTES, 3),
    expected: (at) => [{ code: 'CHUNK_CRC_WRONG', chunk: 3, fileOffset: at.third }, stale],
  },
  {
    name: 'a flipped bit in the length of the last chunk',
    apply: flip((at) => at.end - 1, 7),
    expected: (at) => [{ code: 'CHUNK_CRC_WRONG', chunk: 3, fileOffset: at.third }, stale],
  },
  {
    name: 'a file that ends in the trailer of the last chunk',
    apply: truncate((at) => at.end - 3),
    expected: () => [{ code: 'RECOVERY_PENDING', severity: 'notice', chunk: 3 }],
  },
  {
    name: 'a file that ends in the stream of the last chunk',
    apply: truncate((at) => at.third + 60),
    expected: (at) => [
      { code: 'CHUNK_UNFINISHED', chunk: 3, fileOffset: at.third },
      ...otherContent(3),
      ...third,
    ],
  },
  {
    name: 'a file that ends in the header of the last chunk',
    apply: truncate((at) => at.third + 7),
    expected: (at) => [
      { code: 'CHUNK_UNFINISHED', chunk: 3, fileOffset: at.third },
      ...otherContent(3),
      ...third,
    ],
  },
  {
    name: 'a file that ends between two chunks',
    apply: truncate((at) => at.third),
    expected: (at) => [{ code: 'CHUNK_MISSING', chunk: 3, fileOffset: at.third }, ...third],
  },
  {
    name: 'a file that ends in an earlier chunk',
    apply: truncate((at) => at.second + 60),
    expected: (at) => [
      { code: 'CHUNK_MISSING', chunk: 3, fileOffset: at.third },
      { code: 'CHUNK_UNFINISHED', chunk: 2, fileOffset: at.second },
      ...otherContent(2),
      ...inOrder(second, third),
    ],
  },
  {
    name: 'a file that ends where it begins',
    apply: truncate(() => 0),
    expected: (at) => [
      { code: 'CHUNK_MISSING', chunk: 1, fileOffset: at.first },
      { code: 'CHUNK_MISSING', chunk: 2, fileOffset: at.second },
      { code: 'CHUNK_MISSING', chunk: 3, fileOffset: at.third },
      ...inOrder(rowsOf(1, A, 'user.anne'), second, third),
    ],
  },
  {
    name: 'a chunk that is overwritten with zeros',
    apply: (backup, at) => edit(backup, (bytes) => bytes.fill(0, at.second, at.third)),
    expected: (at) => [
      { code: 'CHUNK_MISSING', chunk: 2, fileOffset: at.second },
      ...hashesBehind(3, at.third),
      stale,
      ...second,
    ],
  },
  {
    name: 'a chunk that is cut out of the middle',
    apply: (backup, at) =>
      edit(backup, (bytes) => Buffer.concat([bytes.subarray(0, at.second), bytes.subarray(at.third)])),
    expected: (at) => [
      { code: 'CHUNK_MISSING', chunk: 3, fileOffset: at.third },
      // The third chunk stands in the place of the second now.
      ...otherContent(2),
      ...inOrder(second, third),
    ],
  },
  {
    name: 'a chunk that stands there twice',
    apply: (backup, at) =>
      edit(backup, (bytes) => Buffer.concat([bytes, bytes.subarray(at.second, at.third)])),
    expected: (at) => [{ code: 'RECOVERY_PENDING', severity: 'notice', fileOffset: at.end }],
  },
  {
    name: 'garbage between two chunks',
    apply: (backup, at) =>
      edit(backup, (bytes) =>
        Buffer.concat([bytes.subarray(0, at.third), Buffer.alloc(50, 'x'), bytes.subarray(at.third)]),
      ),
    expected: (at) => [{ code: 'CHUNK_MISSING', chunk: 3, fileOffset: at.third }, stale, ...third],
  },
  {
    name: 'garbage at the end',
    apply: (backup) => edit(backup, (bytes) => Buffer.concat([bytes, Buffer.alloc(50, 'x')])),
    expected: (at) => [{ code: 'DATA_NOT_INDEXED', severity: 'fault', fileOffset: at.end }],
  },
  {
    name: 'a torn chunk between two others, as a killed backupd leaves it, which the index does not know',
    apply: (backup, at) => {
      edit(backup, (bytes) =>
        Buffer.concat([
          bytes.subarray(0, at.third),
          bytes.subarray(at.second, at.second + 120),
          bytes.subarray(at.third),
        ]),
      );
      backup.sql('UPDATE chunk SET offset = offset + 120 WHERE id = 3');
    },
    expected: (at) => [
      { code: 'DATA_NOT_INDEXED', severity: 'fault', fileOffset: at.third },
      ...hashesBehind(3, at.third + 120),
      stale,
    ],
  },
  {
    name: "another user's data file under this index",
    apply: (backup) => {
      using other = new SampleBackup([
        [messageLine([OTHER]), mailboxLine('user.bob', [{ uid: 1, content: OTHER }])],
      ]);
      backup.write(other.bytes());
    },
    expected: (at) => [
      { code: 'CHUNK_MISSING', chunk: 3, fileOffset: at.third },
      { code: 'MESSAGE_NOT_INDEXED', chunk: 1, guid: guidOf(OTHER) },
      { code: 'CHUNK_UNFINISHED', chunk: 1, fileOffset: at.first },
      ...otherContent(1),
      { code: 'CHUNK_MISSING', chunk: 2, fileOffset: at.second },
      ...hashesBehind(2, at.second),
      ...inOrder(rowsOf(1, A, 'user.anne'), second, third),
    ],
  },
  {
    name: "another user's index beside this data file",
    apply: (backup) => {
      using other = new SampleBackup([
        [messageLine([OTHER]), mailboxLine('user.bob', [{ uid: 1, content: OTHER }])],
      ]);
      fs.copyFileSync(other.indexPath, backup.indexPath);
    },
    expected: (at) => [
      { code: 'MESSAGE_NOT_INDEXED', chunk: 1, guid: guidOf(A) },
      ...otherContent(1),
      { code: 'DATA_NOT_INDEXED', fileOffset: at.second },
      { code: 'DATA_NOT_INDEXED', fileOffset: at.third },
      stale,
      ...rowsOf(1, OTHER, 'user.bob'),
    ],
  },
  {
    name: 'an index from before the last chunk',
    apply: (backup, at) => {
      using before = new SampleBackup();
      before.write(backup.bytes().subarray(0, at.third));
      before.reindex();
      fs.copyFileSync(before.indexPath, backup.indexPath);
    },
    expected: (at) => [{ code: 'RECOVERY_PENDING', severity: 'notice', fileOffset: at.third }],
  },
  {
    name: 'an index that is gone',
    apply: (backup) => fs.rmSync(backup.indexPath),
    expected: () => [stale],
  },
  {
    name: 'an index that is garbled',
    apply: (backup) => fs.writeFileSync(backup.indexPath, Buffer.alloc(5000, 'no database ')),
    expected: () => [stale],
  },
  {
    name: 'an index that lacks a message',
    apply: (backup) =>
      backup.sql('DELETE FROM mailbox_message WHERE message_id = 2', 'DELETE FROM message WHERE id = 2'),
    expected: () => [{ code: 'MESSAGE_NOT_INDEXED', chunk: 2, lineOffset: 29, guid: guidOf(B) }],
  },
  {
    name: 'an index with flags that were never sent',
    apply: (backup) => backup.sql("UPDATE mailbox_message SET flags = '(\\Flagged)' WHERE message_id = 2"),
    expected: () => [{ code: 'RECORD_MISSING', chunk: 2, mailbox: 'user.anne.Old', uid: 1, guid: guidOf(B) }],
  },
  {
    name: 'an index with a record that was never sent',
    apply: (backup) => backup.sql('UPDATE mailbox_message SET uid = 9 WHERE message_id = 2'),
    expected: () => [{ code: 'RECORD_MISSING', chunk: 2, mailbox: 'user.anne.Old', uid: 9, guid: guidOf(B) }],
  },
];
