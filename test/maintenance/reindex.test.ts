import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { MemberPool } from '../../src/maintenance/member-pool.ts';
import { type ReindexOptions, type ReindexReport, reindexBackup } from '../../src/maintenance/reindex.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { FIXTURES } from '../cli/backup-store.ts';
import { stateText } from '../store/state-text.ts';
import { Random } from '../support/random.ts';
import { guidOf, mailboxLine, messageLine, SampleBackup } from './backup-files.ts';

const engine = loadDeflateEngine('auto');
const pool = new MemberPool({ sliceBytes: 20_000 });
afterAll(() => pool.stop());

function reindex(backup: { dataPath: string }, more: Partial<ReindexOptions> = {}): Promise<ReindexReport> {
  return reindexBackup({ dataPath: backup.dataPath, engine, keepPrevious: false, ...more });
}

function text(seed: string, length: number): string {
  return Buffer.from(new Random(seed).bytes(length)).toString('base64').slice(0, length);
}

/** Chunk i brings messages `i-0` to `i-2` into the mailbox user.anne.Fi. */
/** 0xff behind it begins no block of DEFLATE, whichever engine made the chunk. */
const MEMBER_HEADER_BYTES = 24;

function chunksOf(count: number): (string | Uint8Array)[][] {
  return Array.from({ length: count }, (_, i) => {
    const contents = [0, 1, 2].map((n) => text(`${i}-${n}`, 6000));
    const records = contents.map((content, n) => ({ uid: n + 1, content }));
    return [messageLine(contents), mailboxLine(`user.anne.F${i}`, records)];
  });
}

function look<T>(backup: SampleBackup, read: (index: BackupIndex) => T): T {
  const index = BackupIndex.open(backup.indexPath, { readonly: true });
  try {
    return read(index);
  } finally {
    index.close();
  }
}

const healed = (backup: SampleBackup): string[] =>
  look(
    backup,
    (index) => index.statement('SELECT uniqueid FROM cb_heal ORDER BY 1', 'pluck').all() as string[],
  );

