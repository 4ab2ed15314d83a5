/**
 * Answers to GET, as lines `* ...\r\n`. Which fields a client compares with its own, and what it does about
 * those that are missing or different, was found out with real clients; so every field goes back as it was
 * sent, and what was not sent is not made up.
 */
import { printKvlist, printList, printString } from '../../csync/encoder.ts';
import type { ReadQuery } from '../../pipeline/messages.ts';
import type { BackupIndex } from './backup-index.ts';
import { cameInParts, isHidden } from './parts.ts';
import {
  annotations,
  type IntermediateRow,
  intermediates,
  type MailboxRow,
  mailboxByName,
  mailboxByUniqueid,
  mailboxes,
  mailboxMessages,
  quotas,
  type RecordRow,
  seenStates,
  sieveScripts,
  subscriptions,
} from './queries.ts';

/** Pieces of a long answer are about as long as this. */
const PIECE_BYTES = 64 * 1024;
const NONE: ReadonlySet<string> = new Set();
const NO_GUID = '0'.repeat(40);

type Told = () => ReadonlySet<string>;

/**
 * The answer as byte pieces that make up whole lines; undefined if what was asked for does not exist. The
 * content of messages and scripts is not in the index, so MESSAGE and SIEVE are answered elsewhere (see
 * `sieveLine`) and are undefined here.
 *
 * @param told UNIQUEIDs of mailboxes of which is told though they are to come as a whole (left-out.ts); asked if there is one
 */
export function answer(
  index: BackupIndex,
  query: ReadQuery,
  told: Told = () => NONE,
): Iterable<Buffer> | undefined {
  switch (query.what) {
    case 'USER':
      return userLines(index, told);
    case 'META':
      return metaLines(index);
    case 'MAILBOXES':
      return mailboxLines(index, query.mboxnames, (mboxname) => ({ mboxname }), told);
    case 'UNIQUEIDS':
      return mailboxLines(index, query.uniqueids, (uniqueid) => ({ uniqueid }), told);
    case 'FULLMAILBOX': {
      const mailbox = mailboxByName(index, query.mboxname);
      return mailbox !== undefined && isAnswered(mailbox, told) ? fullMailbox(index, mailbox) : undefined;
    }
    case 'QUOTA':
      return quotas(index, query.root).map((quota) => line(`QUOTA ${quota}`));
    case 'ANNOTATION':
      return annotations(index, query.mboxname).map((annotation) => line(`ANNOTATION ${annotation}`));
    case 'SIEVE':
    case 'MESSAGE':
      return undefined;
  }
}

/** Answer to FETCH_SIEVE. */
export function sieveLine(
  userid: string,
  script: { filename: string; lastUpdate: number },
  content: Uint8Array,
): Buffer {
  const fields = printKvlist([
    ['USERID', printString(userid)],
    ['FILENAME', printString(script.filename)],
    ['LAST_UPDATE', String(script.lastUpdate)],
    ['CONTENT', printString(content)],
  ]);
  return line(`SIEVE ${fields}`);
}

function* userLines(index: BackupIndex, told: Told): Generator<Buffer, void> {
  for (const mailbox of mailboxes(index)) if (isAnswered(mailbox, told)) yield mailboxLine(mailbox);
  for (const node of intermediates(index)) if (isShown(node)) yield intermediateLine(node);
  for (const quota of quotas(index)) yield line(`QUOTA ${quota}`);
  yield* metaLines(index);
}

