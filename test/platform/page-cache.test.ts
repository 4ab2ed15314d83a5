import { closeSync, fdatasyncSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { forgetPages } from '../../src/platform/page-cache.ts';
import { diskFolder, residentBytes } from '../support/resident.ts';

const PIECE_BYTES = 1 << 20;
const LENGTH = 16 * PIECE_BYTES;

test.skipIf(diskFolder === undefined)('what is on disk leaves the page cache, and stays in the file', () => {
  const folder = mkdtempSync(path.join(diskFolder!, 'csync-pages-'));
  const fd = openSync(path.join(folder, 'file'), 'w+');
  const bytes = Buffer.alloc(LENGTH, 'some text ');
  // The kernel may keep what is written at once in one piece, which it forgets as a whole only.
  for (let at = 0; at < LENGTH; at += PIECE_BYTES) writeSync(fd, bytes, at, PIECE_BYTES);
  fdatasyncSync(fd);
  expect(residentBytes(fd)).toBe(LENGTH);
  forgetPages(fd, 0, LENGTH / 2);
  expect(residentBytes(fd)).toBeLessThanOrEqual(LENGTH * 0.6);
  expect(residentBytes(fd)).toBeGreaterThanOrEqual(LENGTH * 0.4);
  expect(readFileSync(path.join(folder, 'file')).equals(bytes)).toBe(true);
  closeSync(fd);
  rmSync(folder, { recursive: true });
});
