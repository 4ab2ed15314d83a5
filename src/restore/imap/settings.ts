/** What belongs to a user beside mail, as far as IMAP has commands for it. What the target has already of another kind stays. */
import { mailboxOwner, parseMailboxName } from '../../csync/mailbox-name.ts';
import { type ImapClient, imapString, type Tagged } from '../../imap/client.ts';
import { readTokens } from '../../imap/tokens.ts';
import { BackupError } from '../../platform/errors.ts';
import type { RestorePlan } from '../plan.ts';
import type { RestoreReport } from '../report.ts';
import type { StoredQuota } from '../source.ts';
import type { MailboxNames, Namespaces } from './names.ts';

export interface SettingsContext {
  client: ImapClient;
  plan: RestorePlan;
  report: RestoreReport;
  names: MailboxNames;
  /** Whose account it goes into. */
  account: string;
  /** Logs in as the administrator himself, with what he sees. Undefined where nobody acts for another. */
  openAdmin:
    | (() => Promise<{ client: ImapClient; inbox: string | undefined; separator: string }>)
    | undefined;
}

/** Subscriptions, quota, seen states. */
export async function restoreSettings(context: SettingsContext): Promise<void> {
  await restoreSubscriptions(context);
  if (context.plan.into === undefined) await restoreQuotas(context);
  for (const { uniqueid } of context.plan.source.seen()) {
    const what = `seen state of the mailbox with unique id ${uniqueid}`;
    const reason = 'IMAP cannot say which of the messages of others somebody has seen; --to csync:// can';
    context.report.shortfall({ kind: 'refused', what, reason });
  }
}

async function restoreSubscriptions({ client, plan, report, names }: SettingsContext): Promise<void> {
  const held = new Set<string>();
  await client.command('LSUB "" "*"', {
    onUntagged: (unit) => {
      const [word, , , name] = readTokens(unit);
      if (String(word).toUpperCase() === 'LSUB') held.add(String(name));
    },
  });
  const planned = new Set(plan.mailboxes.map(({ mailbox }) => mailbox.mboxname));
  const live = new Set<string>();
  for (const { mboxname } of plan.source.mailboxes()) live.add(mboxname);
  for (const own of plan.source.subscriptions()) {
    // In a new tree only what is in it.
    if (plan.into !== undefined && !planned.has(own)) continue;
    const name = names.ofInternal(own);
    const what = `subscription ${own}`;
    if (name === undefined) {
      const reason = 'the server shows no mailboxes of others, or of nobody, to this account';
      report.shortfall({ kind: 'refused', what, reason });
    } else if (!held.has(name)) {
      const answer = await client.command(['SUBSCRIBE ', imapString(name)]);
      if (answer.status === 'OK') continue;
      // Cyrus keeps a subscription to what is deleted.
      if (mailboxOwner(own, plan.rules) === plan.userid && !live.has(own)) {
        report.remark(`no subscription to ${name}: there is no such mailbox, and none in the backup`);
      } else refused(report, what, answer);
    }
  }
}

async function restoreQuotas(context: SettingsContext): Promise<void> {
  const { client, plan, report, openAdmin } = context;
  const quotas = plan.source
    .quotas()
    .filter(({ limits }) => [...limits.values()].some((limit) => limit >= 0));
  if (quotas.length === 0) return;
  if (!client.has('QUOTA')) {
    for (const { root } of quotas) {
      const reason = 'the server has no QUOTA extension; set it there by other means';
      report.shortfall({ kind: 'refused', what: `quota ${root}`, reason });
    }
    return;
  }
  let admin: { client: ImapClient; inbox: string | undefined; separator: string } | undefined;
  try {
    admin = await openAdmin?.();
  } catch (error) {
    if (!(error instanceof BackupError)) throw error;
    report.remark(`no login as the administrator himself, for quota: ${error.reason}`);
  }
  try {
    for (const quota of quotas) await restoreQuota(context, quota, admin);
  } finally {
    await admin?.client.logout();
  }
}