describe('reindexBackup', () => {
  test('makes the same index with threads and without', async () => {
    using backup = new SampleBackup(chunksOf(12));
    const before = stateText(backup.indexPath);
    let progress = 0;
    const alone = await reindex(backup, { onProgress: (bytes) => (progress += bytes) });
    expect(progress).toBe(backup.bytes().length);
    expect(stateText(backup.indexPath)).toBe(before);
    const chunks = look(backup, (index) => index.chunks());
    expect(await reindex(backup, { readers: pool })).toEqual(alone);
    expect(alone).toMatchObject({
      chunks: 12,
      mailboxes: 12,
      messages: 36,
      damagedChunks: 0,
      damagedMessages: 0,
    });
    expect(stateText(backup.indexPath)).toBe(before);
    expect(look(backup, (index) => index.chunks())).toEqual(chunks);
    expect((await backup.verify()).findings).toEqual([]);
  });

  test('what was to be sent again is asked for although the note of that is lost', async () => {
    // As a compaction leaves them of a damaged backup: the message was not to be had, and has not come again yet.
    const lines = [
      [messageLine(['here']), mailboxLine('user.anne', [{ uid: 1, content: 'here' }])],
      [mailboxLine('user.anne.Sent', [{ uid: 1, content: 'gone' }])],
      ['1700000000 APPLY RESERVE %(NOTE HEAL VALUE %(UNIQUEID id-user.anne.Sent))\r\n'],
    ];
    using backup = new SampleBackup(lines);
    expect(healed(backup)).toEqual(['id-user.anne.Sent']);
    const { offset } = look(backup, (index) => index.chunks()[2]!);
    backup.write(backup.bytes().fill(0, offset));
    await reindex(backup);
    expect(healed(backup)).toEqual(['id-user.anne.Sent']);
  });

  test('a damaged chunk costs only what was hit, and every mailbox is to be sent again', async () => {
    for (const readers of [undefined, pool]) {
      using backup = new SampleBackup(chunksOf(8));
      const { offset } = look(backup, (index) => index.chunks()[3]!);
      const bytes = backup.bytes();
      bytes.fill(0xff, offset + MEMBER_HEADER_BYTES, offset + 3000);
      backup.write(bytes);
      const report = await reindex(backup, readers ? { readers } : {});
      expect(report).toMatchObject({ damagedChunks: 1, mailboxesToHeal: 8, mailboxes: 8, messages: 21 });
      const names = look(backup, (index) =>
        index.statement('SELECT mboxname FROM mailbox ORDER BY 1', 'pluck').all(),
      );
      expect(names).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((i) => `user.anne.F${i}`));
      expect(healed(backup)).toHaveLength(8);
    }
  });

  test('a damaged message counts as missing, and its mailbox is to be sent again', async () => {
    const [first, second] = ['first message', 'second message'];
    const line = messageLine([first, second]);
    line.write('X', line.indexOf(second));
    const chunk = [line, mailboxLine('user.anne', [{ uid: 1, content: first }])];
    using backup = new SampleBackup([
      chunk,
      [
        mailboxLine('user.anne.A', [
          { uid: 1, content: first },
          { uid: 2, content: second },
        ]),
      ],
    ]);
    const report = await reindex(backup);
    expect(report).toMatchObject({ damagedChunks: 0, damagedMessages: 1, messages: 1, mailboxesToHeal: 1 });
    expect(healed(backup)).toEqual(['id-user.anne.A']);
    expect(look(backup, (index) => index.missing([guidOf(first), guidOf(second)]))).toEqual([guidOf(second)]);
    // When it comes again it is there again, and nothing is to be healed.
    backup.append(
      [
        messageLine([second]),
        mailboxLine('user.anne.A', [
          { uid: 1, content: first },
          { uid: 2, content: second },
        ]),
      ],
      true,
    );
    expect(await reindex(backup)).toMatchObject({ messages: 2, mailboxesToHeal: 0 });
  });

  test('reads what Cyrus wrote: {n+} literals, members without flush points, a torn one in the middle', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'reindex-'));
    try {
      const [carol, torn] = ['carol_fQAmPe', 'torn-by-kill'].map((name) =>
        fs.readFileSync(path.join(FIXTURES, name)),
      ) as [Buffer, Buffer];
      const dataPath = path.join(folder, 'carol_x1Y2z3');
      fs.writeFileSync(dataPath, carol);
      const whole = await reindex({ dataPath });
      expect(whole).toMatchObject({ damagedChunks: 0, damagedMessages: 0 });
      const scripts = 'SELECT count(*) FROM sieve WHERE deleted IS NULL';
      const index = BackupIndex.open(`${dataPath}.index`, { readonly: true });
      expect(index.statement(scripts, 'pluck').get()).toBeGreaterThan(0);
      index.close();
      // A backupd was killed three times and appended the next member behind what it had left.
      fs.writeFileSync(dataPath, Buffer.concat([torn, carol]));
      const after = await reindex({ dataPath });
      expect(after).toMatchObject({ damagedChunks: 3, messages: whole.messages, chunks: whole.chunks + 6 });
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  });

  test('a dry run says what is damaged and changes nothing', async () => {
    using backup = new SampleBackup(chunksOf(4));
    const { offset } = look(backup, (index) => index.chunks()[1]!);
    const bytes = backup.bytes();
    bytes.fill(0xff, offset + MEMBER_HEADER_BYTES, offset + 3000);
    backup.write(bytes);
    const before = fs.readFileSync(backup.indexPath);
    expect(await reindex(backup, { dryRun: true })).toMatchObject({
      chunks: 4,
      damagedChunks: 1,
      messages: null,
    });
    expect(fs.readFileSync(backup.indexPath).equals(before)).toBe(true);
    expect(fs.readdirSync(backup.folder).sort()).toEqual(['anne_x1Y2z3', 'anne_x1Y2z3.index']);
  });

  test('keeps the old index if that is wanted, and finishes a last chunk that is not finished', async () => {
    using backup = new SampleBackup(chunksOf(2));
    backup.append(chunksOf(3)[2]!, false);
    const before = fs.readFileSync(backup.indexPath);
    const report = await reindex(backup, { keepPrevious: true });
    expect(report).toMatchObject({ chunks: 3, messages: 9, damagedChunks: 0 });
    const kept = fs.readdirSync(backup.folder).filter((name) => /\.index\.\d+$/.test(name));
    expect(kept).toHaveLength(1);
    expect(fs.readFileSync(path.join(backup.folder, kept[0]!)).equals(before)).toBe(true);
    expect((await backup.verify()).findings).toEqual([]);
  });

  test('a backup that is locked is left alone', async () => {
    using backup = new SampleBackup(chunksOf(1));
    const { DataFile } = await import('../../src/store/data-file.ts');
    const holder = DataFile.open(backup.dataPath);
    expect(holder.lock()).toBe(true);
    await expect(reindex(backup)).rejects.toMatchObject({ code: 'LOCKED' });
    const waiting = reindex(backup, { wait: true });
    setTimeout(() => holder.close(), 30);
    expect(await waiting).toMatchObject({ chunks: 1 });
  });
});
