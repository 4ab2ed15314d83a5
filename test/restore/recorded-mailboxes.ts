import { readdirSync } from 'node:fs';
import path from 'node:path';
import { child, type Dlist, numberOf, parseDlist, textOf } from '../../src/csync/dlist.ts';
import type {
  CsyncAnnotation,
  CsyncMailbox,
  CsyncRecord,
  Since,
  SyncCrcs,
} from '../../src/restore/csync-mailbox.ts';
import { CAPTURES, readCapture } from '../replay/captures.ts';

/** An APPLY MAILBOX as a real sync_client sent it. */
export interface RecordedMailbox {
  file: string;
  /** The command without CRLF, one character for a byte. */
  text: string;
  mailbox: CsyncMailbox;
  crcs: SyncCrcs;
  since: Since | undefined;
}

const COMMAND = 'APPLY MAILBOX ';

/** All APPLY MAILBOX commands of the recorded sessions of one release but for 12-errors, which is hand-made. */
export function recordedMailboxes(release: string): RecordedMailbox[] {
  const names = readdirSync(path.join(CAPTURES, release)).filter((name) => !name.startsWith('12-errors'));
  return names.flatMap((name) => {
    const file = `${release}/${name.replace('.json', '')}`;
    const commands = readCapture(file).flatMap((event) => ('c' in event ? [event.c] : []));
    return commands
      .filter((text) => text.startsWith(COMMAND))
      .map((text) => read(file, text.replace(/\r\n$/, '')));
  });
}

function read(file: string, text: string): RecordedMailbox {
  const value = parseDlist(Buffer.from(text.slice(COMMAND.length), 'latin1'));
  const number = (key: string) => Number(count(value, key));
  const since = child(value, 'SINCE_MODSEQ');
  return {
    file,
    text,
    mailbox: {
      uniqueid: string(value, 'UNIQUEID')!,
      mboxname: string(value, 'MBOXNAME')!,
      mboxtype: string(value, 'MBOXTYPE'),
      lastUid: number('LAST_UID'),
      highestmodseq: count(value, 'HIGHESTMODSEQ')!,
      recentuid: number('RECENTUID'),
      recenttime: number('RECENTTIME'),
      lastAppenddate: number('LAST_APPENDDATE'),
      pop3LastLogin: number('POP3_LAST_LOGIN'),
      pop3ShowAfter: number('POP3_SHOW_AFTER'),
      uidvalidity: number('UIDVALIDITY'),
      partition: string(value, 'PARTITION')!,
      acl: string(value, 'ACL')!,
      options: string(value, 'OPTIONS')!,
      quotaroot: string(value, 'QUOTAROOT'),
      xconvmodseq: count(value, 'XCONVMODSEQ'),
      raclmodseq: count(value, 'RACLMODSEQ'),
      createdmodseq: count(value, 'CREATEDMODSEQ'),
      foldermodseq: count(value, 'FOLDERMODSEQ'),
      annotations: annotations(child(value, 'ANNOTATIONS')),
      records: items(child(value, 'RECORD')).map(record),
    },
    crcs: { basic: number('SYNC_CRC'), annot: number('SYNC_CRC_ANNOT') },
    since:
      since === undefined
        ? undefined
        : { modseq: numberOf(since)!, basic: number('SINCE_CRC'), annot: number('SINCE_CRC_ANNOT') },
  };
}

function record(value: Dlist): CsyncRecord {
  return {
    uid: Number(count(value, 'UID')),
    modseq: count(value, 'MODSEQ')!,
    lastUpdated: Number(count(value, 'LAST_UPDATED')),
    flags: items(child(value, 'FLAGS')).map((flag) => textOf(flag)!),
    internaldate: Number(count(value, 'INTERNALDATE')),
    size: Number(count(value, 'SIZE')),
    guid: string(value, 'GUID')!,
    annotations: annotations(child(value, 'ANNOTATIONS')),
  };
}

function annotations(value: Dlist | undefined): CsyncAnnotation[] | undefined {
  if (value === undefined) return undefined;
  return items(value).map((item) => ({
    entry: string(item, 'ENTRY')!,
    userid: string(item, 'USERID')!,
    modseq: count(item, 'MODSEQ')!,
    value: textOf(child(item, 'VALUE'))!,
  }));
}

function items(value: Dlist | undefined): Dlist[] {
  return value?.kind === 'list' ? value.items : [];
}

function string(value: Dlist, key: string): string | undefined {
  return textOf(child(value, key)) ?? undefined;
}

function count(value: Dlist, key: string): bigint | undefined {
  return numberOf(child(value, key));
}
