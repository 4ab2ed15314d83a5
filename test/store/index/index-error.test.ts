/** "unable to open database file" is all that SQLite says of very different things. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BackupIndex } from '../../../src/store/index/backup-index.ts';
import { indexError } from '../../../src/store/index/index-error.ts';

let folder: string;
let file: string;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'csync-index-error-'));
  file = path.join(folder, 'anne_x1Y2z3.index');
  BackupIndex.open(file, { create: true }).close();
});

afterEach(() => fs.rmSync(folder, { recursive: true }));

function errorOf(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return indexError(error, 'use the index', file);
  }
  return undefined;
}

test('a journal that cannot be made is no fault of the index', () => {
  const index = BackupIndex.open(file);
  fs.symlinkSync(`${file}-journal`, `${file}-journal`);
  const change = () => index.startChunk({ offset: 0, tsStart: 1, fileSha1: 'a'.repeat(40) });
  expect(errorOf(change)).toMatchObject({ code: 'IO_ERROR', reason: expect.stringContaining('journal') });
  index.close();
});

test('what the system says of it is what is told', () => {
  const withErrno = (code: string) => Object.assign(new Error(`${code}: what it says`), { code, errno: -1 });
  const codes = ['ENOSPC', 'EROFS', 'EACCES', 'EMFILE', 'EIO'].map((code) => {
    const { code: known } = indexError(withErrno(code), 'use the index', file);
    return known;
  });
  expect(codes).toEqual(['NO_SPACE', 'PERMISSION_DENIED', 'PERMISSION_DENIED', 'LIMIT_EXCEEDED', 'IO_ERROR']);
});

test('nor is a process that has no descriptors left', () => {
  const script = `
    const { BackupIndex } = await import(process.argv[1]);
    const fs = await import('node:fs');
    BackupIndex.open(process.argv[2]).close();
    const open = [];
    try { for (;;) open.push(fs.openSync('/dev/null', 'r')); } catch {}
    let code;
    try { BackupIndex.open(process.argv[2]); } catch (error) { code = error.code + ' ' + error.message; }
    for (const fd of open) fs.closeSync(fd);
    console.log(code);
  `;
  const module = path.resolve(import.meta.dirname, '../../../src/store/index/backup-index.ts');
  const run = [
    '-c',
    'ulimit -n 64 && exec "$@"',
    'sh',
    process.execPath,
    '--input-type=module',
    '-e',
    script,
  ];
  const { stdout, stderr } = spawnSync('sh', [...run, module, file], { encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(stdout).toMatch(/^LIMIT_EXCEEDED .*LimitNOFILE/);
});

test('one that is not there is', () => {
  fs.rmSync(file);
  expect(errorOf(() => BackupIndex.open(file))).toMatchObject({ code: 'INDEX_STALE' });
});