function* metaLines(index: BackupIndex): Generator<Buffer, void> {
  for (const seen of seenStates(index)) {
    const fields = printKvlist([
      ['UNIQUEID', printString(seen.uniqueid)],
      ['LASTREAD', String(seen.lastread)],
      ['LASTUID', String(seen.lastuid)],
      ['LASTCHANGE', String(seen.lastchange)],
      ['SEENUIDS', printString(seen.seenuids)],
    ]);
    yield line(`SEEN ${fields}`);
  }
  const names = subscriptions(index);
  if (names.length > 0) yield line(`LSUB ${printList(names.map((name) => printString(name)))}`);
  for (const { filename, lastUpdate, guid } of sieveScripts(index))
    yield scriptLine(filename, lastUpdate, guid, 0);
  // The active script is an entry of its own, named like the compiled script that ACTIVATE_SIEVE names.
  const active = index.activeSieve();
  if (active !== undefined) yield scriptLine(active, 0, NO_GUID, 1);
}

function scriptLine(filename: string, lastUpdate: number, guid: string, isActive: 0 | 1): Buffer {
  const fields = printKvlist([
    ['FILENAME', printString(filename)],
    ['LAST_UPDATE', String(lastUpdate)],
    ['GUID', guid],
    ['ISACTIVE', String(isActive)],
  ]);
  return line(`SIEVE ${fields}`);
}

type MailboxKey = { mboxname: string } | { uniqueid: string };

/** Those of them that are there. */
function* mailboxLines(
  index: BackupIndex,
  values: readonly string[],
  keyOf: (value: string) => MailboxKey,
  told: Told,
): Generator<Buffer, void> {
  for (const value of values) {
    const key = keyOf(value);
    const mailbox =
      'mboxname' in key ? mailboxByName(index, key.mboxname) : mailboxByUniqueid(index, key.uniqueid);
    if (mailbox !== undefined && mailbox.deleted === null) {
      if (isAnswered(mailbox, told)) yield mailboxLine(mailbox);
      continue;
    }
    for (const node of intermediates(index, key)) if (isShown(node)) yield intermediateLine(node);
  }
}

function isAnswered(mailbox: MailboxRow, told: Told): boolean {
  return mailbox.deleted === null && (!isHidden(mailbox) || told().has(mailbox.uniqueid));
}

/** Tombstones (type `d`) are kept, but Cyrus's own servers do not report them either. */
function isShown(node: IntermediateRow): boolean {
  return !(node.mboxtype ?? '').includes('d');
}

function mailboxLine(mailbox: MailboxRow): Buffer {
  return line(
    `MAILBOX %(${mailboxFields(isShared(mailbox.mboxname) ? withoutFoldermodseq(mailbox) : mailbox)})`,
  );
}

/**
 * A client takes over a FOLDERMODSEQ that is higher than its own, as after its mail server was put back. For a mailbox of
 * nobody sync_client 3.6 dies of that on an assertion, and with -A before it comes to any user. All do without it.
 */
function withoutFoldermodseq(mailbox: MailboxRow): MailboxRow {
  if (!ONLY_ATOMS.test(mailbox.fields)) return mailbox;
  return { ...mailbox, fields: mailbox.fields.replace(/(?:^| )FOLDERMODSEQ \S+/, '').trimStart() };
}

const ONLY_ATOMS = /^(?:[A-Z0-9_]+ [\w.-]+(?: |$))+$/;

/** Neither a user's nor one that was. */
function isShared(mboxname: string): boolean {
  return !/^(?:[^!]*!)?(?:[^.]+\.)?user\./.test(mboxname);
}

