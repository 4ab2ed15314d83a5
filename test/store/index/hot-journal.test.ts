/** An index whose last change was cut off by a crash: SQLite has to undo it before anybody can read. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BackupIndex } from '../../../src/store/index/backup-index.ts';

let folder: string;
let file: string;

/** Changes an index without end, and kills itself while the change is half written. */
const CRASH = `
  const db = new (require('better-sqlite3'))(process.argv[1]);
  db.pragma('cache_size = 2');
  db.exec('BEGIN; DELETE FROM subscription');
  const insert = db.prepare("INSERT INTO subscription (last_chunk_id, mboxname) VALUES (1, ?)");
  for (let i = 0; i < 2000; i++) insert.run('half ' + i);
  process.kill(process.pid, 'SIGKILL');
`;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'csync-hot-'));
  fs.chmodSync(folder, 0o755);
  file = path.join(folder, 'anne_x1Y2z3.index');
  const index = BackupIndex.open(file, { create: true });
  index.startChunk({ offset: 0, tsStart: 1, fileSha1: 'a'.repeat(40) });
  index.statement("INSERT INTO subscription (last_chunk_id, mboxname) VALUES (1, 'user.anne')").run();
  index.close();
  expect(spawnSync(process.execPath, ['-e', CRASH, file]).signal).toBe('SIGKILL');
  expect(fs.statSync(`${file}-journal`).size).toBeGreaterThan(512);
});

afterEach(() => fs.rmSync(folder, { recursive: true }));

function subscriptions(): unknown[] {
  const index = BackupIndex.open(file, { readonly: true });
  try {
    return index.statement('SELECT mboxname FROM subscription', 'pluck').all();
  } finally {
    index.close();
  }
}

test('is undone also for who only wants to read', () => {
  expect(subscriptions()).toEqual(['user.anne']);
  expect(fs.existsSync(`${file}-journal`)).toBe(false);
});

test('says so, and what to do, where it may not be written', () => {
  fs.chmodSync(file, 0o444);
  fs.chmodSync(`${file}-journal`, 0o444);
  fs.chmodSync(folder, 0o555);
  const isRoot = process.getuid!() === 0;
  if (isRoot) process.seteuid!(65_534);
  try {
    expect(subscriptions).toThrow(
      expect.objectContaining({
        code: 'PERMISSION_DENIED',
        message: expect.stringMatching(
          /: a crash has cut off a change of it, which can be undone only by who may write it\. Run this as the user that runs the server, or copy data file, \.index and \.index-journal to a folder of your own/,
        ),
      }),
    );
  } finally {
    if (isRoot) process.seteuid!(0);
    for (const made of [folder, file, `${file}-journal`]) fs.chmodSync(made, 0o700);
  }
  expect(subscriptions()).toEqual(['user.anne']);
});
