import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { isDrawn } from '../../src/maintenance/schedule.ts';
import { BackupError } from '../../src/platform/errors.ts';
import { type DrillOptions, type DrillReport, drillBackup } from '../../src/restore/drill/drill.ts';
import { DrillRandom } from '../../src/restore/drill/random.ts';
import { MaildirTarget } from '../../src/restore/files/maildir.ts';
import { Selection } from '../../src/restore/selection.ts';
import { BackupSource, type StoredRecord } from '../../src/restore/source.ts';
import type { RestoreTarget } from '../../src/restore/target.ts';
import { guidOf, mailboxLine, messageLine } from '../maintenance/backup-files.ts';
import { SmallStore } from '../support/small-store.ts';

const MAILS = Array.from(
  { length: 4 },
  (_, n) => `Subject: ${n}\r\n\r\n${'line of text\r\n'.repeat(n * 900)}`,
);
/** One that is stored alone in the last chunk, so that damage hits nothing else. */
const LAST = `Subject: last\r\n\r\n${Array.from({ length: 4000 }, (_, n) => (n * 7919) % 10_007).join(' ')}`;
const FLAGS = [
  '',
  '\\Seen \\Flagged $Work',
  '\\Answered \\Draft \\Deleted $Forwarded NonJunk',
  '\\Seen \\Expunged',
];
const MAILBOXES = [
  'user.anne',
  'user.anne.a^b.Gr&APw-n',
  'DELETED.user.anne.Old.6B04A1C0',
  'DELETED.user.anne.Old.6B04A1C0',
];
const ALL = 3 + MAILBOXES.length * MAILS.length + 1;

let store: SmallStore;
let dataPath: string;

