import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { statBackup } from '../../src/maintenance/stat.ts';
import { checkLastChunk } from '../../src/maintenance/stat-check.ts';
import { retentionStart, statBackups } from '../../src/maintenance/stat-pool.ts';
import { tryLock } from '../../src/platform/file-lock.ts';
import { FIXTURES } from '../cli/backup-store.ts';

describe('figures of a backup', () => {
  let folder: string;
  let carol: string;
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stat-'));
    carol = copy('carol_fQAmPe');
  });
  afterEach(() => fs.rmSync(folder, { recursive: true }));

  function copy(name: string, as = name): string {
    const target = path.join(folder, as);
    for (const suffix of ['', '.index']) fs.copyFileSync(path.join(FIXTURES, name + suffix), target + suffix);
    return target;
  }

  /** What ctl_backups stat of Cyrus IMAP 3.6.1 says of this file, with a retention that keeps all. */
  const CAROL = {
    sizeBytes: 440_585,
    indexSizeBytes: 81_920,
    chunks: 8,
    contentBytes: 972_983,
    compactableBytes: 297_351,
    lastStart: 1_795_395_758,
    lastEnd: 1_795_395_758,
  };

  test('are those that Cyrus counts', () => {
    const stat = statBackup(carol, { compactableSince: -1, check: true, locked: 'refuse' });
    expect(stat).toEqual({ ...CAROL, problem: undefined });
    const far = statBackup(carol, { compactableSince: 2 ** 40, locked: 'read' }).compactableBytes!;
    expect(far).toBeLessThan(CAROL.compactableBytes);
  });

  test('are the same when SQLite has to be asked', () => {
    for (const compactableSince of [-1, CAROL.lastEnd - 200, 2 ** 40, undefined]) {
      const options = { compactableSince, check: true, locked: 'read' } as const;
      const fast = statBackup(carol, options);
      fs.writeFileSync(`${carol}.index-journal`, ''); // a writer is about to begin
      expect(statBackup(carol, options)).toEqual(fast);
      fs.rmSync(`${carol}.index-journal`, { force: true });
    }
  });

  test('a chunk under construction counts as the latest, the check takes the last whole one', () => {
    const db = new Database(`${carol}.index`);
    db.prepare('INSERT INTO chunk(ts_start, offset, file_sha1) VALUES (?, ?, ?)').run(
      1_800_000_000,
      440_585,
      '',
    );
    db.close();
    const stat = statBackup(carol, { check: true, locked: 'read' });
    expect(stat).toMatchObject({ chunks: 9, lastStart: 1_800_000_000, lastEnd: 1_800_000_000 });
    expect(stat.problem).toBeUndefined();
  });

  test('what is missing or damaged is said', () => {
    const options = { check: true, locked: 'read' } as const;
    expect(statBackup(path.join(folder, 'nobody'), options).problem).toEqual({
      code: 'NOT_FOUND',
      text: `${folder}/nobody does not exist`,
    });
    const fd = fs.openSync(carol, 'r+');
    fs.writeSync(fd, Buffer.from([0x55]), 0, 1, CAROL.sizeBytes - 12);
    fs.closeSync(fd);
    expect(statBackup(carol, options).problem?.code).toBe('CHUNK_CORRUPT');
    expect(statBackup(carol, { locked: 'read' }).problem).toBeUndefined();
    fs.truncateSync(carol, 1000);
    expect(statBackup(carol, options).problem?.text).toContain('the file ends at 1000');
    fs.writeFileSync(`${carol}.index`, 'no database');
    expect(statBackup(carol, options).problem?.code).toBe('INDEX_STALE');
    fs.rmSync(`${carol}.index`);
    expect(statBackup(carol, options)).toMatchObject({ sizeBytes: 1000, indexSizeBytes: null });
    fs.truncateSync(carol, 0);
    expect(statBackup(carol, options)).toMatchObject({ sizeBytes: 0, chunks: 0, problem: undefined });
  });

  test('a backup that is being written to is refused, waited for or read, as wished', () => {
    const fd = fs.openSync(carol, 'r+');
    expect(tryLock(fd, 'exclusive')).toBe(true);
    expect(statBackup(carol, { locked: 'refuse' }).problem?.code).toBe('LOCKED');
    expect(statBackup(carol, { locked: 'read' }).problem).toBeUndefined();
    fs.closeSync(fd);
    expect(statBackup(carol, { locked: 'wait' }).problem).toBeUndefined();
  });

  test('the check finds a chunk that is too long, too short or another', () => {
    const db = new Database(`${carol}.index`, { readonly: true });
    const rows = db
      .prepare('SELECT id, offset, length, data_sha1 AS dataSha1 FROM chunk ORDER BY id')
      .all() as { id: number; offset: number; length: number; dataSha1: string }[];
    db.close();
    const fd = fs.openSync(carol, 'r');
    for (const chunk of [rows[0]!, rows[5]!]) {
      const size = CAROL.sizeBytes;
      expect(checkLastChunk(fd, size, chunk)).toBeUndefined();
      expect(checkLastChunk(fd, size, { ...chunk, length: chunk.length - 1 })).toMatch(/content/);
      expect(checkLastChunk(fd, size, { ...chunk, length: chunk.length + 1 })).toMatch(/content/);
      expect(checkLastChunk(fd, size, { ...chunk, dataSha1: '0'.repeat(40) })).toMatch(/SHA-1/);
      expect(checkLastChunk(fd, size, { ...chunk, offset: chunk.offset + 1 })).toMatch(/header/);
    }
    fs.closeSync(fd);
  });

  test('many backups come in order, by several threads', async () => {
    const erik = copy('erik_em7N7U');
    const backups = Array.from({ length: 900 }, (_, i) => ({
      path: i % 3 === 0 ? erik : i % 3 === 1 ? carol : path.join(folder, `missing-${i}`),
      i,
    }));
    const options = { compactableSince: -1, check: true, locked: 'read' } as const;
    const expected = new Map(backups.slice(0, 2).map(({ path: file }) => [file, statBackup(file, options)]));
    let next = 0;
    for await (const [backup, stat] of statBackups(backups, options)) {
      expect(backup.i).toBe(next++);
      if (backup.i % 3 === 2) expect(stat.problem?.text).toContain(backup.path);
      else expect(stat).toEqual(expected.get(backup.path));
    }
    expect(next).toBe(900);
  });
});

test('retention begins where it is said to, or never', () => {
  expect(retentionStart(7 * 86_400_000, 1_800_000_000_000)).toBe(1_800_000_000 - 7 * 86_400);
  expect(retentionStart(0)).toBe(-1);
});
