/** `csync-backup show mailboxes` and `show mailbox`. */
import { fromAdmin } from '../csync/mailbox-name.ts';
import { BackupError } from '../platform/errors.ts';
import { familiarName, nearNames } from '../restore/near-names.ts';
import type { BackupIndex } from '../store/index/backup-index.ts';
import { uniqueidByName } from '../store/index/listing.ts';
import { type MailboxRow, mailboxByUniqueid, mailboxes, mailboxMessages } from '../store/index/queries.ts';
import { isoTime, notThere, print, type ShowContext, shownName } from './show-context.ts';
import { useridOf as bytesOf, printUserid as printBytes } from './userid-text.ts';

export function showMailboxes(context: ShowContext): void {
  const { index } = context.backup;
  for (const mailbox of mailboxes(index)) {
    const name = shownName(mailbox.mboxname, context.config);
    const uniqueid = printBytes(mailbox.uniqueid);
    const { live, expunged } = countMessages(index, mailbox.id);
    const lastAppendAt = mailbox.lastAppenddate ? isoTime(mailbox.lastAppenddate) : null;
    const deletedAt = isoTime(mailbox.deleted);
    const object = {
      name,
      internalName: printBytes(mailbox.mboxname),
      uniqueid,
      uidvalidity: mailbox.uidvalidity,
      lastUid: mailbox.lastUid,
      highestmodseq: Number(mailbox.highestmodseq),
      messages: live,
      expunged,
      lastAppendAt,
      acl: printBytes(mailbox.acl),
      quotaRoot: mailbox.quotaroot === null ? null : printBytes(mailbox.quotaroot),
      deletedAt,
    };
    print(context, object, [name, uniqueid, live, expunged, lastAppendAt, deletedAt]);
  }
}

/** The records of these mailboxes, those too that Cyrus's tables cannot hold. @throws BackupError NOT_FOUND */
export function showMailbox(context: ShowContext, names: readonly string[]): void {
  const { backup, config } = context;
  const found = names.map((name) => {
    const mailbox = findMailbox(backup.index, name, context);
    if (mailbox === undefined) throw notThere(`mailbox ${name}`, backup.path, like(name, context));
    return mailbox;
  });
  for (const { id, mboxname, uniqueid } of found) {
    const mailbox = shownName(mboxname, config);
    for (const record of mailboxMessages(backup.index, id)) {
      const { uid, guid, size: sizeBytes } = record;
      const internalDate = isoTime(record.internaldate);
      const expungedAt = isoTime(record.expunged);
      const flags = flagsOf(record.flags);
      const modseq = Number(record.modseq);
      const hasContent = record.messageId !== null;
      print(
        context,
        {
          mailbox,
          uniqueid: printBytes(uniqueid),
          uid,
          guid,
          sizeBytes,
          internalDate,
          modseq,
          flags,
          expungedAt,
          hasContent,
        },
        [
          ...(names.length > 1 ? [mailbox] : []),
          uid,
          guid,
          sizeBytes,
          internalDate,
          flags.join(' ') || '-',
          expungedAt,
        ],
      );
    }
  }
}

function countMessages(index: BackupIndex, mailboxId: number): { live: number; expunged: number } {
  const [live, expunged] = index.statement(COUNT_MESSAGES, 'raw').get(mailboxId, mailboxId) as [
    number,
    number,
  ];
  return { live, expunged };
}

const COUNT_MESSAGES = `SELECT count(*) FILTER (WHERE expunged IS NULL), count(*) FILTER (WHERE expunged IS NOT NULL)
  FROM (SELECT expunged FROM mailbox_message WHERE mailbox_id = ?
    UNION ALL SELECT expunged FROM cb_record WHERE mailbox_id = ? AND replaced = 0)`;

/** By unique id, by the administrator's name, by Cyrus's internal name, or as its user calls it; a live one first. */
function findMailbox(index: BackupIndex, name: string, { config }: ShowContext): MailboxRow | undefined {
  const text = bytesOf(name);
  const byId = mailboxByUniqueid(index, text);
  if (byId !== undefined) return byId;
  for (const mboxname of [internalName(text, config), text]) {
    const uniqueid = mboxname === undefined ? undefined : uniqueidByName(index, mboxname);
    if (uniqueid !== undefined) return mailboxByUniqueid(index, uniqueid);
  }
  const familiar = [...mailboxes(index)].filter((mailbox) => familiarName(mailbox, config) === name);
  return familiar.find(({ deleted }) => deleted === null) ?? familiar[0];
}

function like(name: string, { backup, config }: ShowContext): string[] {
  return nearNames(
    name,
    [...mailboxes(backup.index)].map((mailbox) => familiarName(mailbox, config)),
  );
}

function internalName(text: string, config: ShowContext['config']): string | undefined {
  try {
    return fromAdmin(text, config);
  } catch (error) {
    if (error instanceof BackupError) return undefined;
    throw error;
  }
}

/** `(\Seen $Label1)` -> its words. */
function flagsOf(text: string): string[] {
  return printBytes(text)
    .replace(/^\(|\)$/g, '')
    .split(' ')
    .filter((flag) => flag !== '');
}
