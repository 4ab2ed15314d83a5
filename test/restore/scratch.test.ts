import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { keepScratch, newScratch, removeAbandonedScratch } from '../../src/restore/drill/scratch.ts';

const SCRATCH = path.join(import.meta.dirname, '../../src/restore/drill/scratch.ts');
const isRoot = process.getuid!() === 0;
let base: string;
let left: string;

beforeEach(() => {
  base = fs.mkdtempSync(path.join(os.tmpdir(), 'csync-scratch-'));
  left = path.join(base, 'drill-999999999-abc');
  fs.mkdirSync(path.join(left, 'cur'), { recursive: true });
  fs.writeFileSync(path.join(left, 'cur', '1'), 'mail');
});

afterEach(() => {
  if (fs.existsSync(left)) fs.chmodSync(left, 0o700);
  fs.rmSync(base, { recursive: true });
});

test('what a drill of root that was killed has left keeps no server of another user from starting', () => {
  // Root may remove all: the server is somebody else.
  fs.chmodSync(base, 0o777);
  fs.chmodSync(left, isRoot ? 0o700 : 0);
  const code = `import(${JSON.stringify(SCRATCH)}).then((m) => console.log(JSON.stringify(m.removeAbandonedScratch(${JSON.stringify(base)}))))`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    encoding: 'utf8',
    cwd: '/',
    ...(isRoot && { uid: 65534, gid: 65534 }),
  });
  expect([stdout.trim(), stderr]).toEqual([JSON.stringify([left]), '']);
  expect(fs.existsSync(left)).toBe(true);
});

test('what was left is removed, what is kept stays', () => {
  const kept = keepScratch(newScratch(base));
  expect(fs.existsSync(left)).toBe(false);
  expect(removeAbandonedScratch(base)).toEqual([]);
  expect(fs.readdirSync(base)).toEqual([path.basename(kept)]);
  expect(path.basename(kept)).toMatch(/^kept-drill-\d+-/);
});
