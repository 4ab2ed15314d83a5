import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { beforeLastChange } from '../../src/restore/before-change.ts';
import { withSource } from '../../src/restore/open-source.ts';
import { BackupSource } from '../../src/restore/source.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import type { Moment } from '../../src/store/past-index.ts';
import { guidOf, mailboxLine, messageLine, SampleBackup } from '../maintenance/backup-files.ts';
import { stateOf } from './recorded-history.ts';

const T = 1_700_000_000;
const FIXTURES = path.join(import.meta.dirname, '../fixtures/backup-sample');
const RULES = {
  defaultDomain: '',
  virtDomains: 'off',
  unixHierarchySep: true,
  deletedPrefix: 'DELETED',
} as const;
const LATEST: Moment = { kind: 'latest' };

async function look(backup: SampleBackup, moment: Moment = LATEST) {
  const remarks: string[] = [];
  const before = fs
    .readdirSync(backup.folder)
    .map((name) => [name, contentOf(path.join(backup.folder, name))]);
  const config = { backupStagingPath: backup.folder };
  const remark = (text: string): void => void remarks.push(text);
  const state = await withSource(backup.dataPath, { config, moment, remark }, stateOf);
  const after = fs
    .readdirSync(backup.folder)
    .map((name) => [name, contentOf(path.join(backup.folder, name))]);
  expect(after).toEqual(before);
  return {
    state,
    remarks,
    texts: state.mailboxes.flatMap(({ records }) => records.map(({ content }) => content)),
  };
}

const contentOf = (file: string): string => fs.readFileSync(file, 'latin1');

/** A chunk that stores message i in folder i, at time T + 100 i. */
function chunk(i: number): (string | Uint8Array)[] {
  const [content, time] = [`${i} `.repeat(3000), T + 100 * i];
  return [messageLine([content], time), mailboxLine(`user.anne.F${i}`, [{ uid: 1, content }], { time })];
}

const text = (i: number): string => `${i} `.repeat(3000);

describe('the index beside the data file', () => {
  test('is used as it is where it fits', async () => {
    using backup = new SampleBackup([chunk(0), chunk(1)]);
    expect(await look(backup)).toMatchObject({ texts: [text(0), text(1)], remarks: [] });
    // Nothing has come since.
    expect(await look(backup, { kind: 'time', time: T + 5000 })).toMatchObject({ texts: [text(0), text(1)] });
  });

  test.each<[string, (backup: SampleBackup) => void, RegExp]>([
    ['missing', (backup) => fs.rmSync(backup.indexPath), /cannot be used/],
    ['empty', (backup) => fs.writeFileSync(backup.indexPath, ''), /cannot be used/],
    ['no database', (backup) => fs.writeFileSync(backup.indexPath, 'x'.repeat(9000)), /cannot be used/],
    [
      'that of another backup',
      (backup) => {
        using other = new SampleBackup([chunk(5), chunk(6), chunk(7), chunk(8)]);
        fs.copyFileSync(other.indexPath, backup.indexPath);
      },
      /describes a longer data file/,
    ],
    [
      'garbled inside',
      (backup) => {
        const bytes = fs.readFileSync(backup.indexPath);
        bytes.fill(0xaa, 1024);
        fs.writeFileSync(backup.indexPath, bytes);
      },
      /is damaged; reading the data file instead|cannot be used/,
    ],
  ])('where it is %s the data file is read instead, and this said', async (_, spoil, remark) => {
    using backup = new SampleBackup([chunk(0), chunk(1), chunk(2)]);
    spoil(backup);
    const { texts, remarks } = await look(backup);
    expect(texts).toEqual([0, 1, 2].map(text));
    expect(remarks).toEqual([expect.stringMatching(remark)]);
  });

  test('is brought up to date where another program has appended, finished or not', async () => {
    using backup = new SampleBackup([chunk(0)]);
    backup.append(chunk(1), true);
    expect((await look(backup)).texts).toEqual([0, 1].map(text));
    backup.append(chunk(2), false);
    const { texts, remarks } = await look(backup);
    expect(texts).toEqual([0, 1, 2].map(text));
    expect(remarks).toEqual([
      expect.stringContaining('the machine went down while it was written'),
      expect.stringContaining('has no end; what is complete of it'),
    ]);
  });

  test.each(['carol_fQAmPe', 'erik_em7N7U'])('by Cyrus says what the data file of %s says', async (name) => {
    using backup = SampleBackup.copyOf(path.join(FIXTURES, name));
    const own = await look(backup);
    expect(own.remarks).toEqual([]);
    expect(own.texts.length).toBeGreaterThan(3);
    // Where no message is twice in a mailbox, Cyrus's index says the same.
    const fd = fs.openSync(backup.dataPath, 'r');
    const index = BackupIndex.open(backup.indexPath, { readonly: true });
    const { size: sizeBytes } = fs.fstatSync(fd);
    const source = new BackupSource({ path: backup.dataPath, fd, index, sizeBytes });
    const { mailboxes, subscriptions } = stateOf(source);
    index.close();
    fs.closeSync(fd);
    expect({ mailboxes, subscriptions }).toEqual({
      mailboxes: own.state.mailboxes,
      subscriptions: own.state.subscriptions,
    });
  });
});

