/** Mailboxes on their way back, one after the other; what the target does not take holds up nothing else. */

import { printString } from '../../csync/encoder.ts';
import { SHARED_USERID, userInbox } from '../../csync/mailbox-name.ts';
import { intermediates } from '../../store/index/queries.ts';
import type { CsyncClient } from '../csync-client.ts';
import { readServerState, type ServerMailbox } from '../csync-server-state.ts';
import type { RestorePlan } from '../plan.ts';
import type { RestoreReport } from '../report.ts';
import type { Copies } from './copies.ts';
import { Lanes } from './lanes.ts';
import { MailboxRestore, type RestoredMailbox } from './mailbox-restore.ts';
import { isBroken, isRefusal, remedyFor } from './refusals.ts';
import { mailboxesAt } from './standing.ts';

export interface RestoreMailboxesOptions {
  connection: {
    client: CsyncClient;
    /** Another one in place of it. */
    reopen(): Promise<CsyncClient>;
    /** One more. */
    open(): Promise<CsyncClient>;
    /** At most so many. */
    most: number;
  };
  plan: Pick<RestorePlan, 'source' | 'userid' | 'rules'>;
  items: readonly RestoredMailbox[];
  report: RestoreReport;
  /** For new mailboxes. */
  partition?: string;
  isLocalOnly?: boolean;
  copiesOf(existing: readonly string[]): Copies;
}

/** A mailbox on which sync_server dies is one thing; a server that dies on all of them is another. */
const MAX_BROKEN = 3;

/** @returns unique ids, in the backup, of mailboxes whose messages have other UIDs at the target */
export async function restoreMailboxes(
  options: RestoreMailboxesOptions,
): Promise<{ renumbered: Set<string> }> {
  const { connection, plan, items, report, isLocalOnly } = options;
  const { source, userid, rules } = plan;
  let { client } = connection;
  const known = await mailboxesAt(
    client,
    items.map(({ mboxname }) => mboxname),
  );
  const ofUser =
    userid === SHARED_USERID ? known : readServerState(await client.get('USER', userid)).mailboxes;
  const all = [...ofUser.values(), ...known.values()];
  const inbox = userid === SHARED_USERID ? undefined : userInbox(userid, rules);
  const partition = options.partition ?? all.find(({ mboxname }) => mboxname === inbox)?.partition;
  const nextModseq = all.reduce((max, m) => bigMax(max, m.highestmodseq, m.foldermodseq), 0n) + 1n;
  const copies = options.copiesOf([
    ...new Set(all.filter(({ lastUid }) => lastUid > 0n).map((m) => m.mboxname)),
  ]);
  await restoreIntermediates(client, options, known);

  const lanes = new Lanes(client, () => connection.open(), connection.most);
  let broken = 0;
  const touched = new Set<string>();
  for (const item of items) {
    const { mboxname } = item;
    // Several may go into one.
    const there = touched.has(mboxname)
      ? (await mailboxesAt(client, [mboxname])).get(mboxname)
      : known.get(mboxname);
    touched.add(mboxname);
    const restore = new MailboxRestore(client, {
      source,
      report,
      copies,
      partition,
      nextModseq,
      isLocalOnly,
      lanes,
    });
    try {
      await restore.restore(item, there);
      broken = 0;
    } catch (error) {
      const isLast = ++broken === MAX_BROKEN;
      if (isRefusal(error)) {
        refused(
          report,
          item,
          `${error.reason}. ${remedyFor(error, item.partition ?? partition ?? item.mailbox.partition)}`,
        );
        broken = 0;
        await client.restart();
      } else if (isBroken(error) && !isLast) {
        client = await connection.reopen();
        lanes.reset(client);
        // Cyrus with `replicaonly` dies on an assertion where it has to give a modseq of its own.
        const hint = item.keepsIdentity ? '' : '; a replica (replicaonly) takes only --in-place --identity';
        const on = item.partition ?? partition ?? item.mailbox.partition;
        const perhaps =
          there === undefined
            ? `, such as no partition "${on}" (--partition NAME puts new mailboxes on another)`
            : '';
        refused(
          report,
          item,
          `${error.reason}; its log says why${perhaps}. What came before stays: run it again${hint}`,
        );
      } else {
        lanes.close();
        throw error;
      }
    }
  }
  lanes.close();
  if (lanes.problem !== undefined) {
    report.remark(
      `The target takes no more than ${lanes.most} connections at once, so it went slower: ${lanes.problem}`,
    );
  }
  const now = await mailboxesAt(
    client,
    items.map(({ mboxname }) => mboxname),
  );
  const renumbered = items.filter(({ mailbox, mboxname }) => {
    const there = now.get(mboxname);
    return there?.uniqueid !== mailbox.uniqueid || there.uidvalidity !== BigInt(mailbox.uidvalidity);
  });
  return { renumbered: new Set(renumbered.map(({ mailbox }) => mailbox.uniqueid)) };
}

function refused(report: RestoreReport, { mailbox, mboxname }: RestoredMailbox, reason: string): void {
  report.shortfall({ kind: 'refused', what: `mailbox ${mboxname}`, mailbox: mailbox.mboxname, reason });
}

/** Names that exist only to have children are mailboxes too, with a unique id. */
async function restoreIntermediates(
  client: CsyncClient,
  { plan, items, report }: RestoreMailboxesOptions,
  known: ReadonlyMap<string, ServerMailbox>,
): Promise<void> {
  const wanted = intermediates(plan.source.backup.index).filter(({ mboxname }) =>
    items.some((item) => item.keepsIdentity && item.mboxname.startsWith(`${mboxname}.`)),
  );
  if (wanted.length === 0) return;
  const there = await mailboxesAt(
    client,
    wanted.map(({ mboxname }) => mboxname),
  );
  for (const { uniqueid, mboxname, mboxtype, fields } of wanted) {
    if (there.has(mboxname) || known.has(mboxname)) continue;
    const text = [uniqueid, mboxname, mboxtype ?? 'i'].map((value) =>
      printString(value, { nonSynchronising: true }),
    );
    const more = fields === '' ? '' : ` ${fields}`;
    const reply = await client.request(
      `APPLY MAILBOX %(UNIQUEID ${text[0]} MBOXNAME ${text[1]} MBOXTYPE ${text[2]}${more})`,
    );
    if (reply.status !== 'OK') {
      report.shortfall({
        kind: 'refused',
        what: `mailbox ${mboxname}`,
        mailbox: mboxname,
        reason: reply.text,
      });
    }
  }
}

function bigMax(first: bigint, ...others: bigint[]): bigint {
  let max = first;
  for (const value of others) if (value > max) max = value;
  return max;
}