/** `KEY value ...` of a MAILBOX, RECORDs apart. */
export function mailboxFields(mailbox: MailboxRow): string {
  const crcs = mailbox.crcStale ? [null, null] : [mailbox.syncCrc, mailbox.syncCrcAnnot];
  const fields: [key: string, printed: string | null][] = [
    ['UNIQUEID', printString(mailbox.uniqueid)],
    ['MBOXNAME', printString(mailbox.mboxname)],
    ['MBOXTYPE', optional(mailbox.mboxtype)],
    ['SYNC_CRC', digits(crcs[0])],
    ['SYNC_CRC_ANNOT', digits(crcs[1])],
    ['LAST_UID', digits(mailbox.lastUid)],
    ['HIGHESTMODSEQ', digits(mailbox.highestmodseq)],
    ['RECENTUID', digits(mailbox.recentuid)],
    ['RECENTTIME', digits(mailbox.recenttime)],
    ['LAST_APPENDDATE', digits(mailbox.lastAppenddate)],
    ['POP3_LAST_LOGIN', digits(mailbox.pop3LastLogin)],
    ['POP3_SHOW_AFTER', digits(mailbox.pop3ShowAfter)],
    ['UIDVALIDITY', digits(mailbox.uidvalidity)],
    ['PARTITION', printString(mailbox.partition)],
    ['ACL', printString(mailbox.acl)],
    ['OPTIONS', printString(mailbox.options)],
    ['QUOTAROOT', optional(mailbox.quotaroot)],
    ['XCONVMODSEQ', digits(mailbox.xconvmodseq)],
    ['ANNOTATIONS', mailbox.annotations || null],
  ];
  const printed = fields.filter(([, value]) => value !== null).map(([key, value]) => `${key} ${value}`);
  if (mailbox.fields !== '') printed.push(mailbox.fields);
  return printed.join(' ');
}

/**
 * As Cyrus's sync_server reports one. HIGHESTMODSEQ is 0: when the node becomes a mailbox the client sends
 * the records above it, which has to be all of them.
 */
function intermediateLine(node: IntermediateRow): Buffer {
  const fields = [
    `UNIQUEID ${printString(node.uniqueid)}`,
    `MBOXNAME ${printString(node.mboxname)}`,
    `MBOXTYPE ${printString(node.mboxtype)}`,
    'SYNC_CRC 0 LAST_UID 0 HIGHESTMODSEQ 0 RECENTUID 0 RECENTTIME 0 LAST_APPENDDATE 0 POP3_LAST_LOGIN 0',
    'POP3_SHOW_AFTER 0 UIDVALIDITY 0 PARTITION NIL ACL "" OPTIONS ""',
  ];
  if (node.fields !== '') fields.push(node.fields);
  return line(`MAILBOX %(${fields.join(' ')})`);
}

function* fullMailbox(index: BackupIndex, mailbox: MailboxRow): Generator<Buffer, void> {
  let piece = `* MAILBOX %(${mailboxFields(mailbox)} RECORD (`;
  let separator = '';
  // While it comes in parts the client would fetch back what it has no more, under a new UID.
  const came = cameInParts(index, mailbox);
  for (const record of mailboxMessages(index, mailbox.id)) {
    if (came !== undefined && (record.uid > came.lastUid || came.unsaid.has(record.uid))) continue;
    piece += separator + recordText(record);
    separator = ' ';
    if (piece.length < PIECE_BYTES) continue;
    yield Buffer.from(piece, 'latin1');
    piece = '';
  }
  yield Buffer.from(`${piece}))\r\n`, 'latin1');
}

/** One RECORD of a MAILBOX. */
export function recordText(record: RecordRow): string {
  const flags = record.flags || '()';
  const shown =
    record.expunged === null ? flags : `(\\Expunged${flags === '()' ? ')' : ` ${flags.slice(1)}`}`;
  const size = record.size === null ? '' : ` SIZE ${record.size}`;
  const notes = record.annotations === '' ? '' : ` ANNOTATIONS ${record.annotations}`;
  const more = record.fields === null ? '' : ` ${record.fields}`;
  return `%(UID ${record.uid} MODSEQ ${record.modseq} LAST_UPDATED ${record.lastUpdated} FLAGS ${shown} INTERNALDATE ${record.internaldate}${size} GUID ${record.guid}${notes}${more})`;
}

function digits(value: number | bigint | null | undefined): string | null {
  return value === null || value === undefined ? null : String(value);
}

function optional(value: string | null): string | null {
  return value === null ? null : printString(value);
}

function line(text: string): Buffer {
  return Buffer.from(`* ${text}\r\n`, 'latin1');
}
