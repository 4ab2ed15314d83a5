/** Mailboxes of an IMAP server: looking at them, making them, and what is in them. */
import { type ImapClient, imapString, type Tagged } from '../../imap/client.ts';
import { pairsOf, readTokens } from '../../imap/tokens.ts';
import { Inventory } from './inventory.ts';

export interface SelectedMailbox {
  exists: number;
  uidvalidity: number;
  /** Flags that it keeps, lower case; undefined where it does not say. */
  permanentFlags: ReadonlySet<string> | undefined;
  isReadOnly: boolean;
}

/** @returns undefined if there is none, or none that may be seen; the answer says why */
export async function selectMailbox(
  client: ImapClient,
  name: string,
): Promise<{ selected: SelectedMailbox | undefined; answer: Tagged }> {
  let [exists, uidvalidity] = [0, 0];
  let permanentFlags: Set<string> | undefined;
  const answer = await client.command(['SELECT ', imapString(name)], {
    onUntagged: (unit) => {
      const line = unit.toString('latin1');
      const count = /^(\d+) EXISTS/i.exec(line);
      if (count !== null) exists = Number(count[1]);
      const valid = /^OK \[UIDVALIDITY (\d+)\]/i.exec(line);
      if (valid !== null) uidvalidity = Number(valid[1]);
      const flags = /^OK \[PERMANENTFLAGS \(([^)]*)\)\]/i.exec(line);
      if (flags !== null) permanentFlags = new Set(flags[1]!.toLowerCase().split(' '));
    },
  });
  if (answer.status !== 'OK') return { selected: undefined, answer };
  const isReadOnly = answer.code === 'READ-ONLY';
  return { selected: { exists, uidvalidity, permanentFlags, isReadOnly }, answer };
}

/** Leaves the selected mailbox without expunging anything, where the server has a way to do that. */
export async function unselect(client: ImapClient): Promise<void> {
  if (client.has('UNSELECT')) await client.command('UNSELECT');
}

/** Rights of who is logged in (RFC 4314); '' where the server does not say. */
export async function myRights(client: ImapClient, name: string): Promise<string> {
  if (!client.has('ACL')) return '';
  let held = '';
  await client.command(['MYRIGHTS ', imapString(name)], {
    onUntagged: (unit) => {
      const [word, , rights] = readTokens(unit).map(String);
      if (word?.toUpperCase() === 'MYRIGHTS') held = rights ?? '';
    },
  });
  return held;
}

/** Number of messages; undefined if there is no such mailbox. */
export async function countMessages(client: ImapClient, name: string): Promise<number | undefined> {
  let messages = 0;
  const { status } = await client.command(['STATUS ', imapString(name), ' (MESSAGES)'], {
    onUntagged: (unit) => {
      const tokens = readTokens(unit);
      if (String(tokens[0]).toUpperCase() === 'STATUS') messages = Number(pairsOf(tokens[2]).get('MESSAGES'));
    },
  });
  return status === 'OK' ? messages : undefined;
}

/** What is in the selected mailbox, from a UID on. */
export async function takeInventory(client: ImapClient, uids = '1:*'): Promise<Inventory> {
  const inventory = new Inventory();
  const items = client.has('DIGEST=SHA1')
    ? 'UID RFC822.SIZE INTERNALDATE DIGEST.SHA1'
    : 'UID RFC822.SIZE INTERNALDATE';
  await fetchEach(client, uids, items, (fields) => {
    const digest = fields.get('DIGEST.SHA1');
    inventory.add(
      Number(fields.get('UID')),
      Number(fields.get('RFC822.SIZE')),
      parseInternalDate(String(fields.get('INTERNALDATE'))),
      digest === undefined ? undefined : String(digest),
    );
  });
  inventory.seal();
  return inventory;
}

/** UID FETCH; answers that lack one of the items asked for first (unasked-for flags) are left out. */
export async function fetchEach(
  client: ImapClient,
  uids: string,
  items: string,
  onMessage: (fields: ReturnType<typeof pairsOf>) => void,
): Promise<Tagged> {
  const needed = items.split(' ').length;
  return await client.command(`UID FETCH ${uids} (${items})`, {
    onUntagged: (unit) => {
      const head = /^\d+ FETCH /i.exec(unit.toString('latin1', 0, 24));
      if (head === null) return;
      const fields = pairsOf(readTokens(unit, head[0].length)[0]);
      if (fields.has('UID') && fields.size >= needed) onMessage(fields);
    },
  });
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `"15-Jan-2024 12:00:00 +0000"` without the quotes, in UTC, as seconds. */
export function parseInternalDate(text: string): number {
  const [, day, month, year, hour, minute, second, sign, zoneHours, zoneMinutes] =
    /^ ?(\d+)-(\w{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)$/.exec(text) ?? [];
  if (day === undefined) return Number.NaN;
  const at = Date.UTC(
    ...[Number(year), MONTHS.indexOf(month!), Number(day)],
    ...[Number(hour), Number(minute), Number(second)],
  );
  const zone = (Number(zoneHours) * 60 + Number(zoneMinutes)) * 60;
  return at / 1000 - (sign === '-' ? -zone : zone);
}

export function printInternalDate(seconds: number): string {
  const [, year, month, day, time] = /^(\d{4})-(\d\d)-(\d\d)T(.{8})/.exec(
    new Date(seconds * 1000).toISOString(),
  )!;
  return `${day!.replace(/^0/, ' ')}-${MONTHS[Number(month) - 1]}-${year} ${time} +0000`;
}
