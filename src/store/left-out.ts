/**
 * Which of the mailboxes that are to come as a whole a client is told of all the same. Not to be told of one makes it send all of it
 * (docs/architecture.md, healing), but one that has no such mailbox any more says nothing then, and UNMAILBOX as soon as it is told of it. So what did not
 * come in a sync that was not told of it, the next one is told of, and the one behind that is not again. Whoever still has it loses nothing by
 * that: what it sends for it is refused, as ever, until it sends all.
 *
 * And of several mailboxes in which the same message could not be read on the mail server a sync is asked for one: what sync_client
 * could not read in one mailbox it does not send from another in the same run.
 */
import type { Backup } from './backup.ts';
import { lackedByMailbox } from './index/lacking.ts';
import { hiddenMailboxes } from './index/parts.ts';
import { mailboxByUniqueid } from './index/queries.ts';
import type { StoreEnvironment } from './store-environment.ts';

/** UNIQUEIDs; what is forgotten beyond is left out once more. */
const MAX_REMEMBERED = 50_000;

/** What a sync was told, from its first GET USER to the release of the backup. */
export interface ToldInSync {
  /** UNIQUEIDs of mailboxes that are to come as a whole, and of which it was told. */
  told: Set<string>;
  /** Of which it was not. */
  leftOut: ReadonlySet<string>;
}

export class LeftOut {
  readonly #log: StoreEnvironment['log'];
  readonly #max: number;
  /** By key of the backup: those that did not come in the last sync, which was not told of them. */
  readonly #didNotCome = new Map<string, ReadonlySet<string>>();
  #count = 0;

  constructor(log: StoreEnvironment['log'], max = MAX_REMEMBERED) {
    this.#log = log;
    this.#max = max;
  }

  /** A client asks for all mailboxes. @returns UNIQUEIDs of those that it is told of, though they are to come as a whole */
  toldOf(backup: Backup): ReadonlySet<string> {
    backup.toldInSync ??= this.#choose(backup);
    backup.index.told = backup.toldInSync.told;
    return backup.toldInSync.told;
  }

  /** It asks for some by name, and is told nothing of these. */
  askedByName({ toldInSync, index }: Backup, mboxnames: readonly string[]): void {
    for (const uniqueid of toldInSync?.told ?? [])
      if (mboxnames.includes(mailboxByUniqueid(index, uniqueid)?.mboxname ?? ''))
        toldInSync!.told.delete(uniqueid);
  }

  #choose({ userid, index }: Backup): ToldInSync {
    const [told, leftOut, asked] = [new Set<string>(), new Set<string>(), new Set<string>()];
    const hidden = new Set(hiddenMailboxes(index));
    if (hidden.size === 0) return { told, leftOut };
    const before = this.#didNotCome.get(userid);
    const lacked = lackedByMailbox(index);
    const longestWaitingFirst = [...lacked.keys()].filter((uniqueid) => hidden.has(uniqueid));
    for (const uniqueid of new Set([...longestWaitingFirst, ...hidden])) {
      const guids = lacked.get(uniqueid) ?? [];
      if (before?.has(uniqueid)) {
        told.add(uniqueid);
        this.#log.info(
          { userid, uniqueid },
          'a mailbox was asked for as a whole and did not come; the client is told of it, to say whether it is gone',
        );
      } else if (guids.some((guid) => asked.has(guid))) {
        told.add(uniqueid);
      } else {
        leftOut.add(uniqueid);
        for (const guid of guids) asked.add(guid);
      }
    }
    return { told, leftOut };
  }

  /** The sync is over. */
  settle({ userid, index, toldInSync }: Backup): void {
    const leftOut = toldInSync?.leftOut ?? this.#didNotCome.get(userid);
    this.#forget(userid);
    if (leftOut === undefined || leftOut.size === 0) return;
    const waiting = hiddenMailboxes(index).filter((uniqueid) => leftOut.has(uniqueid));
    if (waiting.length === 0 || waiting.length > this.#max) return;
    this.#didNotCome.set(userid, new Set(waiting));
    this.#count += waiting.length;
    for (const oldest of this.#didNotCome.keys()) {
      if (this.#count <= this.#max) break;
      this.#forget(oldest);
    }
  }

  #forget(userid: string): void {
    if (this.#count === 0) return;
    this.#count -= this.#didNotCome.get(userid)?.size ?? 0;
    this.#didNotCome.delete(userid);
  }
}
