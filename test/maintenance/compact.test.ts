import fs from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compactBackup } from '../../src/maintenance/compact/compact.ts';
import { differences } from '../../src/maintenance/compact/differences.ts';
import { freedBytes } from '../../src/maintenance/compact/report.ts';
import { Retention } from '../../src/maintenance/compact/window.ts';
import { WorkFiles } from '../../src/maintenance/compact/work-files.ts';
import { reindexBackup } from '../../src/maintenance/reindex.ts';
import { verifyBackup } from '../../src/maintenance/verify.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { DataFile } from '../../src/store/data-file.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { damagedChunks } from '../../src/store/index/damage.ts';
import { stateText } from '../store/state-text.ts';
import { StoreRig } from '../store/support/store-rig.ts';
import { readDataFile, type StoredLine, storedMessages } from '../support/data-file.ts';
import { guidOf, mailboxLine, messageLine, SampleBackup } from './backup-files.ts';
import { FIRST_TIME, type History, history } from './compact-history.ts';
import { compact, linesOf, lineText, nowFor, stateAt } from './compact-runs.ts';

function expectSame(before: StoredLine[], after: StoredLine[], time: number, since: number): void {
  using old = stateAt(before, time);
  using fresh = stateAt(after, time);
  // Nothing that lives or went inside the retention is different; nothing is known here of what was touched.
  expect(differences(old.index, fresh.index, new Retention(since)), `at ${time}`).toEqual([]);
}

async function checkHistory({ chunks, times }: History, place: number, settings = {}): Promise<void> {
  using backup = new SampleBackup(chunks);
  const before = linesOf(backup);
  const since = times[place % times.length]! - 1 + (place % 2);
  const report = await compact(backup, { now: nowFor(since), settings });
  expect(report.compacted).toBe(true);
  expect(report.keptAll).toBeNull();
  expect(report.damagedPath).toBeNull();
  const after = linesOf(backup);
  const stamps = after.map((line) => line.time);
  expect(stamps).toEqual(stamps.toSorted((a, b) => a - b));
  const last = times.at(-1)!;
  for (const time of new Set([Math.max(since, FIRST_TIME), times[(place * 7) % times.length]!, last])) {
    if (time >= since) expectSame(before, after, time, since);
  }
  // Lines inside the retention are there as they were; marks of mailboxes to be healed may follow.
  const inside = (lines: StoredLine[]) =>
    lines
      .filter(({ time, verb }) => time > since && verb !== 'HEAL')
      .map((line) => lineText(line).toString('latin1'));
  expect(inside(after)).toEqual(inside(before));
  expect((await backup.verify()).findings.filter(({ severity }) => severity === 'fault')).toEqual([]);
  // The index that compaction made is the one that the data file gives.
  const own = BackupIndex.open(backup.indexPath, { readonly: true });
  const marks = own.statement('SELECT count(*) FROM cb_heal', 'pluck').get();
  const ownChunks = own.chunks();
  own.close();
  fs.copyFileSync(backup.indexPath, `${backup.indexPath}.copy`);
  await reindexBackup({ dataPath: backup.dataPath, engine: loadDeflateEngine('auto'), keepPrevious: false });
  const [copy, rebuilt] = [`${backup.indexPath}.copy`, backup.indexPath].map((file) =>
    BackupIndex.open(file, { readonly: true }),
  ) as [BackupIndex, BackupIndex];
  expect(differences(copy, rebuilt, new Retention(Number.NEGATIVE_INFINITY))).toEqual([]);
  expect(rebuilt.chunks()).toEqual(ownChunks);
  expect(rebuilt.statement('SELECT count(*) FROM cb_heal', 'pluck').get()).toBe(marks);
  copy.close();
  rebuilt.close();
  // Compacted again at the same time it says the same.
  await compact(backup, { now: nowFor(since), settings });
  expectSame(before, linesOf(backup), last, since);
}

/** Of histories whose chunks have some hundreds of bytes. */
const chunkSizes = fc.constantFrom(
  {},
  {},
  { backupCompactMinSizeBytes: 500, backupCompactMaxSizeBytes: 1500 },
  { backupCompactMinSizeBytes: 100, backupCompactMaxSizeBytes: 300, chunkMaxBytes: 400 },
  { backupCompactMinSizeBytes: 3000 },
);

