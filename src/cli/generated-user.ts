import type { CsyncMailbox, CsyncRecord } from '../restore/csync-mailbox.ts';
import type { CsyncUser } from '../restore/csync-push.ts';
import type { GeneratedMessage, SeededRandom } from './generated-mail.ts';

/** Cyrus partition that generated mailboxes are on. */
export const PARTITION = 'default';
const FLAGS = [
  [],
  ['\\Seen'],
  ['\\Answered', '\\Seen'],
  ['\\Flagged', '\\Seen'],
  ['\\Seen', '$Forwarded'],
] as const;
const ANNOTATION_PREFIX = '/vendor/cmu/cyrus-imapd/';

/** A mailbox that grows as on a mail server: each message takes the next UID and the next modseq. */
export class GeneratedMailbox implements CsyncMailbox {
  readonly uniqueid: string;
  readonly mboxname: string;
  readonly uidvalidity: number;
  readonly acl: string;
  readonly quotaroot: string;
  readonly partition = PARTITION;
  readonly options = 'P';
  readonly recentuid = 0;
  readonly recenttime = 0;
  readonly pop3LastLogin = 0;
  readonly pop3ShowAfter = 0;
  readonly createdmodseq = 1;
  readonly foldermodseq = 1;
  readonly records: CsyncRecord[] = [];
  lastUid = 0;
  highestmodseq = 1;
  lastAppenddate = 0;
  readonly #random: SeededRandom;

  /** @param folder empty for the inbox, else as `Sent` */
  constructor(random: SeededRandom, userid: string, folder: string, uidvalidity: number) {
    const inbox = `user.${userid.replaceAll('.', '^')}`;
    this.#random = random;
    this.uniqueid = random.letters(24).toLowerCase();
    this.mboxname = folder === '' ? inbox : `${inbox}.${folder}`;
    this.uidvalidity = uidvalidity;
    this.acl = `${userid}\tlrswipkxtecdan\t`;
    this.quotaroot = inbox;
  }

  append(message: GeneratedMessage): CsyncRecord {
    this.lastUid++;
    this.highestmodseq++;
    this.lastAppenddate = message.internaldate;
    const annotation = (name: string, value: number) => ({
      entry: `${ANNOTATION_PREFIX}${name}`,
      userid: '',
      modseq: 0,
      value: String(value),
    });
    const record: CsyncRecord = {
      uid: this.lastUid,
      modseq: this.highestmodseq,
      lastUpdated: message.internaldate,
      flags: this.#random.pick(FLAGS),
      internaldate: message.internaldate,
      size: message.bytes.length,
      guid: message.guid,
      annotations: [
        annotation('savedate', message.internaldate),
        annotation('createdmodseq', this.highestmodseq),
      ],
    };
    this.records.push(record);
    return record;
  }
}

export interface GeneratedUser extends CsyncUser {
  mailboxes: readonly GeneratedMailbox[];
}

/** A user with these folders (`''` is the inbox), all still empty. */
export function generateUser(
  random: SeededRandom,
  userid: string,
  folders: readonly string[],
  uidvalidity: number,
): GeneratedUser {
  const mailboxes = folders.map((folder) => new GeneratedMailbox(random, userid, folder, uidvalidity));
  const inbox = mailboxes[0]!;
  return {
    userid,
    mailboxes,
    subscriptions: mailboxes.map(({ mboxname }) => mboxname),
    quotas: [{ root: inbox.quotaroot, limits: { LIMIT: 10_000_000, STORAGE: 10_000_000 } }],
  };
}
