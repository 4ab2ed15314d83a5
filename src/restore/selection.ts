/**
 * Which mailboxes and messages are wanted. An object is the name of a mailbox (as the administrator sees it,
 * `user/anne/Sent`, or from the user's INBOX down, `INBOX`, `Sent`, `Sent/2025`), its unique id, the GUID of a message,
 * or a message in a mailbox as `UNIQUEID:UID`, which is what search prints.
 */
import {
  formatMailboxName,
  isDeletedMailbox,
  type NameRules,
  parseMailboxName,
  toAdmin,
} from '../csync/mailbox-name.ts';
import { decodeMailboxName } from '../csync/modified-utf7.ts';
import type { BackupSource, StoredMailbox, StoredRecord } from './source.ts';

/** What is wanted of one mailbox. */
export interface Wanted {
  /** Look at expunged messages too. */
  expunged: boolean;
  takes(record: StoredRecord): boolean;
}

export interface SelectionOptions {
  /** None: all mailboxes that the user sees. */
  objects: readonly string[];
  rules: NameRules;
  /** Mailboxes below a named one as well. */
  recursive: boolean;
  /** Messages that are expunged, and mailboxes that are gone or in the deleted namespace, as well. */
  deleted: boolean;
  /** Nothing but messages that are expunged. */
  onlyDeleted: boolean;
  /** A name that no mailbox has now is that of those in the deleted namespace that had it; with `deleted` every name is. */
  formerNames?: boolean;
}

const GUID = /^[0-9a-f]{40}$/i;
const PLACE = /^(.+):(\d{1,10})$/;

export class Selection {
  readonly #options: SelectionOptions;
  /** Names of mailboxes and unique ids as given. */
  readonly #mailboxes: string[] = [];
  readonly #guids = new Set<string>();
  /** UIDs by unique id. */
  readonly #places = new Map<string, Set<number>>();
  readonly #matched = new Set<string>();
  /** Names that stand for mailboxes in the deleted namespace as well. */
  readonly #former: ReadonlySet<string> = new Set();
  readonly #source: BackupSource;

  constructor(source: BackupSource, options: SelectionOptions) {
    this.#source = source;
    this.#options = options;
    for (const object of options.objects) {
      const place = PLACE.exec(object);
      if (GUID.test(object)) this.#guids.add(object.toLowerCase());
      else if (place !== null) this.#addPlace(place[1]!, Number(place[2]));
      else this.#mailboxes.push(object);
    }
    if (options.formerNames && this.#mailboxes.length > 0) this.#former = this.#formerNames();
  }

  /** Whether single messages were named, so that mailboxes do not come back as they were. */
  get isPartial(): boolean {
    return this.#guids.size > 0 || this.#places.size > 0 || this.#options.onlyDeleted;
  }

  /** Undefined: nothing of it. */
  ofMailbox(mailbox: StoredMailbox): Wanted | undefined {
    const { objects, deleted, onlyDeleted, rules } = this.#options;
    const expunged = deleted || onlyDeleted;
    const isWhole = objects.length === 0 ? deleted || isLive(mailbox, rules) : this.#names(mailbox);
    if (isWhole) {
      return { expunged, takes: (record) => !onlyDeleted || record.expunged !== undefined };
    }
    const uids = this.#places.get(mailbox.uniqueid);
    const takes = ({ guid, uid }: StoredRecord): boolean =>
      (uids?.has(uid) ?? false) || this.#guids.has(guid);
    return this.#holdsAny(mailbox, takes) ? { expunged: true, takes } : undefined;
  }

  /** Objects that no mailbox matched so far. */
  unmatched(): string[] {
    return [...this.#mailboxes, ...this.#guids, ...this.#placeTexts()].filter(
      (object) => !this.#matched.has(object),
    );
  }

  #formerNames(): Set<string> {
    const { deleted, rules } = this.#options;
    const former = new Set(this.#mailboxes);
    if (deleted) return former;
    for (const mailbox of this.#source.mailboxes()) {
      if (isLive(mailbox, rules)) for (const name of namesOf(mailbox, rules)) former.delete(name);
    }
    return former;
  }

  #addPlace(uniqueid: string, uid: number): void {
    const uids = this.#places.get(uniqueid);
    if (uids === undefined) this.#places.set(uniqueid, new Set([uid]));
    else uids.add(uid);
  }

  *#placeTexts(): Generator<string, void> {
    for (const [uniqueid, uids] of this.#places) for (const uid of uids) yield `${uniqueid}:${uid}`;
  }

  #names(mailbox: StoredMailbox): boolean {
    const { rules } = this.#options;
    const own = namesOf(mailbox, rules);
    const had = this.#former.size === 0 ? [] : formerNamesOf(mailbox, rules);
    let isNamed = false;
    for (const object of this.#mailboxes) {
      const names = this.#former.has(object) ? [...own, ...had] : own;
      const isChild =
        this.#options.recursive &&
        names.some((name) => name.startsWith(`${object}/`) || name.startsWith(`${object}.`));
      if (!names.includes(object) && !isChild) continue;
      this.#matched.add(object);
      isNamed = true;
    }
    return isNamed;
  }

  /** Also remembers which of the messages that are wanted it has. */
  #holdsAny(mailbox: StoredMailbox, takes: (record: StoredRecord) => boolean): boolean {
    if (this.#guids.size === 0 && !this.#places.has(mailbox.uniqueid)) return false;
    let holds = false;
    for (const record of this.#source.records(mailbox, { expunged: true })) {
      if (!takes(record)) continue;
      this.#matched.add(record.guid).add(`${mailbox.uniqueid}:${record.uid}`);
      holds = true;
    }
    return holds;
  }
}

/** Whether the user sees it. */
export function isLive({ mboxname, deleted }: StoredMailbox, rules: NameRules): boolean {
  return deleted === null && !isDeletedMailbox(mboxname, rules);
}

/** All that a person may call a mailbox. */
export function namesOf(
  { mboxname, uniqueid }: Pick<StoredMailbox, 'mboxname' | 'uniqueid'>,
  rules: NameRules,
): string[] {
  const parsed = parseMailboxName(mboxname, rules);
  const admin = toAdmin(mboxname, rules);
  const below = parsed.folders.join('/');
  // Objects are the bytes that were typed.
  const typed = (name: string): string => Buffer.from(decodeMailboxName(name), 'utf8').toString('latin1');
  const names = [uniqueid, mboxname, formatMailboxName(parsed, rules), admin, typed(admin)];
  if (parsed.localpart !== undefined && parsed.deletedSuffix === undefined) {
    const own = below === '' ? ['INBOX'] : [below, `INBOX/${below}`];
    names.push(...own, ...own.map(typed));
  }
  return names;
}

/** All that a person may have called it before it was put into the deleted namespace; none if it is not there. */
function formerNamesOf({ mboxname, uniqueid }: StoredMailbox, rules: NameRules): string[] {
  const former = formerName(mboxname, rules);
  return former === mboxname ? [] : namesOf({ mboxname: former, uniqueid }, rules);
}

/** The internal name that it had before it was deleted. */
export function formerName(mboxname: string, rules: NameRules): string {
  const { deletedSuffix: _, ...parsed } = parseMailboxName(mboxname, rules);
  return formatMailboxName(parsed, rules);
}
