/** What a backup holds as JSON; docs/restore.md describes it. */
import { isUtf8 } from 'node:buffer';
import type { Dlist } from '../../csync/dlist.ts';
import type { CsyncAnnotation } from '../csync-mailbox.ts';
import type { StoredMailbox, StoredRecord } from '../source.ts';

/** Text, or bytes that are no UTF-8. */
export type ByteText = string | { base64: string };

/** @param bytes one character a byte */
export function byteText(bytes: string): ByteText {
  const buffer = Buffer.from(bytes, 'latin1');
  return isUtf8(buffer) ? buffer.toString('utf8') : { base64: buffer.toString('base64') };
}

function orNull(bytes: string | null | undefined): ByteText | null {
  return bytes === null || bytes === undefined ? null : byteText(bytes);
}

/** ISO 8601, UTC; `@SECONDS` for what is no date. */
export function isoTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? `@${seconds}` : date.toISOString();
}

export function dlistJson(value: Dlist): unknown {
  switch (value.kind) {
    case 'nil':
      return null;
    case 'atom':
    case 'flag':
      return byteText(value.value.toString('latin1'));
    case 'list':
      return value.items.map(dlistJson);
    case 'kvlist':
      return { kvlist: value.entries.map(([key, entry]) => [byteText(key), dlistJson(entry)]) };
    case 'file':
      return {
        file: {
          partition: byteText(value.partition),
          guid: value.guid,
          base64: value.content.toString('base64'),
        },
      };
  }
}

function moreJson(more: ReadonlyMap<string, Dlist>): Record<string, unknown> {
  return Object.fromEntries([...more].map(([key, value]) => [key, dlistJson(value)]));
}

export function annotationJson({ entry, userid, modseq, value }: CsyncAnnotation): object {
  return { entry: byteText(entry), userid: byteText(userid), modseq: String(modseq), value: orNull(value) };
}

/** @param name as the administrator sees it */
export function mailboxJson(mailbox: StoredMailbox, name: string): object {
  const { uniqueid, mboxname, mboxtype, uidvalidity, lastUid, highestmodseq, recentuid } = mailbox;
  return {
    type: 'mailbox',
    name,
    uniqueid: byteText(uniqueid),
    mboxname: byteText(mboxname),
    mboxtype: orNull(mboxtype),
    uidvalidity,
    lastUid,
    highestModseq: String(highestmodseq),
    recentUid: recentuid,
    recentTime: isoTime(mailbox.recenttime),
    lastAppendDate: isoTime(mailbox.lastAppenddate),
    pop3LastLogin: isoTime(mailbox.pop3LastLogin),
    pop3ShowAfter: mailbox.pop3ShowAfter === undefined ? null : isoTime(mailbox.pop3ShowAfter),
    partition: byteText(mailbox.partition),
    acl: byteText(mailbox.acl),
    options: byteText(mailbox.options),
    quotaroot: orNull(mailbox.quotaroot),
    xconvModseq: mailbox.xconvmodseq === undefined ? null : String(mailbox.xconvmodseq),
    deletedAt: mailbox.deleted === null ? null : isoTime(mailbox.deleted),
    annotations: mailbox.annotations.map(annotationJson),
    more: moreJson(mailbox.more),
  };
}

/** Without its content. */
export function messageJson(record: StoredRecord, { uniqueid }: StoredMailbox): object {
  const { uid, modseq, flags, guid, size, expunged } = record;
  return {
    type: 'message',
    mailbox: byteText(uniqueid),
    uid,
    modseq: String(modseq),
    lastUpdated: isoTime(record.lastUpdated),
    flags: flags.map(byteText),
    internalDate: isoTime(record.internaldate),
    guid,
    sizeBytes: size ?? null,
    annotations: record.annotations.map(annotationJson),
    expungedAt: expunged === undefined ? null : isoTime(expunged),
    more: moreJson(record.more),
  };
}