const numRuns = Number(process.env.COMPACT_RUNS ?? '25');

describe('compactBackup', () => {
  test('says at every moment inside the retention what the backup said before', {
    timeout: 600_000,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(history, fc.nat(1000), chunkSizes, (h, place, sizes) => checkHistory(h, place, sizes)),
      { numRuns },
    );
  });

  test('drops an expired message and keeps everything else, history inside the retention too', async () => {
    const [gone, kept, later] = ['long gone', 'still there', 'gone since'];
    const records = [gone, kept, later].map((content, i) => ({ uid: i + 1, content }));
    const [t0, t1, t2] = [FIRST_TIME, FIRST_TIME + 1000, FIRST_TIME + 5000];
    const expunge = (uid: number) =>
      `APPLY EXPUNGE %(MBOXNAME user.anne UNIQUEID id-user.anne UID (${uid}))\r\n`;
    using backup = new SampleBackup([
      [messageLine([gone, kept, later], t0), mailboxLine('user.anne', records, { time: t0 })],
      [`${t1} ${expunge(1)}`],
      [`${t2} ${expunge(3)}`],
    ]);
    const report = await compact(backup, { now: nowFor(t1 + 1), force: false });
    expect(report).toMatchObject({ compacted: true, messages: 3, newMessages: 2, keptAll: null });
    expect(report.work).toMatchObject({ expiredMessages: 1, expiredBytes: gone.length });
    expect(backup.bytes().length).toBeLessThan(report.sizeBytes);
    const stored = storedMessages(linesOf(backup)).map(({ guid }) => guid);
    expect(stored).toEqual([kept, later].map(guidOf));
    using before = stateAt(linesOf(backup), t2 - 1);
    const live = 'SELECT uid FROM mailbox_message WHERE expunged IS NULL ORDER BY uid';
    expect(before.index.statement(live, 'pluck').all()).toEqual([2, 3]);
    // Nothing is left to do.
    expect(await compact(backup, { now: nowFor(t1 + 1), force: false })).toMatchObject({ compacted: false });
  });

  test('keeps a mailbox that was renamed to the name of an intermediate node', async () => {
    const t = FIRST_TIME;
    const rename =
      'RENAME %(OLDMBOXNAME user.anne.New NEWMBOXNAME user.anne.Old PARTITION p2 UIDVALIDITY 77)';
    const lines = [
      `${t} APPLY RESERVE %(NOTE MAILBOX VALUE %(UNIQUEID node MBOXNAME user.anne.Old MBOXTYPE i HIGHESTMODSEQ 4))\r\n`,
      messageLine(['a', 'b'], t).toString('latin1'),
      mailboxLine('user.anne.New', [{ uid: 1, content: 'a' }], { time: t, uniqueid: 'id1' }),
      mailboxLine('user.anne.Gone', [{ uid: 1, content: 'b' }], { time: t }),
      `${t + 1} APPLY UNMAILBOX user.anne.Gone\r\n`,
      `${t + 2} APPLY ${rename}\r\n`,
      `${t + 4} APPLY SUB %(USERID anne MBOXNAME user.anne.Old)\r\n`,
    ];
    using backup = new SampleBackup([lines]);
    const report = await compact(backup, { now: nowFor(t + 3) });
    expect(report).toMatchObject({ compacted: true, keptAll: null, messages: 2, newMessages: 1 });
    expect((await backup.verify()).findings).toEqual([]);
    await checkHistory({ chunks: [lines], times: [0, 0, 0, 0, 1, 2, 4].map((s) => t + s) }, 5);
  });

  test('keeps that a user is back whose deleted folder was renamed', async () => {
    const t = FIRST_TIME;
    const rename =
      'RENAME %(OLDMBOXNAME DELETED.user.anne.1 NEWMBOXNAME user.anne PARTITION p2 UIDVALIDITY 77)';
    const lines = [
      mailboxLine('DELETED.user.anne.1', [], { time: t, uniqueid: 'id1' }),
      `${t} APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n`,
      `${t} APPLY RESERVE %(NOTE UNUSER VALUE anne)\r\n`,
      `${t + 1} APPLY ${rename}\r\n`,
      mailboxLine('user.anne', [], { time: t + 3, uniqueid: 'id1' }),
    ];
    await checkHistory({ chunks: [lines], times: [t, t, t, t + 1, t + 3] }, 4);
  });

  test('keeps the checksums of a mailbox that went in the second in which its messages were expunged', async () => {
    const t = FIRST_TIME;
    const lines = [
      messageLine(['a'], t).toString('latin1'),
      mailboxLine('user.anne.Old', [{ uid: 1, content: 'a', flags: '\\Expunged' }], { time: t }),
      `${t} APPLY UNMAILBOX user.anne.Old\r\n`,
      `${t + 3} APPLY EXPUNGE %(MBOXNAME user.anne.Old UNIQUEID id-user.anne.Old UID (1))\r\n`,
    ];
    await checkHistory({ chunks: [lines], times: [t, t, t, t + 3] }, 1);
  });

  test('combines and splits chunks as the limits say, and keeps segment starts', async () => {
    const content = (i: number): string => `${i} `.repeat(4000);
    const chunk = (i: number): (string | Uint8Array)[] => [
      messageLine([content(i)]),
      mailboxLine(`user.anne.F${i}`, [{ uid: 1, content: content(i) }]),
    ];
    using backup = new SampleBackup(Array.from({ length: 12 }, (_, i) => chunk(i)));
    const before = stateText(backup.indexPath);
    const now = nowFor(FIRST_TIME - 10);
    const sizes = { backupCompactMinSizeBytes: 40_000, backupCompactMaxSizeBytes: 100_000 };
    const combined = await compact(backup, { now, force: false, settings: sizes });
    expect(combined.work.combine).toBeGreaterThan(5);
    expect(combined.newChunks).toBeLessThan(6);
    expect(stateText(backup.indexPath)).toBe(before);
    const split = { backupCompactMinSizeBytes: 5000, backupCompactMaxSizeBytes: 12_000 };
    const again = await compact(backup, { now, force: false, settings: split });
    expect(again.work.split).toBeGreaterThan(0);
    expect(again.newChunks).toBeGreaterThan(5);
    expect(stateText(backup.indexPath)).toBe(before);
    expect((await backup.verify()).findings).toEqual([]);
  });

  test('threshold, dry run and an unlimited retention change nothing', async () => {
    const t = FIRST_TIME;
    using backup = new SampleBackup([
      [
        messageLine(['a'], t),
        mailboxLine('user.anne', [{ uid: 1, content: 'a', flags: '\\Expunged' }], { time: t }),
      ],
      [`${t + 1} APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n`],
    ]);
    const bytes = backup.bytes();
    const now = nowFor(t + 100);
    const few = { backupCompactWorkThreshold: 5 };
    expect(await compact(backup, { now, force: false, settings: few })).toMatchObject({ compacted: false });
    expect(await compact(backup, { now, dryRun: true })).toMatchObject({ compacted: false, newChunks: null });
    expect(backup.bytes().equals(bytes)).toBe(true);
    const all = await compact(backup, { now, settings: { backupRetentionMs: 0 } });
    expect(all).toMatchObject({ compacted: true, newMessages: 1, newChunks: 2 });
  });

  test('of a damaged chunk it keeps what can be read, its bytes beside the backup, and asks for the rest', async () => {
    const lines = (i: number): (string | Uint8Array)[] => [
      messageLine([`${i} `.repeat(3000)]),
      mailboxLine(`user.anne.F${i}`, [{ uid: 1, content: `${i} `.repeat(3000) }]),
    ];
    using backup = new SampleBackup([0, 1, 2].map(lines));
    const bytes = backup.bytes();
    const index = BackupIndex.open(backup.indexPath, { readonly: true });
    const [, second, third] = index.chunks();
    index.close();
    bytes.fill(0xaa, second!.offset + 40, third!.offset - 30);
    backup.write(bytes);
    const report = await compact(backup, { now: nowFor(FIRST_TIME + 10) });
    expect(report).toMatchObject({ compacted: true, damagedChunks: 1, keptAll: null });
    expect(fs.readFileSync(report.damagedPath!).equals(bytes.subarray(second!.offset, third!.offset))).toBe(
      true,
    );
    expect(storedMessages(linesOf(backup))).toHaveLength(2);
    const fresh = BackupIndex.open(backup.indexPath, { readonly: true });
    const marks = fresh.statement('SELECT uniqueid FROM cb_heal ORDER BY 1', 'pluck').all();
    fresh.close();
    expect(marks).toEqual(['id-user.anne.F0', 'id-user.anne.F1', 'id-user.anne.F2']);
    expect(linesOf(backup).filter(({ verb }) => verb === 'HEAL')).toHaveLength(3);
    expect((await backup.verify()).codes).toEqual({ HEAL_PENDING: 3, CONTENT_MISSING: 1 });
  });

  test('what only the old index knows of a damaged chunk is said again: the mail server may be gone', async () => {
    const t = FIRST_TIME;
    const contents = ['one', 'two', 'three'];
    const records = contents.map((content, i) => ({ uid: i + 1, content, flags: '\\Flagged' }));
    using backup = new SampleBackup([
      [
        messageLine(contents, t),
        mailboxLine('user.anne.Early', [{ uid: 1, content: 'one' }], { time: t }),
        mailboxLine('user.anne.Gone', [{ uid: 1, content: 'one' }], { time: t }),
        mailboxLine('user.anne.Moved', [{ uid: 1, content: 'two' }], { time: t }),
      ],
      [
        mailboxLine('user.anne', records, { time: t + 1 }),
        `${t + 1} APPLY EXPUNGE %(MBOXNAME user.anne UNIQUEID id-user.anne UID (2))\r\n`,
        `${t + 1} APPLY RENAME %(OLDMBOXNAME user.anne.Moved NEWMBOXNAME user.anne.There PARTITION default UIDVALIDITY 5)\r\n`,
        `${t + 1} APPLY UNMAILBOX user.anne.Gone\r\n`,
        `${t + 1} APPLY SUB %(USERID anne MBOXNAME user.anne.There)\r\n`,
      ],
      [mailboxLine('user.anne.Sent', [{ uid: 1, content: 'three' }], { time: t + 2 })],
    ]);
    const index = BackupIndex.open(backup.indexPath, { readonly: true });
    const [, second, third] = index.chunks();
    index.close();
    const state = () =>
      stateText(backup.indexPath)
        .split('\n')
        .filter((line) => !/^(heal|state) /.test(line))
        .map((line) => line.replaceAll(/\b17\d{8}\b/g, 'TIME'))
        .join('\n');
    const before = state();
    const bytes = backup.bytes();
    backup.write(bytes.fill(0xaa, second!.offset + 26, third!.offset - 30));
    expect(await compact(backup, { now: nowFor(t + 10) })).toMatchObject({
      compacted: true,
      damagedChunks: 1,
    });
    expect(state()).toBe(before);
    expect((await backup.verify()).ok).toBe(true);
    // It stands in lines now.
    fs.rmSync(backup.indexPath);
    await reindexBackup({
      dataPath: backup.dataPath,
      engine: loadDeflateEngine('auto'),
      keepPrevious: false,
    });
    expect(state()).toBe(before);
  });

  test.each([
    ['far in the future', '9700000003'],
    ['a little later', '1700000007'],
    ['long ago', '1100000003'],
  ])('damage to the time of a line, which is then %s, makes no other time wrong', async (_, wrong) => {
    const t = FIRST_TIME;
    expect(t).toBe(1_700_000_000);
    const chunk = (i: number): (string | Uint8Array)[] => [
      messageLine([`text ${i}`], t + i),
      mailboxLine('user.anne', [{ uid: i, content: `text ${i}` }], { time: t + i }),
    ];
    const expunge = `${t + 4} APPLY EXPUNGE %(MBOXNAME user.anne UNIQUEID id-user.anne UID (1))\r\n`;
    using backup = new SampleBackup([chunk(1), chunk(2), chunk(3), [expunge], chunk(5)]);
    const index = BackupIndex.open(backup.indexPath, { readonly: true });
    const [, , third, fourth] = index.chunks();
    index.close();
    const bytes = backup.bytes();
    const member = bytes.subarray(third!.offset, fourth!.offset);
    const damaged = Buffer.from(
      gunzipSync(member)
        .toString('latin1')
        .replaceAll(String(t + 3), wrong),
      'latin1',
    );
    // Its trailer is that of what had been written.
    const hit = Buffer.concat([gzipSync(damaged).subarray(0, -8), member.subarray(-8)]);
    backup.write(Buffer.concat([bytes.subarray(0, third!.offset), hit, bytes.subarray(fourth!.offset)]));
    await reindexBackup({
      dataPath: backup.dataPath,
      engine: loadDeflateEngine('auto'),
      keepPrevious: false,
    });
    const report = await compact(backup, { now: nowFor(t) });
    expect(report).toMatchObject({ compacted: true, damagedChunks: 1, keptAll: null, newMessages: 4 });
    const times = linesOf(backup).map(({ time }) => time);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect(Math.min(...times)).toBe(t + 1);
    expect(stateText(backup.indexPath)).toContain(` ${t + 4} here `);
    const fresh = BackupIndex.open(backup.indexPath, { readonly: true });
    expect(fresh.state()!.lastTime).toBe(t + 5);
    fresh.close();
  });

  test.each([
    ['a little', 30, (t: number) => [t, t + 101, t + 131, t + 131, t + 131]],
    ['by ten years', 315_000_000, (t: number) => [t, t + 101, t + 315_000_101, t + 102, t + 103]],
  ])('a backup of Cyrus’s whose clock was ahead %s, and was set right', async (_, ahead, expected) => {
    const t = FIRST_TIME;
    const [a, b] = ['a', 'b'].map((content, i) => ({ uid: i + 1, content }));
    const expunge = (time: number, uid: number): string =>
      `${time} APPLY EXPUNGE %(MBOXNAME user.anne UNIQUEID id-user.anne UID (${uid}))\r\n`;
    using backup = new SampleBackup([
      [messageLine(['a', 'b'], t), mailboxLine('user.anne', [a!, b!], { time: t + 101 })],
      [`${t + 101 + ahead} APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n`],
      [expunge(t + 102, 1)],
      [expunge(t + 103, 2)],
    ]);
    const report = await compact(backup, { now: nowFor(t - 1) });
    expect(report).toMatchObject({ compacted: true, keptAll: null, newMessages: 2 });
    expect(linesOf(backup).map(({ time }) => time)).toEqual(expected(t));
  });

  test('what was noted of damage says nothing of the chunks that compaction writes, though they lie in the same place', async () => {
    const t = FIRST_TIME;
    const records = ['a', 'b'].map((content, i) => ({ uid: i + 1, content }));
    using backup = new SampleBackup([
      [messageLine(['a'], t)],
      [messageLine(['b'], t), mailboxLine('user.anne', records, { time: t })],
    ]);
    await compact(backup, { now: nowFor(t - 1) });
    const index = BackupIndex.open(backup.indexPath, { readonly: true });
    const [first, second] = index.chunks();
    index.close();
    // By a disk that could not be read for a while.
    const place = `OFFSET ${first!.offset} END ${second!.offset} START ${t} GUIDS "${guidOf('a')}"`;
    backup.append([`${t + 1} APPLY RESERVE %(NOTE DAMAGE VALUE %(${place}))\r\n`], true);
    expect(await compact(backup, { now: nowFor(t - 1) })).toMatchObject({ compacted: true, keptAll: null });
    const fresh = BackupIndex.open(backup.indexPath, { readonly: true });
    expect(fresh.chunks().map(({ offset }) => offset)).toEqual(
      expect.arrayContaining([first!.offset, second!.offset]),
    );
    expect(damagedChunks(fresh).size).toBe(0);
    fresh.close();
    expect(stateText(backup.indexPath)).not.toContain(' missing ');
    expect(linesOf(backup).filter(({ verb }) => verb === 'DAMAGE')).toEqual([]);
    expect((await backup.verify()).findings).toEqual([]);
  });

  test('keeps what it replaces if that is wanted', async () => {
    using backup = new SampleBackup([
      [messageLine(['a']), mailboxLine('user.anne', [{ uid: 1, content: 'a' }])],
    ]);
    const [data, index] = [backup.bytes(), fs.readFileSync(backup.indexPath)];
    await compact(backup, { settings: { backupKeepPrevious: true } });
    const names = fs
      .readdirSync(backup.folder)
      .filter((name) => /\.\d+$/.test(name))
      .sort();
    expect(names.map((name) => name.replace(/\d+$/, ''))).toEqual(['anne_x1Y2z3.', 'anne_x1Y2z3.index.']);
    expect(fs.readFileSync(`${backup.folder}/${names[0]}`).equals(data)).toBe(true);
    expect(fs.readFileSync(`${backup.folder}/${names[1]}`).equals(index)).toBe(true);
  });

  test('one that another compaction, or a session, has locked is left alone', async () => {
    using backup = new SampleBackup([
      [messageLine(['a']), mailboxLine('user.anne', [{ uid: 1, content: 'a' }])],
    ]);
    const holder = DataFile.open(backup.dataPath);
    expect(holder.lock()).toBe(true);
    await expect(compact(backup)).rejects.toMatchObject({ code: 'LOCKED' });
    holder.close();
    const work = WorkFiles.open(backup.dataPath, fs.statSync(backup.dataPath));
    await expect(compact(backup)).rejects.toMatchObject({ code: 'LOCKED' });
    expect(fs.existsSync(`${backup.dataPath}.new`)).toBe(true);
    work.close();
    expect(await compact(backup)).toMatchObject({ compacted: true });
  });
});

