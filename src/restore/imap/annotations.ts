/** Annotations of mailboxes and of the server: METADATA (RFC 5464), or ANNOTATEMORE before it. */
import { type ImapClient, imapString } from '../../imap/client.ts';
import { readTokens } from '../../imap/tokens.ts';
import type { CsyncAnnotation } from '../csync-mailbox.ts';
import type { RestoreReport } from '../report.ts';

export interface AnnotationContext {
  client: ImapClient;
  report: RestoreReport;
  /** Whose annotations are private ones here. */
  userid: string;
}

/**
 * Sets those that the mailbox does not have. What it has of another value stays, and is reported.
 *
 * @param name of the mailbox at the server; '' for the server itself
 * @param label of it in the backup
 */
export async function restoreAnnotations(
  { client, report, userid }: AnnotationContext,
  annotations: readonly CsyncAnnotation[],
  name: string,
  label: string,
): Promise<void> {
  const refuse = (entry: string, reason: string) =>
    report.shortfall({ kind: 'refused', what: `annotation ${entry} of ${label}`, reason });
  const wanted = annotations.filter(({ value }) => value !== null);
  const has =
    client.has('METADATA') || (name === '' && client.has('METADATA-SERVER')) || client.has('ANNOTATEMORE');
  for (const { entry, userid: owner, value } of wanted) {
    if (!has) {
      refuse(entry, 'the server keeps no annotations of mailboxes (METADATA)');
      continue;
    }
    if (owner !== '' && owner !== userid) {
      refuse(entry, `it is one of ${owner}'s own`);
      continue;
    }
    const isShared = owner === '';
    const held = await read(client, name, entry, isShared);
    if (held === value) continue;
    if (held !== undefined) {
      refuse(
        entry,
        `the target has ${JSON.stringify(held)}, which stays; that of the backup: ${JSON.stringify(value)}`,
      );
      continue;
    }
    const answer =
      client.has('METADATA') || client.has('METADATA-SERVER')
        ? await client.command([
            'SETMETADATA ',
            imapString(name),
            ` (${path(entry, isShared)} `,
            imapString(value!),
            ')',
          ])
        : await client.command([
            'SETANNOTATION ',
            imapString(name),
            ' ',
            imapString(entry),
            ` (${attribute(isShared)} `,
            imapString(value!),
            ')',
          ]);
    if (answer.status === 'OK') continue;
    const hint = entry === '/specialuse' ? '; some servers have that in their configuration' : '';
    refuse(entry, `the server says: ${answer.text}${hint}`);
  }
}

async function read(
  client: ImapClient,
  name: string,
  entry: string,
  isShared: boolean,
): Promise<string | undefined> {
  let value: string | undefined;
  const onUntagged = (unit: Buffer) => {
    const [word, , ...rest] = readTokens(unit);
    const list = rest.findLast(Array.isArray);
    if (!/^(?:METADATA|ANNOTATION)$/i.test(String(word)) || list === undefined) return;
    const wanted = new Set([path(entry, isShared), attribute(isShared).replaceAll('"', '')]);
    for (let i = 0; i + 1 < list.length; i += 2) {
      const found = list[i + 1];
      if (wanted.has(String(list[i]).toLowerCase()) && typeof found === 'string') value = found;
    }
  };
  if (client.has('METADATA') || client.has('METADATA-SERVER')) {
    await client.command(['GETMETADATA ', imapString(name), ` ${path(entry, isShared)}`], { onUntagged });
  } else {
    await client.command(
      ['GETANNOTATION ', imapString(name), ' ', imapString(entry), ` ${attribute(isShared)}`],
      { onUntagged },
    );
  }
  return value;
}

function path(entry: string, isShared: boolean): string {
  return `/${isShared ? 'shared' : 'private'}${entry}`;
}

function attribute(isShared: boolean): string {
  return isShared ? '"value.shared"' : '"value.priv"';
}
