/**
 * What real clients sent is applied, and our answers are compared with those that Cyrus's backupd gave at the
 * same moment. `test/replay` plays whole sessions to the server; this looks at the answers field by field.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { mailboxByUniqueid } from '../../../src/store/index/queries.ts';
import { readCapture } from '../../replay/captures.ts';
import { asList, asMap, readDlist, readLine, type Value } from '../../support/dlist-text.ts';
import { everything, IndexRig, splitAnswer } from './index-rig.ts';

let rig: IndexRig;
beforeEach(() => {
  rig = new IndexRig();
});
afterEach(() => rig.remove());

/** Fields that backupd prints though they say nothing, or never has. */
const EMPTY = new Map<string, Value>([
  ['MBOXTYPE', null],
  ['QUOTAROOT', null],
  ['XCONVMODSEQ', '0'],
]);

interface Counts {
  applied: number;
  unchanged: string[];
  compared: number;
}

function play(name: string): Counts {
  const counts: Counts = { applied: 0, unchanged: [], compared: 0 };
  for (const event of readCapture(name)) {
    if ('ev' in event) continue;
    const command = event.c.replace(/\r\n$/, '');
    if (/^APPLY MESSAGE /.test(command)) {
      const files = [...command.matchAll(/%\{\S+ ([0-9a-f]{40}) (\d+)\}/g)];
      rig.pend(files.map(([, guid, size]) => ({ guid: guid!, size: Number(size) })));
    } else if (/^APPLY (?!RESERVE|CAPABILITIES)/.test(command) && event.s.startsWith('OK')) {
      const outcome = rig.apply(command.replace(/^APPLY (LOCAL_)?/, ''));
      expect(outcome, command.slice(0, 200)).toMatchObject({ type: 'ok' });
      counts.applied++;
      if (outcome.type === 'ok' && !outcome.changed) counts.unchanged.push(command.split(' ')[1]!);
    } else if (/^GET (USER|MAILBOXES|META) /.test(command)) {
      compare(command, event.s);
      counts.compared++;
    }
  }
  return counts;
}

function compare(command: string, theirs: string): void {
  const what = command.split(' ')[1] as 'USER' | 'META' | 'MAILBOXES';
  const mboxnames = what === 'MAILBOXES' ? (asList(readDlist(command.slice(14))) as string[]) : [];
  const ours = rig.answer(what === 'MAILBOXES' ? { what, mboxnames } : { what })!;
  const expected = splitAnswer(theirs.replace(/OK [^\r]*\r\n$/, '')).map((line) => readLine(line));
  const got = splitAnswer(ours).map((line) => readLine(line));
  for (const { name, value } of expected) {
    if (name === 'MAILBOX') {
      const fields = asMap(value);
      const same = got.find(
        (line) => line.name === name && asMap(line.value).get('UNIQUEID') === fields.get('UNIQUEID'),
      );
      expect(same, `${fields.get('MBOXNAME')} is answered`).toBeDefined();
      const mine = asMap(same!.value);
      for (const [key, field] of fields) {
        if (EMPTY.get(key) === field && EMPTY.has(key)) continue;
        // backupd forgets the quota root.
        if (key !== 'QUOTAROOT') expect(mine.get(key), key).toEqual(field);
      }
    } else if (name === 'LSUB') {
      const names = asList(got.find((line) => line.name === name)?.value).sort();
      expect(names).toEqual(asList(value).sort());
    } else if (name !== 'QUOTA') {
      expect(got).toContainEqual({ name, value });
    }
  }
  const kinds = (lines: { name: string }[]) => lines.filter((line) => line.name === 'MAILBOX').length;
  expect(kinds(got)).toBe(kinds(expected));
}