describe('a compaction beside a server that goes on', () => {
  test('takes over what is appended meanwhile, and messages that it counts on', async () => {
    const [gone, kept] = ['long gone', 'still there'];
    const t = FIRST_TIME;
    const records = [gone, kept].map((content, i) => ({ uid: i + 1, content }));
    using backup = new SampleBackup([
      [messageLine([gone, kept], t), mailboxLine('user.anne', records, { time: t })],
      [`${t + 1} APPLY EXPUNGE %(MBOXNAME user.anne UNIQUEID id-user.anne UID (1))\r\n`],
    ]);
    let appended = 0;
    const report = await compact(backup, {
      now: nowFor(t + 10),
      onProgress: () => {
        if (appended++ > 0) return;
        // The message that is being dropped is copied to another mailbox: the server knows it and does not ask for it.
        const copy = mailboxLine('user.anne.B', [{ uid: 7, content: gone }], { time: t + 20 });
        backup.append([messageLine(['new'], t + 20), copy], true);
        backup.append([mailboxLine('user.anne.C', [{ uid: 8, content: 'new' }], { time: t + 21 })], true);
      },
    });
    expect(report.carriedOverBytes).toBeGreaterThan(100);
    // What was appended is not what compaction has made larger.
    const grownBytes = report.newSizeBytes! - report.sizeBytes + report.newIndexBytes! - report.indexBytes;
    expect(freedBytes(report)).toBe(report.carriedOverBytes - grownBytes);
    expect(report).toMatchObject({ compacted: true, keptAll: null, newMessages: 3 });
    const guids = storedMessages(linesOf(backup)).map(({ guid }) => guid);
    expect(guids.toSorted()).toEqual([gone, kept, 'new'].map(guidOf).toSorted());
    expect(stateText(backup.indexPath)).not.toContain(' missing ');
    expect((await backup.verify()).findings).toEqual([]);
    const own = stateText(backup.indexPath);
    await reindexBackup({
      dataPath: backup.dataPath,
      engine: loadDeflateEngine('auto'),
      keepPrevious: false,
    });
    expect(stateText(backup.indexPath)).toBe(own);
  });

  test('is noticed by a shard that has the backup cached', async () => {
    const rig = new StoreRig();
    try {
      await rig.message(1, 'anne', 'one');
      await rig.mailbox(1, 'anne', 'user.anne', ['one']);
      await rig.release(1);
      const dataPath = rig.dataPath('anne');
      const before = fs.statSync(dataPath).ino;
      const report = await compactBackup({ dataPath, config: rig.config, force: true });
      expect(report.compacted).toBe(true);
      expect(fs.statSync(dataPath).ino).not.toBe(before);
      await rig.message(2, 'anne', 'two');
      expect((await rig.mailbox(2, 'anne', 'user.anne', ['one', 'two'])).code).toBe('OK');
      await rig.release(2);
      expect(storedMessages(readDataFile(dataPath)).map(({ guid }) => guid)).toEqual(
        ['one', 'two'].map(guidOf),
      );
      expect(rig.figures.take().values.stale_backups_total).toBe(1);
      expect((await verifyBackup({ dataPath })).findings).toEqual([]);
    } finally {
      await rig.shard.handle({ op: 'stop' });
      rig.remove();
    }
  });
});
