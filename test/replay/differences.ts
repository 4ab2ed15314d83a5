import { createHash } from 'node:crypto';
import { asList, asMap, readDlist, readLine, type Value, writeDlist } from '../support/dlist-text.ts';
import type { CaptureEvent } from './captures.ts';
import type { Exchange } from './session.ts';

/** What a client compares with its own state, or cannot do without. */
const MAILBOX_FIELDS = [
  'UNIQUEID',
  'PARTITION',
  'ACL',
  'OPTIONS',
  'HIGHESTMODSEQ',
  'UIDVALIDITY',
  'LAST_UID',
  'RECENTUID',
  'RECENTTIME',
  'POP3_LAST_LOGIN',
  'SYNC_CRC',
  'SYNC_CRC_ANNOT',
  'ANNOTATIONS',
];

/** Untagged lines by a key such as `MAILBOX user.anne`, with what counts of each as text. */
function facts(lines: string[]): Map<string, Map<string, string>> {
  const found = new Map<string, Map<string, string>>();
  const fields = (value: Value, keys: string[]): Map<string, string> =>
    new Map(keys.map((key) => [key, writeDlist(asMap(value).get(key) ?? [])]));
  for (const line of lines) {
    if (/^\* (OK|SASL|STARTTLS|COMPRESS|SIEVE-MAILBOX|ENABLED)\b/.test(line)) continue;
    const { name, value } = readLine(line);
    if (name === 'MAILBOX')
      found.set(`MAILBOX ${asMap(value).get('MBOXNAME')}`, fields(value, MAILBOX_FIELDS));
    else if (name === 'SEEN')
      found.set(`SEEN ${asMap(value).get('UNIQUEID')}`, fields(value, ['LASTUID', 'SEENUIDS']));
    else if (name === 'SIEVE')
      found.set(`SIEVE ${asMap(value).get('FILENAME')}`, fields(value, ['LAST_UPDATE', 'GUID']));
    else if (name === 'QUOTA') found.set(`QUOTA ${asMap(value).get('ROOT')}`, fields(value, ['STORAGE']));
    else if (name === 'LSUB' || name === 'MISSING') {
      for (const item of asList(value)) found.set(`${name} ${String(item)}`, new Map());
    } else found.set(line, new Map());
  }
  return found;
}

/**
 * How our answers differ from the captured ones, a line each: `COMMAND: was KIND, is KIND`, or what of the
 * untagged lines is missing, extra or other. Quota and the active Sieve script, which backupd forgets, may
 * come besides. Scripts whose text no session has sent (`scripts`) cannot be expected.
 */
export function differences(exchanges: Exchange[], scripts: Set<string>): string[] {
  const found: string[] = [];
  for (const { command, captured, ours } of exchanges) {
    if (captured.kind !== ours.kind) {
      found.push(`${command}: was ${captured.kind}, is ${ours.kind}`);
      continue;
    }
    const userid = /^GET \w+ (\S+)/i.exec(command)?.[1];
    const [theirs, mine] = [facts(captured.lines), facts(ours.lines)];
    for (const [key, fields] of theirs) {
      const other = mine.get(key);
      const script = fields.get('GUID');
      if (script !== undefined && !/^0+$/.test(script) && !scripts.has(`${userid} ${script}`)) continue;
      if (other === undefined) found.push(`${command}: ${key} is missing`);
      for (const [field, value] of fields) {
        if (other !== undefined && other.get(field) !== value) {
          found.push(`${command}: ${key} ${field} was ${value}, is ${other.get(field)}`);
        }
      }
    }
    for (const [key, fields] of mine) {
      const isActiveScript = /^0+$/.test(fields.get('GUID') ?? '');
      if (!theirs.has(key) && !key.startsWith('QUOTA ') && !isActiveScript)
        found.push(`${command}: ${key} is extra`);
    }
  }
  return found;
}

/** `USERID SHA1` of the Sieve scripts that a capture's client sends. */
export function scriptsSent(events: CaptureEvent[]): string[] {
  return events.flatMap((event) => {
    if ('ev' in event || !event.c.startsWith('APPLY SIEVE ')) return [];
    const script = asMap(readDlist(event.c.slice('APPLY SIEVE '.length)));
    const content = String(script.get('CONTENT'));
    return [`${script.get('USERID')} ${createHash('sha1').update(content, 'latin1').digest('hex')}`];
  });
}