describe.each([
  ['3.6', ['01-first-sync', '02-no-change', '03-messages', '04-folders', '05-meta']],
  ['3.10', ['01-first-sync', '02-no-change', '03-messages', '04-folders', '05-meta', '06-no-change']],
  ['head', ['01-first-sync', '02-no-change', '03-messages', '04-folders', '05-meta', '06-no-change']],
])('the client of %s', (release, sessions) => {
  test('gets the answers that backupd gives, and more', () => {
    for (const session of sessions) {
      const { applied, unchanged, compared } = play(`${release}/${session}`);
      expect(compared, session).toBeGreaterThan(0);
      expect(applied, session).toBeGreaterThan(0);
      // What backupd forgets the client sends again and again; we know it.
      expect(unchanged).toEqual(
        session === '01-first-sync' ? [] : expect.arrayContaining(['ACTIVATE_SIEVE']),
      );
      if (session.endsWith('no-change')) expect(unchanged).toEqual(['QUOTA', 'ACTIVATE_SIEVE']);
    }
    expect(rig.answer({ what: 'USER' })).toMatch(
      /\* QUOTA %\(ROOT user\.alice LIMIT 10000000 STORAGE 10000000 MODSEQ \d+\)\r\n/,
    );
    expect(rig.answer({ what: 'USER' })).toMatch(
      /\* SIEVE %\(FILENAME main\.bc LAST_UPDATE 0 GUID 0{40} ISACTIVE 1\)\r\n/,
    );
  });

  test('leaves an index that its history gives again', () => {
    for (const session of sessions) play(`${release}/${session}`);
    const replayed = new IndexRig();
    replayed.pend([...rig.index.statement('SELECT guid, size FROM message').all()] as never);
    for (const message of replayed.pending.values()) replayed.index.addMessage(message);
    replayed.replay(rig.history, 1000);
    expect(everything(replayed.index)).toEqual(everything(rig.index));
    replayed.remove();
  });
});

test('the client that trusts its cache is never contradicted', () => {
  let withSince = 0;
  for (const event of readCapture('3.10/09-rolling-cache')) {
    if ('ev' in event) continue;
    if (/^GET (USER|MAILBOXES) /.test(event.c)) {
      // The session begins on a server that has these mailboxes.
      const [, ...known] = event.s
        .split(/^\* MAILBOX (?=%)/m)
        .map((text) => text.slice(0, text.indexOf('\r\n')));
      for (const mailbox of known) {
        if (mailboxByUniqueid(rig.index, asMap(readDlist(mailbox)).get('UNIQUEID') as string)) continue;
        rig.apply(`MAILBOX ${mailbox.slice(0, -1)} RECORD ())`);
      }
    }
    if (!event.c.startsWith('APPLY MAILBOX ')) continue;
    if (event.c.includes('SINCE_MODSEQ')) withSince++;
    const command = event.c.replace(/^APPLY /, '').replace(/\r\n$/, '');
    expect(rig.apply(command, { acceptMissing: true })).toMatchObject({ type: 'ok', changed: true });
  }
  expect(withSince).toBeGreaterThan(2);
});

test('conversations, user flags and the rest of newer releases are answered as sent', () => {
  for (const event of readCapture('head/11-conversations')) {
    if ('ev' in event || !event.c.startsWith('APPLY MAILBOX ')) continue;
    const command = event.c.replace(/^APPLY /, '').replace(/\r\n$/, '');
    const sent = asMap(readDlist(command.slice('MAILBOX '.length)));
    expect(rig.apply(command, { acceptMissing: true })).toMatchObject({ type: 'ok', changed: true });
    const mboxname = sent.get('MBOXNAME') as string;
    const [answered] = rig.lines({ what: 'FULLMAILBOX', mboxname });
    const mine = asMap(answered!.value);
    for (const [key, field] of sent) {
      if (key.startsWith('SINCE_')) expect(mine.has(key)).toBe(false);
      else expect(mine.get(key), key).toEqual(field);
    }
    expect([...mine.keys()].sort()).toEqual(
      [...sent.keys()].filter((key) => !key.startsWith('SINCE_')).sort(),
    );
  }
});
