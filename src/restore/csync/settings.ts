/** What belongs to a user beside mail: subscriptions, Sieve scripts, quota, seen states, and annotations of the server. */
import { createHash } from 'node:crypto';
import { child, textOf } from '../../csync/dlist.ts';
import { BackupError } from '../../platform/errors.ts';
import type { CsyncClient } from '../csync-client.ts';
import { readServerState, type ServerState } from '../csync-server-state.ts';
import { reportInactive, reportLostScript } from '../lost-script.ts';
import type { RestorePlan } from '../plan.ts';
import type { RestoreReport } from '../report.ts';
import { UNLIMITED } from '../source.ts';
import { isRefusal, printFields } from './refusals.ts';

export interface SettingsOptions {
  client: CsyncClient;
  plan: RestorePlan;
  report: RestoreReport;
  /** Name at the target of a mailbox that is restored, by its name in the backup. */
  names: ReadonlyMap<string, string>;
  /** Unique ids of mailboxes whose messages have new UIDs. */
  renumbered: ReadonlySet<string>;
}

/** What the target has already of another kind stays as it is there, and is reported as refused. */
export async function restoreSettings(options: SettingsOptions): Promise<void> {
  const { client, plan } = options;
  const state = readServerState(await client.get('USER', plan.userid));
  const settings = new Settings(options, state);
  await settings.subscriptions();
  await settings.scripts();
  if (plan.into === undefined) await settings.quotas();
  await settings.seen();
  await settings.serverAnnotations();
}

class Settings {
  readonly #options: SettingsOptions;
  readonly #state: ServerState;

  constructor(options: SettingsOptions, state: ServerState) {
    this.#options = options;
    this.#state = state;
  }

  async subscriptions(): Promise<void> {
    const { plan, names } = this.#options;
    for (const own of plan.source.subscriptions()) {
      const name = plan.into === undefined ? (names.get(own) ?? own) : names.get(own);
      if (name === undefined || this.#state.subscriptions.has(name)) continue;
      await this.#apply(`subscription ${name}`, 'SUB', { USERID: plan.userid, MBOXNAME: name });
    }
  }

  async scripts(): Promise<void> {
    const { plan, report } = this.#options;
    const { source, userid } = plan;
    const there = new Set(this.#state.sieve.keys());
    const lost = new Set<string>();
    for (const { filename, lastUpdate, content } of source.scripts()) {
      const what = `Sieve script ${filename.replace(/\.script$/, '')}`;
      let text: Buffer;
      try {
        text = content();
      } catch (error) {
        if (!(error instanceof BackupError) || error.code !== 'CHUNK_CORRUPT') throw error;
        report.shortfall({ kind: 'damaged', what, reason: error.reason });
        lost.add(filename);
        continue;
      }
      const held = this.#state.sieve.get(filename);
      if (held === undefined) {
        const fields = { USERID: userid, FILENAME: filename, LAST_UPDATE: lastUpdate };
        const isTaken = await this.#apply(what, 'SIEVE', { ...fields, CONTENT: text.toString('latin1') });
        if (isTaken) there.add(filename);
      } else if (held !== createHash('sha1').update(text).digest('hex')) {
        const reason =
          'the target has another text under this name; delete it there to get that of the backup';
        report.shortfall({ kind: 'refused', what, reason });
      }
    }
    const active = source.activeScript();
    if (active === undefined) return;
    const held = this.#state.activeSieve?.replace(/\.(bc|script)$/, '');
    const name = active.replace(/\.script$/, '');
    if (!there.has(active)) {
      // One that the target has refused is reported as that.
      if (lost.has(active)) reportInactive(active, report);
      else reportLostScript(source, report);
    } else if (held === undefined) {
      await this.#apply(`active Sieve script ${name}`, 'ACTIVATE_SIEVE', {
        USERID: userid,
        FILENAME: `${name}.bc`,
      });
    } else if (held !== name) {
      const what = `active Sieve script ${name}`;
      const reason = `at the target ${held} is active, and stays so; activate ${name} there by ManageSieve`;
      report.shortfall({ kind: 'refused', what, reason });
    }
  }

  async quotas(): Promise<void> {
    for (const { root, limits: wanted } of this.#options.plan.source.quotas()) {
      const what = `quota ${root}`;
      const held = this.#state.quotas.get(root);
      if (held === undefined) {
        // LIMIT is what releases before 3.0 read, and what all send.
        const fields = { ROOT: root, LIMIT: wanted.get('STORAGE') ?? UNLIMITED };
        await this.#apply(what, 'QUOTA', { ...fields, ...Object.fromEntries(wanted) });
        continue;
      }
      const different = [...wanted].filter(([name, limit]) => held[name] !== String(limit));
      if (different.length === 0) continue;
      const theirs = different.map(([name]) => `${name} ${held[name] ?? 'unlimited'}`).join(', ');
      const ours = different.map(([name, limit]) => `${name} ${limit}`).join(', ');
      const reason = `the target has ${theirs}, which stays; that of the backup: ${ours} (SETQUOTA)`;
      this.#options.report.shortfall({ kind: 'refused', what, reason });
    }
  }

  async seen(): Promise<void> {
    const { plan, renumbered, report } = this.#options;
    for (const { uniqueid, lastread, lastuid, lastchange, seenuids } of plan.source.seen()) {
      const held = this.#state.seen.get(uniqueid);
      if (held !== undefined && Number(held.LASTCHANGE) >= lastchange) continue;
      const what = `seen state of the mailbox with unique id ${uniqueid}`;
      if (renumbered.has(uniqueid)) {
        const reason = 'its messages have new UIDs; --in-place --identity keeps them';
        report.shortfall({ kind: 'refused', what, reason });
        continue;
      }
      const fields = { LASTREAD: lastread, LASTUID: lastuid, LASTCHANGE: lastchange, SEENUIDS: seenuids };
      await this.#apply(what, 'SEEN', { USERID: plan.userid, UNIQUEID: uniqueid, ...fields });
    }
  }

  async serverAnnotations(): Promise<void> {
    const { client, plan } = this.#options;
    const ours = plan.source.annotationsOf('');
    if (ours.length === 0) return;
    const held = new Set<string>();
    for (const { name, value } of await client.get('ANNOTATION', '')) {
      if (name === 'ANNOTATION')
        held.add(`${textOf(child(value, 'ENTRY'))}\n${textOf(child(value, 'USERID')) ?? ''}`);
    }
    for (const { entry, userid, value } of ours) {
      if (value === null || held.has(`${entry}\n${userid}`)) continue;
      const fields = { MBOXNAME: '', ENTRY: entry, USERID: userid, VALUE: value };
      await this.#apply(`annotation ${entry} of the server`, 'ANNOTATION', fields);
    }
  }

  /** @returns whether the target has taken it. */
  async #apply(what: string, verb: string, fields: Record<string, string | number>): Promise<boolean> {
    try {
      await this.#options.client.command(`APPLY ${verb} ${printFields(fields)}`);
      return true;
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#options.report.shortfall({ kind: 'refused', what, reason: error.reason });
      return false;
    }
  }
}
