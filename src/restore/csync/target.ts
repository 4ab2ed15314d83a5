/** A Cyrus server as a target, by replication: `csync://USER@HOST:PORT`. */
import {
  formatMailboxName,
  isDeletedMailbox,
  parseMailboxName,
  SHARED_USERID,
  toAdmin,
  userInbox,
} from '../../csync/mailbox-name.ts';
import { BackupError } from '../../platform/errors.ts';
import type { CsyncClient } from '../csync-client.ts';
import { readServerState, type ServerMailbox } from '../csync-server-state.ts';
import type { PlannedMailbox, RestorePlan } from '../plan.ts';
import type { RestoreReport } from '../report.ts';
import { isLive } from '../selection.ts';
import type { Conflict, RestoreTarget } from '../target.ts';
import { addressText, type CsyncAccess, openCsync } from './access.ts';
import { Copies } from './copies.ts';
import type { RestoredMailbox } from './mailbox-restore.ts';
import { restoreMailboxes } from './restore-mailboxes.ts';
import { restoreSettings } from './settings.ts';
import { mailboxesAt, standingOf } from './standing.ts';

export interface CsyncTargetOptions {
  /** With unique ids, UIDVALIDITYs, UIDs and modseqs; only where the plan has everything in its place. */
  keepsIdentity: boolean;
  /** Content of expunged messages as well, where they stay expunged. */
  keepsExpunged?: boolean;
  /** Partition for new mailboxes. */
  partition?: string;
  /** At most so many. */
  connections?: number;
}

export const DEFAULT_CONNECTIONS = 4;

export class CsyncTarget implements RestoreTarget {
  readonly description: string;
  readonly #access: CsyncAccess;
  readonly #options: CsyncTargetOptions;
  #client: CsyncClient;

  private constructor(client: CsyncClient, access: CsyncAccess, options: CsyncTargetOptions) {
    this.#client = client;
    this.#access = access;
    this.#options = options;
    this.description = `csync://${access.account.user}@${addressText({ ...access, port: portOf(client) })}`;
  }

  /** @throws BackupError UNAVAILABLE, CREDENTIALS_INVALID */
  static async open(access: CsyncAccess, options: CsyncTargetOptions): Promise<CsyncTarget> {
    return new CsyncTarget(await openCsync(access), access, options);
  }

  async conflicts(plan: RestorePlan): Promise<Conflict[]> {
    const items = this.#itemsOf(plan);
    const known = await mailboxesAt(
      this.#client,
      items.map(({ mboxname }) => mboxname),
    );
    await this.#checkUser(plan, items);
    const elsewhere = this.#options.keepsIdentity ? await this.#elsewhere(items) : new Map<string, string>();
    const conflicts: Conflict[] = [];
    for (const item of items) {
      const there = known.get(item.mboxname);
      const effect = await this.#effectOn(plan, item, there, elsewhere);
      if (effect !== undefined) conflicts.push({ what: toAdmin(item.mboxname, plan.rules), effect });
    }
    return conflicts;
  }

