/** What mailboxes of the plan are called at an IMAP server: its namespaces (RFC 2342) and separators. */
import { type MailboxName, parseMailboxName, SHARED_USERID } from '../../csync/mailbox-name.ts';
import type { ImapClient } from '../../imap/client.ts';
import { readTokens, type Token } from '../../imap/tokens.ts';
import type { PlannedMailbox, RestorePlan } from '../plan.ts';
import type { RestoreReport } from '../report.ts';

interface Namespace {
  prefix: string;
  /** '' where there is no hierarchy. */
  separator: string;
}

export interface Namespaces {
  personal: Namespace | undefined;
  others: Namespace | undefined;
  shared: Namespace | undefined;
}

/** @throws BackupError UNAVAILABLE */
export async function readNamespaces(client: ImapClient): Promise<Namespaces> {
  let found: Token[] | undefined;
  if (client.has('NAMESPACE')) {
    await client.command('NAMESPACE', {
      onUntagged: (unit) => {
        const tokens = readTokens(unit);
        if (String(tokens[0]).toUpperCase() === 'NAMESPACE') found = tokens;
      },
    });
  }
  if (found !== undefined) {
    return { personal: firstOf(found[1]), others: firstOf(found[2]), shared: firstOf(found[3]) };
  }
  let separator = '/';
  await client.command('LIST "" ""', {
    onUntagged: (unit) => {
      const tokens = readTokens(unit);
      if (String(tokens[0]).toUpperCase() === 'LIST') separator = String(tokens[2] ?? '');
    },
  });
  return { personal: { prefix: '', separator }, others: undefined, shared: undefined };
}

function firstOf(token: Token | undefined): Namespace | undefined {
  if (!Array.isArray(token) || !Array.isArray(token[0])) return undefined;
  const [prefix, separator] = token[0];
  return { prefix: String(prefix ?? ''), separator: String(separator ?? '') };
}

export class MailboxNames {
  readonly #namespaces: Namespaces;
  readonly #plan: RestorePlan;
  readonly #names = new Map<PlannedMailbox, string>();
  /** Remarks about names that had to be changed. */
  readonly changed: string[] = [];

  constructor(plan: RestorePlan, namespaces: Namespaces) {
    this.#plan = plan;
    this.#namespaces = namespaces;
    if (plan.userid === SHARED_USERID && namespaces.shared === undefined) {
      this.changed.push('the server has no namespace for shared mailboxes: they go into the own account');
    }
    const used = new Set<string>();
    for (const planned of plan.mailboxes) {
      const wanted = this.#planned(planned.folders);
      let name = wanted;
      for (let i = 2; used.has(name); i++) name = `${wanted}-${i}`;
      used.add(name);
      this.#names.set(planned, name);
      if (name !== wanted) this.changed.push(`two mailboxes would be called ${wanted}: one is ${name} now`);
    }
  }

  /** One character a byte, in modified UTF-7. */
  of(planned: PlannedMailbox): string {
    return this.#names.get(planned)!;
  }

  /** Of any mailbox by its internal name; undefined if the server shows no such namespace. */
  ofInternal(mboxname: string): string | undefined {
    const planned = this.#plan.mailboxes.find(({ mailbox }) => mailbox.mboxname === mboxname);
    if (planned !== undefined) return this.of(planned);
    const parsed = parseMailboxName(mboxname, this.#plan.rules);
    if (ownerOf(parsed) === this.#plan.userid) {
      const { into } = this.#plan;
      return this.#planned(into === undefined ? parsed.folders : [into, ...parsed.folders]);
    }
    if (parsed.localpart !== undefined) {
      const { others } = this.#namespaces;
      return others && joined(others, [ownerOf(parsed), ...parsed.folders]).name;
    }
    const { shared } = this.#namespaces;
    return shared && joined(shared, parsed.folders).name;
  }

  /** The INBOX of a user as an administrator sees it. */
  static ofOther(userid: string, { others }: Namespaces): string | undefined {
    return others && joined(others, [userid]).name;
  }

  #planned(folders: readonly string[]): string {
    const isShared = this.#plan.userid === SHARED_USERID;
    const { personal, shared } = this.#namespaces;
    const namespace = (isShared ? shared : personal) ?? personal ?? shared ?? { prefix: '', separator: '/' };
    if (folders.length === 0 && !isShared) return 'INBOX';
    const { name, isChanged } = joined(namespace, folders);
    if (isChanged)
      this.changed.push(`${folders.join('/')} is ${name}: the server cannot have it under its own name`);
    return name;
  }
}

export function remarkNames(names: MailboxNames, report: RestoreReport): void {
  for (const text of names.changed) report.remark(text);
}

function joined(
  { prefix, separator }: Namespace,
  folders: readonly string[],
): { name: string; isChanged: boolean } {
  let isChanged = false;
  const clean = folders.map((folder, i) => {
    let name = separator === '' ? folder : folder.replaceAll(separator, '_');
    // Whatever its case, at the top this is the user's INBOX.
    if (i === 0 && prefix === '' && name.toUpperCase() === 'INBOX') name = `${name}_`;
    isChanged ||= name !== folder;
    return name;
  });
  return { name: prefix + clean.join(separator === '' ? '_' : separator), isChanged };
}

function ownerOf({ localpart, domain }: MailboxName): string {
  if (localpart === undefined) return SHARED_USERID;
  return domain === undefined ? localpart : `${localpart}@${domain}`;
}
