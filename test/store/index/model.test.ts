import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { mailboxByUniqueid, mailboxMessages } from '../../../src/store/index/queries.ts';
import { asList, asMap } from '../../support/dlist-text.ts';
import { everything, guidOf, IndexRig } from './index-rig.ts';
import { mailboxText } from './mailbox-text.ts';
import { storedSum, wholeSum } from './sums.ts';

/** What the index should say, kept as simply as can be. */
interface ModelRecord {
  guid: string;
  flags: string[];
  expunged: number | null;
}

interface ModelMailbox {
  name: string;
  modseq: number;
  lastUid: number;
  crc: number;
  crcKnown: boolean;
  partition: string;
  uidvalidity: number;
  foldermodseq: string | undefined;
  deleted: boolean;
  records: Map<number, ModelRecord>;
}

class Model {
  mailboxes = new Map<string, ModelMailbox>();
  nodes = new Map<string, string>();
  content = new Set<string>();
  subscribed = new Set<string>();
  seen = new Map<string, string>();
  scripts = new Map<string, string>();
  active: string | undefined;
  quota = new Map<string, string>();
  healing = new Set<string>();

  live(name: string): ModelMailbox | undefined {
    return [...this.mailboxes.values()].find((mailbox) => mailbox.name === name && !mailbox.deleted);
  }

  takeName(name: string, except?: ModelMailbox): void {
    for (const mailbox of this.mailboxes.values()) {
      if (mailbox.name === name && mailbox !== except) mailbox.deleted = true;
    }
  }
}

type Step = (rig: IndexRig, model: Model) => void;

/** So that a counterexample says what was done. */
function named(text: string, run: Step): Step {
  return Object.assign(run, { [fc.toStringMethod]: () => text });
}

const uniqueid = fc.constantFrom('u1', 'u2', 'u3');
const name = fc.constantFrom('user.anne', 'user.anne.a', 'user.anne.b', 'DELETED.user.anne.c.5F3A1B2C');
const guid = fc.integer({ min: 1, max: 5 }).map(guidOf);
const uid = fc.integer({ min: 1, max: 5 });

const record = fc.record({
  uid,
  guid,
  expunged: fc.boolean(),
  flags: fc.subarray(['\\Seen', '$Label']),
});

const mailboxStep = fc
  .record({
    uniqueid,
    mboxname: name,
    highestmodseq: fc.integer({ min: 1, max: 4 }),
    lastUid: fc.integer({ min: 3, max: 5 }),
    crc: fc.integer({ min: 0, max: 2 }),
    since: fc.option(
      fc.record({ modseq: fc.integer({ min: 0, max: 4 }), crc: fc.integer({ min: 0, max: 2 }) }),
      { nil: undefined },
    ),
    records: fc.array(record, { maxLength: 5 }),
    foldermodseq: fc.constantFrom(undefined, '7', '8'),
    acceptMissing: fc.boolean(),
    sendFirst: fc.array(guid, { maxLength: 5 }),
  })
  .map((given) =>
    named(JSON.stringify(given), (rig, model) => {
      if (given.sendFirst.length > 0) {
        rig.message(...new Set(given.sendFirst));
        // Kept with the next line that is stored; until then a claim finds them.
      }
      const before = model.mailboxes.get(given.uniqueid);
      const known = new Set([...model.content, ...rig.pending.keys()]);
      const outcome = rig.apply(
        mailboxText({ ...given, more: given.foldermodseq && `FOLDERMODSEQ ${given.foldermodseq}` }),
        { acceptMissing: given.acceptMissing },
      );
      const isOlder =
        before !== undefined &&
        !before.deleted &&
        !model.healing.has(given.uniqueid) &&
        (given.highestmodseq < before.modseq || given.lastUid < before.lastUid);
      if (isOlder) {
        expect(outcome).toMatchObject({ type: 'reject', code: 'IMAP_SYNC_CHECKSUM', heal: given.uniqueid });
        return;
      }
      const fits =
        !given.since ||
        given.since.modseq === 0 ||
        (before !== undefined &&
          !before.deleted &&
          !model.healing.has(given.uniqueid) &&
          before.modseq === given.since.modseq &&
          (given.since.crc === 0 || before.crc === 0 || !before.crcKnown || before.crc === given.since.crc));
      if (!fits) {
        expect(outcome).toMatchObject({ type: 'reject', code: 'IMAP_SYNC_CHECKSUM' });
        return;
      }
      const missing = new Set<string>();
      const records = new Map([...(before?.records ?? [])].map(([id, kept]) => [id, { ...kept }]));
      const time = rig.history.at(-1)?.time ?? 0;
      for (const sent of given.records) {
        const kept = records.get(sent.uid);
        const same = kept?.guid === sent.guid ? kept : undefined;
        if (!sent.expunged && !known.has(sent.guid) && (!same || same.expunged !== null))
          missing.add(sent.guid);
        const expunged = sent.expunged ? (same?.expunged ?? time) : null;
        records.set(sent.uid, { guid: sent.guid, flags: sent.flags, expunged });
      }
      if (missing.size > 0 && !given.acceptMissing) {
        expect(outcome).toMatchObject({
          type: 'need',
          uniqueid: given.uniqueid,
          missingCount: missing.size,
        });
        expect(new Set(outcome.type === 'need' ? outcome.guids : [])).toEqual(missing);
        return;
      }
      expect(outcome.type).toBe('ok');
      if (before !== undefined && given.lastUid < before.lastUid) {
        for (const [id, kept] of records) if (id > given.lastUid) kept.expunged ??= time;
      }
      const mailbox: ModelMailbox = {
        name: given.mboxname,
        modseq: given.highestmodseq,
        lastUid: given.lastUid,
        crc: given.crc,
        crcKnown: true,
        partition: 'default',
        uidvalidity: 1600000000,
        foldermodseq: given.foldermodseq,
        deleted: false,
        records,
      };
      model.mailboxes.set(given.uniqueid, mailbox);
      model.takeName(given.mboxname, mailbox);
      model.nodes.delete(given.uniqueid);
      for (const [id, node] of model.nodes) if (node === given.mboxname) model.nodes.delete(id);
      model.healing.delete(given.uniqueid);
      if (outcome.type === 'ok' && outcome.changed) model.content = known;
    }),
  );

