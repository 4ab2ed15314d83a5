/** Whether what a drill has restored is what the backup's records say. */
import { mailboxDeletedAt, type NameRules, parseMailboxName } from '../../csync/mailbox-name.ts';
import {
  MAILDIR_SYSTEM_FLAGS,
  type MaildirMailbox,
  type MaildirMessage,
  readMaildir,
} from './maildir-reader.ts';
import type { DrillRecord } from './records.ts';

/**
 * `missing`: it did not come back; `content`, `size`, `date`, `flags`: it came back as something else; `extra`:
 * something came back that was not wanted.
 */
export type FailureKind = 'missing' | 'content' | 'size' | 'date' | 'flags' | 'extra';

export interface DrillFailure {
  kind: FailureKind;
  /** For people. */
  text: string;
  /** Undefined for something that was not wanted. */
  record: DrillRecord | undefined;
}

/**
 * @param reasonOf why restore says that a message did not come
 * @returns all that differs, each message by its first fault
 */
export function compareMaildir(
  dir: string,
  records: readonly DrillRecord[],
  rules: NameRules,
  reasonOf: (record: DrillRecord) => string | undefined,
): DrillFailure[] {
  const failures: DrillFailure[] = [];
  const wanted = new Map<string, DrillRecord[]>();
  for (const record of records) {
    const key = keyOf(expectedFolders(record, rules));
    const list = wanted.get(key);
    if (list === undefined) wanted.set(key, [record]);
    else list.push(record);
  }
  const found = new Map<string, { mailbox: MaildirMailbox; message: MaildirMessage }[]>();
  for (const mailbox of readMaildir(dir)) {
    const list = mailbox.messages.map((message) => ({ mailbox, message }));
    const key = keyOf(mailbox.folders);
    found.set(key, [...(found.get(key) ?? []), ...list]);
  }
  for (const [key, list] of wanted) {
    const left = found.get(key) ?? [];
    for (const record of list) {
      // Two mailboxes that went at the same second under one name lie in one place: the GUID tells them apart.
      const same = left.filter(({ message }) => message.uid === record.uid);
      const one = same.find(({ message }) => message.sha1 === record.guid) ?? same[0];
      if (one === undefined) {
        failures.push({ kind: 'missing', text: reasonOf(record) ?? 'it did not come back', record });
        continue;
      }
      left.splice(left.indexOf(one), 1);
      const fault = faultOf(record, one.message, one.mailbox.isFull);
      if (fault !== undefined) failures.push({ ...fault, record });
    }
  }
  for (const { message } of [...found.values()].flat()) {
    failures.push({ kind: 'extra', text: `${message.file} was not asked for`, record: undefined });
  }
  return failures;
}

function faultOf(
  { guid, size, internaldate, flags }: DrillRecord,
  found: MaildirMessage,
  isFull: boolean,
): Pick<DrillFailure, 'kind' | 'text'> | undefined {
  if (found.sha1 !== guid) return { kind: 'content', text: `the SHA-1 of what came back is ${found.sha1}` };
  if (found.size !== size) {
    return { kind: 'size', text: `${found.size} bytes came back, but the index says ${size}` };
  }
  if (found.time !== internaldate) {
    return {
      kind: 'date',
      text: `it came back with the date ${iso(found.time)} instead of ${iso(internaldate)}`,
    };
  }
  const known = flags.filter((flag) => !flag.startsWith('\\') || MAILDIR_SYSTEM_FLAGS.has(flag));
  const isSame = isFull
    ? known.every((flag) => found.flags.includes(flag) || !flag.startsWith('\\')) &&
      found.flags.every((flag) => known.includes(flag))
    : known.join(' ') === found.flags.join(' ');
  if (isSame) return undefined;
  return {
    kind: 'flags',
    text: `it came back with the flags (${found.flags.join(' ')}) instead of (${known.join(' ')})`,
  };
}

/** Where restore says that it puts a mailbox: under its own name, and with the time if it is deleted. */
function expectedFolders({ mboxname, mailboxDeleted }: DrillRecord, rules: NameRules): string[] {
  const { folders, deletedSuffix } = parseMailboxName(mboxname, rules);
  if (deletedSuffix === undefined && mailboxDeleted === null) return folders;
  const time = mailboxDeletedAt(mboxname, rules) ?? mailboxDeleted;
  const when = time === null ? '' : `-${iso(time).replaceAll(/[-:]|\.000Z/g, '')}`;
  return [...folders.slice(0, -1), `${folders.at(-1) ?? 'INBOX'}-DELETED${when}`];
}

function keyOf(folders: readonly string[]): string {
  return folders.join('\n');
}

function iso(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
