import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { NameRules } from '../../src/csync/mailbox-name.ts';
import { compactBackup } from '../../src/maintenance/compact/compact.ts';
import { differences } from '../../src/restore/diff.ts';
import { readHistory } from '../../src/restore/history.ts';
import type { HistoryChange, HistoryEvent } from '../../src/restore/history-event.ts';
import { withSource } from '../../src/restore/open-source.ts';
import { mailboxLine, messageLine, SampleBackup } from '../maintenance/backup-files.ts';
import { guidOf, StoreRig } from '../store/support/store-rig.ts';
import { type ModelState, Player, type Step, steps } from './recorded-history.ts';

afterEach(() => void vi.restoreAllMocks());

const RULES: NameRules = {
  defaultDomain: '',
  virtDomains: 'off',
  unixHierarchySep: true,
  deletedPrefix: 'DELETED',
};
const FIRST: Step = { what: 'create', a: 0, b: 0, pause: 0, ends: false };
const T = 1_700_000_000;

/** What changes add up to. */
class Sum {
  readonly mailboxes = new Map<
    string,
    { name: string; acl: string | undefined; records: Map<number, string> }
  >();
  readonly subscriptions = new Set<string>();
  readonly scripts = new Set<string>();
  active: string | undefined;
  quota: string | undefined;

  static of(state: ModelState): Sum {
    const sum = new Sum();
    for (const { name, uniqueid, acl, records } of state.mailboxes) {
      const list = records.map(
        ({ uid, flags, content }) => [uid, recordText(guidOf(content), flags)] as const,
      );
      sum.mailboxes.set(uniqueid, { name, acl, records: new Map(list) });
    }
    for (const name of state.subscriptions) sum.subscriptions.add(name);
    for (const { filename } of state.scripts) sum.scripts.add(filename);
    sum.active = state.active;
    sum.quota = state.quota === undefined ? undefined : String(state.quota);
    return sum;
  }

  add(change: HistoryChange): void {
    switch (change.kind) {
      case 'mailbox':
        this.#mailbox(change);
        return;
      case 'message': {
        const { records } = this.mailboxes.get(change.uniqueid)!;
        const before = records.get(change.uid);
        if (change.change === 'expunged') expect(records.delete(change.uid)).toBe(true);
        else {
          if (change.change === 'flags') expect(before).toBe(recordText(change.guid, change.flagsBefore!));
          if (change.change === 'added') expect(before).toBeUndefined();
          records.set(change.uid, recordText(change.guid, change.flags));
        }
        return;
      }
      case 'subscription':
        if (change.change === 'added') this.subscriptions.add(change.mboxname);
        else expect(this.subscriptions.delete(change.mboxname)).toBe(true);
        return;
      case 'sieve':
        if (change.change === 'deactivated') this.active = undefined;
        else if (change.change === 'activated') this.active = change.filename;
        else if (change.change === 'stored') this.scripts.add(change.filename);
        else expect(this.scripts.delete(change.filename)).toBe(true);
        return;
      case 'quota':
        this.quota = change.limits.STORAGE;
        return;
      default:
        throw new Error(`nothing of the kind was played: ${change.kind}`);
    }
  }

  #mailbox(change: Extract<HistoryChange, { kind: 'mailbox' }>): void {
    const { uniqueid, mboxname } = change;
    const mailbox = this.mailboxes.get(uniqueid);
    if ('to' in change) {
      expect(mailbox!.name).toBe(change.from);
      mailbox!.name = change.to;
    } else if ('fields' in change) {
      for (const { field, before, after } of change.fields) {
        expect(field).toBe('acl');
        if (mailbox!.acl !== undefined) expect(mailbox!.acl).toBe(before);
        mailbox!.acl = after;
      }
    } else if (change.change === 'created') {
      expect(mailbox).toBeUndefined();
      this.mailboxes.set(uniqueid, { name: mboxname, acl: undefined, records: new Map() });
    } else expect(this.mailboxes.delete(uniqueid)).toBe(true);
  }

  /** ACLs of new mailboxes are not told. */
  text(withAcl: boolean, withDeleted: boolean): string {
    const mailboxes = [...this.mailboxes]
      .filter(([, { name }]) => withDeleted || !name.startsWith('DELETED.'))
      .map(([id, { name, acl, records }]) => [
        id,
        name,
        withAcl ? acl : '',
        [...records].sort(([a], [b]) => a - b),
      ])
      .sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));
    const { active, quota } = this;
    return JSON.stringify(
      [mailboxes, [...this.subscriptions].sort(), [...this.scripts].sort(), active, quota],
      null,
      1,
    );
  }
}