/** After a stored line everything that was sent is in the index. */
function settle(rig: IndexRig, model: Model, changed: boolean, before: Iterable<string>): void {
  if (changed) for (const sent of before) model.content.add(sent);
  if (changed) expect(rig.pending.size).toBe(0);
}

function small(text: string, effect: (model: Model, time: number) => void): Step {
  return named(text, (rig, model) => {
    const sent = [...rig.pending.keys()];
    const outcome = rig.apply(text);
    expect(outcome.type).toBe('ok');
    const changed = outcome.type === 'ok' && outcome.changed;
    settle(rig, model, changed, sent);
    effect(model, rig.history.at(-1)?.time ?? 0);
  });
}

const renameStep = fc.tuple(name, name, fc.constantFrom('default', 'p2'), fc.integer({ min: 1, max: 3 })).map(
  ([from, to, partition, uidvalidity]): Step =>
    small(
      `RENAME %(OLDMBOXNAME ${from} NEWMBOXNAME ${to} PARTITION ${partition} UIDVALIDITY ${uidvalidity})`,
      (model) => {
        const mailbox = model.live(from);
        const moved = [...model.nodes].find(([, node]) => node === from);
        if (mailbox === undefined && moved === undefined) return;
        if (from !== to) {
          model.takeName(to, mailbox);
          for (const [id, node] of model.nodes) if (node === to) model.nodes.delete(id);
          if (moved !== undefined) model.nodes.set(moved[0], to);
        }
        if (mailbox !== undefined) Object.assign(mailbox, { name: to, partition, uidvalidity });
      },
    ),
);

const unmailboxStep = name.map((mboxname) =>
  small(`UNMAILBOX ${mboxname}`, (model) => {
    const mailbox = model.live(mboxname);
    if (mailbox) mailbox.deleted = true;
    for (const [id, node] of model.nodes) if (node === mboxname) model.nodes.delete(id);
  }),
);

const nodeStep = fc.tuple(fc.constantFrom('n1', 'n2'), name).map(([id, mboxname]) =>
  small(
    `MAILBOX %(UNIQUEID ${id} MBOXNAME ${mboxname} MBOXTYPE ei HIGHESTMODSEQ 3 FOLDERMODSEQ 3)`,
    (model) => {
      model.takeName(mboxname);
      for (const [other, node] of model.nodes) if (node === mboxname) model.nodes.delete(other);
      model.nodes.set(id, mboxname);
    },
  ),
);

const expungeStep = fc.tuple(uniqueid, fc.array(uid, { minLength: 1, maxLength: 3 })).map(([id, uids]) =>
  named(`EXPUNGE ${id} ${uids}`, (rig, model) => {
    const mailbox = model.mailboxes.get(id);
    const sent = [...rig.pending.keys()];
    const mboxname = mailbox?.name ?? 'user.anne';
    const outcome = rig.apply(`EXPUNGE %(MBOXNAME ${mboxname} UNIQUEID ${id} UID (${uids.join(' ')}))`);
    if (mailbox === undefined) {
      expect(outcome).toMatchObject({ type: 'reject', code: 'IMAP_MAILBOX_NONEXISTENT' });
      return;
    }
    settle(rig, model, outcome.type === 'ok' && outcome.changed, sent);
    for (const number of uids) {
      const kept = mailbox.records.get(number);
      if (kept === undefined || kept.expunged !== null) continue;
      kept.expunged = rig.history.at(-1)!.time;
      mailbox.crcKnown = false;
    }
  }),
);

