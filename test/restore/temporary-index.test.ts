import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFile } from '../../src/restore/temporary-index.ts';

const NOBODY = 65534;

/** Left by a process that is no more. */
function leave(folder: string): string {
  const { pid } = spawnSync('true');
  const file = path.join(folder, `session-${pid}-restore-0123456789ab.index`);
  fs.writeFileSync(file, '');
  return file;
}

test('what a killed process has left goes', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'temporary-index-'));
  try {
    const left = leave(folder);
    expect(path.dirname(temporaryFile(folder))).toBe(folder);
    expect(fs.existsSync(left)).toBe(false);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test.skipIf(process.getuid!() !== 0)('but not that of another user in /tmp, who is in no way', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'temporary-index-'));
  fs.chmodSync(folder, 0o1777);
  const left = leave(folder);
  process.seteuid!(NOBODY);
  try {
    expect(path.dirname(temporaryFile(folder))).toBe(folder);
    expect(fs.existsSync(left)).toBe(true);
  } finally {
    process.seteuid!(0);
    fs.rmSync(folder, { recursive: true });
  }
});
