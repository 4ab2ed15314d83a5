/**
 * SYNC_CRC as real clients send it: of each mailbox whose records are all known from the captures, it must be what we
 * count. So the formula is that of these releases, and no usual sync is taken for one of a mail server that was put back.
 */
import { afterEach, expect, test } from 'vitest';
import { mailboxByUniqueid, mailboxMessages } from '../../src/store/index/queries.ts';
import { IndexRig } from '../store/index/index-rig.ts';
import { asMap, readDlist, readLine } from '../support/dlist-text.ts';
import { splitUnits } from '../support/wire-text.ts';
import { readCapture } from './captures.ts';
import { answersOf } from './session.ts';
import { GROUPS } from './sessions.ts';

let rig: IndexRig;
afterEach(() => rig.remove());

const RELEASES = ['3.6', '3.10', 'head'];
const names = GROUPS.flatMap((group) => group.names);

/** UNIQUEIDs of mailboxes of which the sessions so far have shown everything. */
let whole: Set<string>;

function play(name: string): { compared: number; differing: string[] } {
  let compared = 0;
  const differing: string[] = [];
  for (const event of readCapture(name)) {
    if ('ev' in event) continue;
    const answers = answersOf(event.s);
    for (const answer of answers) for (const line of answer.lines) noteAnswer(line);
    for (const [i, unit] of splitUnits(Buffer.from(event.c, 'latin1')).units.entries()) {
      const command = unit.toString('latin1').replace(/\r?\n$/, '');
      if (!/^APPLY (?!RESERVE|MESSAGE|CAPABILITIES)/.test(command) || answers[i]?.kind !== 'OK') continue;
      const text = command.replace(/^APPLY (LOCAL_)?/, '');
      const uniqueid = text.startsWith('MAILBOX ')
        ? String(asMap(readDlist(text.slice('MAILBOX '.length))).get('UNIQUEID'))
        : '';
      if (uniqueid !== '' && mailboxByUniqueid(rig.index, uniqueid) === undefined) whole.add(uniqueid);
      const outcome = rig.apply(text, { acceptMissing: true });
      if (uniqueid === '' || outcome.type !== 'ok' || !whole.has(uniqueid)) continue;
      if (outcome.verdict !== undefined) differing.push(`${name}: ${text.slice(0, 200)}`);
      const { id, syncCrc } = mailboxByUniqueid(rig.index, uniqueid) ?? { id: 0, syncCrc: 0 };
      if (syncCrc && [...mailboxMessages(rig.index, id)].length > 0) compared++;
    }
  }
  return { compared, differing };
}

/** What a server of then had before the session began, and no session tells of. */
function noteAnswer(line: string): void {
  if (!line.startsWith('* MAILBOX ')) return;
  const fields = asMap(readLine(line).value);
  const uniqueid = String(fields.get('UNIQUEID'));
  const ours = mailboxByUniqueid(rig.index, uniqueid);
  if (ours === undefined || String(ours.highestmodseq) !== fields.get('HIGHESTMODSEQ'))
    whole.delete(uniqueid);
}

test.each(RELEASES)('the client of %s counts as we do', (release) => {
  rig = new IndexRig();
  whole = new Set();
  let compared = 0;
  for (const name of names.filter((one) => one.startsWith(`${release}/`))) {
    const played = play(name);
    expect(played.differing).toEqual([]);
    compared += played.compared;
  }
  expect(compared).toBeGreaterThan(10);
});
