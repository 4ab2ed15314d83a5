/** Any IMAP server, by APPEND. */

import { setTimeout as sleep } from 'node:timers/promises';
import { SHARED_USERID } from '../../csync/mailbox-name.ts';
import { decodeMailboxName } from '../../csync/modified-utf7.ts';
import { type ImapClient, imapString } from '../../imap/client.ts';
import type { BackupError } from '../../platform/errors.ts';
import type { PlannedMailbox, RestorePlan } from '../plan.ts';
import type { RestoreReport } from '../report.ts';
import type { Conflict, RestoreTarget } from '../target.ts';
import { restoreAnnotations } from './annotations.ts';
import { Appender, MailboxRefused } from './append.ts';
import { BorrowedRights } from './borrowed-rights.ts';
import { FlagFilter } from './flags.ts';
import { Inventory } from './inventory.ts';
import { openImap } from './login.ts';
import {
  countMessages,
  myRights,
  type SelectedMailbox,
  selectMailbox,
  takeInventory,
  unselect,
} from './mailbox.ts';
import { MailboxNames, type Namespaces, readNamespaces, remarkNames } from './names.ts';
import { PresentMessages } from './present.ts';
import { restoreAcl, restoreSettings, type SettingsContext, separatorOf } from './settings.ts';
import { restoreScripts, type SieveAccess } from './sieve.ts';

export interface ImapTargetOptions extends SieveAccess {
  /** Access control lists as well. */
  withAcls: boolean;
  /** For tests: how long mailboxes have to stay as they are before mail is added to them. */
  quietMs?: number;
}

/** A server that is slow to write may be busy for so long with what it got before the connection broke. */
const QUIET_MS = 3000;
const MAX_QUIET_CHECKS = 20;
/** Whoever was killed was killed before this process began. */
const EARLY_MS = 10_000;

/**
 * Messages are added to the mailboxes of one account with their flags and dates; UIDs are the server's. Each message is
 * added by one command that does all or nothing, and what the mailbox has already is not added again, so it can be
 * interrupted and run again.
 */
export class ImapTarget implements RestoreTarget {
  readonly description: string;
  readonly #o: ImapTargetOptions;
  #client: ImapClient | undefined;
  #namespaces: Namespaces | undefined;

  constructor(options: ImapTargetOptions) {
    this.#o = options;
    const { tls, user, host, port, actAs } = options;
    const whom = actAs === undefined ? '' : ` as ${actAs}`;
    const place = host.includes(':') ? `[${host}]` : host;
    this.description = `${tls ? 'imaps' : 'imap'}://${encodeURIComponent(user)}@${place}:${port}${whom}`;
  }

  async conflicts(plan: RestorePlan): Promise<Conflict[]> {
    const client = await this.#connect();
    const names = await this.#names(plan);
    const conflicts: Conflict[] = [];
    for (const planned of mailOnly(plan)) {
      const messages = await countMessages(client, names.of(planned));
      if (messages === undefined || messages === 0) continue;
      conflicts.push({
        what: `${names.of(planned)} (${messages} messages)`,
        effect: 'messages that it lacks are added with new UIDs, those that it has stay as they are',
      });
    }
    return conflicts;
  }

  async restore(plan: RestorePlan, report: RestoreReport): Promise<void> {
    const client = await this.#connect();
    const names = await this.#names(plan);
    await this.#awaitQuiet(client, plan, names, report);
    const { user, actAs = user } = this.#o;
    const rights = plan.userid === SHARED_USERID ? new BorrowedRights(client, actAs, report) : undefined;
    try {
      for (const planned of plan.mailboxes) {
        if (isMail(planned))
          await this.#restoreMailbox(client, planned, names.of(planned), { plan, report, rights });
        else report.remark(`${planned.mailbox.mboxname} holds no mail: it cannot be given back by IMAP`);
      }
      remarkNames(names, report);
      await this.#restoreSettings(client, plan, names, { report, rights });
      // Last, since they may take away what the rest needs.
      if (this.#o.withAcls) await this.#restoreAcls(client, plan, names, report);
    } catch (error) {
      throw client.isClosed ? this.#interrupted(client, plan, error) : error;
    }
  }

  async #restoreAcls(
    client: ImapClient,
    plan: RestorePlan,
    names: MailboxNames,
    report: RestoreReport,
  ): Promise<void> {
    const context = this.#settingsContext(client, plan, names, report);
    for (const planned of mailOnly(plan)) await restoreAcl(context, planned.mailbox, names.of(planned));
  }