beforeEach(() => {
  store = new SmallStore();
  const records = MAILS.map((content, n) => ({
    uid: 10 + n,
    content,
    flags: FLAGS[n]!,
    internaldate: 1_500_000_000 + n,
  }));
  const lines = MAILBOXES.map((name, n) => mailboxLine(name, records, { uniqueid: `u${n}`, modseq: 50 }));
  dataPath = store.add('anne', {
    lines: [
      messageLine(MAILS),
      ...lines,
      messageLine([LAST]),
      mailboxLine('user.anne.Last', [{ uid: 1, content: LAST }]),
    ],
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  store[Symbol.dispose]();
});

function drill(options: Partial<DrillOptions> = {}): Promise<DrillReport> {
  return drillBackup({
    dataPath,
    userid: 'anne',
    config: store.config,
    sample: { share: 1 },
    random: new DrillRandom(1),
    scratchBase: store.config.backupStagingPath,
    ...options,
  });
}

const kinds = ({ failures }: DrillReport): string[] => failures.map(({ kind }) => kind);

/** A target that works, and then somebody comes. */
function spoiled(spoil: (files: string[], dir: string) => void): Partial<DrillOptions> {
  return {
    openTarget(dir): RestoreTarget {
      const target = new MaildirTarget(dir);
      const restore = target.restore.bind(target);
      target.restore = async (plan, report) => {
        await restore(plan, report);
        spoil(
          fs
            .globSync('{,.*/}cur/*', { cwd: dir })
            .sort()
            .map((file) => path.join(dir, file)),
          dir,
        );
      };
      return target;
    },
  };
}

describe('a drill', () => {
  test('finds everything as it was: live, expunged, deleted, two mailboxes of one name', async () => {
    const report = await drill();
    expect(report.failures).toEqual([]);
    expect(report).toMatchObject({ messages: ALL, changed: 0, absent: 0, scratch: undefined });
    expect(fs.readdirSync(store.config.backupStagingPath)).toEqual([]);
  });

  test('takes as many as it is told to, others with another seed, the same with the same', async () => {
    const chosen = async (seed: number): Promise<string[]> => {
      const { scratch, messages } = await drill({
        sample: { messages: 5 },
        random: new DrillRandom(seed),
        keep: true,
      });
      expect(messages).toBe(5);
      return fs.globSync('**/cur/*', { cwd: scratch! }).sort();
    };
    expect(await chosen(1)).toEqual(await chosen(1));
    expect(await chosen(1)).not.toEqual(await chosen(2));
    expect(await drill({ sample: { share: 0.5 } })).toMatchObject({ messages: Math.ceil(ALL / 2) });
  });

  test.each<[string, (files: string[], dir: string) => void, string]>([
    [
      'a byte',
      ([file]) => fs.writeFileSync(file!, fs.readFileSync(file!, 'latin1').replace(/.$/s, '!')),
      'content',
    ],
    ['the end', ([file]) => fs.truncateSync(file!, 3), 'content'],
    ['a date', ([file]) => fs.utimesSync(file!, 5, 5), 'date'],
    ['a flag', (files) => rename(files, /:2,$/, ':2,S'), 'flags'],
    [
      'a keyword',
      (_, dir) => edit(fs.globSync('{,.*/}dovecot-keywords', { cwd: dir }), dir, 'Work', 'Play'),
      'flags',
    ],
    ['a message', ([file]) => fs.rmSync(file!), 'missing'],
    ['a UID', (_, dir) => edit(['dovecot-uidlist'], dir, '10 :', '99 :'), 'missing'],
    ['a message too many', ([file]) => fs.writeFileSync(`${file}x`, 'x'), 'extra'],
    ['a folder', (_, dir) => fs.renameSync(path.join(dir, '.Last'), path.join(dir, '.Lost')), 'missing'],
  ])('fails if %s is not what it was', async (_, spoil, kind) => {
    const report = await drill(spoiled(spoil));
    expect(kinds(report)).toContain(kind);
  });

  test.each<[string, () => void, string]>([
    ['drops flags', () => records((record) => [{ ...record, flags: [] }]), 'flags'],
    [
      'gives another date',
      () => records((record) => [{ ...record, internaldate: record.internaldate + 1 }]),
      'date',
    ],
    ['leaves one out', () => records((record) => (record.uid === 12 ? [] : [record])), 'missing'],
    ['renumbers', () => records((record) => [{ ...record, uid: record.uid + 1 }]), 'missing'],
    ['mixes up messages', () => records((record) => [{ ...record, guid: guidOf(MAILS[0]!) }]), 'content'],
    [
      'changes bytes',
      () => {
        const content = BackupSource.prototype.content;
        vi.spyOn(BackupSource.prototype, 'content').mockImplementation(function* (this: BackupSource, guid) {
          yield* content.call(this, guid);
          yield Buffer.from('\r\n');
        });
      },
      'content',
    ],
    [
      'selects what was not asked for',
      () => {
        const ofMailbox = Selection.prototype.ofMailbox;
        vi.spyOn(Selection.prototype, 'ofMailbox').mockImplementation(function (this: Selection, mailbox) {
          const wanted = ofMailbox.call(this, mailbox);
          return wanted && { ...wanted, takes: (record) => wanted.takes(record) || true };
        });
      },
      'extra',
    ],
  ])('fails if the way of restore %s', async (_, breakIt, kind) => {
    breakIt();
    const report = await drill({ sample: kind === 'extra' ? { messages: 10 } : { share: 1 } });
    expect(kinds(report)).toContain(kind);
    expect(report.changed).toBe(0);
  });

  test('fails where the backup is damaged, and says why', async () => {
    const bytes = fs.readFileSync(dataPath);
    bytes.fill(0xff, bytes.length - 3000, bytes.length - 2000);
    fs.writeFileSync(dataPath, bytes);
    const { failures, messages } = await drill();
    expect(messages).toBe(ALL);
    expect(failures.map(({ kind, record }) => [kind, record?.mboxname])).toEqual([
      ['missing', 'user.anne.Last'],
    ]);
    expect(failures[0]!.text).toMatch(/damaged|SHA-1/);
  });

  test('takes an index that Cyrus made', async () => {
    const { default: Database } = await import('better-sqlite3');
    const db = new Database(`${dataPath}.index`);
    const own = db
      .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'cb_*'")
      .pluck()
      .all();
    for (const name of own) db.exec(`DROP TABLE ${String(name)}`);
    db.close();
    expect(await drill()).toMatchObject({ failures: [], messages: ALL });
  });

  test('does not pass over an error of restore, nor over a backup without an index', async () => {
    const full = new BackupError({
      code: 'NO_SPACE',
      tried: 'write',
      subject: 'x',
      reason: 'full',
      remedy: '',
    });
    const openTarget = (): RestoreTarget => ({
      description: '',
      conflicts: async () => [],
      restore: () => Promise.reject(full),
      close: async () => {},
    });
    await expect(drill({ openTarget })).rejects.toThrow(full);
    // An object that restore does not find is a message that does not come back.
    vi.spyOn(Selection.prototype, 'ofMailbox').mockReturnValue(undefined);
    expect(new Set(kinds(await drill()))).toEqual(new Set(['missing']));
    fs.rmSync(`${dataPath}.index`);
    await expect(drill()).rejects.toMatchObject({ code: 'INDEX_STALE' });
    expect(fs.readdirSync(store.config.backupStagingPath)).toEqual([]);
  });

  test('what the server changes meanwhile is no failure', async () => {
    const { default: Database } = await import('better-sqlite3');
    const change = (sql: string) => () => {
      const db = new Database(`${dataPath}.index`);
      db.exec(sql);
      db.close();
    };
    const flagged = change("UPDATE mailbox_message SET flags = '(\\Flagged)' WHERE uid = 11");
    const report = await drill(
      spoiled((files) => {
        rename(
          files.filter((file) => file.includes('U11G')),
          /:2,.*$/,
          ':2,F',
        );
        flagged();
      }),
    );
    expect(report).toMatchObject({
      failures: [],
      changed: MAILBOXES.length,
      messages: ALL - MAILBOXES.length,
    });
  });

  test('clears away what a drill that was killed has left', async () => {
    const left = path.join(store.config.backupStagingPath, 'drill-999999999-abc');
    fs.mkdirSync(left);
    await drill({ sample: { messages: 1 } });
    expect(fs.existsSync(left)).toBe(false);
  });
});

function rename(files: string[], pattern: RegExp, to: string): void {
  for (const file of files) fs.renameSync(file, file.replace(pattern, to));
}

function edit(files: string[], dir: string, from: string, to: string): void {
  expect(files.length).toBeGreaterThan(0);
  for (const file of files.map((name) => path.join(dir, name))) {
    fs.writeFileSync(file, fs.readFileSync(file, 'latin1').replace(from, to), 'latin1');
  }
}

function records(change: (record: StoredRecord) => StoredRecord[]): void {
  const all = BackupSource.prototype.records;
  vi.spyOn(BackupSource.prototype, 'records').mockImplementation(function* (this: BackupSource, ...args) {
    // Selection has to find what was asked for, so only what is written is changed.
    const isPlanning = new Error().stack?.includes('holdsAny') ?? false;
    for (const record of all.apply(this, args)) yield* isPlanning ? [record] : change(record);
  });
}

test('random samples are as large as asked for, in order, and each is as likely', () => {
  const counts = new Array<number>(20).fill(0);
  for (let seed = 0; seed < 2000; seed++) {
    const sample = new DrillRandom(seed).sample(counts.keys(), 5);
    expect(sample).toHaveLength(5);
    expect(sample).toEqual([...new Set(sample)].sort((a, b) => a - b));
    for (const one of sample) counts[one]!++;
  }
  for (const count of counts) expect(Math.abs(count - 500)).toBeLessThan(100);
  expect(new DrillRandom(1).sample([1, 2], 5)).toEqual([1, 2]);
  const users = Array.from({ length: 10_000 }, (_, n) => `user${n}`);
  const drawn = (draw: string) => users.filter((user) => isDrawn(user, draw, 100, users.length));
  expect(drawn('1')).toEqual(drawn('1'));
  expect(drawn('1')).not.toEqual(drawn('2'));
  expect(Math.abs(drawn('1').length - 100)).toBeLessThan(50);
  expect(isDrawn('anne', '1', 20, 20)).toBe(true);
});