const recordText = (guid: string, flags: readonly string[]): string => `${guid} ${flags.join(' ')}`;

async function eventsOf(
  dataPath: string,
  stagingPath: string,
): Promise<{ events: HistoryEvent[]; since: number }> {
  const events: HistoryEvent[] = [];
  const options = { config: { backupStagingPath: stagingPath }, rules: RULES, remark: () => {} };
  const { since } = await readHistory(dataPath, options, (event) => events.push(event));
  return { events, since };
}

const numRuns = Number(process.env.HISTORY_RUNS ?? '10');

describe('history and differences', () => {
  test('add up to what was so at each moment', { timeout: 300_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.nat(), fc.nat(), async (list, x, y) => {
        const rig = new StoreRig();
        try {
          const player = new Player(rig);
          await player.play([FIRST, ...list]);
          await player.end();
          const dataPath = rig.dataPath('anne');
          const { events, since } = await eventsOf(dataPath, rig.config.backupStagingPath);
          expect(since).toBe(T);
          const sum = new Sum();
          const left = [...events];
          for (const [time, recorded] of player.recorded) {
            while (left[0] !== undefined && left[0].time <= time) sum.add(left.shift()!);
            expect(sum.text(false, true), `at ${time}`).toBe(Sum.of(recorded).text(false, true));
          }
          expect(left).toEqual([]);

          const times = [...player.recorded.keys()];
          const [from, to] = [times[x % times.length]!, times[y % times.length]!].sort((a, b) => a - b) as [
            number,
            number,
          ];
          const at = (time: number) => ({
            config: rig.config,
            moment: { kind: 'time', time } as const,
            remark: () => {},
          });
          const changes = await withSource(dataPath, at(from), (before) =>
            withSource(dataPath, at(to), (after) => [...differences(before, after, RULES)]),
          );
          const changed = Sum.of(withoutDeleted(player.recorded.get(from)!));
          for (const change of changes) changed.add(change);
          const kept = Sum.of(withoutDeleted(player.recorded.get(to)!));
          expect(changed.text(false, false)).toBe(kept.text(false, false));
          if (from === to) expect(changes).toEqual([]);

          // What a compaction puts in place of older lines is no change.
          const now = from * 1000 + rig.config.backupRetentionMs;
          await compactBackup({ dataPath, config: rig.config, force: true, now });
          const later = await eventsOf(dataPath, rig.config.backupStagingPath);
          const strip = (all: HistoryEvent[]) =>
            all.filter(({ time }) => time > from).map(({ place: _, ...rest }) => rest);
          expect(strip(later.events)).toEqual(strip(events));
          expect(later.events.filter(({ time }) => time <= from)).toEqual(
            later.since < from ? events.filter(({ time }) => time > later.since && time <= from) : [],
          );
        } finally {
          await rig.shard.handle({ op: 'stop' });
          rig.remove();
          vi.restoreAllMocks();
        }
      }),
      { numRuns },
    );
  });

  test('what a mail server lacks that was put back to an older state counts as expunged', async () => {
    const records = ['one', 'two', 'three'].map((content, i) => ({ uid: i + 1, content }));
    using backup = new SampleBackup([
      [
        messageLine(['one', 'two', 'three'], T),
        mailboxLine('user.anne', records, { time: T, lastUid: 3 }),
        mailboxLine('user.anne', records.slice(0, 1), { time: T + 1, lastUid: 1 }),
      ],
    ]);
    const { events } = await eventsOf(backup.dataPath, backup.folder);
    const told = events.filter(({ time }) => time === T + 1);
    expect(told).toMatchObject([
      { change: 'expunged', uid: 2, guid: guidOf('two') },
      { change: 'expunged', uid: 3, guid: guidOf('three') },
    ]);
    expect(told).toHaveLength(2);
  });

  test('tells of what no client of the property sends', async () => {
    const one = { uid: 1, content: 'one' };
    const other = { uid: 1, content: 'other' };
    const line = (time: number, text: string): string => `${T + time} APPLY ${text}\r\n`;
    const noted = (time: number, verb: string, value: string): string =>
      line(time, `RESERVE %(NOTE ${verb} VALUE ${value})`);
    using backup = new SampleBackup([
      [messageLine(['one', 'other'], T), mailboxLine('user.anne', [one], { time: T })],
      [
        mailboxLine('user.anne', [other], { time: T + 1 }),
        mailboxLine('user.anne.New', [], { time: T + 2, uniqueid: 'id-user.anne' }),
        mailboxLine('user.anne.New', [], { time: T + 3, uniqueid: 'second' }),
        mailboxLine('user.anne.New', [{ ...one, flags: '\\Expunged' }], { time: T + 4, uniqueid: 'second' }),
        mailboxLine('user.anne.New', [one], { time: T + 5, uniqueid: 'second' }),
        line(6, 'RENAME %(OLDMBOXNAME user.anne.New NEWMBOXNAME user.anne.New PARTITION p2 UIDVALIDITY 5)'),
        line(
          7,
          'RENAME %(OLDMBOXNAME user.anne.New NEWMBOXNAME DELETED.user.anne.New.65 PARTITION p2 UIDVALIDITY 5)',
        ),
        line(8, 'SEEN %(USERID anne UNIQUEID second LASTREAD 1 LASTUID 3 LASTCHANGE 1 SEENUIDS 1:3)'),
        noted(9, 'ANNOTATION', '%(MBOXNAME "" USERID "" ENTRY /motd VALUE hello)'),
        noted(10, 'UNANNOTATION', '%(MBOXNAME "" USERID "" ENTRY /motd)'),
        noted(11, 'UNUSER', 'anne'),
        line(12, 'RENAME %(OLDMBOXNAME user.gone NEWMBOXNAME user.more PARTITION p2 UIDVALIDITY 5)'),
        'neither a line nor anything\r\n',
      ],
    ]);
    const { events } = await eventsOf(backup.dataPath, backup.folder);
    const told = events.map(({ place: _, time, ...rest }) => [time - T, rest] as const);
    const [a, b] = ['id-user.anne', 'second'];
    const message = (uniqueid: string, mboxname: string, content: string) => ({
      kind: 'message',
      mboxname,
      uniqueid,
      uid: 1,
      guid: guidOf(content),
      size: content.length,
      flags: [],
    });
    expect(told).toEqual([
      [0, { kind: 'mailbox', change: 'created', mboxname: 'user.anne', uniqueid: a }],
      [0, { ...message(a, 'user.anne', 'one'), change: 'added' }],
      [1, { ...message(a, 'user.anne', 'one'), change: 'expunged' }],
      [1, { ...message(a, 'user.anne', 'other'), change: 'added' }],
      [
        2,
        {
          kind: 'mailbox',
          change: 'renamed',
          mboxname: 'user.anne.New',
          uniqueid: a,
          from: 'user.anne',
          to: 'user.anne.New',
        },
      ],
      [3, { kind: 'mailbox', change: 'deleted', mboxname: 'user.anne.New', uniqueid: a }],
      [3, { kind: 'mailbox', change: 'created', mboxname: 'user.anne.New', uniqueid: b }],
      [5, { ...message(b, 'user.anne.New', 'one'), change: 'restored' }],
      [
        6,
        {
          kind: 'mailbox',
          change: 'changed',
          mboxname: 'user.anne.New',
          uniqueid: b,
          fields: [
            { field: 'partition', before: 'default', after: 'p2' },
            { field: 'uidvalidity', before: '1500000000', after: '5' },
          ],
        },
      ],
      [
        7,
        {
          kind: 'mailbox',
          change: 'deleted',
          mboxname: 'user.anne.New',
          uniqueid: b,
          from: 'user.anne.New',
          to: 'DELETED.user.anne.New.65',
        },
      ],
      [
        8,
        {
          kind: 'seen',
          change: 'changed',
          mboxname: 'DELETED.user.anne.New.65',
          uniqueid: b,
          lastuid: 3,
          seenuids: '1:3',
        },
      ],
      [9, { kind: 'annotation', change: 'set', mboxname: '', entry: '/motd', userid: '', value: 'hello' }],
      [10, { kind: 'annotation', change: 'removed', mboxname: '', entry: '/motd', userid: '', value: null }],
      [11, { kind: 'user', change: 'deleted', userid: 'anne' }],
    ]);
  });
});

function withoutDeleted(state: ModelState): ModelState {
  return { ...state, mailboxes: state.mailboxes.filter(({ name }) => !name.startsWith('DELETED.')) };
}