const healStep = uniqueid.map((id) =>
  named(`HEAL ${id}`, (rig, model) => {
    rig.heal(id, [guidOf(1)]);
    model.healing.add(id);
  }),
);

const otherStep = fc.oneof(
  name.map((mboxname) => small(`SUB %(USERID anne MBOXNAME ${mboxname})`, (m) => m.subscribed.add(mboxname))),
  name.map((mboxname) =>
    small(`UNSUB %(USERID anne MBOXNAME ${mboxname})`, (m) => m.subscribed.delete(mboxname)),
  ),
  fc
    .tuple(uniqueid, fc.constantFrom('1:3', '1:4'))
    .map(([id, uids]) =>
      small(`SEEN %(USERID anne UNIQUEID ${id} LASTREAD 1 LASTUID 4 LASTCHANGE 2 SEENUIDS ${uids})`, (m) =>
        m.seen.set(id, uids),
      ),
    ),
  fc
    .tuple(fc.constantFrom('a.script', 'b.script'), fc.constantFrom('keep;', 'stop;'))
    .map(([file, script]) =>
      small(`SIEVE %(USERID anne FILENAME ${file} LAST_UPDATE 7 CONTENT {5}\r\n${script})`, (m) =>
        m.scripts.set(file, script),
      ),
    ),
  fc
    .constantFrom('a.script', 'b.script')
    .map((file) => small(`UNSIEVE %(USERID anne FILENAME ${file})`, (m) => m.scripts.delete(file))),
  fc.constant(
    small('ACTIVATE_SIEVE %(USERID anne FILENAME a.bc)', (m) => {
      m.active = 'a.bc';
    }),
  ),
  fc.constant(
    small('UNACTIVATE_SIEVE %(USERID anne)', (m) => {
      m.active = undefined;
    }),
  ),
  fc
    .constantFrom('100', '200')
    .map((limit) =>
      small(`QUOTA %(ROOT user.anne LIMIT ${limit} STORAGE ${limit})`, (m) =>
        m.quota.set('user.anne', limit),
      ),
    ),
  fc.constant(small('UNQUOTA user.anne', (m) => m.quota.delete('user.anne'))),
);

const step = fc.oneof(
  { weight: 6, arbitrary: mailboxStep },
  { weight: 2, arbitrary: renameStep },
  { weight: 2, arbitrary: expungeStep },
  { weight: 1, arbitrary: unmailboxStep },
  { weight: 1, arbitrary: nodeStep },
  { weight: 1, arbitrary: healStep },
  { weight: 3, arbitrary: otherStep },
);

const rigs: IndexRig[] = [];
afterEach(() => {
  for (const rig of rigs.splice(0)) rig.remove();
});

function newRig(make: () => IndexRig): IndexRig {
  const rig = make();
  rigs.push(rig);
  return rig;
}

function compareAnswers(rig: IndexRig, model: Model): void {
  const lines = rig.lines({ what: 'USER' });
  const of = (kind: string) => lines.filter((line) => line.name === kind).map((line) => line.value);
  const shown = [...model.mailboxes].filter(([id, mailbox]) => !mailbox.deleted && !model.healing.has(id));

  const mailboxes = of('MAILBOX').map((value) => asMap(value));
  const expected = shown.map(([id, mailbox]) => ({
    id,
    name: mailbox.name,
    modseq: String(mailbox.modseq),
    crc: mailbox.crcKnown ? String(mailbox.crc) : undefined,
    partition: mailbox.partition as string | null,
    uidvalidity: String(mailbox.uidvalidity),
    foldermodseq: mailbox.foldermodseq,
  }));
  for (const [id, node] of model.nodes) {
    expected.push({
      id,
      name: node,
      modseq: '0',
      crc: '0',
      partition: null,
      uidvalidity: '0',
      foldermodseq: '3',
    });
  }
  const got = mailboxes.map((fields) => ({
    id: fields.get('UNIQUEID'),
    name: fields.get('MBOXNAME'),
    modseq: fields.get('HIGHESTMODSEQ'),
    crc: fields.get('SYNC_CRC'),
    partition: fields.get('PARTITION'),
    uidvalidity: fields.get('UIDVALIDITY'),
    foldermodseq: fields.get('FOLDERMODSEQ'),
  }));
  const byId = (a: { id?: unknown }, b: { id?: unknown }) => String(a.id).localeCompare(String(b.id));
  expect(got.sort(byId)).toEqual(expected.sort(byId));

  expect(asList(of('LSUB')[0] ?? []).sort()).toEqual([...model.subscribed].sort());
  const seen = of('SEEN').map((value) => [asMap(value).get('UNIQUEID'), asMap(value).get('SEENUIDS')]);
  expect(new Map(seen as [string, string][])).toEqual(model.seen);
  const scripts = of('SIEVE').map((value) => asMap(value));
  expect(
    scripts
      .filter((s) => s.get('ISACTIVE') === '0')
      .map((s) => s.get('FILENAME'))
      .sort(),
  ).toEqual([...model.scripts.keys()].sort());
  expect(scripts.find((s) => s.get('ISACTIVE') === '1')?.get('FILENAME')).toBe(model.active);
  expect(of('QUOTA').map((value) => asMap(value).get('STORAGE'))).toEqual([...model.quota.values()]);

  for (const [, mailbox] of shown) {
    const [full] = rig.lines({ what: 'FULLMAILBOX', mboxname: mailbox.name });
    const records = asList(asMap(full!.value).get('RECORD')).map((value) => asMap(value));
    const wanted = [...mailbox.records].sort(([a], [b]) => a - b);
    expect(records.map((fields) => [fields.get('UID'), fields.get('GUID'), fields.get('FLAGS')])).toEqual(
      wanted.map(([id, kept]) => [
        String(id),
        kept.guid,
        [...(kept.expunged === null ? [] : ['\\Expunged']), ...kept.flags],
      ]),
    );
  }
}