  async restore(plan: RestorePlan, report: RestoreReport): Promise<void> {
    const items = this.#itemsOf(plan);
    if (this.#options.keepsIdentity) {
      const elsewhere = await this.#elsewhere(items);
      for (const item of items) if (elsewhere.has(item.mailbox.uniqueid)) item.keepsIdentity = false;
    }
    const { renumbered } = await restoreMailboxes({
      connection: {
        client: this.#client,
        reopen: () => this.#reopen(),
        open: () => openCsync(this.#access),
        most: this.#mostConnections(),
      },
      plan,
      items,
      report,
      partition: this.#options.partition,
      copiesOf: (existing) => new Copies(plan.source, existing),
    });
    if (plan.withSettings) {
      const names = new Map(items.map(({ mailbox, mboxname }) => [mailbox.mboxname, mboxname]));
      await restoreSettings({ client: this.#client, plan, report, names, renumbered });
    }
    await this.#checkQuota(plan, report);
  }

  /** Replication does not ask for quota. */
  async #checkQuota({ userid, rules }: RestorePlan, report: RestoreReport): Promise<void> {
    if (userid === SHARED_USERID || report.messages === 0) return;
    const { quotas } = readServerState(await this.#client.get('USER', userid));
    for (const [root, { STORAGE }] of quotas) {
      const limitBytes = Number(STORAGE ?? Number.NaN) * 1024;
      if (!(report.bytes > limitBytes)) continue;
      report.remark(
        `The quota ${toAdmin(root, rules)} of the target allows ${STORAGE} kB, and ${Math.ceil(report.bytes / 1024)} kB came back: ` +
          'replication does not ask for it, but new mail is refused until you raise it (SETQUOTA)',
      );
    }
  }

  /** Backup servers let one session at a time work on a user. */
  #mostConnections(): number {
    if (/backup server\b/i.test(this.#client.greeting.text)) return 1;
    return this.#options.connections ?? DEFAULT_CONNECTIONS;
  }

  async close(): Promise<void> {
    await this.#client.exit().catch(() => this.#client.close());
  }

  async #reopen(): Promise<CsyncClient> {
    this.#client.close();
    this.#client = await openCsync(this.#access);
    return this.#client;
  }

  #itemsOf(plan: RestorePlan): RestoredMailbox[] {
    const { keepsIdentity, keepsExpunged = false } = this.#options;
    return plan.mailboxes
      .map((planned) => ({
        mailbox: planned.mailbox,
        mboxname: nameAt(planned, plan, keepsIdentity),
        keepsIdentity,
        expungedBecome: 'live' as const,
        expungedWithIdentity: keepsExpunged ? ('all' as const) : ('envelope' as const),
        records: planned.records,
      }))
      .sort((a, b) => (a.mboxname < b.mboxname ? -1 : 1));
  }

  /** A folder in the tree of somebody who is not there would be seen by nobody. */
  async #checkUser({ userid, rules, into }: RestorePlan, items: RestoredMailbox[]): Promise<void> {
    if (userid === SHARED_USERID) return;
    const inbox = userInbox(userid, rules);
    if (items.some(({ mboxname }) => mboxname === inbox)) return;
    // What is in the deleted namespace is the administrator's to see.
    if (items.length > 0 && items.every(({ mboxname }) => isDeletedMailbox(mboxname, rules))) return;
    if ((await mailboxesAt(this.#client, [inbox])).size > 0) return;
    const name = toAdmin(inbox, rules);
    throw new BackupError({
      code: 'NOT_FOUND',
      tried: 'restore to',
      subject: `${name} at ${this.#client.server}`,
      reason: 'the target has no such user',
      remedy:
        `Create ${name} there, or give --in-place --identity ${into === undefined ? 'without objects ' : ''}` +
        'to bring the whole user back as they were',
    });
  }

  /** Names of mailboxes of the target with the unique id of one that is to come back under another name. */
  async #elsewhere(items: readonly RestoredMailbox[]): Promise<Map<string, string>> {
    const names = new Map(items.map(({ mailbox, mboxname }) => [mailbox.uniqueid, mboxname]));
    const found = new Map<string, string>();
    const ids = [...names.keys()];
    for (let from = 0; from < ids.length; from += IDS_PER_COMMAND) {
      const lines = await this.#client.getUniqueids(ids.slice(from, from + IDS_PER_COMMAND));
      for (const { uniqueid, mboxname } of readServerState(lines).mailboxes.values()) {
        if (names.get(uniqueid) !== mboxname) found.set(uniqueid, mboxname);
      }
    }
    return found;
  }

  /** Undefined: nothing of the target's is touched. */
  async #effectOn(
    { source, rules }: RestorePlan,
    { mailbox, keepsIdentity }: RestoredMailbox,
    there: ServerMailbox | undefined,
    elsewhere: ReadonlyMap<string, string>,
  ): Promise<string | undefined> {
    const ADDED = 'messages that it lacks are added with new UIDs';
    if (!keepsIdentity) return there && ADDED;
    const other = elsewhere.get(mailbox.uniqueid);
    if (other !== undefined) {
      return `it is called ${toAdmin(other, rules)} there; it comes back as a new mailbox, its messages with new UIDs`;
    }
    const standing = await standingOf(this.#client, source, mailbox, there);
    if (standing.kind === 'other') return `${standing.why}; nothing is taken from it, ${ADDED}`;
    if (standing.kind !== 'part' || standing.isExact) return undefined;
    return 'flags have changed or messages were deleted there since; flags stay, deleted messages come back with new UIDs';
  }
}

const IDS_PER_COMMAND = 100;

function portOf(client: CsyncClient): number {
  return Number(/:(\d+)$/.exec(client.server)![1]);
}

function nameAt(
  { mailbox, folders }: PlannedMailbox,
  { rules, into }: RestorePlan,
  isAsItWas: boolean,
): string {
  const isInPlace = into === undefined;
  if (isInPlace && (isAsItWas || isLive(mailbox, rules))) return mailbox.mboxname;
  const { domain, localpart } = parseMailboxName(mailbox.mboxname, rules);
  return formatMailboxName({ domain, localpart, folders }, rules);
}