test('of a data file that was cut off everything comes back that is in what is left', async () => {
  const contents = ['one', 'two', 'three'].map((word) => randomBytes(3000).toString('hex') + word);
  const records = contents.map((content, i) => ({ uid: i + 1, content }));
  using backup = new SampleBackup([
    chunk(0),
    [
      ...contents.map((content) => messageLine([content], T + 50)),
      mailboxLine('user.anne', records, { time: T + 60 }),
    ],
  ]);
  const { size } = fs.statSync(backup.dataPath);
  fs.truncateSync(backup.dataPath, size - 3000);
  const remarks: string[] = [];
  const options = {
    config: { backupStagingPath: backup.folder },
    remark: (text: string) => void remarks.push(text),
  };
  const found = await withSource(backup.dataPath, options, (source) => {
    expect(source.isPartLost).toBe(true);
    return [...source.mailboxes()].flatMap((mailbox) =>
      [...source.records(mailbox)].map(({ guid, uid }) => {
        try {
          return `${mailbox.mboxname} ${uid} ${source.message(guid).length}`;
        } catch (error) {
          return `${mailbox.mboxname} ${uid} ${(error as { code: string }).code}`;
        }
      }),
    );
  });
  expect(found).toEqual([
    'user.anne.F0 1 6000',
    'user.anne 1 6003',
    'user.anne 2 6003',
    'user.anne 3 CHUNK_CORRUPT',
  ]);
  expect(remarks[0]).toMatch(
    /^the end of \S+ is lost, which its index describes; what was stored there is named/,
  );
});

test('what a killed process has left of a temporary index is removed', async () => {
  using backup = new SampleBackup([chunk(0), chunk(1)]);
  const abandoned = path.join(backup.folder, `session-${2 ** 30}-restore-0123456789ab.index`);
  for (const suffix of ['', '-journal']) fs.writeFileSync(abandoned + suffix, 'x');
  const config = { backupStagingPath: backup.folder };
  const options = { config, moment: { kind: 'time', time: T } as const, remark: () => {} };
  // Its own has a name until it is complete.
  const names = await withSource(backup.dataPath, options, () => fs.readdirSync(backup.folder));
  expect(names.sort()).toEqual(['anne_x1Y2z3', 'anne_x1Y2z3.index']);
});

