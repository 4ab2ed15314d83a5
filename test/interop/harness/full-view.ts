import { createHash } from 'node:crypto';
import type { CyrusSite } from './cyrus.ts';
import type { InstanceName } from './cyrus-conf.ts';
import type { ImapClient } from './imap.ts';
import { listScripts } from './sieve.ts';

/** All that a mail program can see of a user, as text by what it is: two servers are the same where these are. */
export interface FullView {
  /** STATUS, ACL, metadata of each folder. */
  folders: Record<string, string[]>;
  /** A line for each message: UID, modseq, flags, internal date, annotations, SHA-1 of its bytes. */
  messages: Record<string, string[]>;
  subscriptions: string[];
  quota: string[];
  /** Name, whether it is active, text. */
  scripts: string[];
}

/**
 * Of the server itself (the MAILBOXID of Debian's 3.6.1 is garbage; the unique id is in the metadata): when a file was written, how large it is there, and what it counts for itself. */
const OWN_METADATA =
  /vendor\/cmu\/cyrus-imapd\/(?:lastupdate|lastpop|size|partition|server|synccrcs|foldermodseq|synccache)/;

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
    for (const line of lines) if (line.startsWith('* QUOTA ')) quotas.add(line);
  }
  view.quota = [...quotas].sort();
  await imap.logout();
  view.scripts = await listScripts(site.ports(instance).sieve, user);
  return view;
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
    'UID FETCH 1:* (UID FLAGS INTERNALDATE MODSEQ ANNOTATION ((/comment /altsubject /vendor/example/x) (value.shared value.priv)) BODY.PEEK[])',
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
    return [`${rest} ${flags.sort().join(' ')} ${createHash('sha1').update(body).digest('hex')}`];
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