  #settingsContext(
    client: ImapClient,
    plan: RestorePlan,
    names: MailboxNames,
    report: RestoreReport,
  ): SettingsContext {
    const { user, actAs = user } = this.#o;
    const openAdmin = actAs === user ? undefined : () => this.#openAdmin(actAs);
    return { client, plan, report, names, account: actAs, openAdmin };
  }

  async close(): Promise<void> {
    await this.#client?.logout();
  }

  async #connect(): Promise<ImapClient> {
    if (this.#client === undefined || this.#client.isClosed) this.#client = await openImap(this.#o);
    return this.#client;
  }

  async #names(plan: RestorePlan): Promise<MailboxNames> {
    const client = await this.#connect();
    this.#namespaces ??= await readNamespaces(client);
    const isShared = plan.userid === SHARED_USERID;
    if (this.#namespaces.personal === undefined && !isShared) {
      const { user, actAs } = this.#o;
      throw client.connection.error(
        `it has no mailboxes of its own for ${actAs ?? user}`,
        'NOT_FOUND',
        actAs === undefined
          ? `Log in as the user, or give --as ${plan.userid} to act for one; an account has to be there`
          : `Have an administrator make the account (CREATE user/${actAs} with Cyrus), or check the name`,
      );
    }
    return new MailboxNames(plan, this.#namespaces);
  }

  async #restoreSettings(
    client: ImapClient,
    plan: RestorePlan,
    names: MailboxNames,
    { report, rights }: { report: RestoreReport; rights: BorrowedRights | undefined },
  ): Promise<void> {
    if (!plan.withSettings) return;
    for (const planned of mailOnly(plan)) {
      const { annotations, mboxname } = planned.mailbox;
      const of = { client, report, userid: plan.userid };
      const name = names.of(planned);
      const set = () => restoreAnnotations(of, annotations, name, mboxname);
      if (rights === undefined || annotations.length === 0) await set();
      else await rights.during(name, set);
    }
    const ofServer = plan.source.annotationsOf('');
    await restoreAnnotations({ client, report, userid: plan.userid }, ofServer, '', 'the server');
    await restoreSettings(this.#settingsContext(client, plan, names, report));
    await restoreScripts(this.#o, plan.source, report);
  }

  /** With all that administrators see: quotas are theirs. */
  async #openAdmin(account: string) {
    const client = await openImap({ ...this.#o, actAs: undefined });
    const namespaces = await readNamespaces(client);
    return { client, inbox: MailboxNames.ofOther(account, namespaces), separator: separatorOf(namespaces) };
  }

  /**
   * A run that was killed has left commands at the server which it may still be carrying out: what it adds meanwhile would
   * be added again by us.
   */
  async #awaitQuiet(
    client: ImapClient,
    plan: RestorePlan,
    names: MailboxNames,
    report: RestoreReport,
  ): Promise<void> {
    const { quietMs = performance.now() > EARLY_MS ? 0 : QUIET_MS } = this.#o;
    if (quietMs === 0) return;
    const counts = async () => {
      const found: (number | undefined)[] = [];
      for (const planned of mailOnly(plan)) found.push(await countMessages(client, names.of(planned)));
      return found;
    };
    let before = await counts();
    if (before.every((count) => count === undefined || count === 0)) return;
    for (let i = 0; i < MAX_QUIET_CHECKS; i++) {
      await sleep(quietMs);
      const now = await counts();
      if (now.every((count, at) => count === before[at])) return;
      before = now;
    }
    report.remark(
      'mailboxes at the target are changing all the time: what is added there now may come twice',
    );
  }

  async #restoreMailbox(
    client: ImapClient,
    planned: PlannedMailbox,
    name: string,
    of: { plan: RestorePlan; report: RestoreReport; rights: BorrowedRights | undefined },
  ): Promise<void> {
    const { plan, report, rights } = of;
    const { mboxname } = planned.mailbox;
    try {
      const selected = await this.#selectOrCreate(client, planned, name, plan);
      report.mailboxes++;
      const to = { name, plan, report };
      if (rights === undefined || !hasAny(planned)) {
        await this.#addMessages(client, planned, { ...to, selected });
        return;
      }
      await rights.during(name, async (areNew) => {
        // What it said of itself was about the rights of before.
        const now = areNew ? await this.#selectOrCreate(client, planned, name, plan) : selected;
        await this.#addMessages(client, planned, { ...to, selected: now });
      });
    } catch (error) {
      if (!(error instanceof MailboxRefused)) throw error;
      report.shortfall({
        kind: 'refused',
        what: `mailbox ${mboxname}`,
        mailbox: mboxname,
        reason: error.reason,
      });
    }
  }

  async #addMessages(
    client: ImapClient,
    planned: PlannedMailbox,
    to: { name: string; selected: SelectedMailbox; plan: RestorePlan; report: RestoreReport },
  ): Promise<void> {
    const { name, selected, plan, report } = to;
    const { source } = plan;
    if (selected.isReadOnly && hasAny(planned)) {
      if ((await myRights(client, name)).includes('i'))
        throw readOnlyServer(client, `it opens ${name} read-only`);
      throw new MailboxRefused(
        `the server opens ${name} read-only; log in as its owner, or as one who may insert there`,
      );
    }
    const inventory = selected.exists === 0 ? new Inventory() : await takeInventory(client);
    const flags = new FlagFilter(selected.permanentFlags);
    const present = new PresentMessages(client, source, planned, inventory);
    // The mailbox is left while mail goes in, or the server would tell of each message as it comes.
    if (inventory.length === 0) await unselect(client);
    const appender = new Appender({
      ...{ client, source, report, name },
      mailbox: planned.mailbox.mboxname,
      flagsOf: (record) => flags.of(record),
    });
    try {
      const missing = present.missing(planned.records(), ({ size }) => report.wasPresent(size ?? 0));
      for await (const record of missing) await appender.append(record);
      await appender.finish();
    } catch (error) {
      await appender.abandon();
      throw error;
    } finally {
      flags.remark(name, report);
      if (!client.isClosed) await unselect(client);
    }
  }

  async #selectOrCreate(
    client: ImapClient,
    planned: PlannedMailbox,
    name: string,
    plan: RestorePlan,
  ): Promise<SelectedMailbox> {
    const first = await selectMailbox(client, name);
    if (first.selected !== undefined) return first.selected;
    const use = plan.into === undefined && client.has('CREATE-SPECIAL-USE') ? specialUse(planned) : '';
    let made = await client.command(['CREATE ', imapString(name), use]);
    // Another mailbox may be the one for sent mail by now.
    if (made.status !== 'OK' && use !== '') made = await client.command(['CREATE ', imapString(name)]);
    if (made.status !== 'OK' && /configured for read-only/i.test(made.text)) {
      throw readOnlyServer(client, made.text);
    }
    if (made.status !== 'OK' && made.code !== 'ALREADYEXISTS') {
      throw new MailboxRefused(
        `the server does not make ${name} (${made.text}); ` +
          (name === 'INBOX'
            ? 'have an administrator make the account'
            : 'log in as its owner or as an administrator who may, or give --into FOLDER for another place'),
      );
    }
    // A new tree that no mail client shows would look as if nothing had come back.
    if (plan.into !== undefined) await client.command(['SUBSCRIBE ', imapString(name)]);
    const { selected, answer } = await selectMailbox(client, name);
    if (selected === undefined) throw new MailboxRefused(`the server does not open ${name}: ${answer.text}`);
    return selected;
  }

  #interrupted(client: ImapClient, plan: RestorePlan, error: unknown): BackupError {
    const where =
      plan.into === undefined ? '--in-place' : `--into ${JSON.stringify(decodeMailboxName(plan.into))}`;
    return client.connection.error(
      error instanceof Error && 'reason' in error ? String(error.reason) : String(error),
      'UNAVAILABLE',
      `Run the same again with ${where} and --yes: what is there already is not added twice`,
      error,
    );
  }
}

/** Cyrus with `readonly`, or a replica with `replicaonly` (from 3.10 on), refuses everything that changes anything. */
function readOnlyServer(client: ImapClient, said: string): BackupError {
  return client.connection.error(
    `it takes no changes from mail clients (${said}): readonly or replicaonly is set in its configuration`,
    'UNAVAILABLE',
    'Restore to the server that it is a replica of; a replica itself takes only --to csync:// with --in-place --identity',
  );
}

/** Calendars, address books and the like have contents that are no messages to IMAP. */
export function isMail({ mailbox }: PlannedMailbox): boolean {
  return mailbox.mboxtype === undefined || mailbox.mboxtype === '' || mailbox.mboxtype === 'e';
}

/** RFC 6154. */
function specialUse({ mailbox }: PlannedMailbox): string {
  const { value } = mailbox.annotations.find(({ entry }) => entry === '/specialuse') ?? {};
  return value && /^\\\w+(?: \\\w+)*$/.test(value) ? ` (USE (${value}))` : '';
}

function mailOnly(plan: RestorePlan): PlannedMailbox[] {
  return plan.mailboxes.filter(isMail);
}

function hasAny(planned: PlannedMailbox): boolean {
  for (const _ of planned.records()) return true;
  return false;
}