describe('a damaged backup', () => {
  test('gives back what is in the other chunks, and names the one that is not whole', async () => {
    using backup = new SampleBackup([chunk(0), chunk(1), chunk(2)]);
    const { offset, end } = spoilChunk(backup, 1);
    fs.rmSync(backup.indexPath);
    const { texts, remarks } = await look(backup);
    expect(texts).toEqual([0, 2].map(text));
    expect(remarks[1]).toMatch(`the chunk at bytes ${offset} to ${end} of ${backup.dataPath} is damaged`);
    expect(remarks[1]).toMatch('from 2023-11-14T22:13:20Z to 2023-11-14T22:16:40Z');
    // Damage behind the moment is no matter.
    const early = await look(backup, { kind: 'time', time: T });
    expect(early.texts).toEqual([text(0)]);
    const late = await look(backup, { kind: 'time', time: T + 250 });
    expect(late.texts).toEqual([text(0), text(2)]);
    expect(late.remarks).toEqual([
      expect.stringContaining('is damaged'),
      'the latest state, without a moment, may have more of it',
    ]);
  });

  test('of a message that came again later the sound copy is found, for moments before that too', async () => {
    const [first, second] = [chunk(0), chunk(1)] as [[Buffer, string], [Buffer, string]];
    const at = first[0].indexOf(text(0)) + 100;
    first[0][at] = first[0][at]! ^ 1;
    using backup = new SampleBackup([first, second]);
    const here = (moment: Moment) =>
      withSource(
        backup.dataPath,
        { config: { backupStagingPath: backup.folder }, moment, remark: () => {} },
        (source) => [...source.mailboxes()].map((mailbox) => [...source.records(mailbox)][0]!.isHere),
      );
    expect(await here({ kind: 'time', time: T })).toEqual([false]);
    backup.append([messageLine([text(0)], T + 900)], true);
    backup.append([`${T + 901} APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n`], true);
    expect((await look(backup, { kind: 'time', time: T })).texts).toEqual([text(0)]);
    expect((await look(backup, { kind: 'time', time: T + 150 })).texts).toEqual([0, 1].map(text));
    // What came again and is damaged there is read from where it was sound.
    const again = [messageLine([text(1)], T + 950)] as [Buffer];
    again[0][again[0].indexOf(text(1)) + 100]! ^= 1;
    backup.append(again, true);
    backup.reindex(); // which believes them
    const { texts, remarks } = await look(backup);
    expect(texts).toEqual([0, 1].map(text));
    expect(remarks).toEqual([expect.stringMatching(/a message in .* is damaged/)]);
    fs.rmSync(backup.indexPath);
    expect((await look(backup)).texts).toEqual([0, 1].map(text));
  });

  test('gives back what a note says is lost if it is there after all', async () => {
    using backup = new SampleBackup([chunk(0), chunk(1)]);
    const end = chunkOffsets(backup)[1];
    const value = `%(OFFSET 0 END ${end} START ${T} GUIDS "${guidOf(text(0))}")`;
    backup.append([`${T + 500} APPLY RESERVE %(NOTE DAMAGE VALUE ${value})\r\n`], true);
    backup.append([`${T + 900} APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n`], true);
    backup.reindex();
    const index = BackupIndex.open(backup.indexPath, { readonly: true });
    expect(index.messageId(guidOf(text(0)))).toBeUndefined();
    index.close();
    expect((await look(backup)).texts).toEqual([0, 1].map(text));
    expect((await look(backup, { kind: 'time', time: T + 600 })).texts).toEqual([0, 1].map(text));
  });

  test('goes on with a copy in the middle of a large message, if what was handed out was right', async () => {
    const large = randomBytes(3 << 20).toString('hex');
    const mail = (time: number) => [
      messageLine([large], time),
      mailboxLine('user.anne', [{ uid: 1, content: large }], { time }),
    ];
    using backup = new SampleBackup([mail(T), mail(T + 1)]);
    const index = BackupIndex.open(backup.indexPath, { readonly: true });
    const segment = index.segmentBefore(index.chunks()[1]!.id, 3 << 20)!;
    index.close();
    const bytes = backup.bytes();
    bytes.fill(0xff, segment.fileOffset, segment.fileOffset + 20); // no block begins so
    backup.write(bytes);
    const { texts, remarks } = await look(backup);
    expect(texts[0] === large).toBe(true);
    expect(remarks).toHaveLength(1);
  });
});

