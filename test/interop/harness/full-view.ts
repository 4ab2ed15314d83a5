import { createHash } from 'node:crypto';
import type { CyrusSite } from './cyrus.ts';
import type { InstanceName } from './cyrus-conf.ts';
import type { ImapClient } from './imap.ts';
import { listScripts } from './sieve.ts';

/** All that a mail program can see of a user, as text by what it is: two servers are the same where these are. */
export interface FullView {
  /** STATUS, ACL, metadata of each folder. */
  folders: Record<string, string[]>;
  /** A line for each message: UID, size, modseq, flags, internal date, annotations, SHA-1 of its bytes. */
  messages: Record<string, string[]>;
  subscriptions: string[];
  /** Roots with their limits, and what is used of the annotations. */
  quota: string[];
  /** Name, whether it is active, text. */
  scripts: string[];
}

/**
 * Of the server itself (the MAILBOXID of Debian's 3.6.1 is garbage; the unique id is in the metadata): when a file was written, how large it is there, and what it counts for itself. */
const OWN_METADATA =
  /vendor\/cmu\/cyrus-imapd\/(?:lastupdate|lastpop|size|partition|server|synccrcs|foldermodseq|synccache)/;

/**
 * Cyrus 3.6 keeps Sieve scripts as messages of its own in a mailbox `#sieve` of the user, which replication passes over
 * (imap/sync_support.c, sync_mailbox_byentry: "Ignore #sieve mailbox - replicated via *SIEVE* commands"), with its quota root, if it has one. Each server makes
 * these messages itself (imap/sieve_db.c, store_script), so what they take is another number on each, and counts elsewhere where `#sieve` has a quota root.
 * It stays, too, when the scripts are gone from the user's list of them because a former user of the name was expired.
 * What the messages that a mail program can see take is compared by the size of each.
 */
const USED_BY_SIEVE = /\b(STORAGE|MESSAGE|X-NUM-FOLDERS) \d+ (\d+)/g;

/** @param foreign with folders of others that the user may read */
export async function fullView(
  site: CyrusSite,
  user: string,
  instance: InstanceName,
  foreign = false,
): Promise<FullView> {
  const imap = await site.imap(user, instance);
  const view: FullView = { folders: {}, messages: {}, subscriptions: [], quota: [], scripts: [] };
  for (const folder of (await imap.folders()).sort()) {
    if (folder.startsWith('Other Users/') && !foreign) continue;
    view.folders[folder] = await folderView(imap, folder);
    view.messages[folder] = await messageView(imap, folder);
  }
  view.subscriptions = texts(await imap.command('LSUB "" "*"')).sort();
  // What is used of it stands behind each resource.
  const quotas = new Set(texts(await imap.command('GETQUOTAROOT INBOX')));
  for (const folder of Object.keys(view.folders)) {
    if (/^(?:Shared Folders|Other Users)\//.test(folder)) continue;
    const lines = texts(await imap.command(`GETQUOTAROOT "${folder}"`));
    for (const line of lines) if (isRootOf(line, folder)) quotas.add(line);
  }
  view.quota = [...quotas].map((line) => line.replace(USED_BY_SIEVE, '$1 $2')).sort();
  await imap.logout();
  view.scripts = await listScripts(site.ports(instance).sieve, user);
  return view;
}

/**
 * Whether a QUOTA line is of a root above the folder. Of one that was renamed it is not on the mail server, where it was or lay below the root before: Cyrus 3.6 then
 * leaves it there (imap/mailbox.c, mailbox_changequotaroot: "Part of a child quota root - skip"); where it is made anew it has the root of its name.
 */
function isRootOf(line: string, folder: string): boolean {
  const root = /^\* QUOTA (?:"([^"]*)"|(\S+)) /
    .exec(line)
    ?.slice(1)
    .find((name) => name !== undefined);
  return root !== undefined && (root === 'INBOX' || `${folder}/`.startsWith(`${root}/`));
}

async function folderView(imap: ImapClient, folder: string): Promise<string[]> {
  const lines = [
    ...texts(await imap.command(`STATUS "${folder}" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)`)),
    ...texts(await imap.command(`MYRIGHTS "${folder}"`)),
    ...texts(await imap.command(`GETACL "${folder}"`).catch(() => [])),
  ];
  const metadata = texts(await imap.command(`GETMETADATA (DEPTH infinity) "${folder}" (/shared /private)`))
    .flatMap((line) => line.match(/\/(?:shared|private)\/\S+ (?:"[^"]*"|\{\d+\}\r\n.*|NIL)/gs) ?? [])
    .filter((line) => !OWN_METADATA.test(line) && !line.endsWith(' NIL'));
  return [...lines, ...metadata.sort()];
}

async function messageView(imap: ImapClient, folder: string): Promise<string[]> {
  await imap.command(`EXAMINE "${folder}"`);
  const answers = await imap.command(
    'UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE MODSEQ ANNOTATION ((/comment /altsubject /vendor/example/x) (value.shared value.priv)) BODY.PEEK[])',
  );
  await imap.command('UNSELECT');
  return answers.flatMap((unit) => {
    const text = unit.toString('latin1');
    const head = /BODY\[\] \{(\d+)\}\r\n/.exec(text);
    if (!text.includes(' FETCH (') || head === null) return [];
    const start = head.index + head[0].length;
    const body = unit.subarray(start, start + Number(head[1]));
    const items = text.slice(0, head.index) + text.slice(start + body.length);
    const flags = /FLAGS \(([^)]*)\)/
      .exec(items)![1]!
      .split(' ')
      .filter((flag) => flag !== '' && flag !== '\\Recent');
    const rest = sortedAnnotations(items)
      .replace(/^\* \d+ FETCH/, '')
      .replace(/FLAGS \([^)]*\)/, '')
      .replace(/\s+/g, ' ');
    return [[rest.trim(), ...flags.sort(), createHash('sha1').update(body).digest('hex')].join(' ')];
  });
}

/** The server gives them in any order. */
function sortedAnnotations(items: string): string {
  const entries: string[] = [];
  const rest = items.replace(/(\/\S+) \(((?:value\.\w+ (?:NIL|"[^"]*") ?)+)\)/g, (_, entry, values) => {
    const attributes = String(values).match(/value\.\w+ (?:NIL|"[^"]*")/g)!;
    entries.push(`${entry} ${attributes.sort().join(' ')}`);
    return '';
  });
  return `${rest} ${entries.sort().join(' ')}`;
}

function texts(answers: Buffer[]): string[] {
  return answers.map((answer) => answer.toString('latin1').trim());
}
