import { createHash } from 'node:crypto';
import { asList, asMap, readLine, type Value, writeDlist } from '../../support/dlist-text.ts';
import type { CsyncWire } from '../../support/wire.ts';
import { type CyrusSite, until } from './cyrus.ts';

/** A mailbox as both sides can show it: UID, flags and GUID of each message that is there. */
export type MailboxView = { uid: number; flags: string; guid: string }[];

/** Internal name of a folder as its owner names it (altnamespace, unixhierarchysep). */
export function internalName(user: string, folder: string): string {
  const owner = `user.${user.replaceAll('.', '^')}`;
  if (folder === 'INBOX') return owner;
  return `${owner}.${folder.replaceAll('.', '^').replaceAll('/', '.')}`;
}

/** All of a user's own folders on the source, or on another instance. */
export async function sourceView(
  site: CyrusSite,
  user: string,
  instance: 'source' | 'target' = 'source',
): Promise<Map<string, MailboxView>> {
  const imap = await site.imap(user, instance);
  const view = new Map<string, MailboxView>();
  for (const folder of await imap.folders()) {
    if (/^(Shared Folders|Other Users)(\/|$)/.test(folder)) continue;
    const messages = await imap.messages(folder);
    view.set(
      internalName(user, folder),
      messages.map(({ uid, flags, body }) => ({
        uid,
        flags: normal(flags),
        guid: createHash('sha1').update(body).digest('hex'),
      })),
    );
  }
  await imap.logout();
  return view;
}

/** The same from a backup server, by GET USER and GET FULLMAILBOX. */
export async function backupView(wire: CsyncWire, user: string): Promise<Map<string, MailboxView>> {
  const view = new Map<string, MailboxView>();
  for (const name of await mailboxNames(wire, user)) {
    if (name.startsWith('DELETED.')) continue;
    const records = (await fullMailbox(wire, name)).filter(
      (r) => !asList(r.get('FLAGS')).includes('\\Expunged'),
    );
    view.set(
      name,
      records
        .map((r) => ({
          uid: Number(r.get('UID')),
          flags: normal(asList(r.get('FLAGS')).map(String)),
          guid: String(r.get('GUID')),
        }))
        .sort((a, b) => a.uid - b.uid),
    );
  }
  await wire.ok('RESTART');
  return view;
}

/**
 * Names of a user's mailboxes in the backup, deleted ones included. The first command that needs the backup: a
 * session that has just ended may still be giving it up.
 */
export async function mailboxNames(wire: CsyncWire, user: string): Promise<string[]> {
  let answer = await wire.command(`GET USER ${writeDlist(user)}`);
  await until(`the backup of ${user} is free`, async () => {
    if (answer.kind !== 'NO IMAP_MAILBOX_LOCKED') return true;
    answer = await wire.command(`GET USER ${writeDlist(user)}`);
    return false;
  });
  if (answer.kind !== 'OK') throw new Error(`GET USER ${user}: ${answer.final}`);
  const { lines } = answer;
  return lines
    .map(readLine)
    .filter(({ name }) => name === 'MAILBOX')
    .map(({ value }) => String(asMap(value).get('MBOXNAME')));
}

/** RECORDs of a mailbox in the backup. */
export async function fullMailbox(wire: CsyncWire, name: string): Promise<Map<string, Value>[]> {
  const { lines } = await wire.ok(`GET FULLMAILBOX ${writeDlist(name)}`);
  const mailbox = asMap(readLine(lines.find((line) => line.startsWith('* MAILBOX'))!).value);
  return asList(mailbox.get('RECORD')).map(asMap);
}

function normal(flags: string[]): string {
  return flags
    .filter((flag) => flag !== '\\Recent')
    .sort()
    .join(' ');
}
