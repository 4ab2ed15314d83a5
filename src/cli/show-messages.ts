/** `csync-backup show messages` and `show message`. */
import { BackupError } from '../platform/errors.ts';
import { type ListedMessage, listedMessages, mailboxesOfMessage } from '../store/index/listing.ts';
import { headerFields, readHead } from '../store/message-headers.ts';
import { notThere, print, type ShowContext, shownName } from './show-context.ts';
import { printUserid as printBytes } from './userid-text.ts';

const GUID = /^[0-9a-f]{40}$/i;

export function showMessages(context: ShowContext): void {
  for (const { guid, size: sizeBytes, chunk, mailboxes: holders } of listedMessages(context.backup.index)) {
    const mailboxes = shown(holders, context);
    const names = mailboxes.map(({ name }) => name);
    print(context, { guid, sizeBytes, chunk, mailboxes }, [guid, sizeBytes, chunk, ...names]);
  }
}

/** @throws BackupError NOT_FOUND, CHUNK_CORRUPT */
export function showMessage(context: ShowContext, guids: readonly string[]): void {
  const { backup, out, json } = context;
  for (const guid of guids) {
    if (!GUID.test(guid)) throw noGuid(guid);
    const location = backup.index.findMessage(guid.toLowerCase());
    if (location === undefined) throw notThere(`message ${guid}`, backup.path);
    const mailboxes = shown(mailboxesOfMessage(backup.index, location.id), context);
    const head = readHead(backup.fd, backup.index, location, backup.path);
    const { size: sizeBytes, chunk } = location;
    if (json) {
      const headers: Record<string, string[]> = {};
      for (const [name, values] of headerFields(head)) headers[printBytes(name)] = values.map(printBytes);
      print(context, { guid: location.guid, sizeBytes, chunk: chunk.id, mailboxes, headers }, []);
      continue;
    }
    out.write(`guid\t${location.guid}`);
    out.write(`size\t${sizeBytes}`);
    out.write(`chunk\t${chunk.id}`);
    for (const { name, uniqueid } of mailboxes) out.write(`mailbox\t${name}\t${uniqueid}`);
    out.write('');
    out.bytes(head);
    out.write('\n');
  }
}

function shown(
  holders: ListedMessage['mailboxes'],
  { config }: ShowContext,
): { name: string; uniqueid: string }[] {
  return holders.map(({ mboxname, uniqueid }) => ({
    name: shownName(mboxname, config),
    uniqueid: printBytes(uniqueid),
  }));
}

function noGuid(text: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'show the message',
    subject: text,
    reason: 'it is no GUID, which has 40 hex digits',
    remedy: 'See csync-backup show messages',
  });
}