describe('the moment before the last change', () => {
  const changes = new SampleBackup([
    [messageLine(['one', 'two'], T), mailboxLine('user.anne', [{ uid: 1, content: 'one' }], { time: T })],
    [
      // All in the same second.
      mailboxLine('user.anne', [{ uid: 2, content: 'two' }], { time: T + 1 }),
      mailboxLine('user.anne', [{ uid: 1, content: 'one', flags: '\\Seen' }], { time: T + 1 }),
      `${T + 1} APPLY EXPUNGE %(MBOXNAME user.anne UNIQUEID id-user.anne UID (1))\r\n`,
      `${T + 1} APPLY RENAME %(OLDMBOXNAME user.anne NEWMBOXNAME user.anne.B PARTITION default UIDVALIDITY 1500000000)\r\n`,
      `${T + 1} APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n`,
      mailboxLine('user.anne', [], { time: T + 1, uniqueid: 'other' }),
    ],
  ]);
  afterAll(() => changes[Symbol.dispose]());

  const stateBefore = async (object: string, moment: Moment = LATEST) => {
    const options = { config: { backupStagingPath: changes.folder }, rules: RULES, moment, remark: () => {} };
    const found = await beforeLastChange(changes.dataPath, options, object);
    const { state } = await look(changes, found.moment);
    const mailboxes = state.mailboxes.map(({ name, records }) => [
      name,
      ...records.map(({ uid, flags }) => `${uid} ${flags.join(' ')}`),
    ]);
    return {
      mailboxes,
      change: `${found.change.kind} ${found.change.change}`,
      subscriptions: state.subscriptions,
    };
  };

  test.each([
    [guidOf('one'), 'message expunged', [['user.anne', '1 \\Seen', '2 ']]],
    ['id-user.anne:2', 'message added', [['user.anne', '1 ']]],
    ['B', 'mailbox renamed', [['user.anne', '2 ']]],
    ['id-user.anne', 'mailbox renamed', [['user.anne', '2 ']]],
    ['user/anne', 'mailbox created', [['user.anne.B', '2 ']]],
  ])('of %s is that before the line that made it', async (object, change, mailboxes) => {
    expect(await stateBefore(object)).toMatchObject({ change, mailboxes });
  });

  test('may be that of the last change until some time', async () => {
    expect(await stateBefore('INBOX', { kind: 'time', time: T + 1 })).toMatchObject({
      change: 'mailbox created',
    });
    expect(await stateBefore('INBOX', { kind: 'time', time: T })).toMatchObject({ change: 'message added' });
  });

  test('of what nothing has changed, or nobody knows, there is none', async () => {
    await expect(stateBefore(guidOf('never'))).rejects.toMatchObject({
      code: 'NOT_FOUND',
      reason: expect.stringContaining('begins at 2023-11-14T22:13:20Z'),
    });
    await expect(stateBefore('Drafts')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      tried: 'find',
      subject: 'Drafts',
    });
  });

  test('is not looked for where the lines have moved since', async () => {
    const moment: Moment = { kind: 'before', place: { chunkOffset: 0, lineOffset: 77 }, time: T };
    await expect(look(changes, moment)).rejects.toMatchObject({ code: 'LOCKED' });
  });
});

/** Overwrites the inside of a chunk. */
function spoilChunk(backup: SampleBackup, i: number): { offset: number; end: number } {
  const [offset, end] = chunkOffsets(backup).slice(i) as [number, number];
  const bytes = backup.bytes();
  bytes.fill(0xaa, offset + 30, end - 20);
  backup.write(bytes);
  return { offset, end };
}

function chunkOffsets(backup: SampleBackup): number[] {
  const index = BackupIndex.open(backup.indexPath, { readonly: true });
  const chunks = index.chunks();
  index.close();
  return chunks.map(({ offset }) => offset);
}