async function restoreQuota(
  { client, plan, report }: SettingsContext,
  { root, limits }: StoredQuota,
  admin: { client: ImapClient; inbox: string | undefined; separator: string } | undefined,
): Promise<void> {
  const what = `quota ${root}`;
  const { folders } = parseMailboxName(root, plan.rules);
  const who = admin?.inbox === undefined ? client : admin.client;
  const top = admin?.inbox ?? 'INBOX';
  const name = [top, ...folders].join(admin?.separator ?? '/');
  const known = resourcesOf(who);
  const wanted = [...limits].filter(([resource, limit]) => limit >= 0 && known.has(resource));
  for (const [resource, limit] of limits) {
    if (limit < 0 || known.has(resource)) continue;
    report.remark(`the server has no quota of the kind ${resource}: it is left out`);
  }
  if (wanted.length === 0) return;
  const held = await quotaOf(who, name);
  if (held !== undefined) {
    const different = wanted.filter(([resource, limit]) => held.get(resource) !== limit);
    if (different.length === 0) return;
    const theirs = different
      .map(([resource]) => `${resource} ${held.get(resource) ?? 'unlimited'}`)
      .join(', ');
    const ours = different.map(([resource, limit]) => `${resource} ${limit}`).join(', ');
    const reason = `the target has ${theirs}, which stays; that of the backup: ${ours} (SETQUOTA)`;
    report.shortfall({ kind: 'refused', what, reason });
    return;
  }
  const list = wanted.map(([resource, limit]) => `${resource} ${limit}`).join(' ');
  const answer = await who.command(['SETQUOTA ', imapString(name), ` (${list})`]);
  if (answer.status === 'OK') return;
  const hint = admin === undefined ? '; an administrator may: --to imap://ADMIN@HOST --as USER' : '';
  report.shortfall({ kind: 'refused', what, reason: `the server says: ${answer.text}${hint}` });
}

/** RFC 9208 and what Cyrus had before it. */
function resourcesOf(client: ImapClient): ReadonlySet<string> {
  const names = [...client.capabilities].flatMap(
    (name) => /^(?:QUOTA=RES-|X-QUOTA=)(.+)$/.exec(name)?.[1] ?? [],
  );
  return new Set(names.length > 0 ? names : ['STORAGE', 'MESSAGE']);
}

/** Limits of a root; undefined if it is none. */
async function quotaOf(client: ImapClient, root: string): Promise<Map<string, number> | undefined> {
  let limits: Map<string, number> | undefined;
  await client.command(['GETQUOTA ', imapString(root)], {
    onUntagged: (unit) => {
      const [word, , list] = readTokens(unit);
      if (String(word).toUpperCase() !== 'QUOTA' || !Array.isArray(list) || list.length === 0) return;
      limits = new Map();
      for (let i = 0; i + 2 < list.length; i += 3)
        limits.set(String(list[i]).toUpperCase(), Number(list[i + 2]));
    },
  });
  return limits;
}

/** Access control lists of a mailbox, where they differ. */
export async function restoreAcl(
  { client, plan, report, account }: SettingsContext,
  mailbox: { mboxname: string; acl: string },
  name: string,
): Promise<void> {
  const what = `access control list of ${mailbox.mboxname}`;
  if (!client.has('ACL')) {
    report.shortfall({ kind: 'refused', what, reason: 'the server has no ACL extension' });
    return;
  }
  const held = new Map<string, string>();
  await client.command(['GETACL ', imapString(name)], {
    onUntagged: (unit) => {
      const [word, , ...pairs] = readTokens(unit).map(String);
      if (word?.toUpperCase() !== 'ACL') return;
      for (let i = 0; i + 1 < pairs.length; i += 2) held.set(pairs[i]!, sorted(pairs[i + 1]!));
    },
  });
  const known = rightsOf(client);
  const fields = mailbox.acl.split('\t');
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const id = fields[i] === plan.userid ? account : fields[i]!;
    const rights = [...fields[i + 1]!].filter((right) => known.has(right)).join('');
    const lost = [...sorted(fields[i + 1]!)].filter((right) => !known.has(right));
    if (lost.length > 0)
      report.remark(`the server has no access rights of the kind ${lost.join(', ')}: they are left out`);
    if (held.get(id) === sorted(rights)) continue;
    const answer = await client.command(['SETACL ', imapString(name), ' ', imapString(id), ' ', rights]);
    if (answer.status !== 'OK') refused(report, `${what} for ${id}`, answer);
  }
}

/** RFC 4314, section 2.1; without RIGHTS= those of RFC 2086. */
function rightsOf(client: ImapClient): ReadonlySet<string> {
  const more = [...client.capabilities]
    .find((name) => name.startsWith('RIGHTS='))
    ?.slice(7)
    .toLowerCase();
  return new Set(more === undefined ? 'lrswipacd' : `lrswipa${more}`);
}

/** c and d stand for groups of rights in old clients' words. */
function sorted(rights: string): string {
  return [...rights]
    .filter((right) => right !== 'c' && right !== 'd')
    .sort()
    .join('');
}

/** The separator of the part of the server that an administrator sees. */
export function separatorOf({ others, personal, shared }: Namespaces): string {
  return (others ?? personal ?? shared)?.separator ?? '/';
}

export function refused(report: RestoreReport, what: string, answer: Tagged): void {
  report.shortfall({ kind: 'refused', what, reason: `the server says: ${answer.text}` });
}