/** Which row of each message stands in Cyrus's table, and when what was expunged was expunged. */
function compareRows(rig: IndexRig, model: Model): void {
  const inMain = rig.index
    .statement(
      `SELECT b.uniqueid, r.uid FROM mailbox_message r JOIN mailbox b ON b.id = r.mailbox_id ORDER BY 1, 2`,
    )
    .all();
  const expected: { uniqueid: string; uid: number }[] = [];
  for (const [id, mailbox] of model.mailboxes) {
    const best = new Map<string, number>();
    for (const [number, kept] of [...mailbox.records].sort(([a], [b]) => a - b)) {
      if (rig.index.messageId(kept.guid) === undefined) continue;
      const other = mailbox.records.get(best.get(kept.guid) ?? 0);
      if (other === undefined || kept.expunged === null || other.expunged !== null)
        best.set(kept.guid, number);
    }
    for (const number of best.values()) expected.push({ uniqueid: id, uid: number });
    const stored = mailboxByUniqueid(rig.index, id)!;
    const times = [...mailboxMessages(rig.index, stored.id)].map((row) => [row.uid, row.expunged]);
    expect(times).toEqual(
      [...mailbox.records].map(([number, kept]) => [number, kept.expunged]).sort(byNumber),
    );
  }
  const byRow = (a: { uniqueid: string; uid: number }, b: { uniqueid: string; uid: number }) =>
    a.uniqueid.localeCompare(b.uniqueid) || a.uid - b.uid;
  expect(inMain).toEqual(expected.sort(byRow));
}

function byNumber([a]: (number | null)[], [b]: (number | null)[]): number {
  return a! - b!;
}

test('random histories: answers are as a simple model has them, and replayed history gives the same index', () => {
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, maxLength: 25, size: 'max' }),
      fc.integer({ min: 1, max: 40 }),
      (steps, cut) => {
        const rig = newRig(() => new IndexRig());
        const model = new Model();
        let before = textOfAll(rig);
        for (const run of steps) {
          const lines = storedLines(rig);
          run(rig, model);
          const after = textOfAll(rig);
          expect(storedLines(rig) > lines, 'stored if and only if it changed something').toBe(
            after !== before,
          );
          before = after;
          for (const id of model.mailboxes.keys()) {
            expect(storedSum(rig.index, id), 'kept from change to change').toBe(wholeSum(rig.index, id));
          }
        }
        compareAnswers(rig, model);
        compareRows(rig, model);
        const replayed = newRig(() => rig.replayed(cut));
        // Messages at the very end that no line followed are not in the index of the live one yet.
        for (const message of rig.pending.values()) rig.index.addMessage(message);
        expect(everything(replayed.index)).toEqual(everything(rig.index));
        for (const id of model.mailboxes.keys()) {
          expect(storedSum(replayed.index, id)).toBe(wholeSum(replayed.index, id));
        }
        compareAnswers(replayed, model);
        for (const one of rigs.splice(0)) one.remove();
      },
    ),
    { numRuns: 100 },
  );
});

function storedLines(rig: IndexRig): number {
  return rig.history.filter((line) => !line.text.startsWith('MESSAGE')).length;
}

function textOfAll(rig: IndexRig): string {
  return JSON.stringify(everything(rig.index), (_key, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  );
}
