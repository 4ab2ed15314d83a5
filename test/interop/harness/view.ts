import { isDeletedMailbox } from '../../../src/csync/mailbox-name.ts';
import type { BackupSource } from '../../../src/restore/source.ts';
import { internalName, sourceView } from './compare.ts';
import type { CyrusSite } from './cyrus.ts';
import { listScripts } from './sieve.ts';

/** What the user's mail program shows, in an order of its own. */
export interface View {
  /** UID, flags and GUID of each message by the internal name of the mailbox. */
  mail: [name: string, messages: unknown][];
  /** To mailboxes of the user's own. */
  subscriptions: string[];
  /** Texts by name; the active one. */
  scripts: [string, string][];
  active: string | undefined;
}

/** Of a user on the source. */
export async function viewOf(cyrus: CyrusSite, user: string): Promise<View> {
  const mail = [...(await sourceView(cyrus, user))].sort(([a], [b]) => (a < b ? -1 : 1));
  const imap = await cyrus.imap(user);
  const lines = await imap.command('LSUB "" "*"');
  await imap.logout();
  const names = lines.flatMap((line) => {
    const [, flags, name] = /^\* LSUB \(([^)]*)\) "\/" "?(.*?)"?\r\n$/.exec(line.toString()) ?? [];
    const isOwn = name !== undefined && !/^(?:Shared Folders|Other Users)(?:\/|$)/.test(name);
    return !isOwn || flags!.includes('\\Noselect') ? [] : [internalName(user, name)];
  });
  const scripts: [string, string][] = [];
  let active: string | undefined;
  for (const text of await listScripts(cyrus.ports('source').sieve, user)) {
    const [, name, isActive, script] = /^"([^"]*)"( ACTIVE)?: \{\d+\}\r\n([\s\S]*)$/.exec(text)!;
    scripts.push([name!, script!.trimEnd()]);
    if (isActive) active = name;
  }
  return { mail, subscriptions: names.sort(), scripts: scripts.sort(byName), active };
}

/** Of what a backup says. */
export function viewOfSource(source: BackupSource): View {
  const rules = {
    defaultDomain: '',
    virtDomains: 'off',
    unixHierarchySep: true,
    deletedPrefix: 'DELETED',
  } as const;
  const mail = [...source.mailboxes()]
    .filter(({ mboxname }) => !isDeletedMailbox(mboxname, rules))
    .map((mailbox): [string, unknown] => [
      mailbox.mboxname,
      [...source.records(mailbox)].map(({ uid, flags, guid }) => {
        source.message(guid); // which is checked against its GUID
        return { uid, flags: flags.sort().join(' '), guid };
      }),
    ])
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const scripts = source
    .scripts()
    .map((script): [string, string] => [
      script.filename.replace(/\.script$/, ''),
      script.content().toString('utf8').trimEnd(),
    ])
    .sort(byName);
  const active = source.activeScript()?.replace(/\.script$/, '');
  // LSUB does not show those of mailboxes that are gone.
  const names = new Set(mail.map(([name]) => name));
  const subscriptions = source
    .subscriptions()
    .filter((name) => names.has(name))
    .sort();
  return { mail, subscriptions, scripts, active };
}

function byName([a]: [string, string], [b]: [string, string]): number {
  return a < b ? -1 : 1;
}
