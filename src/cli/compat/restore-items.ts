/** What a command line of Cyrus's restore asks for, as mailboxes on their way to the target. */
import type { Config } from '../../config/config.ts';
import {
  formatMailboxName,
  fromAdmin,
  isDeletedMailbox,
  mailboxOwner,
  parseMailboxName,
  SHARED_USERID,
} from '../../csync/mailbox-name.ts';
import { BackupError } from '../../platform/errors.ts';
import type { RestoredMailbox } from '../../restore/csync/mailbox-restore.ts';
import type { BackupSource, StoredMailbox, StoredRecord } from '../../restore/source.ts';
import type { RestoreLine } from './restore-line.ts';

const UNIQUEID = /^(?:[0-9a-z]{24}|[-0-9a-z]{36})$/;
const GUID = /^[0-9a-f]{40}$/i;
const OWNER_RIGHTS = 'lrswipkxtecdan';

/** Finds objects, and says what is done about them as Cyrus's -v does. */
export class RestoreItems {
  readonly items: RestoredMailbox[] = [];
  readonly #source: BackupSource;
  readonly #line: RestoreLine;
  readonly #config: Config;
  readonly #say: (text: string) => void;

  /** @param say gets lines for -v */
  constructor(source: BackupSource, line: RestoreLine, config: Config, say: (text: string) => void) {
    this.#source = source;
    this.#line = line;
    this.#config = config;
    this.#say = say;
  }

  addAll(): void {
    for (const mailbox of this.#source.mailboxes({ deleted: true })) this.#add(mailbox);
  }

  /** @returns false for one that the backup does not have */
  addObject(object: string): boolean {
    if (!UNIQUEID.test(object) && GUID.test(object)) return this.#addMessage(object.toLowerCase());
    const mailbox = this.#find(object);
    if (mailbox === undefined) return false;
    this.#add(mailbox);
    if (!this.#line.recursive) return true;
    const prefix = `${mailbox.mboxname}.`;
    for (const below of this.#source.mailboxes({ deleted: true })) {
      if (below.mboxname.startsWith(prefix)) this.#add(below);
    }
    return true;
  }

  /** A name may be that of several: one that lives is meant, else the last that went. */
  #find(object: string): StoredMailbox | undefined {
    const isUniqueid = UNIQUEID.test(object);
    const name = isUniqueid ? '' : this.#internalName(object);
    let found: StoredMailbox | undefined;
    for (const mailbox of this.#source.mailboxes({ deleted: true })) {
      if (isUniqueid ? mailbox.uniqueid !== object : mailbox.mboxname !== name) continue;
      if (mailbox.deleted === null) return mailbox;
      found = mailbox;
    }
    return found;
  }

  #addMessage(guid: string): boolean {
    let isFound = false;
    for (const mailbox of this.#source.mailboxes({ deleted: true })) {
      const source = this.#source;
      const matching = function* (): Generator<StoredRecord, void> {
        for (const record of source.records(mailbox, { expunged: true }))
          if (record.guid === guid) yield record;
      };
      if (matching().next().done === true) continue;
      // With -M it goes there once, from wherever it stands.
      if (isFound && this.#line.destMailbox !== undefined) break;
      isFound = true;
      this.#add(mailbox, matching);
    }
    return isFound;
  }

  /** @param named one message of it; then that is not expunged any more */
  #add(mailbox: StoredMailbox, named?: () => Iterable<StoredRecord>): void {
    const { acl, destPartition, destMailbox, keepUidvalidity, expunged } = this.#line;
    let name = mailbox.mboxname;
    if (destMailbox !== undefined) {
      const dest = this.#internalName(destMailbox);
      this.#say(`${name}: overriding mboxname with ${dest}`);
      name = dest;
    }
    if (destPartition !== undefined)
      this.#say(`${name}: overriding partition with ${destPartition} (was ${mailbox.partition})`);
    if (acl !== undefined) this.#say(`${name}: overriding acl with '${acl}' (was '${mailbox.acl}')`);
    const { uidvalidity, uniqueid, highestmodseq } = mailbox;
    this.#say(
      keepUidvalidity
        ? `${name}: trying to keep uidvalidity(${uidvalidity}), uniqueid(${uniqueid}), highestmodseq(${highestmodseq})`
        : `${name}: not trying to keep uidvalidity`,
    );
    if (!this.#line.keepDeletedPrefix && isDeletedMailbox(name, this.#config)) {
      const { deletedSuffix: _, ...live } = parseMailboxName(name, this.#config);
      const trimmed = formatMailboxName(live, this.#config);
      this.#say(`${trimmed}: removing deletedprefix (was ${name})`);
      name = trimmed;
    }
    const records = named ?? (() => this.#source.records(mailbox, { expunged: expunged !== 'skip' }));
    this.#sayExcluded(mailbox, name, named);
    this.items.push({
      mailbox,
      mboxname: name,
      ...(acl !== undefined && { acl: acl === '' ? this.#defaultAcl(name) : aclOf(acl) }),
      ...(destPartition !== undefined && { partition: destPartition }),
      keepsIdentity: keepUidvalidity && expunged !== 'only' && named === undefined,
      expungedBecome: expunged === 'only' || named !== undefined ? 'live' : 'expunged',
      expungedWithIdentity: expunged === 'skip' ? 'nothing' : 'all',
      records: function* () {
        for (const record of records())
          if (expunged !== 'only' || record.expunged !== undefined) yield record;
      },
    });
  }

  #sayExcluded(mailbox: StoredMailbox, name: string, named: unknown): void {
    const { expunged, verbose } = this.#line;
    if (verbose === 0 || expunged === 'both' || named !== undefined) return;
    for (const record of this.#source.records(mailbox, { expunged: true })) {
      if (expunged === 'skip' && record.expunged !== undefined)
        this.#say(`${name}: excluding expunged message: ${record.guid}`);
      if (expunged === 'only' && record.expunged === undefined)
        this.#say(`${name}: excluding unexpunged message: ${record.guid}`);
    }
  }

  /** As the administrator writes it, or the internal name that Cyrus's -v prints. */
  #internalName(name: string): string {
    const bytes = Buffer.from(name, 'utf8').toString('latin1');
    if (this.#config.unixHierarchySep && !bytes.includes('/') && /(?:^|!)(?:user|[^.]+\.user)\./.test(bytes))
      return bytes;
    try {
      return fromAdmin(bytes, this.#config);
    } catch (error) {
      if (!(error instanceof BackupError) || error.code !== 'USAGE') throw error;
      return bytes; // no name that a mailbox can have
    }
  }

  #defaultAcl(mboxname: string): string {
    const owner = mailboxOwner(mboxname, this.#config);
    return owner === SHARED_USERID ? 'anyone\tlrs\t' : `${owner}\t${OWNER_RIGHTS}\t`;
  }
}

/** Users and rights in turn, with a tab behind each; people write spaces. */
function aclOf(text: string): string {
  if (text.includes('\t')) return text;
  return text
    .trim()
    .split(/ +/)
    .map((word) => `${word}\t`)
    .join('');
}
